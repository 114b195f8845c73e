//! A piece of sound a few periods long, and its spectrum.

use std::f64::consts::PI;

use super::fft::Fft;

/// The sound around a frame's centre and its fundamental, as all measures take it.
pub struct Sound<'a> {
    pub samples: &'a [f64],
    /// Index of the frame's centre in `samples`.
    pub centre: usize,
    pub f0_hz: f64,
    pub rate_hz: f64,
}

impl Sound<'_> {
    pub fn period_samples(&self) -> f64 {
        self.rate_hz / self.f0_hz
    }
}

/// Shape of a window.
#[derive(Clone, Copy)]
pub enum Shape {
    Hann,
    Blackman,
}

/// Cuts pieces out of a sound and transforms them.
pub struct Segment {
    /// `time` holds the piece from its first sample on, then zeros.
    pub fft: Fft<f64>,
    weights: Vec<f64>,
}

impl Segment {
    pub fn new(fft_samples: usize) -> Self {
        Self { fft: Fft::new(fft_samples), weights: vec![0.0; fft_samples] }
    }

    /// Puts the samples under a window of `periods` periods, `offset` samples after the centre, into `fft.time`. The
    /// squares of the window's weights sum to 1, and the piece has a weighted mean of 0.
    pub fn cut(&mut self, sound: &Sound, offset: isize, periods: f64, shape: Shape) {
        let half = (0.5 * periods * sound.period_samples()).round() as usize;
        let half = half.min((self.weights.len() - 1) / 2);
        let step = 2.0 * PI / (periods * sound.period_samples());
        let length = 2 * half + 1;
        let weights = &mut self.weights[..length];
        for (i, weight) in weights.iter_mut().enumerate() {
            let cosine = libm::cos(step * (i as f64 - half as f64));
            *weight = match shape {
                Shape::Hann => 0.5 + 0.5 * cosine,
                // cos 2x = 2 cos² x - 1
                Shape::Blackman => 0.34 + 0.5 * cosine + 0.16 * cosine * cosine,
            };
        }
        let norm = weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt().recip();
        weights.iter_mut().for_each(|weight| *weight *= norm);

        let (piece, rest) = self.fft.time.split_at_mut(length);
        rest.fill(0.0);
        let first = sound.centre.checked_add_signed(offset).and_then(|centre| centre.checked_sub(half));
        let samples = first.and_then(|first| sound.samples.get(first..first + length));
        match samples {
            Some(samples) => {
                let products = samples.iter().zip(weights.iter()).map(|(sample, weight)| sample * weight);
                piece.iter_mut().zip(products).for_each(|(slot, product)| *slot = product);
            }
            // The analyzer's window holds every piece of every F0 it lets pass.
            None => piece.fill(0.0),
        }
        let mean = piece.iter().sum::<f64>() / weights.iter().sum::<f64>();
        piece.iter_mut().zip(weights.iter()).for_each(|(slot, weight)| *slot -= mean * weight);
    }

    /// Writes the power spectrum of what was cut, `[fft_samples / 2 + 1]`.
    pub fn power(&mut self, power: &mut [f64]) {
        self.fft.forward();
        power.iter_mut().zip(&self.fft.bins).for_each(|(power, bin)| *power = bin.norm_sqr());
    }
}
