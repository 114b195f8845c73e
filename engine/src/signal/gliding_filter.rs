//! A filter whose response changes from hop to hop.

/// Filters hops by responses that glide into each other: at a hop's start the response is that of its end before, at its
/// end the new one.
pub(super) struct GlidingFilter {
    /// The response at the end of the last hop, and at the end of this one; newest tap last.
    before: Vec<f32>,
    now: Vec<f32>,
    /// `taps - 1` samples of input, then the hop that is worked on.
    past: Vec<f32>,
}

impl GlidingFilter {
    /// A filter of so many taps, at least one, at the start of a stream, that passes everything.
    pub(super) fn new(taps: usize, hop_samples: usize) -> Self {
        let mut now = vec![0.0; taps];
        pass_all(&mut now);
        Self { before: now.clone(), now, past: vec![0.0; taps - 1 + hop_samples] }
    }

    /// Back to the start of a stream.
    pub(super) fn reset(&mut self) {
        pass_all(&mut self.now);
        self.past.fill(0.0);
    }

    /// The response at the end of this hop, to be written: the one before the last, newest tap last.
    pub(super) fn next_response(&mut self) -> &mut [f32] {
        std::mem::swap(&mut self.before, &mut self.now);
        &mut self.now
    }

    /// The response at the end of the last hop.
    #[cfg(test)]
    pub(super) fn response(&self) -> &[f32] {
        &self.now
    }

    /// Filters a hop in place, after its response was set.
    ///
    /// # Panics
    /// If the hop is not as long as was said.
    pub(super) fn process(&mut self, hop: &mut [f32]) {
        let history = self.hear(hop);
        let step = 1.0 / hop.len() as f32;
        for (index, sample) in hop.iter_mut().enumerate() {
            let window = &self.past[index..][..=history];
            let (before, now) = (super::dot(&self.before, window), super::dot(&self.now, window));
            *sample = before + (now - before) * ((index + 1) as f32 * step);
        }
        self.past.copy_within(hop.len().., 0);
    }

    /// Lets a hop pass as it is, where both responses do so.
    ///
    /// # Panics
    /// If the hop is not as long as was said.
    pub(super) fn pass(&mut self, hop: &[f32]) {
        self.hear(hop);
        self.past.copy_within(hop.len().., 0);
    }

    fn hear(&mut self, hop: &[f32]) -> usize {
        let history = self.now.len() - 1;
        self.past[history..][..hop.len()].copy_from_slice(hop);
        history
    }
}

/// Writes the response that changes nothing.
pub(super) fn pass_all(response: &mut [f32]) {
    response.fill(0.0);
    if let Some(newest) = response.last_mut() {
        *newest = 1.0;
    }
}
