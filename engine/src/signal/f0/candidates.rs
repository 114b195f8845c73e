//! Candidates for the period of one hop, from the normalised cross-correlation of pairs of windows that lie
//! symmetrically around the hop's centre (after Talkin's RAPT, 1995, with windows that grow with the lag).

use super::{MAX_F0_HZ, MIN_F0_HZ};
use crate::signal::dot;

/// Most candidates of one hop.
pub(super) const MAX_CANDIDATES: usize = 12;
/// Shortest correlation window, in seconds.
const SHORTEST_WINDOW_SECONDS: f64 = 0.012;
/// Correlation window in lags, where it is longer than the shortest and there is room.
const WINDOW_LAGS: f64 = 2.0;
/// Peaks below this share of the highest are no candidates.
const PEAK_SHARE: f32 = 0.5;
/// Noise of -80 dB that the correlation is measured against, so that silence has no pitch.
const NOISE_POWER: f64 = 1e-8;
/// How fast the running maximum of the level sinks, in dB per second.
const MAXIMUM_DECAY_DB_PER_SECOND: f32 = 2.0;
/// Lowest running maximum, in dB.
const MAXIMUM_FLOOR_DB: f32 = -50.0;
/// Longest multiple of the period that refines it, in seconds.
const REFINE_SECONDS: f64 = 0.012;

/// What a pitch costs for each octave that it lies below the highest: multiples of the period correlate just as well.
const LOW_COST: f32 = 0.03;
/// Lags computed beyond the range of candidates, for interpolation.
const MARGIN_LAGS: usize = 5;
/// Weights of the neighbours at 0.5, 1.5, 2.5 and 3.5 lags: `sinc(d) cos^2(pi d / 9)`, of unit sum.
const HALF_LAG: [f32; 4] = [0.617131, -0.159080, 0.052582, -0.010634];

/// One possible pitch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate {
    pub(super) f0_hz: f32,
    /// Normalised cross-correlation at the period, at most about 1, less what a low pitch costs.
    pub(super) strength: f32,
}

/// What one hop says about its pitch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed {
    pub(super) candidates: [Candidate; MAX_CANDIDATES],
    pub(super) count: usize,
    /// The highest correlation.
    pub(super) peak: f32,
    /// Level of 25 ms around the centre, in dB relative to the running maximum.
    pub(super) level_db: f32,
}

pub(super) struct Correlator {
    rate_hz: f64,
    half_span: usize,
    first_lag: usize,
    last_lag: usize,
    squares: Vec<f64>,
    correlation: Vec<f32>,
    maximum_db: f32,
    decay_db: f32,
    observed: Observed,
}

impl Correlator {
    pub(super) fn new(rate_hz: f64, half_span: usize, hop_seconds: f64) -> Self {
        let first_lag = ((rate_hz / f64::from(MAX_F0_HZ)).floor() as usize).max(MARGIN_LAGS);
        let last_lag = (rate_hz / f64::from(MIN_F0_HZ)).ceil() as usize + 1;
        Self {
            rate_hz,
            half_span,
            first_lag,
            last_lag,
            squares: vec![0.0; 2 * half_span + 1],
            correlation: vec![0.0; last_lag + MARGIN_LAGS + 1],
            maximum_db: MAXIMUM_FLOOR_DB,
            decay_db: MAXIMUM_DECAY_DB_PER_SECOND * hop_seconds as f32,
            observed: Observed::default(),
        }
    }

    pub(super) fn half_span(&self) -> usize {
        self.half_span
    }

    pub(super) fn reset(&mut self) {
        self.maximum_db = MAXIMUM_FLOOR_DB;
    }

    /// The candidates of the hop whose centre is the middle of `window`, `[2 * half_span]`.
    pub(super) fn observe(&mut self, window: &[f32]) -> &Observed {
        let mut sum = 0.0f64;
        for (slot, x) in self.squares[1..].iter_mut().zip(window) {
            sum += f64::from(*x) * f64::from(*x);
            *slot = sum;
        }
        self.measure_level();
        for lag in self.first_lag - MARGIN_LAGS..=self.last_lag + MARGIN_LAGS {
            self.correlation[lag] = self.correlate(window, lag);
        }
        self.pick();
        &self.observed
    }

    fn measure_level(&mut self) {
        let near = ((0.012_5 * self.rate_hz) as usize).min(self.half_span);
        let (low, high) = (self.half_span - near, self.half_span + near);
        let power = (self.squares[high] - self.squares[low]) / (high - low).max(1) as f64;
        let level = (10.0 * libm::log10(power + 1e-10)) as f32;
        self.maximum_db = (self.maximum_db - self.decay_db).max(MAXIMUM_FLOOR_DB).max(level);
        self.observed.level_db = level - self.maximum_db;
    }

    /// Length of the two windows at one lag: they and the lag between them must fit into the span.
    fn window_length(&self, lag: usize) -> usize {
        let wanted = (SHORTEST_WINDOW_SECONDS * self.rate_hz).max(WINDOW_LAGS * lag as f64) as usize;
        wanted.min((2 * self.half_span).saturating_sub(lag))
    }

    fn correlate(&self, window: &[f32], lag: usize) -> f32 {
        let length = self.window_length(lag);
        let early = self.half_span - (lag + length) / 2;
        let late = early + lag;
        let product = dot(&window[early..early + length], &window[late..late + length]);
        let energy =
            |start: usize| self.squares[start + length] - self.squares[start] + NOISE_POWER * length as f64;
        (f64::from(product) / (energy(early) * energy(late)).sqrt()) as f32
    }

    /// Lag and height of a peak whose highest sample is at `lag`. A parabola through samples one lag apart is too low
    /// by up to 3 % where the spectrum reaches 3 kHz, enough to prefer twice the period when the period is not a whole
    /// number; so it goes through points half a lag apart.
    fn vertex(&self, lag: usize) -> (f64, f32) {
        let (before, mid, after) = (self.half_after(lag - 1), self.correlation[lag], self.half_after(lag));
        let (left, mid, right, centre) = if mid >= before && mid >= after {
            (before, mid, after, lag as f64)
        } else if before > after {
            (self.correlation[lag - 1], before, mid, lag as f64 - 0.5)
        } else {
            (mid, after, self.correlation[lag + 1], lag as f64 + 0.5)
        };
        let curvature = left - 2.0 * mid + right;
        if curvature >= -1e-9 {
            return (centre, mid);
        }
        let shift = (0.5 * (left - right) / curvature).clamp(-1.0, 1.0);
        (centre + 0.5 * f64::from(shift), mid - 0.25 * (left - right) * shift)
    }

    /// The correlation half a lag after `lag`, by a windowed sinc.
    fn half_after(&self, lag: usize) -> f32 {
        let pair = |i: usize| self.correlation[lag - i] + self.correlation[lag + 1 + i];
        HALF_LAG.iter().enumerate().map(|(i, tap)| tap * pair(i)).sum()
    }

    fn pick(&mut self) {
        let peak = self.correlation[self.first_lag..=self.last_lag].iter().fold(0.0f32, |a, b| a.max(*b));
        self.observed.peak = peak;
        self.observed.count = 0;
        let threshold = (PEAK_SHARE * peak).max(0.1);
        for lag in self.first_lag..=self.last_lag {
            let here = self.correlation[lag];
            if here < threshold || here < self.correlation[lag - 1] || here <= self.correlation[lag + 1] {
                continue;
            }
            let (period, height) = self.vertex(lag);
            let f0_hz = (self.rate_hz / period) as f32;
            let strength = height - LOW_COST * libm::log2f(MAX_F0_HZ / f0_hz);
            let found = &mut self.observed;
            let slot = if found.count < MAX_CANDIDATES {
                found.count += 1;
                found.count - 1
            } else {
                let strength_of = |i: &usize| found.candidates[*i].strength;
                let weakest = (0..MAX_CANDIDATES).min_by(|a, b| strength_of(a).total_cmp(&strength_of(b)));
                match weakest {
                    Some(weakest) if strength_of(&weakest) < strength => weakest,
                    _ => continue,
                }
            };
            found.candidates[slot] = Candidate { f0_hz, strength };
        }
        for i in 0..self.observed.count {
            self.observed.candidates[i].f0_hz = self.refine(self.observed.candidates[i].f0_hz);
        }
    }

    /// A period is known the better the more of them are counted: looks for peaks at its multiples.
    fn refine(&self, f0_hz: f32) -> f32 {
        let mut period = self.rate_hz / f64::from(f0_hz);
        let longest = REFINE_SECONDS * self.rate_hz;
        let mut multiple = 2.0;
        while multiple * period <= longest {
            let near = (multiple * period).round() as usize;
            let best =
                (near - 1..=near + 1).max_by(|a, b| self.correlation[*a].total_cmp(&self.correlation[*b]));
            let Some(best) = best else { break };
            let here = self.correlation[best];
            if here < 0.6 || here < self.correlation[best - 1] || here < self.correlation[best + 1] {
                break;
            }
            period = self.vertex(best).0 / multiple;
            multiple += 1.0;
        }
        (self.rate_hz / period) as f32
    }
}
