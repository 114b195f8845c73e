//! A CUDA device as candle has it: its memory and its stream, cuBLAS for products, our kernels as PTX.
//!
//! All that is asked of it goes to the device's one stream, which keeps the order.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use candle_core::backend::BackendStorage;
use candle_core::cuda::set_gemm_reduced_precision_f32;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
use candle_core::cuda_backend::cudarc::cublas::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, LaunchConfig, PushKernelArg};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, Storage, Tensor};

use super::optimizer::Table;
use super::{Argument, Machine, Matrices, Product, Span};
use crate::model::Parameters;
use crate::model::ops::matrix::Put;

/// Made of `kernels/training.cu` by `cargo xtask ptx`. The driver compiles it for its card.
const PTX: &str = include_str!("kernels/training.ptx");
const MODULE: &str = "falsetto-training";

/// Threads of a block, and most blocks of a launch, whose threads take more items then.
const THREADS: usize = 256;
const MOST_BLOCKS: usize = 8192;

/// Values of 32 bits on the card.
pub(crate) type Memory = CudaSlice<f32>;

/// What the factors of a card's products are rounded to; their sums are of single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Products {
    Single,
    Tf32,
    Bfloat16,
}

static PRODUCTS: AtomicU8 = AtomicU8::new(Products::Single as u8);

impl Products {
    /// From now on, for all cards of this process, as candle has it too.
    pub(crate) fn use_everywhere(self) {
        PRODUCTS.store(self as u8, Relaxed);
        set_gemm_reduced_precision_f32(self != Self::Single);
    }

    fn used() -> Self {
        let used = PRODUCTS.load(Relaxed);
        [Self::Tf32, Self::Bfloat16]
            .into_iter()
            .find(|products| *products as u8 == used)
            .unwrap_or(Self::Single)
    }
}

/// See the module.
pub(crate) struct Card {
    device: CudaDevice,
}

impl Card {
    /// Of candle's device.
    pub(crate) fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone() }
    }

    /// The device that the storage is on.
    pub(in crate::model::ops) fn of(storage: &CudaStorage) -> Self {
        Self::new(storage.device())
    }

    /// The values of a contiguous tensor.
    pub(in crate::model::ops) fn values<'a>(
        &self,
        storage: &'a CudaStorage,
        layout: &Layout,
    ) -> Result<Span<'a>> {
        let (start, end) = ends(layout)?;
        let all = self.span(storage.as_cuda_slice::<f32>()?);
        if end > all.values() {
            candle_core::bail!("a tensor is longer than its storage")
        }
        let values = all.from(start);
        // SAFETY: a part of the storage's span.
        Ok(unsafe { Span::new(values.address, end - start) })
    }

    /// A copy of the values of a contiguous tensor.
    pub(in crate::model::ops) fn copy(&self, storage: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
        let (start, end) = ends(layout)?;
        let mut copy = self.allocate(end - start)?;
        if end > start {
            let values = storage.as_cuda_slice::<f32>()?.slice(start..end);
            self.device.memcpy_dtod(&values, &mut copy)?;
        }
        Ok(self.storage(copy))
    }

    /// What an operation's forward pass gives candle.
    pub(in crate::model::ops) fn storage(&self, memory: Memory) -> CudaStorage {
        CudaStorage::wrap_cuda_slice(memory, self.device.clone())
    }

    /// What its backward pass gives candle.
    pub(in crate::model::ops) fn tensor(&self, memory: Memory, shape: &Shape) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.storage(memory)), shape, BackpropOp::none(), false)
    }
}

/// Where a contiguous tensor's values begin and end in its storage.
fn ends(layout: &Layout) -> Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(ends) => Ok(ends),
        None => {
            candle_core::bail!("the training operations take contiguous tensors; call .contiguous() first")
        }
    }
}

/// Hands the values of several tensors of a card to `body`, made contiguous first.
pub(in crate::model::ops) fn with_spans<R, const N: usize>(
    tensors: [&Tensor; N],
    body: impl FnOnce(&Card, [Span<'_>; N]) -> Result<R>,
) -> Result<R> {
    let contiguous = tensors.iter().map(|tensor| tensor.contiguous()).collect::<Result<Vec<_>>>()?;
    with_tensors(&contiguous, |card, spans| match <[Span<'_>; N]>::try_from(spans) {
        Ok(spans) => body(card, spans),
        Err(_) => candle_core::bail!("a tensor is missing"),
    })
}

/// Hands the values of contiguous tensors, at least one, as they lie on their card to `body`.
pub(crate) fn with_tensors<R>(
    tensors: &[Tensor],
    body: impl FnOnce(&Card, &[Span<'_>]) -> Result<R>,
) -> Result<R> {
    let Some(first) = tensors.first() else { candle_core::bail!("there are no tensors") };
    let card = Card::new(first.device().as_cuda_device()?);
    let guards: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut spans = Vec::with_capacity(tensors.len());
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Cuda(storage) => spans.push(card.values(storage, layout)?),
            _ => candle_core::bail!("all tensors of an operation must be on the same device"),
        }
    }
    body(&card, &spans)
}

/// Running averages move toward parameters of the same names by a share of the way.
pub(crate) fn follow(averages: &Parameters, followed: &Parameters, share: f32) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, average) in averages.iter() {
        tensors.extend([average.as_tensor().clone(), followed.get(name)?.clone()]);
    }
    with_tensors(&tensors, |card, spans| {
        Table::of_averages(card, spans.as_chunks::<2>().0)?.follow(card, share)
    })
}

/// What is there, or made now and kept.
pub(in crate::model::ops) fn kept<T>(place: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if place.get().is_none() {
        // Another forward pass of the same operation would put the same.
        let _ = place.set(make()?);
    }
    place.get().ok_or_else(|| candle_core::Error::Msg("what an operation needs is not on the card".into()))
}

impl Machine for Card {
    type Memory = Memory;

    fn allocate(&self, values: usize) -> Result<Memory> {
        // SAFETY: any bits are a value, and whoever asks writes before anybody reads.
        unsafe { self.device.alloc::<f32>(values.max(1)) }
    }

    fn upload(&self, values: &[f32]) -> Result<Memory> {
        if values.is_empty() { self.allocate(0) } else { self.device.clone_htod(values) }
    }

    fn span<'a>(&self, memory: &'a Memory) -> Span<'a> {
        let stream = self.device.cuda_stream();
        let (address, _) = memory.device_ptr(&stream);
        // SAFETY: so many values lie there as long as the memory is borrowed; once it is given back, that is done behind all that
        // was asked for before.
        unsafe { Span::new(address, memory.len()) }
    }

    fn download(&self, values: Span<'_>) -> Result<Vec<f32>> {
        let stream = self.device.cuda_stream();
        // SAFETY: the span's values lie at its address; the slice is given up below, and not freed.
        let slice = unsafe { stream.upgrade_device_ptr::<f32>(values.address, values.values) };
        let copy = self.device.clone_dtoh(&slice);
        let _ = slice.leak();
        copy
    }

    unsafe fn multiply_unchecked(&self, product: &Product<'_>) -> Result<()> {
        let Product { count, rows, depth, columns, put, target, left, right } = *product;
        let (one, before) = (1f32, if put == Put::Add { 1f32 } else { 0f32 });
        // cuBLAS takes columns for rows: of the transposed product the factors are exchanged.
        let (right_order, right_apart) = order(right, depth, columns);
        let (left_order, left_apart) = order(left, rows, depth);
        let target_apart = target.row.max(columns);
        let (rows, depth, columns) = (rows as i32, depth as i32, columns as i32);
        let blas = self.device.cublas_handle();
        let single = sys::cudaDataType_t::CUDA_R_32F;
        let compute = match Products::used() {
            Products::Single => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Products::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Products::Bfloat16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_16BF,
        };
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        let (one, before) = ((&raw const one).cast(), (&raw const before).cast());
        let [right_at, left_at, target_at] =
            [right, left, target].map(|matrices| matrices.span.address as *mut std::ffi::c_void);
        // SAFETY: the handle is the device's and works on its stream; every entry of all matrices lies in its span, as the caller
        // says; both factors are read before the call returns.
        unsafe {
            gemm_strided_batched_ex(
                *blas.handle(),
                right_order,
                left_order,
                columns,
                rows,
                depth,
                one,
                right_at,
                single,
                right_apart as i32,
                right.matrix as i64,
                left_at,
                single,
                left_apart as i32,
                left.matrix as i64,
                before,
                target_at,
                single,
                target_apart as i32,
                target.matrix as i64,
                count as i32,
                compute,
                algorithm,
            )
        }
        .w()
    }

    unsafe fn launch_unchecked(
        &self,
        kernel: &'static str,
        threads: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let function = self.device.get_or_load_custom_func(kernel, MODULE, PTX)?;
        let mut launch = function.builder();
        for argument in arguments {
            match argument {
                Argument::Array(span, _) => launch.arg(&span.address),
                Argument::Number(number) => launch.arg(number),
                Argument::Real(real) => launch.arg(real),
            };
        }
        let shape = LaunchConfig {
            grid_dim: (threads.div_ceil(THREADS).min(MOST_BLOCKS) as u32, 1, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are the kernel's, as the caller says.
        unsafe { launch.launch(shape) }.w()?;
        Ok(())
    }
}

/// How cuBLAS is told of a factor of so many rows and columns: whether its columns are contiguous, and how far apart the others are.
fn order(factor: Matrices<'_>, rows: usize, columns: usize) -> (sys::cublasOperation_t, usize) {
    if factor.column == 1 {
        (sys::cublasOperation_t::CUBLAS_OP_N, factor.row.max(columns))
    } else {
        (sys::cublasOperation_t::CUBLAS_OP_T, factor.column.max(rows))
    }
}
