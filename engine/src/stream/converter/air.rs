//! Air: what the model's rate cannot carry, taken from the take.
//!
//! Air is the take less what is left of it after a way to the model's rate and back. So a model that changed nothing would
//! give back the take itself, whatever the filters on that way are like.

use crate::signal::resample::Resampler;

/// The air of a take, hop by hop of the model.
pub(super) struct Air {
    /// The way back, for the take.
    up: Resampler,
    /// Hops of the take at the model's rate that the middle has not given yet, `[look_ahead_hops + 1, hop]`.
    hops: Box<[f32]>,
    hop_samples: usize,
    newest: usize,
    /// One hop at the host's rate.
    band: Box<[f32]>,
    /// A ring of the take's last samples at the host's rate; sample n lies at n modulo its length.
    take: Box<[f32]>,
    /// Samples of the take that went in, and samples whose air was given.
    heard: u64,
    given: u64,
    /// Gain at the end of the last hop; none before the first.
    gain: Option<f32>,
}

impl Air {
    /// `memory_samples` at the host's rate is by how much the take that was heard may be ahead of the air that is given.
    pub fn new(
        model_rate_hz: u32,
        host_rate_hz: u32,
        hop_samples: usize,
        look_ahead_hops: usize,
        memory_samples: usize,
    ) -> Self {
        let up = Resampler::new(model_rate_hz, host_rate_hz);
        Self {
            band: vec![0.0; up.most_output(hop_samples)].into(),
            up,
            hops: vec![0.0; (look_ahead_hops + 1) * hop_samples].into(),
            hop_samples,
            newest: 0,
            take: vec![0.0; memory_samples].into(),
            heard: 0,
            given: 0,
            gain: None,
        }
    }

    pub fn reset(&mut self) {
        self.up.reset();
        self.hops.fill(0.0);
        self.newest = 0;
        self.take.fill(0.0);
        self.heard = 0;
        self.given = 0;
        self.gain = None;
    }

    /// The next samples of the take, at the host's rate.
    pub fn hear(&mut self, samples: &[f32]) {
        for sample in samples {
            let place = self.heard % self.take.len() as u64;
            self.take[place as usize] = *sample;
            self.heard += 1;
        }
    }

    /// The take's next hop, at the model's rate.
    pub fn hear_hop(&mut self, hop: &[f32]) {
        self.newest = (self.newest + self.hop_samples) % self.hops.len();
        self.hops[self.newest..][..self.hop_samples].copy_from_slice(hop);
    }

    /// Adds the air of the hop that lies the look-ahead back to the same hop of the singer, `output` at the host's rate.
    /// The gain glides from that of the hop before.
    pub fn add(&mut self, gain: f32, output: &mut [f32]) {
        let oldest = (self.newest + self.hop_samples) % self.hops.len();
        let mut count = 0;
        self.up.push(&self.hops[oldest..][..self.hop_samples], |sample| {
            self.band[count] = sample;
            count += 1;
        });
        debug_assert_eq!(count, output.len(), "both ways back run in step");
        let from = self.gain.unwrap_or(gain);
        let step = (gain - from) / output.len().max(1) as f32;
        for (index, (sample, band)) in output.iter_mut().zip(&self.band[..count]).enumerate() {
            debug_assert!(self.given < self.heard && self.heard - self.given <= self.take.len() as u64);
            let take = self.take[(self.given % self.take.len() as u64) as usize];
            *sample += (from + step * (index + 1) as f32) * (take - band);
            self.given += 1;
        }
        self.gain = Some(gain);
    }
}
