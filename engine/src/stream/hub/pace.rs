//! How long the audio side may wait for the engine.

use std::time::{Duration, Instant};

/// The clock of one stream: how far the host is ahead of it.
///
/// `budget = samples given before this block / rate - wall time since the first block`. A host that paces its calls has about
/// zero, so it never waits; a host that renders faster than real time without saying so earns all the time that it
/// needs. The clock is re-anchored all the time so that nothing adds up over hours: the budget leaks away with a time
/// constant of four seconds and at least one percent of the wall time, which is far above the drift between a sound
/// card and the system clock, and a pause of the host starts it anew. What is within the jitter of a host that keeps time
/// is no proof that it is ahead, so it is not waited for.
pub(super) struct Pace {
    rate_hz: f64,
    budget_s: f64,
    last: Option<(Instant, usize)>,
}

const TIME_CONSTANT_S: f64 = 4.0;
const LEAK: f64 = 0.01;
const PAUSE_S: f64 = 0.25;
/// How early a call of a paced host may come.
const JITTER_S: f64 = 0.005;

impl Pace {
    pub fn new(host_rate_hz: u32) -> Self {
        Self { rate_hz: f64::from(host_rate_hz), budget_s: 0.0, last: None }
    }

    /// The next block is the first.
    pub fn reset(&mut self) {
        self.budget_s = 0.0;
        self.last = None;
    }

    /// A block of `samples` begins at `now`: how long it may wait in all.
    pub fn begin(&mut self, now: Instant, samples: usize) -> Duration {
        if let Some((last, last_samples)) = self.last {
            let wall_s = now.saturating_duration_since(last).as_secs_f64();
            let gain_s = last_samples as f64 / self.rate_hz - wall_s;
            if gain_s < -PAUSE_S {
                self.budget_s = 0.0;
            } else {
                self.budget_s += gain_s - LEAK * wall_s;
                self.budget_s -= self.budget_s * (wall_s / TIME_CONSTANT_S).min(1.0);
            }
        }
        self.last = Some((now, samples));
        Duration::from_secs_f64((self.budget_s - JITTER_S).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays blocks of 480 samples at 48 kHz whose calls come `step_s` apart; gives the budget of the last.
    fn budget_after(blocks: usize, step_s: impl Fn(usize) -> f64) -> f64 {
        let mut pace = Pace::new(48_000);
        let mut now = Instant::now();
        let mut budget = Duration::ZERO;
        for block in 0..blocks {
            budget = pace.begin(now, 480);
            now += Duration::from_secs_f64(step_s(block));
        }
        budget.as_secs_f64()
    }

    #[test]
    fn a_paced_host_has_no_budget_even_if_its_clock_drifts_for_hours() {
        assert_eq!(budget_after(1_000_000, |_| 0.010 * (1.0 - 300e-6)), 0.0);
        assert_eq!(budget_after(1_000_000, |_| 0.010 * (1.0 + 300e-6)), 0.0);
    }

    #[test]
    fn a_paced_host_never_waits_however_its_calls_jitter() {
        for size_s in [0.000_1, 0.003, 0.005] {
            let jitter = |block: usize| 0.010 + if block.is_multiple_of(2) { size_s } else { -size_s };
            assert_eq!((budget_after(10_000, jitter), budget_after(10_001, jitter)), (0.0, 0.0));
        }
    }

    #[test]
    fn a_fast_host_earns_what_it_is_ahead() {
        // Ten blocks at once: nine blocks of sound given before the tenth, less what jitter might be.
        let budget = budget_after(10, |_| 0.0);
        assert!((budget - 0.085).abs() < 1e-9, "{budget}");
    }

    #[test]
    fn a_false_budget_is_gone_within_seconds_of_paced_play() {
        // A minute rendered at once, then paced.
        let budget = budget_after(6_000 + 3_000, |block| if block < 6_000 { 1e-5 } else { 0.010 });
        assert!(budget < 0.020, "{budget}");
    }

    #[test]
    fn a_pause_starts_the_clock_anew() {
        let budget = budget_after(3, |block| if block == 0 { 5.0 } else { 0.0 });
        assert!((budget - 0.005).abs() < 1e-9, "{budget}");
    }
}
