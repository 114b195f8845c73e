//! Transforms with their buffers.

use std::f32::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, FftNum, RealFftPlanner, RealToComplex};

/// Both directions of one length, in place of its own buffers. Neither direction scales.
pub struct Fft<T: FftNum> {
    forward: Arc<dyn RealToComplex<T>>,
    inverse: Arc<dyn ComplexToReal<T>>,
    scratch: Vec<Complex<T>>,
    /// `[samples]`
    pub time: Vec<T>,
    /// `[samples / 2 + 1]`
    pub bins: Vec<Complex<T>>,
}

impl<T: FftNum> Fft<T> {
    /// A transform of an even number of samples.
    pub fn new(samples: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        let forward = planner.plan_fft_forward(samples);
        let inverse = planner.plan_fft_inverse(samples);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            scratch: vec![Complex::new(T::zero(), T::zero()); scratch],
            time: forward.make_input_vec(),
            bins: forward.make_output_vec(),
            forward,
            inverse,
        }
    }

    /// `time` to `bins`; what was in `time` is lost.
    pub fn forward(&mut self) {
        let scratch = &mut self.scratch[..self.forward.get_scratch_len()];
        // Its only errors are wrong lengths, and all buffers are the plan's own.
        let done = self.forward.process_with_scratch(&mut self.time, &mut self.bins, scratch);
        debug_assert!(done.is_ok());
    }

    /// `bins` to `time`; what was in `bins` is lost. The imaginary parts of the first and the last count as 0.
    pub fn inverse(&mut self) {
        let last = self.bins.len() - 1;
        self.bins[0].im = T::zero();
        self.bins[last].im = T::zero();
        let scratch = &mut self.scratch[..self.inverse.get_scratch_len()];
        let done = self.inverse.process_with_scratch(&mut self.bins, &mut self.time, scratch);
        debug_assert!(done.is_ok());
    }
}

impl Fft<f32> {
    /// Makes of `bins`, whose real parts are the logarithm of an amplitude, the minimum-phase spectrum of that amplitude, `early`
    /// samples before its time: the causal half of the cepstrum, doubled, is the logarithm of that spectrum.
    pub fn minimum_phase(&mut self, early: f32) {
        self.inverse();
        let size = self.time.len();
        let scale = (size as f32).recip();
        let (causal, mirrored) = self.time.split_at_mut(size / 2 + 1);
        causal.iter_mut().enumerate().for_each(|(i, x)| {
            *x *= if i == 0 || i == size / 2 { scale } else { 2.0 * scale };
        });
        mirrored.fill(0.0);
        self.forward();
        let turn = TAU * early / size as f32;
        for (i, bin) in self.bins.iter_mut().enumerate() {
            let amplitude = libm::expf(bin.re);
            let (sine, cosine) = libm::sincosf(bin.im + turn * i as f32);
            *bin = Complex::new(amplitude * cosine, amplitude * sine);
        }
    }
}
