//! Where a run's steps are made. Whatever makes batches stays on the processor.

use thiserror::Error;

/// What steps are made by.
#[derive(Clone, Debug)]
pub struct Device(pub(super) candle_core::Device);

/// Why a GPU makes no steps.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// This program was built without it.
    #[error(
        "this program was built without training on CUDA; docs/gpu.md says how to build it, or train with `--device cpu`"
    )]
    NotBuilt,
    /// No driver, no card, or libraries that are missing.
    #[error("no CUDA device to train on: {0}; `falsetto doctor` looks for one, or train with `--device cpu`")]
    Missing(String),
    /// A card that the kernels cannot run on.
    #[error("the card has compute capability {major}.{minor}, training needs 8.0; train with `--device cpu`")]
    TooOld {
        /// What it can do.
        major: i32,
        /// The same.
        minor: i32,
    },
}

impl Device {
    /// The processor.
    pub const CPU: Self = Self(candle_core::Device::Cpu);

    /// candle's device.
    #[cfg(all(test, feature = "train-cuda"))]
    pub(crate) fn candle(&self) -> &candle_core::Device {
        &self.0
    }

    /// The first CUDA device.
    ///
    /// # Errors
    /// Always: this program was built without it.
    #[cfg(not(feature = "train-cuda"))]
    pub fn cuda() -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt)
    }

    /// The first CUDA device.
    ///
    /// # Errors
    /// [`DeviceError`] where there is none that can run the kernels.
    #[cfg(feature = "train-cuda")]
    pub fn cuda() -> Result<Self, DeviceError> {
        use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

        let missing = |error: DriverError| {
            let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
            DeviceError::Missing(text.unwrap_or_else(|_| "its driver is not on this machine".into()))
        };
        let context = CudaContext::new(0).map_err(missing)?;
        let (major, minor) = context.compute_capability().map_err(missing)?;
        if major < 8 {
            return Err(DeviceError::TooOld { major, minor });
        }
        // candle adds where in its source it was, line by line.
        let first_line = |error: candle_core::Error| {
            DeviceError::Missing(error.to_string().lines().next().unwrap_or_default().to_owned())
        };
        let device = candle_core::CudaDevice::new_with_stream(0).map_err(first_line)?;
        // SAFETY: all that a run does on the card is done on this device's one stream, in its order.
        unsafe { device.disable_event_tracking() };
        Ok(Self(candle_core::Device::Cuda(device)))
    }
}
