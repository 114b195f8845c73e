//! Power spectra and mel cepstra.

use realfft::RealFftPlanner;

use super::RATE_HZ;
use super::contour::{Contour, HOP};

/// Coefficients of a cepstrum: the second to the seventeenth; the first is the level.
pub(super) const CEPSTRA: usize = 16;
/// Mel cepstra of some frames.
pub type Cepstra = Vec<[f64; 16]>;

const MELS: usize = 32;
const FFT_SAMPLES: usize = 512;
const HIGHEST_HZ: f64 = 7_600.0;
/// Frames softer than the loudest by more than this are left out, in units of mean log power.
const LOUD_WITHIN: f64 = 7.0;

/// Power spectra `[frames][size / 2 + 1]` under Hann windows of `size` samples, centred at multiples of `hop`.
pub(super) fn power_spectra(samples: &[f32], size: usize, hop: usize) -> Vec<Vec<f64>> {
    let fft = RealFftPlanner::<f64>::new().plan_fft_forward(size);
    let mut input = fft.make_input_vec();
    let mut output = fft.make_output_vec();
    let mut scratch = fft.make_scratch_vec();
    let window: Vec<f64> =
        (0..size).map(|n| 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / size as f64).cos()).collect();
    (0..samples.len() / hop)
        .map(|frame| {
            let first = (frame * hop + hop / 2) as isize - (size / 2) as isize;
            for (n, (slot, window)) in input.iter_mut().zip(&window).enumerate() {
                let sample = usize::try_from(first + n as isize).ok().and_then(|place| samples.get(place));
                *slot = window * sample.map_or(0.0, |sample| f64::from(*sample));
            }
            // Its only errors are wrong lengths, and all buffers are the plan's own.
            let done = fft.process_with_scratch(&mut input, &mut output, &mut scratch);
            debug_assert!(done.is_ok());
            output.iter().map(|bin| bin.norm_sqr()).collect()
        })
        .collect()
}

/// Slaney's mel scale: linear below 1 kHz, logarithmic above.
fn mel_to_hz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + (hz / 1_000.0).ln() / (6.4f64.ln() / 27.0) }
}

/// Triangular bands of unit area up to `highest_hz`, `[mels][size / 2 + 1]`.
pub(super) fn mel_bands(mels: usize, size: usize, highest_hz: f64) -> Vec<Vec<f64>> {
    let edges: Vec<f64> =
        (0..mels + 2).map(|n| mel_to_hz(hz_to_mel(highest_hz) * n as f64 / (mels + 1) as f64)).collect();
    edges
        .windows(3)
        .map(|edge| {
            let [low, centre, high] = [edge[0], edge[1], edge[2]];
            (0..=size / 2)
                .map(|bin| {
                    let hz = bin as f64 * f64::from(RATE_HZ) / size as f64;
                    let rise = (hz - low) / (centre - low);
                    let fall = (high - hz) / (high - centre);
                    rise.min(fall).max(0.0) * 2.0 / (high - low)
                })
                .collect()
        })
        .collect()
}

/// Logarithms of the power in each band, `[frames][mels]`.
pub(super) fn log_mel(spectra: &[Vec<f64>], bands: &[Vec<f64>], floor: f64) -> Vec<Vec<f64>> {
    let power = |spectrum: &Vec<f64>, band: &Vec<f64>| -> f64 {
        spectrum.iter().zip(band).map(|(power, weight)| power * weight).sum()
    };
    let frame = |spectrum| bands.iter().map(|band| power(spectrum, band).max(floor).ln()).collect();
    spectra.iter().map(frame).collect()
}

/// Coefficient `order` of the orthonormal cosine transform.
pub(super) fn cosine_coefficient(values: &[f64], order: usize) -> f64 {
    let count = values.len() as f64;
    let sum: f64 = values
        .iter()
        .enumerate()
        .map(|(n, value)| value * (std::f64::consts::PI * order as f64 * (n as f64 + 0.5) / count).cos())
        .sum();
    sum * (2.0 / count).sqrt()
}

/// Mel cepstra of the loud voiced frames of a sound at the judge's rate.
pub(super) fn cepstra(samples: &[f32], contour: &Contour) -> Cepstra {
    let spectra = power_spectra(samples, FFT_SAMPLES, HOP);
    let mels = log_mel(&spectra, &mel_bands(MELS, FFT_SAMPLES, HIGHEST_HZ), 1e-10);
    let levels: Vec<f64> = mels.iter().map(|mel| mel.iter().sum::<f64>() / MELS as f64).collect();
    let mut sorted = levels.clone();
    sorted.sort_by(f64::total_cmp);
    let Some(loudest) = sorted.get(sorted.len() * 95 / 100) else { return Vec::new() };
    mels.iter()
        .zip(&levels)
        .zip(&contour.f0_hz)
        .filter(|((_, level), f0_hz)| **f0_hz > 0.0 && **level > loudest - LOUD_WITHIN)
        .map(|((mel, _), _)| std::array::from_fn(|order| cosine_coefficient(mel, order + 1)))
        .collect()
}
