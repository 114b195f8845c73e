//! A queue of samples of fixed capacity.

/// First in, first out. Holds at most `capacity` samples.
pub(super) struct Queue {
    values: Box<[f32]>,
    begin: usize,
    length: usize,
}

impl Queue {
    pub fn new(capacity: usize) -> Self {
        Self { values: vec![0.0; capacity].into(), begin: 0, length: 0 }
    }

    /// Empties the queue, then puts `silence` zeros in.
    pub fn reset(&mut self, silence: usize) {
        self.values.fill(0.0);
        self.begin = 0;
        self.length = silence.min(self.values.len());
    }

    /// Puts samples in; what finds no room is left out, which whoever chose the capacity has ruled out.
    pub fn push(&mut self, samples: &[f32]) {
        debug_assert!(self.length + samples.len() <= self.values.len(), "the queue is too short");
        let capacity = self.values.len();
        let samples = &samples[..samples.len().min(capacity - self.length)];
        let end = (self.begin + self.length) % capacity;
        let (first, second) = samples.split_at(samples.len().min(capacity - end));
        self.values[end..end + first.len()].copy_from_slice(first);
        self.values[..second.len()].copy_from_slice(second);
        self.length += samples.len();
    }

    /// Takes samples out; zeros where there are none left, which whoever filled the queue has ruled out.
    pub fn pop(&mut self, out: &mut [f32]) {
        debug_assert!(out.len() <= self.length, "the queue ran dry");
        let (out, missing) = out.split_at_mut(out.len().min(self.length));
        missing.fill(0.0);
        let capacity = self.values.len();
        let count = out.len();
        let (first, second) = out.split_at_mut(count.min(capacity - self.begin));
        first.copy_from_slice(&self.values[self.begin..self.begin + first.len()]);
        second.copy_from_slice(&self.values[..second.len()]);
        self.begin = (self.begin + count) % capacity;
        self.length -= count;
    }
}
