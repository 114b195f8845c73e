//! The kernel on the processor: `kernels/emulator.cpp`, compiled when a test asks for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use libloading::Library;

use super::driver::{Chain, Driver, DriverError, Facts, Launch};
use super::plan::Limits;
use crate::emulation::{compile_emulator, load};

type LaunchFunction =
    unsafe extern "C" fn(u32, bool, u32, u32, *const u32, *const u32, *const u32, u32, *mut u64, u32);

/// See the module.
pub(super) struct Emulator {
    facts: Facts,
    blocks: usize,
    /// After so many launches it fails.
    launches: AtomicUsize,
    /// After so many times it never again says that what was launched is done.
    answers: AtomicUsize,
    library: Arc<Library>,
}

/// The folder of the kernel's sources.
pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decode/cuda/kernels")
}

/// With and without clusters.
fn library(clusters: bool) -> Arc<Library> {
    static LIBRARIES: [OnceLock<Arc<Library>>; 2] = [OnceLock::new(), OnceLock::new()];
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("emulator.so");
        compile_emulator(&sources(), if clusters { &["-O2", "-DCLUSTERS"] } else { &["-O2"] }, &file);
        load(&file)
    };
    Arc::clone(LIBRARIES[usize::from(clusters)].get_or_init(make))
}

impl Emulator {
    /// A device whose blocks are threads of this process, `blocks` of them at the same time.
    pub(super) fn new(limits: Limits, blocks: usize) -> Self {
        Self::with_library(library(limits.clusters), limits, blocks)
    }

    /// With an emulator that was compiled before.
    pub(super) fn of_file(file: &Path, limits: Limits, blocks: usize) -> Self {
        Self::with_library(load(file), limits, blocks)
    }

    fn with_library(library: Arc<Library>, limits: Limits, blocks: usize) -> Self {
        Self {
            facts: Facts { name: "the emulator".into(), limits: vec![limits] },
            blocks,
            library,
            launches: usize::MAX.into(),
            answers: usize::MAX.into(),
        }
    }

    /// Fails after so many launches.
    pub(super) fn failing_after(mut self, launches: usize) -> Self {
        self.launches = launches.into();
        self
    }

    /// Hangs after so many reads.
    pub(super) fn hanging_after(mut self, reads: usize) -> Self {
        self.answers = reads.into();
        self
    }

    /// Words of the kernel's model, layer, share and stream.
    pub(super) fn layout(&self) -> [u32; 4] {
        let mut words = [0; 4];
        // SAFETY: the function has this type, and writes four words.
        unsafe {
            let layout = self.library.get::<unsafe extern "C" fn(*mut u32)>(b"falsetto_layout").unwrap();
            layout(words.as_mut_ptr());
        }
        words
    }
}

impl Driver for Emulator {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn most_chains(&self, chain: &Chain) -> Result<usize, DriverError> {
        Ok(self.blocks / chain.blocks)
    }

    fn allocate(&self, words: usize) -> Result<u64, DriverError> {
        // Of 64 bits, since letters are.
        let memory = vec![0_u64; words.div_ceil(2)].into_boxed_slice();
        Ok(Box::into_raw(memory).cast::<u64>() as u64)
    }

    unsafe fn release(&self, address: u64, words: usize) {
        let memory = std::ptr::slice_from_raw_parts_mut(address as *mut u64, words.div_ceil(2));
        // SAFETY: `allocate` made a box of this length, and the caller is its only owner.
        drop(unsafe { Box::from_raw(memory) });
    }

    unsafe fn clear(&self, address: u64, words: usize) -> Result<(), DriverError> {
        // SAFETY: the caller says that these words are one allocation's.
        unsafe { std::ptr::write_bytes(address as *mut u32, 0, words) };
        Ok(())
    }

    unsafe fn write(&self, address: u64, words: &[u32]) -> Result<(), DriverError> {
        // SAFETY: as in `clear`; the slice is not part of that allocation, which nobody else borrows.
        unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), address as *mut u32, words.len()) };
        Ok(())
    }

    unsafe fn read(&self, address: u64, words: &mut [u32]) -> Result<(), DriverError> {
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u32, words.as_mut_ptr(), words.len()) };
        Ok(())
    }

    fn is_done(&self) -> Result<bool, DriverError> {
        Ok(self.answers.fetch_update(Relaxed, Relaxed, |answers| answers.checked_sub(1)).is_ok())
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        let left = self.launches.fetch_update(Relaxed, Relaxed, |launches| launches.checked_sub(1));
        left.map_err(|_| DriverError { doing: "launch the kernel", why: "it was told to".into() })?;
        // SAFETY: the function has this type; the arguments are the kernel's, as the caller says.
        unsafe {
            let run = self.library.get::<LaunchFunction>(b"falsetto_launch").unwrap();
            run(
                (launch.chains * launch.chain.blocks) as u32,
                launch.chain.blocks > 1,
                launch.chain.threads as u32,
                launch.chain.chip_words as u32,
                launch.model.as_ptr(),
                launch.weights as *const u32,
                launch.streams as *const u32,
                launch.stream_count,
                launch.letters as *mut u64,
                launch.first_letter,
            );
        }
        Ok(())
    }
}
