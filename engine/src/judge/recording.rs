//! A sound with what is measured of it by itself.

use super::RATE_HZ;
use super::contour::Contour;
use super::level::Level;
use super::spectrum::{Cepstra, cepstra};
use crate::signal::resample::resampled;

/// A mono sound, measured once and compared often.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What it is called.
    pub name: String,
    /// At its own rate.
    pub samples: Vec<f32>,
    /// Its own rate.
    pub rate_hz: u32,
    /// At the judge's rate.
    pub judged: Vec<f32>,
    /// F0 and level.
    pub contour: Contour,
    /// Loudness and the like, at its own rate.
    pub level: Level,
}

impl Recording {
    /// Measures a mono sound.
    pub fn new(name: String, samples: Vec<f32>, rate_hz: u32) -> Self {
        let finite: Vec<f32> = samples.iter().map(|x| if x.is_finite() { *x } else { 0.0 }).collect();
        let judged = resampled(&finite, rate_hz, RATE_HZ);
        let contour = Contour::of(&judged);
        let level = Level::of(&samples, rate_hz);
        Self { name, samples, rate_hz, judged, contour, level }
    }

    /// Mel cepstra of its loud voiced frames.
    pub fn cepstra(&self) -> Cepstra {
        cepstra(&self.judged, &self.contour)
    }
}
