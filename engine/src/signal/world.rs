//! A voice as fundamental, spectral envelope and share of noise, and sound from these: the WORLD vocoder, hop by hop.
//!
//! ```text
//! analysis      one frame from the samples around its centre
//!   envelope      CheapTrick: what the throat does, without the harmonics
//!   aperiodicity  D4C: how much of each band is noise, and its code
//!     segment, smoothing: what both measure with
//! formants      moved, of an envelope or of a sound
//! synthesis     a minimum-phase response for each pulse, filtered noise beneath
//! fft           transforms with their buffers
//! ```
//!
//! Written after M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system for
//! real-time applications" (IEICE Trans. E99-D, 2016), M. Morise, "CheapTrick, a spectral envelope estimator for
//! high-quality speech synthesis" (Speech Communication 67, 2015) and M. Morise, "D4C, a band-aperiodicity estimator
//! for high-quality speech synthesis" (Speech Communication 84, 2016), with the constants of the author's published
//! programs. What it measures is what they measure, so that networks trained on WORLD's features by others read these
//! features too. The fundamental is not its business: [`f0`](super::f0) tells it.
//!
//! Analysis counts in `f64`: group delays are small differences of large sums. Synthesis counts in `f32`, as all sound.
//! Where WORLD adds random numbers to keep logarithms finite there are constant floors here. Nothing allocates after
//! construction.

mod analysis;
mod aperiodicity;
mod envelope;
mod fft;
mod formants;
mod segment;
mod smoothing;
mod synthesis;
#[cfg(test)]
mod tests;

pub use analysis::WorldAnalyzer;
pub use formants::{FormantShift, stretch_envelope};
pub use synthesis::WorldSynthesizer;

/// The F0 whose envelope what is unvoiced gets, in Hz: WORLD's, high enough to see nothing but the formants.
const UNVOICED_F0_HZ: f64 = 500.0;
/// Distance of two aperiodicity bands, in Hz.
const BAND_HZ: f64 = 3_000.0;
/// No band lies above, in Hz.
const HIGHEST_BAND_HZ: f64 = 15_000.0;

/// Samples of the transform that an envelope belongs to, `2^(1 + floor(log2(3 rate / lowest_f0 + 1)))`: 1024 at 16 kHz
/// for 60 or 71 Hz. An envelope has half of that and one bins. `lowest_f0_hz` is held within 47 and 500.
pub fn fft_samples(sample_rate_hz: u32, lowest_f0_hz: f32) -> usize {
    power_of_two_above(3.0 * f64::from(sample_rate_hz) / held_lowest_f0(lowest_f0_hz))
}

/// Aperiodicity bands of a frame, at 3, 6, ... kHz: 1 at 16 kHz, 5 from 36 kHz, none below 12 kHz.
pub fn aperiodicity_bands(sample_rate_hz: u32) -> usize {
    let top = HIGHEST_BAND_HZ.min(f64::from(sample_rate_hz) / 2.0 - BAND_HZ);
    (top / BAND_HZ).max(0.0) as usize
}

/// D4C's transform holds four periods of 47 Hz; what is unvoiced needs those of 500 Hz.
fn held_lowest_f0(hz: f32) -> f64 {
    f64::from(hz.max(47.0)).min(UNVOICED_F0_HZ)
}

fn power_of_two_above(samples: f64) -> usize {
    2 << libm::log2(samples + 1.0) as u32
}

/// The value within `low` and `high`; `low` where it is not a number, which `clamp` would let pass.
fn held(value: f32, low: f32, high: f32) -> f32 {
    if value > low { value.min(high) } else { low }
}

/// What is heard at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldFrame {
    /// Fundamental frequency; 0 while unvoiced.
    pub f0_hz: f32,
    /// Whether there is a pitch.
    pub voiced: bool,
    /// `[fft_samples / 2 + 1]`: power spectrum of the voice without its harmonics. White noise whose samples have a
    /// mean square of 1 has a power of 1 in every bin.
    pub envelope: Box<[f32]>,
    /// `[aperiodicity_bands]`: share of noise in the amplitude at 3, 6, ... kHz, in dB, -60 to 0. Between them it is
    /// a straight line, from -60 at 0 Hz to 0 at half the rate. 0 while unvoiced.
    pub aperiodicity: Box<[f32]>,
}

impl WorldFrame {
    /// A frame of silence, for [`WorldAnalyzer::analyze`] to write to.
    pub fn new(sample_rate_hz: u32, lowest_f0_hz: f32) -> Self {
        Self {
            f0_hz: 0.0,
            voiced: false,
            envelope: vec![0.0; fft_samples(sample_rate_hz, lowest_f0_hz) / 2 + 1].into(),
            aperiodicity: vec![0.0; aperiodicity_bands(sample_rate_hz)].into(),
        }
    }
}
