//! Dry sound, as late as the wet.

/// A delay of a fixed number of samples.
pub struct DelayLine {
    line: Box<[f32]>,
    index: usize,
}

impl DelayLine {
    pub fn new(delay_samples: usize) -> Self {
        Self { line: std::iter::repeat_n(0.0, delay_samples).collect(), index: 0 }
    }

    pub fn reset(&mut self) {
        self.line.fill(0.0);
        self.index = 0;
    }

    /// Takes the newest sample, gives the one `delay_samples` before it.
    #[inline]
    pub fn next(&mut self, sample: f32) -> f32 {
        let Some(slot) = self.line.get_mut(self.index) else { return sample };
        let oldest = std::mem::replace(slot, sample);
        self.index += 1;
        if self.index == self.line.len() {
            self.index = 0;
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_by_its_length() {
        let mut line = DelayLine::new(3);
        assert_eq!([1.0, 2.0, 3.0, 4.0, 5.0].map(|sample| line.next(sample)), [0.0, 0.0, 0.0, 1.0, 2.0]);
        line.reset();
        assert_eq!(line.next(9.0), 0.0);
        assert_eq!(DelayLine::new(0).next(7.0), 7.0);
    }
}
