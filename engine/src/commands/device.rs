//! The device that decodes, as the command line names it.

use std::sync::Arc;

use falsetto_engine::decode::Gpu;

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
