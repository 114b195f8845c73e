//! Loudness, clipping, bandwidth and held silence.

use ebur128::{EbuR128, Mode};
use serde::Serialize;

use super::contour::{Contour, FRAMES_PER_SECOND};
use super::spectrum::power_spectra;

/// Samples from here on count as clipped: within 0.1 dB of full scale, which the engine's own limiter nears but never reaches.
const CLIPPED: f32 = 0.99;
/// The band ends where the mean spectrum has fallen so far below its peak.
const BAND_DB: f64 = 60.0;
const FFT_SAMPLES: usize = 2_048;
/// A take is silent where it has stayed below this for so long.
const SILENCE_DB: f32 = -60.0;
const SILENCE_FRAMES: usize = (FRAMES_PER_SECOND / 5) as usize;

/// What a mono sound is like, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Level {
    /// Integrated loudness (EBU R 128); none for silence.
    pub loudness_lufs: Option<f64>,
    /// Largest sample in dB of full scale; none for silence.
    pub peak_db: Option<f64>,
    /// Samples at full scale, or pressed against the engine's limiter.
    pub clipped_samples: usize,
    /// Samples that are no numbers.
    pub not_finite_samples: usize,
    /// Highest frequency at which the mean spectrum is within 60 dB of its peak.
    pub bandwidth_hz: f64,
}

impl Level {
    /// Of a mono sound at its own rate.
    pub fn of(samples: &[f32], rate_hz: u32) -> Self {
        let finite: Vec<f32> = samples.iter().map(|x| if x.is_finite() { *x } else { 0.0 }).collect();
        let peak = finite.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        let spectra = power_spectra(&finite, FFT_SAMPLES, FFT_SAMPLES / 2);
        let mut mean = vec![0.0; FFT_SAMPLES / 2 + 1];
        for spectrum in &spectra {
            mean.iter_mut().zip(spectrum).for_each(|(sum, power)| *sum += power);
        }
        let least = mean.iter().copied().fold(0.0, f64::max) * 10f64.powf(-BAND_DB / 10.0);
        let last = mean.iter().rposition(|power| *power > 0.0 && *power >= least).unwrap_or(0);
        Self {
            loudness_lufs: loudness_lufs(&finite, rate_hz),
            peak_db: (peak > 0.0).then(|| 20.0 * f64::from(peak).log10()),
            clipped_samples: finite.iter().filter(|x| x.abs() >= CLIPPED).count(),
            not_finite_samples: samples.len() - samples.iter().filter(|x| x.is_finite()).count(),
            bandwidth_hz: last as f64 * f64::from(rate_hz) / FFT_SAMPLES as f64,
        }
    }
}

fn loudness_lufs(samples: &[f32], rate_hz: u32) -> Option<f64> {
    let mut meter = EbuR128::new(1, rate_hz, Mode::I).ok()?;
    meter.add_frames_f32(samples).ok()?;
    meter.loudness_global().ok().filter(|loudness| loudness.is_finite())
}

/// The loudest that an output gets, in dB, where its take has been silent for 200 ms; none where that never is.
pub(super) fn loudest_in_silence_db(take: &Contour, output: &Contour) -> Option<f32> {
    let mut silent_frames = 0;
    let mut loudest: Option<f32> = None;
    for (taken, given) in take.level_db.iter().zip(&output.level_db) {
        silent_frames = if *taken < SILENCE_DB { silent_frames + 1 } else { 0 };
        if silent_frames >= SILENCE_FRAMES {
            loudest = Some(loudest.map_or(*given, |level| level.max(*given)));
        }
    }
    loudest
}
