//! Pre-emphasis before mu-law and its inverse after it: the noise of 256 codes then falls off with frequency as a voice
//! does.

/// `y[t] = x[t] - a x[t-1]`, `x[-1] = 0`.
#[derive(Clone, Debug)]
pub struct PreEmphasis {
    coefficient: f32,
    last: f32,
}

impl PreEmphasis {
    /// A filter with `a` in `[0, 1)`; 0 passes the sound unchanged.
    pub fn new(a: f32) -> Self {
        Self { coefficient: a, last: 0.0 }
    }

    /// Filters the next samples of the stream in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        for sample in samples {
            let x = *sample;
            *sample = x - self.coefficient * self.last;
            self.last = x;
        }
    }

    /// Back to the state before the first sample.
    pub fn reset(&mut self) {
        self.last = 0.0;
    }
}

/// `x[t] = y[t] + a x[t-1]`, `x[-1] = 0`: the inverse of [`PreEmphasis`].
#[derive(Clone, Debug)]
pub struct DeEmphasis {
    coefficient: f32,
    last: f32,
}

impl DeEmphasis {
    /// A filter with `a` in `[0, 1)`; 0 passes the sound unchanged.
    pub fn new(a: f32) -> Self {
        Self { coefficient: a, last: 0.0 }
    }

    /// Filters the next samples of the stream in place.
    pub fn process(&mut self, samples: &mut [f32]) {
        for sample in samples {
            self.last = *sample + self.coefficient * self.last;
            *sample = self.last;
        }
    }

    /// Back to the state before the first sample.
    pub fn reset(&mut self) {
        self.last = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_an_impulse() {
        let mut step = [1.0, 1.0, 1.0];
        PreEmphasis::new(0.75).process(&mut step);
        assert_eq!(step, [1.0, 0.25, 0.25]);
        let mut impulse = [1.0, 0.0, 0.0];
        DeEmphasis::new(0.5).process(&mut impulse);
        assert_eq!(impulse, [1.0, 0.5, 0.25]);
    }

    #[test]
    fn inverse_of_each_other_in_pieces_and_after_reset() {
        let sound: Vec<f32> = (0..500).map(|t| (t as f32 * 0.37).sin() * 0.8).collect();
        let (mut pre, mut de) = (PreEmphasis::new(0.85), DeEmphasis::new(0.85));
        for _ in 0..2 {
            let mut there = sound.clone();
            there.chunks_mut(7).for_each(|piece| pre.process(piece));
            there.chunks_mut(13).for_each(|piece| de.process(piece));
            for (a, b) in sound.iter().zip(&there) {
                assert!((a - b).abs() < 1e-5);
            }
            pre.reset();
            de.reset();
        }
    }
}
