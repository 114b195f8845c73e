//! What both ends of a stream see: ring items, atomics, meters.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::{GpuUse, Settings};

/// A run of input starts: the samples from ring count `at` on belong to `position` on, under `settings`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// Samples that went into the input ring before.
    pub at: u64,
    /// Stream position of the next sample.
    pub position: u64,
    /// Settings from there on.
    pub settings: Settings,
    /// Which reset the sample belongs to; a new number means that everything before is forgotten.
    pub generation: u32,
}

/// A run of output starts: the samples from ring count `at` on belong to `position` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Samples that went into the output ring before.
    pub at: u64,
    /// Stream position of the next sample, on the worker's side (not shifted by the hand-off).
    pub position: u64,
}

/// The atomics of one stream.
#[derive(Default)]
pub(super) struct Shared {
    /// Stream position up to which the audio side has given out, late or not.
    pub given: AtomicU64,
    /// Number of the newest reset.
    pub generation: AtomicU32,
    /// The host said that it waits for us.
    pub offline: AtomicBool,
    /// The audio side is waiting right now, or was a moment ago.
    pub waiting: AtomicBool,
    /// The audio side is gone.
    pub closed: AtomicBool,
    pub meters: Arc<StreamMeters>,
}

/// Counters of one stream, read by an editor or a log. Reading never disturbs either thread.
#[derive(Default)]
pub struct StreamMeters {
    pub(super) late_samples: AtomicU64,
    pub(super) late_blocks: AtomicU64,
    pub(super) lost_input_samples: AtomicU64,
    pub(super) skips: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) load: AtomicU32,
    /// Bits of a frequency; 0 while there is none.
    pub(super) take_median_f0_hz: AtomicU32,
    /// 0 where no GPU was asked for; else 2 + 4 times its falls, + 1 while it sings.
    pub(super) gpu: AtomicU32,
    pub(super) failed: AtomicBool,
    pub(super) failure: OnceLock<String>,
}

/// One reading of a stream's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamReport {
    /// Samples given as dry sound since their results were not there in time.
    pub late_samples: u64,
    /// Calls that held such samples.
    pub late_blocks: u64,
    /// Input samples that found no room, since the engine stood still for longer than the age bound.
    pub lost_input_samples: u64,
    /// How often the engine skipped what was too late.
    pub skips: u64,
    /// Calls that waited for the engine (offline, or a host ahead of the clock).
    pub waits: u64,
    /// Computing time over sounding time of this stream's worker, 1 is the most it can be; smoothed.
    pub load: f32,
    /// Median F0 of the take since the last reset, in Hz, before transposition; none as long as nothing was voiced.
    pub take_median_f0_hz: Option<f32>,
    /// What a GPU does for the stream; none where it was not asked for.
    pub gpu: Option<GpuUse>,
    /// What the worker said when it panicked; the stream is dry from then on.
    pub failure: Option<String>,
}

impl StreamMeters {
    pub(super) fn note_gpu(&self, gpu: Option<GpuUse>) {
        let gpu =
            gpu.map_or(0, |GpuUse { sings, falls }| 2 | u32::from(sings) | falls.min(u32::MAX >> 2) << 2);
        self.gpu.store(gpu, Relaxed);
    }

    /// Reads all counters.
    pub fn report(&self) -> StreamReport {
        StreamReport {
            late_samples: self.late_samples.load(Relaxed),
            late_blocks: self.late_blocks.load(Relaxed),
            lost_input_samples: self.lost_input_samples.load(Relaxed),
            skips: self.skips.load(Relaxed),
            waits: self.waits.load(Relaxed),
            load: f32::from_bits(self.load.load(Relaxed)),
            take_median_f0_hz: Some(f32::from_bits(self.take_median_f0_hz.load(Relaxed)))
                .filter(|f0| *f0 > 0.0),
            gpu: match self.gpu.load(Relaxed) {
                0 => None,
                gpu => Some(GpuUse { sings: gpu & 1 != 0, falls: gpu >> 2 }),
            },
            failure: self.failure.get().cloned(),
        }
    }
}
