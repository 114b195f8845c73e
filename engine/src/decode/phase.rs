//! The running phase of F0 and the sines of its harmonics. The decoder and the trainer use the same ones, so that a
//! network meets in use exactly what it was trained on.

use super::math::{QUARTER, sine};
use crate::lanes::{Isa, LANES, Lanes, Task};
use crate::signal::f0::{LOWEST_PERIOD_F0_HZ, goes_on};

/// The running F0 phase: a wrapping count of 2^-32 turns that never stops and is never set back inside a stream.
///
/// Within a hop of `H` samples sample `i` has `f0(i) = f0 + d (i + 0.5 - H/2) / H`, where `d` is the difference to the
/// previous hop's F0 if both hops are voiced and `|d| < 0.12 f0`, else 0. The phase advances by
/// `round(f0(i) / rate * 2^32)` before sample `i` uses it.
#[derive(Clone, Debug)]
pub struct F0Phase {
    sample_rate_hz: f64,
    phase: u32,
    previous_f0_hz: Option<f32>,
}

impl F0Phase {
    /// At the start of a stream of this rate, with phase 0.
    pub fn new(sample_rate_hz: u32) -> Self {
        Self { sample_rate_hz: f64::from(sample_rate_hz), phase: 0, previous_f0_hz: None }
    }

    /// The same with another phase to start from, in units of 2^-32 turns.
    pub fn starting_at(self, phase: u32) -> Self {
        Self { phase, ..self }
    }

    /// Advances through one hop of `phases.len()` samples and writes the phase of each, in units of 2^-32 turns.
    /// `f0_hz` holds for the hop; while unvoiced it is the F0 that the phase runs on at.
    pub fn hop(&mut self, f0_hz: f32, voiced: bool, phases: &mut [u32]) {
        let glide = glide(self.previous_f0_hz, f0_hz, voiced, phases.len());
        for (f0_here, phase) in glide.zip(phases) {
            let advance = (f0_here / self.sample_rate_hz * 4_294_967_296.0).round();
            self.phase = self.phase.wrapping_add(advance as i64 as u32);
            *phase = self.phase;
        }
        self.previous_f0_hz = voiced.then_some(f0_hz);
    }
}

/// F0 of every sample of a hop; see [`F0Phase`].
fn glide(previous: Option<f32>, f0_hz: f32, voiced: bool, hop_samples: usize) -> impl Iterator<Item = f64> {
    let f0 = f64::from(f0_hz);
    let slope = match previous {
        Some(hz) if voiced && goes_on(previous, f0_hz) => f0 - f64::from(hz),
        _ => 0.0,
    };
    let hop = hop_samples as f64;
    (0..hop_samples).map(move |index| f0 + slope * (index as f64 + 0.5 - hop / 2.0) / hop)
}

/// How many samples ago the F0 period before each sample was: `rate / f0(i)` with the F0 of [`F0Phase`], as an `f32`, held
/// within what the taps around it can reach of the past.
#[derive(Clone, Debug)]
pub struct PeriodLags {
    sample_rate_hz: f64,
    half: usize,
    previous_f0_hz: Option<f32>,
}

impl PeriodLags {
    /// For so many taps around the lag.
    pub fn new(sample_rate_hz: u32, taps: usize) -> Self {
        Self { sample_rate_hz: f64::from(sample_rate_hz), half: taps / 2, previous_f0_hz: None }
    }

    /// Past samples that the taps may read.
    pub fn history(&self) -> usize {
        self.longest() as usize + self.half + 2
    }

    fn longest(&self) -> f64 {
        self.sample_rate_hz / f64::from(LOWEST_PERIOD_F0_HZ)
    }

    /// Writes the lag of each of a hop's samples, `[lags.len()]`.
    pub fn hop(&mut self, f0_hz: f32, voiced: bool, lags: &mut [f32]) {
        let shortest = (self.half + 1) as f64;
        let longest = self.longest();
        for (f0_here, lag) in glide(self.previous_f0_hz, f0_hz, voiced, lags.len()).zip(lags) {
            *lag = (self.sample_rate_hz / f0_here).clamp(shortest, longest) as f32;
        }
        self.previous_f0_hz = voiced.then_some(f0_hz);
    }
}

/// What was heard `lag` samples ago and around it: tap `j` of `taps` is the past at `lag + taps / 2 - j`, linear between
/// two samples. `back(k)` is the sample `k` before the current one.
#[inline(always)]
pub(crate) fn period_taps(lag: f32, taps: &mut [f32], back: impl Fn(usize) -> f32) {
    let whole = lag.floor();
    let share = lag - whole;
    let farthest = whole as usize + taps.len() / 2;
    for (index, tap) in taps.iter_mut().enumerate() {
        let (near, far) = (back(farthest - index), back(farthest - index + 1));
        *tap = share.mul_add(far - near, near);
    }
}

/// The phase of the first harmonic of a voice that was recorded, for every sample, in units of 2^-32 turns. `emphasised` is
/// a whole number of hops, `hops` their F0 in Hz and whether they are voiced.
///
/// The running sum of F0 gives a phase; the waveform times its conjugate is averaged over about 35 ms (two box
/// windows), and the running phase is turned by the angle that remains (a heterodyne).
pub fn sung_phase(
    emphasised: &[f32],
    hops: impl Iterator<Item = (f32, bool)>,
    sample_rate_hz: u32,
    hop_samples: usize,
) -> Vec<u32> {
    let mut running = F0Phase::new(sample_rate_hz);
    let mut phase = vec![0u32; emphasised.len()];
    let turn = std::f64::consts::TAU / 2f64.powi(32);
    let mut products: Vec<(f64, f64)> = Vec::with_capacity(phase.len());
    let samples = emphasised.chunks_exact(hop_samples).zip(phase.chunks_exact_mut(hop_samples));
    for ((f0_hz, voiced), (samples, phase)) in hops.zip(samples) {
        running.hop(f0_hz, voiced, phase);
        for (&phase, &sample) in phase.iter().zip(samples) {
            let (sine, cosine) = libm::sincos(f64::from(phase) * turn);
            let gate = if voiced { f64::from(sample) } else { 0.0 };
            products.push((gate * cosine, -gate * sine));
        }
    }
    let rate = f64::from(sample_rate_hz);
    let smooth = box_mean(&box_mean(&products, (0.0125 * rate) as usize), (0.005 * rate) as usize);
    for (phase, (real, imaginary)) in phase.iter_mut().zip(smooth) {
        // Turned by the product's angle, the first harmonic is a cosine of the phase.
        let angle = libm::atan2(imaginary, real) / turn;
        *phase = phase.wrapping_add(angle.round() as i64 as u32);
    }
    phase
}

/// Sums over windows that reach `half` samples to both sides.
fn box_mean(values: &[(f64, f64)], half: usize) -> Vec<(f64, f64)> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut total = (0.0, 0.0);
    sums.push(total);
    for value in values {
        total = (total.0 + value.0, total.1 + value.1);
        sums.push(total);
    }
    (0..values.len())
        .map(|index| {
            let (low, high) = (index.saturating_sub(half), (index + half + 1).min(values.len()));
            (sums[high].0 - sums[low].0, sums[high].1 - sums[low].1)
        })
        .collect()
}

/// Writes `sin(2 pi k p)` and `cos(2 pi k p)` for `k = 1..=harmonics` and every phase `p` (2^-32 turns) of `phases`:
/// both slices are `[phases.len(), harmonics]`. Absolute error below 3e-7; the same bits on every processor.
///
/// # Panics
/// If the slices do not have these lengths.
pub fn harmonic_waves(phases: &[u32], harmonics: usize, sines: &mut [f32], cosines: &mut [f32]) {
    assert_eq!(sines.len(), phases.len() * harmonics, "sines must be [phases, harmonics]");
    assert_eq!(cosines.len(), phases.len() * harmonics, "cosines must be [phases, harmonics]");
    Isa::best().run(Waves { phases, harmonics, sines, cosines });
}

struct Waves<'a> {
    phases: &'a [u32],
    harmonics: usize,
    sines: &'a mut [f32],
    cosines: &'a mut [f32],
}

impl Task for Waves<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (row, &phase) in self.phases.iter().enumerate() {
            for first in (0..self.harmonics).step_by(LANES) {
                let count = (self.harmonics - first).min(LANES);
                let at = row * self.harmonics + first;
                let (sin, cos) = sixteen_waves(lanes, phase, first);
                let mut wave = [0.0; LANES];
                lanes.store(sin, &mut wave);
                self.sines[at..at + count].copy_from_slice(&wave[..count]);
                lanes.store(cos, &mut wave);
                self.cosines[at..at + count].copy_from_slice(&wave[..count]);
            }
        }
    }
}

/// Sines and cosines of harmonics `first + 1 ..= first + 16`. The wrapping products are exact, so high harmonics are
/// as good as the first.
#[inline(always)]
pub(super) fn sixteen_waves<L: Lanes>(lanes: L, phase: u32, first: usize) -> (L::F, L::F) {
    let k = first as u32 + 1;
    (sine(lanes, lanes.turns(phase, k, 0)), sine(lanes, lanes.turns(phase, k, QUARTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_follow_the_formula() {
        let phases: Vec<u32> =
            (0..5_000_u32).map(|i| i.wrapping_mul(2_654_435_761)).chain([0, u32::MAX]).collect();
        let k_max = 21;
        let (mut sines, mut cosines) = (vec![0.0; phases.len() * k_max], vec![0.0; phases.len() * k_max]);
        harmonic_waves(&phases, k_max, &mut sines, &mut cosines);
        for (row, &phase) in phases.iter().enumerate() {
            for k in 1..=k_max {
                let angle = std::f64::consts::TAU * (f64::from(phase) / 4_294_967_296.0 * k as f64).fract();
                let at = row * k_max + k - 1;
                assert!((f64::from(sines[at]) - angle.sin()).abs() < 3e-7);
                assert!((f64::from(cosines[at]) - angle.cos()).abs() < 3e-7);
            }
        }
    }

    #[test]
    fn lags_are_periods_that_glide_and_stay_within_the_past() {
        let mut lags = [0.0; 160];
        let mut period = PeriodLags::new(16_000, 3);
        period.hop(200.0, true, &mut lags);
        assert!(lags.iter().all(|lag| *lag == 80.0));
        period.hop(210.0, true, &mut lags);
        let wanted = |index: f64| 16_000.0 / (210.0 + 10.0 * (index + 0.5 - 80.0) / 160.0);
        assert!((f64::from(lags[0]) - wanted(0.0)).abs() < 1e-5);
        assert!((f64::from(lags[159]) - wanted(159.0)).abs() < 1e-5);
        for (f0_hz, wanted) in [(8_000.0, 2.0), (1.0, 400.0)] {
            period.hop(f0_hz, true, &mut lags);
            assert!(lags.iter().all(|lag| *lag == wanted), "{lags:?}");
        }
        // Around 400.5 samples ago, oldest first: a ramp is read as it is.
        let mut taps = [0.0; 3];
        period_taps(400.5, &mut taps, |back| {
            assert!(back <= period.history());
            -(back as f32)
        });
        assert_eq!(taps, [-401.5, -400.5, -399.5]);
    }

    #[test]
    fn phase_glides_between_voiced_hops_and_steps_otherwise() {
        let turn = 4_294_967_296.0;
        let mut phases = [0_u32; 160];
        let mut f0 = F0Phase::new(16_000);
        f0.hop(200.0, true, &mut phases);
        assert_eq!(phases[0], 53_687_091);
        let before = phases[159];
        f0.hop(210.0, true, &mut phases);
        let first = phases[0].wrapping_sub(before);
        let wanted = (210.0 + 10.0 * (0.5 - 80.0) / 160.0) / 16_000.0 * turn;
        assert!((f64::from(first) - wanted).abs() <= 0.5);
        for (f0_hz, voiced) in [(300.0, true), (300.0, false), (310.0, true)] {
            f0.hop(f0_hz, voiced, &mut phases);
            let step = phases[1].wrapping_sub(phases[0]);
            assert_eq!(step, phases[159].wrapping_sub(phases[158]), "no glide expected at {f0_hz}");
            assert!((f64::from(step) - f64::from(f0_hz) / 16_000.0 * turn).abs() <= 0.5);
        }
        let mut shifted = F0Phase::new(16_000).starting_at(1 << 31);
        let mut other = [0_u32; 160];
        shifted.hop(200.0, true, &mut other);
        let mut plain = F0Phase::new(16_000);
        plain.hop(200.0, true, &mut phases);
        assert!(other.iter().zip(&phases).all(|(a, b)| a.wrapping_sub(*b) == 1 << 31));
    }
}
