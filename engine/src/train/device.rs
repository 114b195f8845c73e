//! Where a run's steps are made. Whatever makes batches stays on the processor.

use thiserror::Error;

use super::ranks::Share;

/// What steps are made by.
#[derive(Clone, Debug)]
pub struct Device {
    pub(super) place: candle_core::Device,
    pub(super) share: Share,
    /// Whether the processor makes the next batch while the device is busy with this one.
    pub(super) works_ahead: bool,
}

/// What the ranks of a run find each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting([u8; 128]);

/// What the factors of a GPU's products are rounded to; their sums are of single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// Nothing: as the processor multiplies.
    #[default]
    Single,
    /// 11 significant bits, where single precision has 24.
    Tf32,
    /// 8 significant bits.
    Bfloat16,
}

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
    /// Cards that cannot talk to each other.
    #[error("the cards cannot train together: {0}; train with one, without `--ranks`")]
    Ranks(String),
}

impl Device {
    /// The processor.
    pub const CPU: Self = Self { place: candle_core::Device::Cpu, share: Share::ALL, works_ahead: false };

    /// The same with a rank's share.
    #[cfg(test)]
    pub(super) fn shared(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// The same with batches made ahead, as for a card.
    #[cfg(test)]
    pub(super) fn ahead(self) -> Self {
        Self { works_ahead: true, ..self }
    }

    /// candle's device.
    #[cfg(all(test, feature = "train-cuda"))]
    pub(crate) fn candle(&self) -> &candle_core::Device {
        &self.place
    }
}

#[cfg(not(feature = "train-cuda"))]
impl Device {
    /// The first CUDA device.
    ///
    /// # Errors
    /// Always: this program was built without it.
    pub fn cuda(_products: Products) -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt)
    }

    /// CUDA device `rank` as one of `count`, each another process's.
    ///
    /// # Errors
    /// Always: this program was built without it.
    pub fn cuda_rank(
        _rank: usize,
        _count: usize,
        _meeting: Meeting,
        _products: Products,
    ) -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt)
    }
}

#[cfg(feature = "train-cuda")]
impl Device {
    /// The first CUDA device. How it multiplies is one for all devices of this process.
    ///
    /// # Errors
    /// [`DeviceError`] where there is none that can run the kernels.
    pub fn cuda(products: Products) -> Result<Self, DeviceError> {
        Ok(Self::card(open(0, products)?, Share::ALL))
    }

    /// CUDA device `rank` as one of `count`, each another process's. Waits for the others.
    ///
    /// # Errors
    /// [`DeviceError`] where it is not there or cannot talk to others.
    pub fn cuda_rank(
        rank: usize,
        count: usize,
        meeting: Meeting,
        products: Products,
    ) -> Result<Self, DeviceError> {
        use super::ranks::nccl::{Id, Nccl};

        let device = open(rank, products)?;
        let ranks = Nccl::join(&device, rank, count, Id(meeting.0)).map_err(DeviceError::Ranks)?;
        Ok(Self::card(device, Share::of(ranks)))
    }

    fn card(device: candle_core::CudaDevice, share: Share) -> Self {
        Self { place: candle_core::Device::Cuda(device), share, works_ahead: true }
    }
}

impl Meeting {
    /// A new one.
    ///
    /// # Errors
    /// [`DeviceError`] where NVIDIA's library for it is not there.
    #[cfg(feature = "train-cuda")]
    pub fn new() -> Result<Self, DeviceError> {
        super::ranks::nccl::meeting().map(|id| Self(id.0)).map_err(DeviceError::Ranks)
    }

    /// A new one.
    ///
    /// # Errors
    /// Always: this program was built without it.
    #[cfg(not(feature = "train-cuda"))]
    pub fn new() -> Result<Self, DeviceError> {
        Err(DeviceError::NotBuilt)
    }
}

impl std::fmt::Display for Meeting {
    /// As hexadecimal digits.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl std::str::FromStr for Meeting {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 128];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2).unwrap_or_default(), 16)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(feature = "train-cuda")]
fn open(ordinal: usize, products: Products) -> Result<candle_core::CudaDevice, DeviceError> {
    use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, sys};

    use crate::model::ops::CardProducts;

    let missing = |error: DriverError| {
        DeviceError::Missing(match error.error_string() {
            Ok(text) => text.to_string_lossy().into_owned(),
            // What stands in for a driver that is not there answers so, and has no words for it.
            Err(_) if error.0 == sys::cudaError_enum::CUDA_ERROR_NO_DEVICE => {
                "its driver is not on this machine".into()
            }
            Err(_) => format!("{error:?}"),
        })
    };
    let context = CudaContext::new(ordinal).map_err(missing)?;
    let (major, minor) = context.compute_capability().map_err(missing)?;
    if major < 8 {
        return Err(DeviceError::TooOld { major, minor });
    }
    // candle adds where in its source it was, line by line.
    let first_line = |error: candle_core::Error| {
        DeviceError::Missing(error.to_string().lines().next().unwrap_or_default().to_owned())
    };
    let device = candle_core::CudaDevice::new_with_stream(ordinal).map_err(first_line)?;
    keep_memory(&context);
    match products {
        Products::Single => CardProducts::Single,
        Products::Tf32 => CardProducts::Tf32,
        Products::Bfloat16 => CardProducts::Bfloat16,
    }
    .use_everywhere();
    // SAFETY: all that a run does on the card is done on this device's one stream, in its order.
    unsafe { device.disable_event_tracking() };
    Ok(device)
}

/// Has the driver keep what is given back: it would hand it to the system whenever somebody waits for the card, and fetch it
/// again in the next step. A driver that does not know of it goes on as it is used to.
#[cfg(feature = "train-cuda")]
fn keep_memory(context: &candle_core::cuda_backend::cudarc::driver::CudaContext) {
    use candle_core::cuda_backend::cudarc::driver::sys::{
        CUmemPool_attribute_enum as Attribute, cuDeviceGetDefaultMemPool, cuMemPoolSetAttribute,
    };

    let (mut pool, mut most) = (std::ptr::null_mut(), u64::MAX);
    // SAFETY: the first call writes the pool, the second reads a number of 64 bits, as this attribute is.
    unsafe {
        if cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()).result().is_ok() {
            let attribute = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            let _ = cuMemPoolSetAttribute(pool, attribute, (&raw mut most).cast()).result();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meeting_is_told_in_hexadecimal_digits() {
        let meeting = Meeting(std::array::from_fn(|place| 3 * place as u8));
        let told = meeting.to_string();
        assert_eq!(told.len(), 256);
        assert_eq!(told.parse(), Ok(meeting));
        assert!(told[1..].parse::<Meeting>().is_err() && "x".parse::<Meeting>().is_err());
    }
}
