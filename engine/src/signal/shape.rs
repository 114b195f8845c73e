//! What a spectral envelope is like when its level is left out.

/// Keeps the logarithm of an empty bin finite: -120 dB below the mean of all.
const FLOOR: f32 = 1e-12;

/// Writes the shape of an envelope of powers, `ln(p / mean p)` of every bin, and gives `mean p`.
pub fn shape_of(envelope: &[f32], shape: &mut [f32]) -> f32 {
    let mean = mean(envelope);
    for (shape, power) in shape.iter_mut().zip(envelope) {
        *shape = libm::logf(power / mean.max(f32::MIN_POSITIVE) + FLOOR);
    }
    mean
}

/// Writes the envelope that has this shape and whose powers have this mean.
pub fn envelope_of(shape: &[f32], mean_power: f32, envelope: &mut [f32]) {
    for (power, shape) in envelope.iter_mut().zip(shape) {
        *power = libm::expf(shape.clamp(-80.0, 80.0));
    }
    let scale = mean_power / mean(envelope).max(f32::MIN_POSITIVE);
    envelope.iter_mut().for_each(|power| *power *= scale);
}

fn mean(envelope: &[f32]) -> f32 {
    (envelope.iter().map(|power| f64::from(*power)).sum::<f64>() / envelope.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_and_shape_make_the_envelope_again() {
        let envelope = [0.5f32, 2.0, 0.001, 1.5];
        let mut shape = [0.0; 4];
        let mean = shape_of(&envelope, &mut shape);
        assert!((mean - 1.000_25).abs() < 1e-6);
        assert!((shape[1] - (2.0f32 / 1.000_25).ln()).abs() < 1e-6);
        let mut louder = [0.0; 4];
        envelope_of(&shape, 4.0 * mean, &mut louder);
        assert!(envelope.iter().zip(&louder).all(|(a, b)| (4.0 * a - b).abs() < 1e-4 * b));
        assert_eq!(shape_of(&[0.0; 4], &mut shape), 0.0);
        assert!(shape.iter().all(|value| value.is_finite()));
    }
}
