//! The running phase of F0 and the sines of its harmonics. The decoder and the trainer use the same ones, so that a
//! network meets in use exactly what it was trained on.

use super::lanes::{Isa, LANES, Lanes, Task};
use super::math::{QUARTER, sine};

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
        let f0 = f64::from(f0_hz);
        let slope = match self.previous_f0_hz {
            Some(previous) if voiced => f0 - f64::from(previous),
            _ => 0.0,
        };
        let slope = if slope.abs() < 0.12 * f0 { slope } else { 0.0 };
        let hop_samples = phases.len() as f64;
        for (index, phase) in phases.iter_mut().enumerate() {
            let f0_here = f0 + slope * (index as f64 + 0.5 - hop_samples / 2.0) / hop_samples;
            let advance = (f0_here / self.sample_rate_hz * 4_294_967_296.0).round();
            self.phase = self.phase.wrapping_add(advance as i64 as u32);
            *phase = self.phase;
        }
        self.previous_f0_hz = voiced.then_some(f0_hz);
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
            let (sine, cosine) = (f64::from(phase) * turn).sin_cos();
            let gate = if voiced { f64::from(sample) } else { 0.0 };
            products.push((gate * cosine, -gate * sine));
        }
    }
    let rate = f64::from(sample_rate_hz);
    let smooth = box_mean(&box_mean(&products, (0.0125 * rate) as usize), (0.005 * rate) as usize);
    for (phase, (real, imaginary)) in phase.iter_mut().zip(smooth) {
        // Turned by the product's angle, the first harmonic is a cosine of the phase.
        let angle = imaginary.atan2(real) / turn;
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
