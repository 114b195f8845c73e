//! The fundamental of a singing voice, and whether there is one.

mod band;
mod candidates;
mod path;
#[cfg(test)]
mod tests;

use band::Band;
use candidates::Correlator;
use path::Path;

/// Lowest fundamental that is looked for, in Hz.
pub const MIN_F0_HZ: f32 = 50.0;
/// Highest fundamental that is looked for, in Hz.
pub const MAX_F0_HZ: f32 = 1_100.0;

/// Lowest F0 that what looks back by periods follows, in Hz: the tracker's lowest, transposed a little.
pub const LOWEST_PERIOD_F0_HZ: f32 = 40.0;
/// F0 that changes by this share of itself or more from one hop to the next is another note's.
const LARGEST_GLIDE: f64 = 0.12;

/// Whether a voiced hop goes on with the note of the hop before it, whose F0 was `previous_hz` if it was voiced.
pub fn goes_on(previous_hz: Option<f32>, f0_hz: f32) -> bool {
    let f0 = f64::from(f0_hz);
    previous_hz.is_some_and(|previous| (f0 - f64::from(previous)).abs() < LARGEST_GLIDE * f0)
}

/// How far past a hop's centre its windows may reach, in seconds.
const REACH_SECONDS: f64 = 0.015;
/// A decision that may wait this long finds the right octave at nearly every onset.
pub const PATIENT_DECISION_MS: u32 = 20;

/// The pitch of one hop, at the hop's centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pitch {
    /// Fundamental frequency; 0 while unvoiced.
    pub f0_hz: f32,
    /// Whether the hop has a pitch.
    pub voiced: bool,
}

/// A streaming pitch tracker for one singing or speaking voice.
pub struct F0Tracker {
    hop_samples: usize,
    reach_hops: usize,
    band: Band,
    correlator: Correlator,
    path: Path,
    hops_in: usize,
}

impl F0Tracker {
    /// A tracker for hops of `hop_samples` at `sample_rate_hz` (8 to 48 kHz). A decision waits for the hops of the next
    /// `decision_ms`, rounded to hops, at least one of them unless it is 0.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, decision_ms: u32) -> Self {
        let rate = f64::from(sample_rate_hz);
        let hop_samples = hop_samples.max(1);
        let hop_seconds = hop_samples as f64 / rate;
        let reach = (REACH_SECONDS * rate).round() as usize;
        let after_centre = hop_samples - hop_samples / 2;
        let reach_hops = reach.saturating_sub(after_centre).div_ceil(hop_samples);
        let decision_hops = (f64::from(decision_ms) / 1_000.0 / hop_seconds).round() as usize;
        let decision_hops = decision_hops.max(usize::from(decision_ms > 0));
        let band = Band::new(sample_rate_hz, 2 * reach + (reach_hops + 2) * hop_samples);
        let half_span =
            reach.min(after_centre + reach_hops * hop_samples).saturating_sub(band.delay_samples());
        let half_span = (half_span / band.decimation()).saturating_sub(1);
        Self {
            hop_samples,
            reach_hops,
            correlator: Correlator::new(band.rate_hz(), half_span, hop_seconds),
            band,
            path: Path::new(decision_hops, hop_seconds as f32),
            hops_in: 0,
        }
    }

    /// How many hops after a hop must be in before its pitch comes out.
    pub fn look_ahead_hops(&self) -> usize {
        self.reach_hops + self.path.decision_hops()
    }

    /// Back to the state before the first hop.
    pub fn reset(&mut self) {
        self.band.reset();
        self.correlator.reset();
        self.path.reset();
        self.hops_in = 0;
    }

    /// Takes one hop, `[hop_samples]`; once hop `f + look_ahead_hops` is in, returns the pitch of hop `f`.
    pub fn push(&mut self, hop: &[f32]) -> Option<Pitch> {
        self.band.push(hop);
        self.hops_in += 1;
        if self.hops_in <= self.reach_hops {
            return None;
        }
        let centre = (self.hops_in - 1 - self.reach_hops) * self.hop_samples + self.hop_samples / 2;
        let centre = centre / self.band.decimation();
        let observed = self.correlator.observe(self.band.around(centre, self.correlator.half_span()));
        self.path.push(observed)
    }
}
