//! F0 and level of a sound.

use super::RATE_HZ;
use crate::signal::f0::{F0Tracker, PATIENT_DECISION_MS};

/// Frames of a contour.
pub(super) const FRAMES_PER_SECOND: u32 = 100;
pub(super) const HOP: usize = (RATE_HZ / FRAMES_PER_SECOND) as usize;
/// Mean squares below this count as this: -70 dB.
const POWER_FLOOR: f64 = 1e-7;

/// What a sound does, frame by frame; frame f is centred at the middle of its hop of 10 ms.
#[derive(Clone, Debug, PartialEq)]
pub struct Contour {
    /// F0 in Hz, 0 where there is none.
    pub f0_hz: Vec<f32>,
    /// Level of 20 ms around the frame, in dB below full scale.
    pub level_db: Vec<f32>,
}

impl Contour {
    /// Of a mono sound at the judge's rate. The last, incomplete hop is left out.
    pub fn of(samples: &[f32]) -> Self {
        let frames = samples.len() / HOP;
        let mut tracker = F0Tracker::new(RATE_HZ, HOP, PATIENT_DECISION_MS);
        let silence = [0.0; HOP];
        let tail = std::iter::repeat_n(silence.as_slice(), tracker.look_ahead_hops());
        let hops = samples[..frames * HOP].chunks(HOP).chain(tail);
        let f0_hz = hops.filter_map(|hop| tracker.push(hop)).map(|pitch| pitch.f0_hz).collect();
        let level_db = (0..frames)
            .map(|frame| {
                let first = (frame * HOP).saturating_sub(HOP / 2);
                let window = &samples[first..samples.len().min(frame * HOP + HOP + HOP / 2)];
                let square: f64 = window.iter().map(|x| f64::from(*x).powi(2)).sum();
                (10.0 * (square / window.len() as f64 + POWER_FLOOR).log10()) as f32
            })
            .collect();
        Self { f0_hz, level_db }
    }

    /// Frames.
    pub fn len(&self) -> usize {
        self.f0_hz.len()
    }

    /// Whether it has no frames.
    pub fn is_empty(&self) -> bool {
        self.f0_hz.is_empty()
    }
}
