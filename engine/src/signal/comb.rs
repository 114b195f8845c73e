//! Takes out noise between the harmonics: a comb whose teeth follow F0.

use super::f0::{LOWEST_PERIOD_F0_HZ, goes_on};
use std::f32::consts::PI;

/// Points that a delayed sample is interpolated from.
const POINTS: usize = 8;
/// How many of them are newer than the delayed sample.
const AFTER: usize = POINTS / 2;
/// How far back it hears: a high voice repeats itself more often while it stays what it is.
const REACH_SECONDS: f32 = 0.02;
/// Periods that are heard of the lowest voice and of the highest.
const FEWEST_PERIODS: f32 = 2.0;
const MOST_PERIODS: f32 = 8.0;
/// Above this voices are noisy by themselves, and the comb lets go of them at 6 dB an octave.
const CORNER_HZ: f32 = 4_000.0;

/// `y = x + L(c - x)` with `c[t] = sum w^k x[t - d_k] / sum w^k`: the mean of this moment of the cycle (`d_0 = 0`) and of the same
/// moment of the cycles before it, as many as 20 ms hold but at least two and at most eight, the last of them in part. `L` is
/// a low-pass of order one with its corner at 4 kHz. Harmonics pass as they are; far below the corner and half way between
/// two of them `|sum (-w)^k| / sum w^k` is left, 0.34 for two periods and a weight of 0.8, 0.13 for eight and 0.9. It delays
/// nothing.
///
/// `d_k` is where F0 as it was then began the cycle, so that vibrato does not blur high harmonics. Cycles before the note began
/// are not heard. Where the voice or the note ends, `w` goes to 0 within a hop, without a step, which would be heard.
/// Between samples the past is interpolated by Lagrange's polynomial through eight of them.
#[derive(Clone, Debug)]
pub struct Comb {
    weight: f32,
    sample_rate_hz: f32,
    /// The last samples of the input, oldest first, then the hop that is worked on.
    past: Vec<f32>,
    /// Cycles of F0 that were over at each of them, less those that were over when the last hop ended.
    cycles: Vec<f32>,
    history: usize,
    /// F0 of the last hop, if it was voiced.
    previous_f0_hz: Option<f32>,
    /// Period and weight at the end of the last hop, and the cycles that the note had by then.
    period: f32,
    weight_now: f32,
    note_cycles: f32,
    low_pass: LowPass,
}

impl Comb {
    /// A filter at the start of a stream, of hops of `hop_samples`. `weight` is `w`, 0 to 1.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, weight: f32) -> Self {
        let sample_rate_hz = sample_rate_hz as f32;
        let lowest = FEWEST_PERIODS * sample_rate_hz / LOWEST_PERIOD_F0_HZ;
        // A note whose F0 has just risen had longer periods before.
        let highest = 2.0 * REACH_SECONDS * sample_rate_hz;
        let history = lowest.max(highest) as usize + POINTS;
        let mut comb = Self {
            weight,
            sample_rate_hz,
            past: vec![0.0; history + hop_samples],
            cycles: vec![0.0; history + hop_samples],
            history,
            previous_f0_hz: None,
            period: AFTER as f32,
            weight_now: 0.0,
            note_cycles: 0.0,
            low_pass: LowPass::new(CORNER_HZ / sample_rate_hz),
        };
        comb.reset();
        comb
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.past.fill(0.0);
        self.cycles.fill(0.0);
        (self.previous_f0_hz, self.period) = (None, AFTER as f32);
        (self.weight_now, self.note_cycles) = (0.0, 0.0);
        self.low_pass.state = 0.0;
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
        if self.weight_now == 0.0 {
            self.note_cycles = 0.0;
        }
        let share = 1.0 / hop.len() as f32;
        let mut over = 0.0;
        for (index, sample) in hop.iter_mut().enumerate() {
            let at = (index + 1) as f32 * share;
            let period = self.period + (period_end - self.period) * at;
            let weight = self.weight_now + (weight_end - self.weight_now) * at;
            over += 1.0 / period;
            let now = self.history + index;
            self.cycles[now] = over;
            let change = match weight > 0.0 {
                true => self.mean_of_periods(now, period, weight, self.note_cycles + over) - *sample,
                false => 0.0,
            };
            *sample += self.low_pass.next(change);
        }
        (self.period, self.weight_now) = (period, weight_end);
        self.note_cycles += over;
        self.previous_f0_hz = voiced.then_some(f0_hz);
        self.past.copy_within(hop.len()..hop.len() + self.history, 0);
        self.cycles.copy_within(hop.len()..hop.len() + self.history, 0);
        self.cycles[..self.history].iter_mut().for_each(|cycles| *cycles -= over);
    }

    /// The weighted mean of the input at `now` and at the same moment of the cycles before it.
    fn mean_of_periods(&self, now: usize, period: f32, weight: f32, note_cycles: f32) -> f32 {
        let within_reach = REACH_SECONDS * self.sample_rate_hz / period;
        let periods = within_reach.clamp(FEWEST_PERIODS, MOST_PERIODS).min(note_cycles);
        let (mut sum, mut weights, mut power) = (self.past[now], 1.0, 1.0);
        let mut before = now;
        for back in 1..=periods.ceil() as usize {
            let wanted = self.cycles[now] - back as f32;
            // The last sample at which no more than that was over: near a period before the one found last.
            before = before.saturating_sub(period as usize);
            while before >= AFTER && self.cycles[before] > wanted {
                before -= 1;
            }
            while before < now && self.cycles[before + 1] <= wanted {
                before += 1;
            }
            if before < AFTER {
                break;
            }
            let share = (wanted - self.cycles[before]) / (self.cycles[before + 1] - self.cycles[before]);
            power *= weight;
            let part = power * (periods - (back - 1) as f32).min(1.0);
            sum += part * self.between(before, share);
            weights += part;
        }
        sum / weights
    }

    /// The input between `before` and the sample after it, `share` (0 to 1) of the way.
    fn between(&self, before: usize, share: f32) -> f32 {
        let points = &self.past[before + 1 - AFTER..][..POINTS];
        let at = share + (AFTER - 1) as f32;
        // Each point's weight is the product of the distances to all others.
        let mut weights = LAGRANGE;
        let (mut from_first, mut from_last) = (1.0, 1.0);
        for point in 0..POINTS {
            weights[point] *= from_first;
            from_first *= at - point as f32;
            let mirrored = POINTS - 1 - point;
            weights[mirrored] *= from_last;
            from_last *= at - mirrored as f32;
        }
        weights.iter().zip(points).map(|(weight, point)| weight * point).sum()
    }
}

/// A low-pass of order one in the trapezoidal form.
#[derive(Clone, Debug)]
struct LowPass {
    gain: f32,
    state: f32,
}

impl LowPass {
    /// With its corner at so many turns a sample.
    fn new(corner: f32) -> Self {
        let warped = libm::tanf(PI * corner);
        Self { gain: warped / (1.0 + warped), state: 0.0 }
    }

    fn next(&mut self, input: f32) -> f32 {
        let step = (input - self.state) * self.gain;
        let low = self.state + step;
        self.state = low + step;
        low
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
    use std::f64::consts::{PI, TAU};

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

    /// What the formula leaves of a sine that lies half way between two harmonics.
    fn expected(sine_hz: f64, f0_hz: f64, weight: f64) -> f64 {
        let rate_hz = f64::from(RATE_HZ);
        let periods = (0.02 * f0_hz).clamp(2.0, 8.0);
        let (mut sum, mut weights) = (1.0, 1.0);
        for back in 1..=periods.ceil() as i32 {
            let part = weight.powi(back) * (periods - f64::from(back - 1)).min(1.0);
            sum += part * (-1f64).powi(back);
            weights += part;
        }
        // The low-pass is 1 / (1 + i tangent).
        let tangent = (PI * sine_hz / rate_hz).tan() / (PI * 4_000.0 / rate_hz).tan();
        let change = (sum / weights - 1.0) / (1.0 + tangent * tangent);
        (1.0 + change).hypot(change * tangent)
    }

    #[test]
    fn harmonics_pass_and_what_lies_between_them_does_not() {
        for (f0_hz, weight) in [(70.0, 0.8), (147.3, 0.9), (440.0, 0.9), (1_234.5, 0.8)] {
            for harmonic in [1.0, 2.0] {
                let found = left(harmonic * f0_hz, f0_hz as f32, weight);
                assert!((found - 1.0).abs() < 2e-3, "harmonic {harmonic} of {f0_hz}: {found}");
            }
            for harmonic in [1.0, 2.0, (6_000.0 / f0_hz).floor()] {
                let sine_hz = (harmonic - 0.5) * f0_hz;
                let found = left(sine_hz, f0_hz as f32, weight);
                let wanted = expected(sine_hz, f0_hz, f64::from(weight));
                // Far above the corner the interpolation loses some of what is delayed.
                let tolerance = if sine_hz < 4_000.0 { 5e-3 } else { 0.02 };
                assert!(
                    (found - wanted).abs() < tolerance,
                    "below harmonic {harmonic} of {f0_hz}: {found} for {wanted}"
                );
            }
        }
        assert!(expected(220.0, 440.0, 0.9) < 0.15 && expected(6_160.0, 440.0, 0.9) > 0.8);
        assert!((left(330.0, 220.0, 0.0) - 1.0).abs() < 1e-6);
    }

    /// A voice of six harmonics whose F0 swings by half a semitone to either side, six times a second.
    #[test]
    fn vibrato_passes() {
        let f0_hz = |second: f64| 440.0 * ((TAU * 6.0 * second).sin() * 0.5 / 12.0).exp2();
        let mut turns = 0.0;
        let voice: Vec<f32> = (0..16_000)
            .map(|t| {
                turns += f0_hz(f64::from(t) / f64::from(RATE_HZ)) / f64::from(RATE_HZ);
                (1..=6).map(|harmonic| (TAU * f64::from(harmonic) * turns).sin() as f32).sum()
            })
            .collect();
        let mut comb = Comb::new(RATE_HZ, 160, 0.9);
        let mut output = voice.clone();
        for (index, hop) in output.chunks_mut(160).enumerate() {
            comb.process(hop, f0_hz((index as f64 + 1.0) * 0.01) as f32, true);
        }
        let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|x| x * x).sum::<f32>();
        let lost = power(&mut voice.iter().zip(&output).skip(1_600).map(|(x, y)| x - y));
        let share = lost / power(&mut voice.iter().skip(1_600).copied());
        assert!(share < 3e-3, "{share}");
    }

    /// Two notes, and one that begins where the second does.
    #[test]
    fn a_note_does_not_hear_the_one_before() {
        let (first, second) = (sine(300.0), sine(440.0));
        let sung = |before: Option<&[f32]>| {
            let mut comb = Comb::new(RATE_HZ, 160, 0.9);
            let mut output = [before.unwrap_or(&[0.0; 8_000]), &second[..8_000]].concat();
            for (index, hop) in output.chunks_mut(160).enumerate() {
                let f0_hz = if index < 50 { 300.0 } else { 440.0 };
                comb.process(hop, f0_hz, index >= 50 || before.is_some());
            }
            output[8_160..].to_vec()
        };
        assert_eq!(sung(Some(&first[..8_000])), sung(None));
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
