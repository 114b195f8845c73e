//! Between the host's rate and the model's: a polyphase windowed sinc at exact rational positions.
//!
//! Output sample `n` is the band-limited input at position `n * from / to`, counted in integers: nothing drifts, and
//! the sound of output index `n` is the sound of input time `n / to` to the sample, so the delay of a chain of
//! resamplers is 0 in the index domain. What a resampler costs is *look-ahead*: output `n` exists once
//! [`needed_input`](Resampler::needed_input) samples are in. 40 periods of the lower rate on either side (2.5 ms at
//! 16 kHz), Kaiser window of 80 dB: flat up to 0.45 of the lower rate, rejecting from 0.5125 of it.
//!
//! Why not `rubato`: its resamplers work in chunks of a fixed size on one side, which adds up to a chunk of latency and
//! ties the result's availability to it; their sinc tables are interpolated at positions accumulated in floating point.
//! A fixed ratio needs neither.

use super::dot;

/// Periods of the lower rate that the kernel reaches to either side.
const HALF_PERIODS: u64 = 40;
/// Middle of the transition band, in units of the lower rate.
const CUTOFF: f64 = 0.481_25;
/// Shape of the Kaiser window: 80 dB.
const KAISER_BETA: f64 = 7.857;
/// Most phases that are tabulated one by one; beyond, two neighbours of this many are mixed (error below -110 dB).
const MOST_PHASES: u64 = 1_024;
/// Input samples that are taken at a time.
const PIECE: usize = 256;

/// A whole sound at another rate: sample n of the result lies `n / to_hz` seconds into it.
pub fn resampled(samples: &[f32], from_hz: u32, to_hz: u32) -> Vec<f32> {
    let mut resampler = Resampler::new(from_hz, to_hz);
    let mut output = Vec::new();
    resampler.push_into(samples, &mut output);
    resampler.push_into(&vec![0.0; resampler.look_ahead_samples()], &mut output);
    output
}

/// A streaming, mono resampler between two fixed rates. The result is independent of how the input is cut into
/// pieces, and nothing is allocated after construction. Equal rates pass through unchanged without any look-ahead.
#[derive(Clone, Debug)]
pub struct Resampler {
    /// Rates divided by their greatest common divisor.
    from: u64,
    to: u64,
    /// Samples of the input on either side of a position.
    half: usize,
    /// `[phases (+ 1 where mixed), 2 * half]`
    table: Vec<f32>,
    mixed: bool,
    recent: Vec<f32>,
    /// Samples of `recent` that are filled.
    filled: usize,
    /// Index in `recent` of the input sample at or before the next output's position, and the position's fraction in
    /// units of `1 / to`.
    base: usize,
    fraction: u64,
}

impl Resampler {
    /// A resampler from one rate to another, both in Hz; a rate of 0 counts as 1.
    pub fn new(from_hz: u32, to_hz: u32) -> Self {
        let (from_hz, to_hz) = (u64::from(from_hz.max(1)), u64::from(to_hz.max(1)));
        let divisor = greatest_common_divisor(from_hz, to_hz);
        let (from, to) = (from_hz / divisor, to_hz / divisor);
        if from == to {
            let recent = Vec::new();
            return Self {
                from,
                to,
                half: 0,
                table: Vec::new(),
                mixed: false,
                recent,
                filled: 0,
                base: 0,
                fraction: 0,
            };
        }
        let half = (HALF_PERIODS * from).div_ceil(from.min(to)) as usize;
        let mixed = to > MOST_PHASES;
        let phases = if mixed { MOST_PHASES } else { to };
        let rows = phases + u64::from(mixed);
        let table =
            (0..rows).flat_map(|phase| kernel(phase as f64 / phases as f64, half, from, to)).collect();
        let mut resampler = Self {
            from,
            to,
            half,
            table,
            mixed,
            recent: vec![0.0; 2 * half + PIECE + (from / to) as usize + 2],
            filled: 0,
            base: 0,
            fraction: 0,
        };
        resampler.reset();
        resampler
    }

    /// By how many output samples the sound lags behind its own index: 0, output `n` is the input at time `n / to`.
    pub fn delay_samples(&self) -> f64 {
        0.0
    }

    /// How many input samples past an output's position must be in before the output exists: its look-ahead.
    pub fn look_ahead_samples(&self) -> usize {
        self.half
    }

    /// How many input samples must have been pushed, all in all, before output sample `output_index` (from 0) exists.
    pub fn needed_input(&self, output_index: u64) -> u64 {
        let position = u128::from(output_index) * u128::from(self.from) / u128::from(self.to);
        position as u64 + self.half as u64 + 1
    }

    /// How many output samples exist once `input` samples have been pushed, all in all.
    pub fn available_output(&self, input: u64) -> u64 {
        // The outputs whose position is below `input - half`.
        let reach = u128::from(input.saturating_sub(self.half as u64));
        (reach * u128::from(self.to)).div_ceil(u128::from(self.from)) as u64
    }

    /// Most output samples that one push of so many input samples can give.
    pub fn most_output(&self, input: usize) -> usize {
        (input as u64 * self.to).div_ceil(self.from) as usize + 1
    }

    /// Back to the state before the first sample.
    pub fn reset(&mut self) {
        // What lies before the stream is silence, as far back as the first output looks.
        self.recent.fill(0.0);
        self.filled = self.half.saturating_sub(1);
        self.base = self.filled;
        self.fraction = 0;
    }

    /// Takes the next samples of the input and hands every output sample that they complete to `sink`, in order.
    pub fn push(&mut self, input: &[f32], mut sink: impl FnMut(f32)) {
        if self.from == self.to {
            input.iter().for_each(|sample| sink(*sample));
            return;
        }
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(PIECE.min(self.recent.len() - self.filled)));
            rest = later;
            self.recent[self.filled..self.filled + piece.len()].copy_from_slice(piece);
            self.filled += piece.len();
            while self.base + self.half < self.filled {
                let start = self.base + 1 - self.half;
                sink(self.interpolate(&self.recent[start..start + 2 * self.half]));
                self.fraction += self.from;
                self.base += (self.fraction / self.to) as usize;
                self.fraction %= self.to;
            }
            // Positions may already lie beyond what is in: keep no more than exists.
            let done = (self.base + 1 - self.half).min(self.filled);
            self.recent.copy_within(done..self.filled, 0);
            self.filled -= done;
            self.base -= done;
        }
    }

    /// [`push`](Self::push) that appends to a vector, which allocates only where its capacity falls short of
    /// [`most_output`](Self::most_output) more samples.
    pub fn push_into(&mut self, input: &[f32], output: &mut Vec<f32>) {
        self.push(input, |sample| output.push(sample));
    }

    fn interpolate(&self, around: &[f32]) -> f32 {
        let length = 2 * self.half;
        let row = |phase: usize| dot(&self.table[phase * length..(phase + 1) * length], around);
        if !self.mixed {
            return row(self.fraction as usize);
        }
        let scaled = self.fraction * MOST_PHASES;
        let phase = (scaled / self.to) as usize;
        let share = (scaled % self.to) as f32 / self.to as f32;
        let (near, far) = (row(phase), row(phase + 1));
        near + share * (far - near)
    }
}

/// The weights of the `2 * half` samples around a position that lies `fraction` past the sample at index `half - 1`.
fn kernel(fraction: f64, half: usize, from: u64, to: u64) -> Vec<f32> {
    let scale = (to as f64 / from as f64).min(1.0);
    let reach = HALF_PERIODS as f64;
    let weights: Vec<f64> = (0..2 * half)
        .map(|i| {
            // Distance in periods of the lower rate.
            let distance = (i as f64 - (half as f64 - 1.0) - fraction) * scale;
            let angle = std::f64::consts::TAU * CUTOFF * distance;
            let sinc = if angle.abs() < 1e-9 { 1.0 } else { libm::sin(angle) / angle };
            let inside = 1.0 - (distance / reach).powi(2);
            if inside < 0.0 { 0.0 } else { sinc * bessel_i0(KAISER_BETA * inside.sqrt()) }
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| (weight / sum) as f32).collect()
}

/// Modified Bessel function of the first kind and order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..64 {
        term *= quarter / (k * k) as f64;
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const HOST_RATES: [u32; 13] = [
        8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_056, 44_100, 48_000, 88_200, 96_000, 176_400,
        192_000,
    ];

    fn run(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
        let mut resampler = Resampler::new(from, to);
        let mut output = Vec::new();
        resampler.push_into(input, &mut output);
        resampler.push_into(&vec![0.0; resampler.look_ahead_samples()], &mut output);
        output
    }

    /// A Gaussian pulse around `centre_seconds`, `width_seconds` wide: almost nothing above `1 / width`.
    fn pulse(rate: u32, seconds: f64, centre_seconds: f64, width_seconds: f64) -> Vec<f32> {
        (0..(seconds * f64::from(rate)) as usize)
            .map(|t| {
                let distance = (t as f64 / f64::from(rate) - centre_seconds) / width_seconds;
                (-0.5 * distance * distance).exp() as f32
            })
            .collect()
    }

    fn centre_of_mass(sound: &[f32]) -> f64 {
        let sum: f64 = sound.iter().map(|x| f64::from(*x)).sum();
        sound.iter().enumerate().map(|(t, x)| t as f64 * f64::from(*x)).sum::<f64>() / sum
    }

    #[test]
    fn a_pulse_stays_where_it_is_down_and_up_again() {
        for model in [16_000, 24_000] {
            for host in HOST_RATES {
                let input = pulse(host, 0.2, 0.083_123, 0.001);
                let inside = run(host, model, &input);
                let output = run(model, host, &inside);
                let down = centre_of_mass(&inside) / f64::from(model);
                assert!((down - 0.083_123).abs() * f64::from(model) < 0.01, "{host} {model} {down}");
                let moved = centre_of_mass(&output) - centre_of_mass(&input);
                assert!(moved.abs() < 0.05, "{host} {model} {moved}");
                let sums = [&input, &output].map(|s| s.iter().map(|x| f64::from(*x)).sum::<f64>());
                assert!((sums[1] / sums[0] - 1.0).abs() < 1e-3, "{host} {sums:?}");
            }
        }
    }

    fn tone(rate: u32, hz: f64) -> Vec<f32> {
        (0..rate / 4).map(|t| (TAU * hz * f64::from(t) / f64::from(rate)).sin() as f32).collect()
    }

    fn rms(sound: &[f32]) -> f64 {
        let inner = &sound[sound.len() / 4..sound.len() * 3 / 4];
        (inner.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / inner.len() as f64).sqrt()
    }

    #[test]
    fn flat_below_and_silent_above() {
        for host in HOST_RATES.into_iter().filter(|host| *host > 16_000) {
            for hz in [100.0, 1_000.0, 5_000.0, 7_000.0, 7_200.0] {
                let db = 20.0 * (rms(&run(host, 16_000, &tone(host, hz))) * 2f64.sqrt()).log10();
                assert!(db.abs() < 0.02, "{host} {hz} {db}");
            }
            for hz in
                [8_200.0, 8_700.0, 9_500.0, 10_900.0].into_iter().filter(|hz| *hz < 0.49 * f64::from(host))
            {
                let db = 20.0 * (rms(&run(host, 16_000, &tone(host, hz))) * 2f64.sqrt()).log10();
                assert!(db < -78.0, "{host} {hz} {db}");
            }
        }
    }

    #[test]
    fn the_way_up_reproduces_a_tone_without_images() {
        for host in HOST_RATES.into_iter().filter(|host| *host > 16_000) {
            let hz = 3_217.0;
            let output = run(16_000, host, &tone(16_000, hz));
            let inner = output.len() / 4..output.len() * 3 / 4;
            for t in inner {
                let expected = (TAU * hz * t as f64 / f64::from(host)).sin();
                assert!((f64::from(output[t]) - expected).abs() < 3e-4, "{host} {t}");
            }
        }
    }

    #[test]
    fn equal_rates_pass_through_at_once() {
        let sound = tone(48_000, 440.0);
        let mut resampler = Resampler::new(48_000, 48_000);
        let mut output = Vec::new();
        resampler.push_into(&sound, &mut output);
        assert_eq!(output, sound);
        assert_eq!(
            (resampler.look_ahead_samples(), resampler.needed_input(7), resampler.available_output(8)),
            (0, 8, 8)
        );
    }

    #[test]
    fn the_look_ahead_is_two_and_a_half_milliseconds() {
        assert_eq!(Resampler::new(48_000, 16_000).look_ahead_samples(), 120);
        assert_eq!(Resampler::new(16_000, 48_000).look_ahead_samples(), 40);
        assert_eq!(Resampler::new(44_100, 16_000).look_ahead_samples(), 111);
    }

    proptest! {
        #[test]
        fn pieces_reset_and_promises(
            host in prop::sample::select(HOST_RATES.to_vec()),
            up in any::<bool>(),
            cuts in prop::collection::vec(0usize..700, 1..12),
        ) {
            let (from, to) = if up { (16_000, host) } else { (host, 16_000) };
            let total: usize = cuts.iter().sum();
            let sound: Vec<f32> = (0..total).map(|t| ((t * t) as f32 * 0.001).sin()).collect();
            let mut whole = Vec::new();
            let mut resampler = Resampler::new(from, to);
            resampler.push_into(&sound, &mut whole);
            for _ in 0..2 {
                resampler.reset();
                let (mut pieces, mut start) = (Vec::new(), 0);
                for cut in &cuts {
                    let before = pieces.len();
                    resampler.push_into(&sound[start..start + cut], &mut pieces);
                    start += cut;
                    prop_assert_eq!(pieces.len() as u64, resampler.available_output(start as u64));
                    prop_assert!(pieces.len() - before <= resampler.most_output(*cut));
                    if let Some(last) = (pieces.len() as u64).checked_sub(1) {
                        prop_assert!(resampler.needed_input(last) <= start as u64);
                        prop_assert!(resampler.needed_input(last + 1) > start as u64);
                    }
                }
                prop_assert_eq!(&pieces, &whole);
            }
        }
    }
}
