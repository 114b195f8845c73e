//! The decoder on a GPU: the same samples as on the processor, to the bit.
//!
//! ```text
//! plan      how a network lies over the blocks that share it
//! weights   a bank's decoder as one row of words; layout: the structures in it
//! launch    one hop of any number of streams
//! driver    a device's memory and launches: CUDA's, or in tests an emulator on the processor
//! watched   a device that is given up once it does not answer
//! kernels   decoder.cu and its headers; decoder.ptx, which is made of them; emulator.cpp
//! ```
//!
//! What runs once a hop (frame network, prior's parameters, phases, random numbers) is made on the processor; what runs once
//! a sample is the kernel's: input layer, dilated layers, head, prior, draw. All streams that sing with the same weights share
//! a launch. Banks that multiply `f32` are sung by the processor.

#[cfg(feature = "cuda")]
mod cudarc_driver;
mod driver;
#[cfg(test)]
mod emulator;
mod launch;
mod layout;
mod plan;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "cuda", test))]
mod watched;
mod weights;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
#[cfg(any(feature = "cuda", test))]
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use super::weights::DecoderWeights;
use driver::{Driver, DriverError, Facts, Memory};
use launch::Placed;
pub(super) use launch::{Streaming, sing};
#[cfg(any(feature = "cuda", test))]
use watched::Watched;

/// Why a GPU does not sing.
#[derive(Debug, Error)]
pub enum GpuError {
    /// This program was built without it.
    #[error(
        "this program was built without CUDA; build it with `--features cuda`, or let the processor sing"
    )]
    NotBuilt,
    /// No driver, or one that says no.
    #[error("no CUDA device: {0}; install NVIDIA's driver, or let the processor sing")]
    Missing(String),
    /// A card that the kernel cannot run on.
    #[error("{name} has compute capability {major}.{minor}, 8.0 is needed; let the processor sing")]
    TooOld {
        /// The card.
        name: String,
        /// What it can do.
        major: u32,
        /// The same.
        minor: u32,
    },
    /// A bank whose decoder multiplies `f32`.
    #[error("this bank's decoder does not multiply bytes, so the processor must sing it")]
    Arithmetic,
    /// A bank whose decoder passes through its layers once for two samples.
    #[error("this bank's decoder draws pairs of samples, so the processor must sing it")]
    Pairs,
    /// A network that is too wide for a block's memory.
    #[error("this bank's network is too wide for {name}; let the processor sing")]
    TooWide {
        /// The card.
        name: String,
    },
    /// The device failed.
    #[error("{0}")]
    Driver(#[from] DriverError),
}

/// How long a device may take over what was launched together, which is one hop of each stream.
#[cfg(any(feature = "cuda", test))]
const PATIENCE: Duration = Duration::from_secs(5);

/// One GPU, for any number of streams of any banks.
pub struct Gpu {
    driver: Arc<dyn Driver>,
    /// Banks that lie on it.
    placed: Mutex<Vec<(Weak<DecoderWeights>, Arc<Placed>)>>,
    has_failed: AtomicBool,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gpu").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Gpu {
    /// The first CUDA device.
    ///
    /// # Errors
    /// [`GpuError`] where there is none that can run the kernel.
    #[cfg(feature = "cuda")]
    pub fn open() -> Result<Arc<Self>, GpuError> {
        Ok(Self::with_driver(Watched::new(cudarc_driver::CudarcDriver::open()?, PATIENCE)))
    }

    /// The first CUDA device.
    ///
    /// # Errors
    /// Always: this program was built without it.
    #[cfg(not(feature = "cuda"))]
    pub fn open() -> Result<Arc<Self>, GpuError> {
        Err(GpuError::NotBuilt)
    }

    fn with_driver(driver: impl Driver + 'static) -> Arc<Self> {
        Arc::new(Self {
            driver: Arc::new(driver),
            placed: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })
    }

    /// Whether it ever failed while it sang, so that the processor went on with a silent past: then not all that was sung
    /// since it was opened is what one device alone would have sung.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Relaxed)
    }

    /// The card's name.
    pub fn name(&self) -> &str {
        &self.facts().name
    }

    fn facts(&self) -> &Facts {
        self.driver.facts()
    }

    /// The weights on this device, put there if they are not.
    fn place(&self, weights: &Arc<DecoderWeights>) -> Result<Arc<Placed>, GpuError> {
        let mut all = self.placed.lock();
        // Weights that nobody sings with any more make room.
        all.retain(|(weights, placed)| weights.strong_count() > 0 || Arc::strong_count(placed) > 1);
        let found = all.iter().find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(weights)));
        if let Some((_, placed)) = found {
            return Ok(Arc::clone(placed));
        }
        let placed = Arc::new(Placed::new(&self.driver, weights)?);
        all.push((Arc::downgrade(weights), Arc::clone(&placed)));
        Ok(placed)
    }
}

/// The kernel on this processor, in blocks that hold the built-in bank's network together.
#[cfg(test)]
pub(crate) fn emulated_gpu() -> Arc<Gpu> {
    let limits = plan::Limits { chip_words: 40_000, most_blocks: 2, most_threads: 64, clusters: true };
    Gpu::with_driver(Watched::new(emulator::Emulator::new(limits, 2), PATIENCE))
}

/// Zeroed memory of a device.
fn memory(driver: &Arc<dyn Driver>, words: usize) -> Result<Memory, DriverError> {
    Memory::new(Arc::clone(driver), words)
}
