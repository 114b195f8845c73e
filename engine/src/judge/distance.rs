//! How far two recordings of the same are apart, in step with each other.

use super::contour::HOP;
use super::spectrum::{cosine_coefficient, log_mel, mel_bands, power_spectra};

const MELS: usize = 40;
const FFT_SAMPLES: usize = 512;
/// Orders of the cepstra that are compared.
const ORDERS: std::ops::RangeInclusive<usize> = 1..=24;
/// Frames softer than the loudest by more than this are left out.
const LOUD_WITHIN_DB: f64 = 30.0;
/// Window sizes of the multi-resolution distance.
const RESOLUTIONS: [usize; 4] = [256, 512, 1_024, 2_048];

/// Mel-cepstral distortion in dB (Kubichek 1993): `10 sqrt(2) / ln 10` times the distance of the cepstra of log magnitudes
/// from the second on, averaged over the frames that are not silent in both. None where there are none.
pub fn mel_cepstral_distortion_db(one: &[f32], other: &[f32]) -> Option<f64> {
    let bands = mel_bands(MELS, FFT_SAMPLES, 8_000.0);
    let analyse = |samples: &[f32]| log_mel(&power_spectra(samples, FFT_SAMPLES, HOP), &bands, 1e-10);
    let (one, other) = (analyse(one), analyse(other));
    // The mean of log powers is the level in nepers, twice.
    let level_db = |mel: &[f64]| mel.iter().sum::<f64>() / MELS as f64 * 10.0 / std::f64::consts::LN_10;
    let loudest = one.iter().chain(&other).map(|mel| level_db(mel)).fold(f64::MIN, f64::max);
    let distances: Vec<f64> = one
        .iter()
        .zip(&other)
        .filter(|(a, b)| level_db(a).max(level_db(b)) > loudest - LOUD_WITHIN_DB)
        .map(|(a, b)| {
            // c_n of ln|H| = c_0 + sum c_n cos, from the orthonormal transform of ln|H|^2.
            let scale = 1.0 / (2.0 * MELS as f64).sqrt();
            let square: f64 = ORDERS
                .map(|order| (scale * (cosine_coefficient(a, order) - cosine_coefficient(b, order))).powi(2))
                .sum();
            10.0 * (2.0 * square).sqrt() / std::f64::consts::LN_10
        })
        .collect();
    (!distances.is_empty()).then(|| distances.iter().sum::<f64>() / distances.len() as f64)
}

/// Multi-resolution STFT distance (Yamamoto et al. 2020): spectral convergence plus mean difference of log magnitudes,
/// averaged over four window sizes, of both sounds at equal power. None where one is silent.
pub fn stft_distance(one: &[f32], other: &[f32]) -> Option<f64> {
    let length = one.len().min(other.len());
    let normal = |samples: &[f32]| -> Option<Vec<f32>> {
        let square: f64 = samples.iter().map(|x| f64::from(*x).powi(2)).sum();
        let scale = (square / samples.len().max(1) as f64).sqrt();
        (scale > 1e-6).then(|| samples.iter().map(|x| (f64::from(*x) / scale) as f32).collect())
    };
    let (one, other) = (normal(&one[..length])?, normal(&other[..length])?);
    let mut sum = 0.0;
    for size in RESOLUTIONS {
        let (a, b) = (power_spectra(&one, size, size / 4), power_spectra(&other, size, size / 4));
        let (mut difference, mut whole, mut logs, mut count) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            let (a, b) = (a.sqrt(), b.sqrt());
            difference += (a - b).powi(2);
            whole += a * a;
            logs += ((a + 1e-2).ln() - (b + 1e-2).ln()).abs();
            count += 1.0;
        }
        if whole <= 0.0 {
            // Too short for this window.
            return None;
        }
        sum += (difference / whole).sqrt() + logs / count;
    }
    Some(sum / RESOLUTIONS.len() as f64)
}
