//! Loudness of one hop: the level that a listener's ear follows, squeezed into a small range that networks like.

/// What keeps the logarithm of silence finite: a mean square of -70 dB.
const FLOOR: f32 = 1e-7;

/// The least loudness there is, that of silence.
pub const LOUDNESS_FLOOR: f32 = -2.5;
/// The greatest, that of a full-scale square wave.
pub const LOUDNESS_CEILING: f32 = 2.0;

/// Mean square of the samples. Sums in double precision, so that the order of additions is of no concern.
pub fn mean_square(samples: &[f32]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    (samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / samples.len() as f64) as f32
}

/// The loudness feature of a mean square: `(ln(mean_square + 1e-7) + 6) / 3`, held within -2.5 (-59 dB) and 2 (full
/// scale).
pub fn loudness(mean_square: f32) -> f32 {
    ((libm::logf(mean_square + FLOOR) + 6.0) / 3.0).clamp(LOUDNESS_FLOOR, LOUDNESS_CEILING)
}

/// The amplitude that a loudness stands for: `g = exp((3 l - 6) / 2) / 2`, half the root mean square.
pub fn level(loudness: f32) -> f32 {
    0.5 * libm::expf((3.0 * loudness - 6.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_levels() {
        let sine: Vec<f32> =
            (0..400).map(|t| 0.4 * (std::f32::consts::TAU * t as f32 / 40.0).sin()).collect();
        let square = mean_square(&sine);
        assert!((square - 0.08).abs() < 1e-6);
        // (ln 0.08 + 6) / 3 and half of sqrt 0.08
        assert!((loudness(square) - 1.158_09).abs() < 1e-4);
        assert!((level(loudness(square)) - 0.141_42).abs() < 1e-4);
        assert_eq!(loudness(0.0), -2.5);
        assert_eq!(loudness(100.0), 2.0);
        assert_eq!(mean_square(&[]), 0.0);
    }
}
