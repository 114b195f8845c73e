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

/// One possible pitch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidate {
    pub(super) f0_hz: f32,
    /// Normalised cross-correlation at the period, at most about 1.
    pub(super) correlation: f32,
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
    /// Level, in dB of full scale.
    pub(super) absolute_db: f32,
    /// Energy of the first difference over energy, in dB: low for voices, high for noise.
    pub(super) tilt_db: f32,
    /// Level after the centre minus level before it, in dB.
    pub(super) rise_db: f32,
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
        let first_lag = ((rate_hz / f64::from(MAX_F0_HZ)).floor() as usize).saturating_sub(1).max(2);
        let last_lag = (rate_hz / f64::from(MIN_F0_HZ)).ceil() as usize + 1;
        Self {
            rate_hz,
            half_span,
            first_lag,
            last_lag,
            squares: vec![0.0; 2 * half_span + 1],
            correlation: vec![0.0; last_lag + 2],
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
        self.measure_level(window);
        for lag in self.first_lag - 1..=self.last_lag + 1 {
            self.correlation[lag.min(self.last_lag + 1)] = self.correlate(window, lag);
        }
        self.pick(window);
        &self.observed
    }

    fn measure_level(&mut self, window: &[f32]) {
        let near = (0.0125 * self.rate_hz) as usize;
        let near = near.min(self.half_span);
        let (low, mid, high) = (self.half_span - near, self.half_span, self.half_span + near);
        let energy = |a: usize, b: usize| self.squares[b] - self.squares[a];
        let db = |energy: f64, count: usize| (10.0 * (energy / count as f64 + 1e-10).log10()) as f32;
        let level = db(energy(low, high), high - low);
        self.maximum_db = (self.maximum_db - self.decay_db).max(MAXIMUM_FLOOR_DB).max(level);
        let difference: f64 = window[low..high].windows(2).map(|w| f64::from(w[1] - w[0]).powi(2)).sum();
        self.observed.absolute_db = level;
        self.observed.level_db = level - self.maximum_db;
        self.observed.tilt_db = (10.0 * ((difference + 1e-12) / (energy(low, high) + 1e-12)).log10()) as f32;
        self.observed.rise_db = db(energy(mid, high), near) - db(energy(low, mid), near);
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

    /// Lag and height of the parabola through a peak's three highest points.
    fn vertex(&self, window: &[f32], lag: usize) -> (f64, f32) {
        let at = |lag: usize| {
            if (self.first_lag - 1..=self.last_lag + 1).contains(&lag) {
                self.correlation[lag]
            } else {
                self.correlate(window, lag)
            }
        };
        let (left, mid, right) = (at(lag - 1), at(lag), at(lag + 1));
        let curvature = left - 2.0 * mid + right;
        if curvature >= -1e-9 {
            return (lag as f64, mid);
        }
        let shift = (0.5 * (left - right) / curvature).clamp(-0.5, 0.5);
        (lag as f64 + f64::from(shift), mid - 0.25 * (left - right) * shift)
    }

    fn pick(&mut self, window: &[f32]) {
        let peak = self.correlation[self.first_lag..=self.last_lag].iter().fold(0.0f32, |a, b| a.max(*b));
        self.observed.peak = peak;
        self.observed.count = 0;
        let threshold = (PEAK_SHARE * peak).max(0.1);
        for lag in self.first_lag..=self.last_lag {
            let here = self.correlation[lag];
            if here < threshold || here < self.correlation[lag - 1] || here <= self.correlation[lag + 1] {
                continue;
            }
            let (period, height) = self.vertex(window, lag);
            let candidate = Candidate { f0_hz: (self.rate_hz / period) as f32, correlation: height };
            let slot = if self.observed.count < MAX_CANDIDATES {
                self.observed.count += 1;
                self.observed.count - 1
            } else {
                let weakest = (0..MAX_CANDIDATES).min_by(|a, b| {
                    let height = |i: usize| self.observed.candidates[i].correlation;
                    height(*a).total_cmp(&height(*b))
                });
                match weakest {
                    Some(weakest) if self.observed.candidates[weakest].correlation < height => weakest,
                    _ => continue,
                }
            };
            self.observed.candidates[slot] = candidate;
        }
        for i in 0..self.observed.count {
            self.observed.candidates[i].f0_hz = self.refine(window, self.observed.candidates[i].f0_hz);
        }
    }

    /// A period is known the better the more of them are counted: looks for peaks at its multiples.
    fn refine(&self, window: &[f32], f0_hz: f32) -> f32 {
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
            period = self.vertex(window, best).0 / multiple;
            multiple += 1.0;
        }
        (self.rate_hz / period) as f32
    }
}
