//! Takes out what lies below the fundamental, where a voice has nothing: the decoder's noise is flat in the codes, so
//! after de-emphasis it is loudest just there.

use std::f32::consts::PI;

use super::butterworth::Butterworth;

/// Corner over F0: at F0 the filter takes 0.07 dB, an octave below it 7 dB, two octaves 30 dB.
const CORNER_OVER_F0: f32 = 0.6;
/// Highest corner of an unvoiced hop, in Hz: consonants may reach lower than the vowels around them.
const UNVOICED_CORNER_HZ: f32 = 80.0;
/// Lowest corner, in Hz.
const LOWEST_CORNER_HZ: f32 = 30.0;

/// A high-pass of order four whose corner follows F0, gliding over a hop. It delays nothing.
#[derive(Clone, Debug)]
pub struct LowCut {
    sample_rate_hz: f32,
    /// `tan(pi corner / rate)` at the end of the last hop.
    warped: f32,
    filter: Butterworth,
}

impl LowCut {
    /// A filter at the start of a stream, open.
    pub fn new(sample_rate_hz: u32) -> Self {
        let sample_rate_hz = sample_rate_hz as f32;
        let warped = warp(LOWEST_CORNER_HZ, sample_rate_hz);
        Self { sample_rate_hz, warped, filter: Butterworth::default() }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.warped = warp(LOWEST_CORNER_HZ, self.sample_rate_hz);
        self.filter = Butterworth::default();
    }

    /// Filters a hop in place that sings at `f0_hz`; while unvoiced `f0_hz` is the last one that was sung.
    pub fn process(&mut self, hop: &mut [f32], f0_hz: f32, voiced: bool) {
        let highest = if voiced { self.sample_rate_hz / 8.0 } else { UNVOICED_CORNER_HZ };
        let corner = (CORNER_OVER_F0 * f0_hz).clamp(LOWEST_CORNER_HZ, highest);
        let step = (warp(corner, self.sample_rate_hz) - self.warped) / hop.len() as f32;
        for sample in hop {
            self.warped += step;
            *sample = self.filter.high_pass(*sample, self.warped);
        }
    }
}

/// `tan(pi corner / rate)` for corners up to an eighth of the rate, by the fraction `x (15 - x^2) / (15 - 6 x^2)`
/// (relative error below 2e-5): the system's tangent differs from system to system.
fn warp(corner_hz: f32, sample_rate_hz: f32) -> f32 {
    let x = PI * corner_hz / sample_rate_hz;
    x * (15.0 - x * x) / (15.0 - 6.0 * x * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    const RATE_HZ: u32 = 16_000;

    /// RMS in dB of the last half second of a sine after the filter, over that before it.
    fn gain_db(sine_hz: f64, f0_hz: f32, voiced: bool) -> f64 {
        let mut filter = LowCut::new(RATE_HZ);
        let input: Vec<f32> =
            (0..16_000).map(|t| (TAU * sine_hz * f64::from(t) / f64::from(RATE_HZ)).sin() as f32).collect();
        let mut output = input.clone();
        output.chunks_mut(160).for_each(|hop| filter.process(hop, f0_hz, voiced));
        let power = |samples: &[f32]| samples[8_000..].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        10.0 * (power(&output) / power(&input)).log10()
    }

    /// The Butterworth response, with both frequencies bent as the trapezoidal form bends them.
    fn expected_db(sine_hz: f64, corner_hz: f64) -> f64 {
        let bend = |hz: f64| (std::f64::consts::PI * hz / f64::from(RATE_HZ)).tan();
        -10.0 * (1.0 + (bend(corner_hz) / bend(sine_hz)).powi(8)).log10()
    }

    #[test]
    fn it_is_a_butterworth_filter_of_order_four_below_f0() {
        for f0_hz in [80.0, 220.0, 600.0, 1_000.0] {
            for over in [0.3, 0.5, 0.6, 1.0, 3.0] {
                let sine_hz = f0_hz * over;
                let (found, expected) =
                    (gain_db(sine_hz, f0_hz as f32, true), expected_db(sine_hz, 0.6 * f0_hz));
                assert!((found - expected).abs() < 0.05, "{sine_hz} Hz under {f0_hz}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_consonant_after_a_high_note_keeps_its_low_end() {
        assert!((gain_db(160.0, 800.0, false) - expected_db(160.0, 80.0)).abs() < 0.05);
        assert!(gain_db(160.0, 800.0, true) < -35.0);
    }

    #[test]
    fn a_corner_that_leaps_every_hop_makes_nothing_louder() {
        let mut filter = LowCut::new(RATE_HZ);
        let mut worst = 0.0f32;
        for hop in 0..400 {
            let mut sound: Vec<f32> = (0..160)
                .map(|t| (TAU * 400.0 * f64::from(hop * 160 + t) / f64::from(RATE_HZ)).sin() as f32)
                .collect();
            filter.process(&mut sound, [60.0, 1_100.0, 0.0, f32::MAX][hop as usize % 4], hop % 3 > 0);
            worst = sound.iter().fold(worst, |worst, x| worst.max(x.abs()));
        }
        assert!(worst < 3.0, "{worst}");
    }

    #[test]
    fn a_reset_filter_is_a_new_one() {
        let mut used = LowCut::new(RATE_HZ);
        used.process(&mut [1.0; 160], 700.0, true);
        used.reset();
        let (mut again, mut fresh) = ([0.5; 320], [0.5; 320]);
        used.process(&mut again, 300.0, true);
        LowCut::new(RATE_HZ).process(&mut fresh, 300.0, true);
        assert_eq!(again, fresh);
    }
}
