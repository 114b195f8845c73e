//! Takes out what lies just below half of the model's rate, where recordings have next to nothing, because a converter's
//! filter has been there: the decoder draws noise there as everywhere else, and no mel band reaches that far to lead it.

use super::butterworth::Butterworth;

/// `tan(pi corner / rate)` of a corner at 0.45625 of the rate, 7.3 kHz at 16 kHz.
const WARPED: f32 = 7.229_782;

/// A low-pass of order four, 3 dB down at 0.456 of the rate and 20 dB at 0.475. Below a quarter of the rate it delays
/// nothing by as much as a sample.
#[derive(Clone, Debug, Default)]
pub struct HighCut {
    filter: Butterworth,
}

impl HighCut {
    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Filters the next samples in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        for sample in samples {
            *sample = self.filter.low_pass(*sample, WARPED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{PI, TAU};

    /// Amplitude and delay in samples of a sine of `turns` a sample, by its projections on the last of it.
    fn response(turns: f64) -> (f64, f64) {
        let mut samples: Vec<f32> = (0..8_000).map(|n| (TAU * turns * f64::from(n)).cos() as f32).collect();
        HighCut::default().process(&mut samples);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.iter().enumerate().skip(4_000) {
            let angle = TAU * turns * n as f64;
            re += f64::from(*sample) * angle.cos() / 2_000.0;
            im += f64::from(*sample) * angle.sin() / 2_000.0;
        }
        (re.hypot(im), im.atan2(re) / (TAU * turns))
    }

    /// The Butterworth response, with both frequencies bent as the trapezoidal form bends them.
    #[test]
    fn it_is_a_butterworth_filter_of_order_four_near_half_of_the_rate() {
        for turns in [0.05, 0.2, 0.4, 0.45625, 0.47, 0.485] {
            let bend = |turns: f64| (PI * turns).tan();
            let wanted = 1.0 / (1.0 + (bend(turns) / bend(0.45625)).powi(8)).sqrt();
            let (found, _) = response(turns);
            assert!((found - wanted).abs() < 2e-3, "{turns}: {found} for {wanted}");
        }
    }

    #[test]
    fn it_delays_nothing_by_a_sample() {
        for turns in [0.01, 0.05, 0.125, 0.25] {
            let (amplitude, delay) = response(turns);
            assert!((amplitude - 1.0).abs() < 1e-3, "{turns}: {amplitude}");
            assert!((0.0..1.0).contains(&delay), "{turns}: {delay}");
        }
    }

    #[test]
    fn a_reset_filter_is_a_new_one() {
        let mut used = HighCut::default();
        used.process(&mut [1.0; 160]);
        used.reset();
        let (mut again, mut fresh) = ([0.5; 320], [0.5; 320]);
        used.process(&mut again);
        HighCut::default().process(&mut fresh);
        assert_eq!(again, fresh);
    }
}
