//! What the audio thread and the voice thread show to the editor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use falsetto_engine::stream::{LatencyParts, StreamMeters};
use parking_lot::Mutex;

/// Written without locks by the audio thread, read by the editor.
#[derive(Default)]
pub struct Board {
    /// Bits of the largest input and output sample since the editor last looked. Positive floats order like their bits.
    input_peak: AtomicU32,
    output_peak: AtomicU32,
    /// `process` panicked; dry sound from then on.
    pub broken: AtomicBool,
    /// The bank that came in asks for another latency: the host must activate anew.
    pub restart: AtomicBool,
    /// Never touched by the audio thread.
    pub stream: Mutex<Option<StreamInfo>>,
}

/// What is known of the stream that plays.
#[derive(Clone)]
pub struct StreamInfo {
    /// Its rate.
    pub host_rate_hz: u32,
    /// What its latency is made of.
    pub latency: LatencyParts,
    /// Names and delays of the worker's stages, in samples.
    pub stages: Vec<(&'static str, usize)>,
    /// What decodes, and if it is not what was asked for, why.
    pub device: String,
    /// Its counters, if there is a stream at all.
    pub meters: Option<Arc<StreamMeters>>,
}

impl Board {
    /// Called by the audio thread with a block's largest samples.
    pub fn note_peaks(&self, input: f32, output: f32) {
        self.input_peak.fetch_max(input.to_bits(), Relaxed);
        self.output_peak.fetch_max(output.to_bits(), Relaxed);
    }

    /// The peaks of input and output since the last call.
    pub fn take_peaks(&self) -> (f32, f32) {
        (f32::from_bits(self.input_peak.swap(0, Relaxed)), f32::from_bits(self.output_peak.swap(0, Relaxed)))
    }
}
