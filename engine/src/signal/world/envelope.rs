//! CheapTrick: the spectral envelope of a voice, free of its harmonics and of where in the period the window lies.

use std::f64::consts::PI;

use super::segment::{Segment, Shape, Sound};
use super::smoothing::Smoother;

/// How much of the difference to the neighbouring harmonics is put back after smoothing (the paper's q1).
const RECOVERY: f64 = -0.15;
/// What keeps the logarithm of silence finite.
const POWER_FLOOR: f64 = f64::EPSILON;

/// Estimates envelopes.
pub struct Envelope {
    segment: Segment,
    smoother: Smoother,
    power: Vec<f64>,
}

impl Envelope {
    pub fn new(fft_samples: usize) -> Self {
        let bins = fft_samples / 2 + 1;
        Self { segment: Segment::new(fft_samples), smoother: Smoother::new(bins), power: vec![0.0; bins] }
    }

    /// Writes the envelope of the sound, `[fft_samples / 2 + 1]` powers: the spectrum under a Hann window of three
    /// periods, which has the same power wherever in the period it lies; a moving average of two thirds of F0; then in
    /// the cepstrum a moving average of the logarithm over F0, and the recovery of what both have flattened.
    pub fn estimate(&mut self, sound: &Sound, envelope: &mut [f32]) {
        let size = self.segment.fft.time.len();
        let f0_bins = size as f64 / sound.period_samples();
        self.segment.cut(sound, 0, 3.0, Shape::Hann);
        self.segment.power(&mut self.power);
        self.smoother.fill_low(&mut self.power, f0_bins);
        self.smoother.smooth(&mut self.power, f0_bins * 2.0 / 3.0);

        let fft = &mut self.segment.fft;
        for (bin, power) in fft.bins.iter_mut().zip(&self.power) {
            (bin.re, bin.im) = (libm::log(power.max(0.0) + POWER_FLOOR), 0.0);
        }
        fft.inverse();
        for i in 1..=size / 2 {
            let angle = PI * i as f64 / sound.period_samples();
            let sine = libm::sin(angle);
            // 1 - 2 q + 2 q cos(2 angle), and the sinc of the moving average.
            let lifter = (1.0 - 4.0 * RECOVERY * sine * sine) * sine / angle;
            fft.time[i] *= lifter;
            if i < size / 2 {
                fft.time[size - i] *= lifter;
            }
        }
        fft.forward();
        for (slot, bin) in envelope.iter_mut().zip(&fft.bins) {
            *slot = libm::exp(bin.re / size as f64) as f32;
        }
    }
}
