//! Transforms with their buffers.

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
