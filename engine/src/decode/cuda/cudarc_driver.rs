//! CUDA's driver, found when the program runs. Nothing of CUDA is needed to build it.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum};
use cudarc::driver::{CudaContext, DriverError as CudaError, result};

use super::GpuError;
use super::driver::{Driver, DriverError, Facts, Launch};
use super::plan::Limits;

/// Made of `kernels/decoder.cu` by `cargo xtask ptx`. The driver compiles it for its card.
const PTX: &str = include_str!("kernels/decoder.ptx");
const KERNEL: &str = "falsetto_decode";
/// The oldest compute capability that the PTX is for.
const OLDEST: (u32, u32) = (8, 0);

/// Most blocks that share a network, where blocks can wait for each other: as many as pay for their letters.
const MOST_BLOCKS: usize = 32;
/// Threads beyond which a block gains nothing: the widest layers there are in recipes have 128 units of four threads.
const MOST_THREADS: usize = 512;

/// The first CUDA device.
pub(super) struct CudarcDriver {
    facts: Facts,
    context: Arc<CudaContext>,
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
        Err(_) => format!("{error:?}"),
    }
}

impl CudarcDriver {
    /// Opens the first device and loads the kernel.
    pub(super) fn open() -> Result<Self, GpuError> {
        let missing = |error: CudaError| GpuError::Missing(describe(error));
        // SAFETY: it only looks for the driver's library. Without it every other call would panic.
        if !unsafe { sys::is_culib_present() } {
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
        let limits = Limits {
            chip_words: chip_bytes as usize / 4,
            most_blocks: if can_bind { blocks.min(MOST_BLOCKS) } else { 1 },
            most_threads: MOST_THREADS,
        };
        let (module, function) = load(&context, chip_bytes).map_err(failed("load the kernel"))?;
        Ok(Self { facts: Facts { name, limits, blocks }, context, module, function })
    }

    fn bound(&self, doing: &'static str) -> Result<(), DriverError> {
        self.context.bind_to_thread().map_err(failed(doing))
    }
}

fn load(context: &CudaContext, chip_bytes: u32) -> Result<(sys::CUmodule, sys::CUfunction), CudaError> {
    context.bind_to_thread()?;
    // Neither text holds a zero byte.
    let (ptx, kernel) = (CString::new(PTX).unwrap_or_default(), CString::new(KERNEL).unwrap_or_default());
    // SAFETY: the image is a zero-terminated text of PTX, the context is bound, and the module outlives its function.
    unsafe {
        let module = result::module::load_data(ptx.as_ptr().cast())?;
        let function = result::module::get_function(module, kernel)?;
        result::function::set_function_attribute(
            function,
            CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            chip_bytes as i32,
        )?;
        Ok((module, function))
    }
}

impl Driver for CudarcDriver {
    fn facts(&self) -> &Facts {
        &self.facts
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
        let run = if launch.are_bound { result::launch_cooperative_kernel } else { result::launch_kernel };
        // SAFETY: the arguments have the kernel's types and order, and are read before the call returns; what they point to
        // on the device is as the caller says.
        unsafe {
            run(
                self.function,
                (launch.blocks as u32, 1, 1),
                (launch.threads as u32, 1, 1),
                4 * launch.chip_words as u32,
                std::ptr::null_mut(),
                &mut arguments,
            )
        }
        .map_err(failed(doing))
    }
}

impl Drop for CudarcDriver {
    fn drop(&mut self) {
        if self.bound("unload the kernel").is_ok() {
            // SAFETY: the module is this value's alone, and every launch has been waited for by a read.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}
