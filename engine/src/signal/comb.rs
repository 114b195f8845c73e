//! Takes out noise between the harmonics: a comb whose teeth follow F0.

use super::f0::{LOWEST_PERIOD_F0_HZ, goes_on};

/// Points that a delayed sample is interpolated from.
const POINTS: usize = 8;
/// How many of them are newer than the delayed sample.
const AFTER: usize = POINTS / 2;

/// `y[t] = (x[t] + w x[t - p] + w^2 x[t - 2p]) / (1 + w + w^2)`, where `p` is the F0 period. Harmonics pass as they are; half
/// way between two of them `(1 - w + w^2) / (1 + w + w^2)` is left, 0.34 for a weight of 0.8. It delays nothing.
///
/// Within a hop `p` and `w` glide from what they were at its start, without steps, which would be heard; `w` goes to 0 while
/// unvoiced and where a new note begins. Between samples the past is interpolated by Lagrange's polynomial through eight
/// of them.
#[derive(Clone, Debug)]
pub struct Comb {
    weight: f32,
    sample_rate_hz: f32,
    /// The last samples of the input, oldest first, then the hop that is worked on.
    past: Vec<f32>,
    history: usize,
    /// F0 of the last hop, if it was voiced.
    previous_f0_hz: Option<f32>,
    /// Period and weight at the end of the last hop.
    period: f32,
    weight_now: f32,
}

impl Comb {
    /// A filter at the start of a stream, of hops of `hop_samples`. `weight` is `w`, 0 to 1.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, weight: f32) -> Self {
        let sample_rate_hz = sample_rate_hz as f32;
        let history = 2 * (sample_rate_hz / LOWEST_PERIOD_F0_HZ) as usize + POINTS;
        Self {
            weight,
            sample_rate_hz,
            past: vec![0.0; history + hop_samples],
            history,
            previous_f0_hz: None,
            period: AFTER as f32,
            weight_now: 0.0,
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.past.fill(0.0);
        (self.previous_f0_hz, self.weight_now) = (None, 0.0);
    }

    /// Filters a hop in place that sings at `f0_hz`.
    ///
    /// # Panics
    /// If the hop is longer than was said.
    pub fn process(&mut self, hop: &mut [f32], f0_hz: f32, voiced: bool) {
        self.past[self.history..][..hop.len()].copy_from_slice(hop);
        let longest = self.sample_rate_hz / LOWEST_PERIOD_F0_HZ;
        let period = (self.sample_rate_hz / f0_hz).clamp(AFTER as f32, longest);
        let sung_on = voiced && goes_on(self.previous_f0_hz, f0_hz);
        // Where the voice or the note ends, its last period fades with it.
        let (period_end, weight_end) = if sung_on { (period, self.weight) } else { (self.period, 0.0) };
        if weight_end > 0.0 || self.weight_now > 0.0 {
            let share = 1.0 / hop.len() as f32;
            for (index, sample) in hop.iter_mut().enumerate() {
                let at = (index + 1) as f32 * share;
                let lag = self.period + (period_end - self.period) * at;
                let w = self.weight_now + (weight_end - self.weight_now) * at;
                let now = self.history + index;
                let sum = *sample + w * (self.delayed(now, lag) + w * self.delayed(now, 2.0 * lag));
                *sample = sum / (1.0 + w + w * w);
            }
        }
        (self.period, self.weight_now) = (period, weight_end);
        self.previous_f0_hz = voiced.then_some(f0_hz);
        self.past.copy_within(hop.len()..hop.len() + self.history, 0);
    }

    /// The input `lag` samples before `now`.
    fn delayed(&self, now: usize, lag: f32) -> f32 {
        let whole = lag.floor();
        // Points are counted backwards in time: the delayed sample lies between the last of the newer four and the next.
        let newest = now - whole as usize + AFTER - 1;
        let at = lag - whole + (AFTER - 1) as f32;
        let mut sum = 0.0;
        for (point, scale) in LAGRANGE.iter().enumerate() {
            let mut weight = *scale;
            for other in (0..POINTS).filter(|other| *other != point) {
                weight *= at - other as f32;
            }
            sum += weight * self.past[newest - point];
        }
        sum
    }
}

/// `1 / prod (k - j)` over all points `j` but `k`.
const LAGRANGE: [f32; POINTS] = {
    let mut scales = [1.0; POINTS];
    let mut point = 0;
    while point < POINTS {
        let mut other = 0;
        while other < POINTS {
            if other != point {
                scales[point] /= point as f32 - other as f32;
            }
            other += 1;
        }
        point += 1;
    }
    scales
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    const RATE_HZ: u32 = 16_000;

    fn sine(hz: f64) -> Vec<f32> {
        (0..16_000).map(|t| (TAU * hz * f64::from(t) / f64::from(RATE_HZ)).sin() as f32).collect()
    }

    /// What is left of a sine, by its RMS over the last half second.
    fn left(sine_hz: f64, f0_hz: f32, weight: f32) -> f64 {
        let mut comb = Comb::new(RATE_HZ, 160, weight);
        let input = sine(sine_hz);
        let mut output = input.clone();
        output.chunks_mut(160).for_each(|hop| comb.process(hop, f0_hz, true));
        let power = |samples: &[f32]| samples[8_000..].iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        (power(&output) / power(&input)).sqrt()
    }

    #[test]
    fn harmonics_pass_and_what_lies_between_them_does_not() {
        for f0_hz in [70.0, 147.3, 440.0, 1_234.5] {
            for harmonic in [1.0, 2.0] {
                let found = left(harmonic * f0_hz, f0_hz as f32, 0.8);
                assert!((found - 1.0).abs() < 2e-3, "harmonic {harmonic} of {f0_hz}: {found}");
                let found = left((harmonic - 0.5) * f0_hz, f0_hz as f32, 0.8);
                assert!((found - 0.84 / 2.44).abs() < 2e-3, "below harmonic {harmonic} of {f0_hz}: {found}");
            }
        }
        assert!((left(330.0, 220.0, 0.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_unvoiced_passes_untouched_once_the_voice_has_faded() {
        let mut comb = Comb::new(RATE_HZ, 160, 0.8);
        let input = sine(330.0);
        let mut output = input.clone();
        for (index, hop) in output.chunks_mut(160).enumerate() {
            comb.process(hop, 220.0, (10..20).contains(&index));
        }
        let touched = |hops: std::ops::Range<usize>| {
            let range = hops.start * 160..hops.end * 160;
            input[range.clone()] != output[range]
        };
        assert!(!touched(0..11) && touched(11..12) && touched(12..21) && !touched(21..100));
    }

    #[test]
    fn no_leap_of_f0_makes_anything_louder() {
        let mut comb = Comb::new(RATE_HZ, 160, 1.0);
        let input = sine(400.0);
        let mut output = input.clone();
        for (index, hop) in output.chunks_mut(160).enumerate() {
            comb.process(hop, [60.0, 1_100.0, 0.0, f32::MAX, 210.0, 212.0][index % 6], index % 4 > 0);
        }
        let worst = output.iter().fold(0.0f32, |worst, x| worst.max(x.abs()));
        assert!(worst < 1.1, "{worst}");
    }

    #[test]
    fn a_reset_filter_is_a_new_one() {
        let mut used = Comb::new(RATE_HZ, 160, 0.7);
        (0..9).for_each(|_| used.process(&mut [1.0; 160], 700.0, true));
        used.reset();
        let mut fresh = Comb::new(RATE_HZ, 160, 0.7);
        for _ in 0..3 {
            let (mut again, mut once) = ([0.5; 160], [0.5; 160]);
            used.process(&mut again, 300.0, true);
            fresh.process(&mut once, 300.0, true);
            assert_eq!(again, once);
        }
    }
}
