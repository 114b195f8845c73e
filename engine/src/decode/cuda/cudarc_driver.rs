//! CUDA's driver, found when the program runs. Nothing of CUDA is needed to build it.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{
    self, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum as FunctionAttribute,
    CUlaunchAttributeID_enum as AttributeId,
};
use cudarc::driver::{CudaContext, DriverError as CudaError, result};

use super::GpuError;
use super::driver::{Chain, Driver, DriverError, Facts, Launch};
use super::plan::Limits;

/// Made of `kernels/decoder.cu` by `cargo xtask ptx`. The driver compiles it for its card.
const PTX: &str = include_str!("kernels/decoder.ptx");
/// The same for cards that have clusters.
const CLUSTERS_PTX: &str = include_str!("kernels/decoder_clusters.ptx");
const KERNEL: &str = "falsetto_decode";
/// The oldest compute capability that each is for.
const OLDEST: (u32, u32) = (8, 0);
const OLDEST_WITH_CLUSTERS: (u32, u32) = (9, 0);

/// Most blocks of a cluster: of some cards, and of all that have clusters.
const LARGEST_CLUSTERS: [usize; 2] = [16, 8];
/// Most blocks that share a network through memory: as many as pay for their letters.
const MOST_BLOCKS: usize = 32;
/// Threads beyond which a block gains nothing: the widest layers there are in recipes have 128 units of four threads.
const MOST_THREADS: usize = 512;

/// The first CUDA device.
pub(super) struct CudarcDriver {
    facts: Facts,
    blocks: usize,
    context: Arc<CudaContext>,
    kernel: Kernel,
    clusters: Option<Kernel>,
}

struct Kernel {
    module: sys::CUmodule,
    function: sys::CUfunction,
}

// SAFETY: the handles are the driver's, which may be used by any thread once the context is bound to it; every call
// binds it first.
unsafe impl Send for CudarcDriver {}
// SAFETY: as above; the driver locks what it shares.
unsafe impl Sync for CudarcDriver {}

fn failed(doing: &'static str) -> impl Fn(CudaError) -> DriverError {
    move |error| DriverError { doing, why: describe(error) }
}

/// The driver's own words.
fn describe(error: CudaError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        // It has no words for it.
        Err(_) => format!("{error:?}"),
    }
}

impl CudarcDriver {
    /// Opens the first device and loads the kernel.
    pub(super) fn open() -> Result<Self, GpuError> {
        let missing = |error: CudaError| GpuError::Missing(describe(error));
        if !is_driver_present() {
            return Err(GpuError::Missing("its driver is not on this machine".into()));
        }
        let context = CudaContext::new(0).map_err(missing)?;
        let name = context.name().map_err(missing)?;
        let asked =
            |attribute| context.attribute(attribute).map(|value| value.max(0) as u32).map_err(missing);
        let major = asked(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = asked(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if (major, minor) < OLDEST {
            return Err(GpuError::TooOld { name, major, minor });
        }
        let chip_bytes = asked(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let blocks = asked(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.max(1) as usize;
        let can_bind = asked(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0;
        let limits = |most_blocks: usize, clusters: bool| Limits {
            chip_words: chip_bytes as usize / 4,
            most_blocks,
            most_threads: MOST_THREADS,
            clusters,
        };
        let through_memory = limits(if can_bind { blocks.min(MOST_BLOCKS) } else { 1 }, false);
        let kernel = load(&context, PTX, chip_bytes).map_err(failed("load the kernel"))?;
        let mut all_limits = vec![through_memory];
        let mut clusters = None;
        if (major, minor) >= OLDEST_WITH_CLUSTERS {
            let loaded =
                load(&context, CLUSTERS_PTX, chip_bytes).map_err(failed("load the clusters' kernel"))?;
            clusters = Some(allow_large_clusters(loaded));
            all_limits.splice(0..0, LARGEST_CLUSTERS.map(|most_blocks| limits(most_blocks, true)));
        }
        let facts = Facts { name, limits: all_limits };
        Ok(Self { facts, blocks, context, kernel, clusters })
    }

    /// A launch's shape, for calls that take it, with its attributes in `attributes`.
    fn shape(
        chain: &Chain,
        chains: usize,
        attributes: &mut Vec<sys::CUlaunchAttribute>,
    ) -> sys::CUlaunchConfig {
        let attribute = |id, value| sys::CUlaunchAttribute { id, pad: [0; 4], value };
        if chain.is_cluster {
            let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
            value.clusterDim.x = chain.blocks as u32;
            value.clusterDim.y = 1;
            value.clusterDim.z = 1;
            attributes.push(attribute(AttributeId::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, value));
        } else if chain.blocks > 1 {
            // Blocks that wait for each other must all run.
            let value = sys::CUlaunchAttributeValue { cooperative: 1 };
            attributes.push(attribute(AttributeId::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, value));
        }
        sys::CUlaunchConfig {
            gridDimX: (chains * chain.blocks) as u32,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: chain.threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 4 * chain.chip_words as u32,
            hStream: std::ptr::null_mut(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        }
    }

    fn function(&self, chain: &Chain) -> sys::CUfunction {
        match &self.clusters {
            Some(clusters) if chain.is_cluster => clusters.function,
            _ => self.kernel.function,
        }
    }

    fn bound(&self, doing: &'static str) -> Result<(), DriverError> {
        self.context.bind_to_thread().map_err(failed(doing))
    }
}

/// Whether the driver's library is on this machine. Without it every other call would panic.
#[cfg(not(feature = "train-cuda"))]
fn is_driver_present() -> bool {
    // SAFETY: it only looks for the library.
    unsafe { sys::is_culib_present() }
}

/// candle has the driver's library linked: what stands in its place says in an answer that it is not there.
#[cfg(feature = "train-cuda")]
fn is_driver_present() -> bool {
    true
}

fn load(context: &CudaContext, ptx: &str, chip_bytes: u32) -> Result<Kernel, CudaError> {
    context.bind_to_thread()?;
    // Neither text holds a zero byte.
    let (ptx, name) = (CString::new(ptx).unwrap_or_default(), CString::new(KERNEL).unwrap_or_default());
    // SAFETY: the image is a zero-terminated text of PTX, the context is bound, and the module outlives its function.
    unsafe {
        let module = result::module::load_data(ptx.as_ptr().cast())?;
        let function = result::module::get_function(module, name)?;
        result::function::set_function_attribute(
            function,
            FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            chip_bytes as i32,
        )?;
        Ok(Kernel { module, function })
    }
}

/// Clusters of more than eight blocks, where the card has them; where it has not, none of them is found to fit.
fn allow_large_clusters(kernel: Kernel) -> Kernel {
    // SAFETY: the function was just loaded.
    let _ = unsafe {
        result::function::set_function_attribute(
            kernel.function,
            FunctionAttribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED,
            1,
        )
    };
    kernel
}

impl Driver for CudarcDriver {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn most_chains(&self, chain: &Chain) -> Result<usize, DriverError> {
        let doing = "find room for a cluster";
        self.bound(doing)?;
        if !chain.is_cluster {
            return Ok(self.blocks / chain.blocks);
        }
        let mut attributes = Vec::new();
        let shape = Self::shape(chain, 1, &mut attributes);
        let mut clusters = 0;
        // SAFETY: the function is loaded, and the shape's attributes live until the call returns.
        let answer =
            unsafe { sys::cuOccupancyMaxActiveClusters(&mut clusters, self.function(chain), &shape) };
        // Some drivers call a cluster that is too large an error.
        Ok(if answer.result().is_ok() { clusters.max(0) as usize } else { 0 })
    }

    fn allocate(&self, words: usize) -> Result<u64, DriverError> {
        let doing = "allocate memory";
        self.bound(doing)?;
        let bytes = 4 * words.max(1);
        // SAFETY: the context is bound; the memory is cleared before anybody reads it.
        unsafe {
            let address = result::malloc_sync(bytes).map_err(failed(doing))?;
            result::memset_d8_sync(address, 0, bytes).map_err(failed(doing))?;
            Ok(address)
        }
    }

    unsafe fn release(&self, address: u64, _words: usize) {
        if self.bound("free memory").is_ok() {
            // SAFETY: the caller says that `allocate` gave it and that nobody uses it any more. A device that cannot free
            // it any more has failed, and with it all its memory is gone.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    unsafe fn clear(&self, address: u64, words: usize) -> Result<(), DriverError> {
        let doing = "clear memory";
        self.bound(doing)?;
        if words == 0 {
            return Ok(());
        }
        // SAFETY: the caller says that these words are one allocation's.
        unsafe { result::memset_d8_sync(address, 0, 4 * words) }.map_err(failed(doing))
    }

    unsafe fn write(&self, address: u64, words: &[u32]) -> Result<(), DriverError> {
        let doing = "write to its memory";
        self.bound(doing)?;
        // SAFETY: as in `clear`; the words are copied before the call returns.
        unsafe { result::memcpy_htod_sync(address, words) }.map_err(failed(doing))
    }

    unsafe fn read(&self, address: u64, words: &mut [u32]) -> Result<(), DriverError> {
        let doing = "sing a hop";
        self.bound(doing)?;
        // SAFETY: as in `clear`; the call waits for all launches before it.
        unsafe { result::memcpy_dtoh_sync(words, address) }.map_err(failed(doing))
    }

    fn is_done(&self) -> Result<bool, DriverError> {
        let doing = "sing a hop";
        self.bound(doing)?;
        // SAFETY: the context is bound, and the stream is its default one, which all calls here use.
        match unsafe { sys::cuStreamQuery(std::ptr::null_mut()) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            answer => answer.result().map(|()| true).map_err(failed(doing)),
        }
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        let doing = "launch the kernel";
        self.bound(doing)?;
        let mut arguments: [*mut c_void; 6] = [
            launch.model.as_ptr().cast_mut().cast(),
            (&raw const launch.weights).cast_mut().cast(),
            (&raw const launch.streams).cast_mut().cast(),
            (&raw const launch.stream_count).cast_mut().cast(),
            (&raw const launch.letters).cast_mut().cast(),
            (&raw const launch.first_letter).cast_mut().cast(),
        ];
        let mut attributes = Vec::new();
        let shape = Self::shape(&launch.chain, launch.chains, &mut attributes);
        // SAFETY: the arguments have the kernel's types and order, and are read before the call returns, as is the shape; what
        // they point to on the device is as the caller says.
        unsafe {
            let function = self.function(&launch.chain);
            sys::cuLaunchKernelEx(&shape, function, arguments.as_mut_ptr(), std::ptr::null_mut()).result()
        }
        .map_err(failed(doing))
    }
}

impl Drop for CudarcDriver {
    fn drop(&mut self) {
        if self.bound("unload the kernel").is_ok() {
            for kernel in [Some(&self.kernel), self.clusters.as_ref()].into_iter().flatten() {
                // SAFETY: the module is this value's alone, and every launch has been waited for by a read.
                let _ = unsafe { result::module::unload(kernel.module) };
            }
        }
    }
}
