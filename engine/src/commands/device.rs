//! The device that decodes or trains, as the command line names it.

use std::sync::Arc;

use falsetto_engine::decode::Gpu;
use falsetto_engine::train;

/// What decodes.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// The processor. GPUs are used where they are asked for, until enough of them have been measured.
    Auto,
    /// The processor.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

impl Device {
    /// The GPU, where one is asked for.
    pub fn open(self) -> Result<Option<Arc<Gpu>>, String> {
        match self {
            Self::Auto | Self::Cpu => Ok(None),
            Self::Cuda => Gpu::open().map(Some).map_err(|error| error.to_string()),
        }
    }
}

/// What training steps are made by.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TrainingDevice {
    /// The processor.
    Cpu,
    /// The first CUDA device, with a program that was built for it: see docs/gpu.md.
    Cuda,
}

impl TrainingDevice {
    /// The device, if it is there.
    pub fn open(self, products: Products) -> Result<train::Device, String> {
        match self {
            Self::Cpu if products != Products::F32 => {
                Err("products of fewer bits are a card's: --products goes with --device cuda".into())
            }
            Self::Cpu => Ok(train::Device::CPU),
            Self::Cuda => train::Device::cuda(products.into()).map_err(|error| error.to_string()),
        }
    }
}

/// What the factors of a card's products are rounded to.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Products {
    /// Nothing: single precision, as on the processor.
    F32,
    /// 11 significant bits.
    Tf32,
    /// 8 significant bits.
    Bf16,
}

impl From<Products> for train::Products {
    fn from(products: Products) -> Self {
        match products {
            Products::F32 => Self::Single,
            Products::Tf32 => Self::Tf32,
            Products::Bf16 => Self::Bfloat16,
        }
    }
}
