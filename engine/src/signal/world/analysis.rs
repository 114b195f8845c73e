//! One frame from the samples around its centre.

use super::aperiodicity::Aperiodicity;
use super::envelope::Envelope;
use super::segment::Sound;
use super::{UNVOICED_F0_HZ, WorldFrame, fft_samples, held_lowest_f0};
use crate::signal::f0::MAX_F0_HZ;

/// Periods that a measure reaches from the centre: D4C's window of four, a quarter of one to the side.
const REACH_PERIODS: f64 = 2.25;
/// Largest amplitude that is analysed: 36 dB over full scale.
const LOUDEST: f64 = 64.0;

/// Measures frames.
pub struct WorldAnalyzer {
    rate_hz: f64,
    lowest_f0_hz: f64,
    samples: Vec<f64>,
    envelope: Envelope,
    aperiodicity: Aperiodicity,
}

impl WorldAnalyzer {
    /// An analyzer for sound at `sample_rate_hz` (8 to 48 kHz). F0 below `lowest_f0_hz`, which is held within 47 and 500,
    /// counts as `lowest_f0_hz`; it fixes the size of envelopes and of the window: low voices need long ones.
    pub fn new(sample_rate_hz: u32, lowest_f0_hz: f32) -> Self {
        let rate_hz = f64::from(sample_rate_hz.max(1));
        let lowest = held_lowest_f0(lowest_f0_hz);
        let half = (REACH_PERIODS * rate_hz / lowest).ceil() as usize + 1;
        Self {
            rate_hz,
            lowest_f0_hz: lowest,
            samples: vec![0.0; 2 * half + 1],
            envelope: Envelope::new(fft_samples(sample_rate_hz, lowest_f0_hz)),
            aperiodicity: Aperiodicity::new(sample_rate_hz),
        }
    }

    /// Samples of the window that a frame is measured in, an odd number: the frame's centre is the middle one. 1203 at
    /// 16 kHz for 60 Hz.
    pub fn window_samples(&self) -> usize {
        self.samples.len()
    }

    /// Measures the frame at the middle of `window`, `[window_samples]`, whose fundamental is `f0_hz`; held within the
    /// analyzer's lowest and 1100 Hz. A shorter window is filled up with zeros. `frame` gets the F0 as it was used, 0
    /// while unvoiced.
    pub fn analyze(&mut self, window: &[f32], f0_hz: f32, voiced: bool, frame: &mut WorldFrame) {
        let f0 = self.analyze_envelope(window, f0_hz, voiced, &mut frame.envelope);
        match f0 {
            Some(f0_hz) => self
                .aperiodicity
                .estimate(&sound(&self.samples, f0_hz, self.rate_hz), &mut frame.aperiodicity),
            None => frame.aperiodicity.fill(0.0),
        }
        frame.voiced = f0.is_some();
        frame.f0_hz = f0.unwrap_or(0.0) as f32;
    }

    /// The same without all but the envelope, which takes a part of the time; gives the F0 as it was used, none while
    /// unvoiced.
    pub(crate) fn analyze_envelope(
        &mut self,
        window: &[f32],
        f0_hz: f32,
        voiced: bool,
        envelope: &mut [f32],
    ) -> Option<f64> {
        self.samples.fill(0.0);
        for (slot, x) in self.samples.iter_mut().zip(window) {
            *slot = if x.is_finite() { f64::from(*x).clamp(-LOUDEST, LOUDEST) } else { 0.0 };
        }
        let f0 = (voiced && f0_hz.is_finite())
            .then(|| f64::from(f0_hz).clamp(self.lowest_f0_hz, f64::from(MAX_F0_HZ)));
        let sound = sound(&self.samples, f0.unwrap_or(UNVOICED_F0_HZ), self.rate_hz);
        self.envelope.estimate(&sound, envelope);
        f0
    }
}

/// The sound around the middle sample.
fn sound(samples: &[f64], f0_hz: f64, rate_hz: f64) -> Sound<'_> {
    Sound { samples, centre: samples.len() / 2, f0_hz, rate_hz }
}
