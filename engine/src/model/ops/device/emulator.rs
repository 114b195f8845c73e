//! The machine on the processor: plain products, and the kernels as `kernels/emulator.cpp` runs them.

use std::ffi::{CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use candle_core::Result;
use libloading::Library;

use super::{Argument, Machine, Matrices, Product, Span};
use crate::emulation::{compile_emulator, load};
use crate::model::ops::matrix::Put;

type LaunchFunction =
    unsafe extern "C" fn(*const c_char, u32, u32, *const *const c_void, *const u32, u32) -> bool;

/// Blocks and threads of each launch: more items than these are several rounds.
const BLOCKS: u32 = 2;
const THREADS: u32 = 64;

/// See the module.
pub(super) struct Emulator {
    library: Arc<Library>,
}

/// Values in whole words of 64 bits, which a card's memory is aligned to as well.
pub(super) struct Memory {
    /// A box's, which the kernels write to.
    words: *mut [u64],
    values: usize,
}

/// The folder of the kernels' sources.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/ops/device/kernels")
}

impl Emulator {
    pub(super) fn new() -> Self {
        static LIBRARY: OnceLock<Arc<Library>> = OnceLock::new();
        let make = || {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("emulator.so");
            compile_emulator(&sources(), &["-O2"], &file);
            load(&file)
        };
        Self { library: Arc::clone(LIBRARY.get_or_init(make)) }
    }

    /// With an emulator that was compiled before.
    pub(super) fn of_file(file: &Path) -> Self {
        Self { library: load(file) }
    }

    fn of_values(&self, values: &[f32]) -> Memory {
        let pair = |pair: &[f32]| {
            let bits = |place: usize| u64::from(pair.get(place).map_or(0, |value| value.to_bits()));
            if cfg!(target_endian = "little") { bits(0) | bits(1) << 32 } else { bits(1) | bits(0) << 32 }
        };
        let words: Box<[u64]> = values.chunks(2).map(pair).collect();
        Memory { words: Box::into_raw(words), values: values.len() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was a box, and is this value's alone.
        drop(unsafe { Box::from_raw(self.words) });
    }
}

impl Machine for Emulator {
    type Memory = Memory;

    fn allocate(&self, values: usize) -> Result<Memory> {
        // What is no number, so that what is read before it was written is seen.
        Ok(self.of_values(&vec![f32::NAN; values]))
    }

    fn upload(&self, values: &[f32]) -> Result<Memory> {
        Ok(self.of_values(values))
    }

    fn span<'a>(&self, memory: &'a Memory) -> Span<'a> {
        // SAFETY: so many values lie there as long as the memory is borrowed.
        unsafe { Span::new(memory.words.cast::<u64>() as u64, memory.values) }
    }

    fn download(&self, values: Span<'_>) -> Result<Vec<f32>> {
        // SAFETY: a span's values lie there, and nothing runs that writes them.
        Ok(unsafe { std::slice::from_raw_parts(values.address as *const f32, values.values) }.to_vec())
    }

    unsafe fn multiply_unchecked(&self, product: &Product<'_>) -> Result<()> {
        let Product { count, rows, depth, columns, put, target, left, right } = *product;
        let at = |matrices: Matrices<'_>, matrix: usize, row: usize, column: usize| {
            let place = matrix * matrices.matrix + row * matrices.row + column * matrices.column;
            (matrices.span.address as *mut f32).wrapping_add(place)
        };
        for matrix in 0..count {
            for row in 0..rows {
                for column in 0..columns {
                    // SAFETY: every entry lies in its span, as the caller says, and nothing else runs.
                    unsafe {
                        let product = |k| {
                            f64::from(*at(left, matrix, row, k)) * f64::from(*at(right, matrix, k, column))
                        };
                        let sum: f64 = (0..depth).map(product).sum();
                        let target = at(target, matrix, row, column);
                        let before = if put == Put::Add { f64::from(*target) } else { 0.0 };
                        *target = (before + sum) as f32;
                    }
                }
            }
        }
        Ok(())
    }

    unsafe fn launch_unchecked(
        &self,
        kernel: &'static str,
        _threads: usize,
        arguments: &[Argument<'_>],
    ) -> Result<()> {
        let name = CString::new(kernel).unwrap();
        let (addresses, sizes): (Vec<*const c_void>, Vec<u32>) = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Array(span, _) => ((&raw const span.address).cast(), 8),
                Argument::Number(number) => (std::ptr::from_ref(number).cast(), 4),
                Argument::Real(real) => (std::ptr::from_ref(real).cast(), 4),
            })
            .unzip();
        // SAFETY: the function has this type, and says no to arguments of other sizes; the rest is as the caller says.
        let fits = unsafe {
            let run = self.library.get::<LaunchFunction>(b"falsetto_launch").unwrap();
            let count = arguments.len() as u32;
            run(name.as_ptr(), BLOCKS, THREADS, addresses.as_ptr(), sizes.as_ptr(), count)
        };
        assert!(fits, "{kernel} takes other arguments");
        Ok(())
    }
}
