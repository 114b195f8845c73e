//! How far a GPU is trusted with a live stream.
//!
//! A GPU that was late once may have been busy with something that is over; one that is late again and again should be left
//! alone. So the processor sings on at once, and the GPU gets another chance after a time that doubles with every failure,
//! in a rest, where it is not heard that its past is silent.

use std::sync::Arc;

use crate::decode::{Decoder, Gpu};

/// The first time that the processor sings instead.
const FIRST_WAIT_S: f64 = 10.0;
/// The longest.
const LONGEST_WAIT_S: f64 = 600.0;
/// A hop that is not louder is a rest: about -58 dBFS.
const REST_LOUDNESS: f32 = -2.0;

/// A GPU and what came of trusting it.
pub(super) struct Trust {
    gpu: Arc<Gpu>,
    hop_s: f64,
    /// How long the processor sings after the next failure, and how much of that is left now.
    next_wait_s: f64,
    left_s: f64,
    was_on_gpu: bool,
    falls: u32,
}

/// What a GPU does for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuUse {
    /// Whether it sings now.
    pub sings: bool,
    /// How often the processor had to go on instead, since the GPU was late or had failed.
    pub falls: u32,
}

impl Trust {
    /// Of a GPU that has just begun to sing.
    pub(super) fn new(gpu: &Arc<Gpu>, hop_s: f64) -> Self {
        Self {
            gpu: Arc::clone(gpu),
            hop_s,
            next_wait_s: FIRST_WAIT_S,
            left_s: 0.0,
            was_on_gpu: true,
            falls: 0,
        }
    }

    /// The hop that is due came too late.
    pub(super) fn late(&mut self, decoder: &mut Decoder) {
        if decoder.is_on_gpu() {
            decoder.sing_on_processor();
        }
    }

    /// Before a hop of this loudness is decoded.
    pub(super) fn hop(&mut self, decoder: &mut Decoder, loudness: f32) {
        if decoder.is_on_gpu() {
            return;
        }
        if self.was_on_gpu {
            self.fall();
        }
        self.left_s -= self.hop_s;
        if self.left_s <= 0.0 && loudness <= REST_LOUDNESS {
            match decoder.sing_on(&self.gpu) {
                Ok(()) => self.was_on_gpu = true,
                Err(error) => {
                    tracing::warn!("{error}; the processor sings on");
                    self.fall();
                }
            }
        }
    }

    fn fall(&mut self) {
        self.was_on_gpu = false;
        self.falls += 1;
        self.left_s = self.next_wait_s;
        self.next_wait_s = (2.0 * self.next_wait_s).min(LONGEST_WAIT_S);
    }

    pub(super) fn report(&self, decoder: &Decoder) -> GpuUse {
        GpuUse { sings: decoder.is_on_gpu(), falls: self.falls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{DecoderWeights, emulated_gpu};
    use crate::voice::{Sampling, VoiceBank};

    #[test]
    fn a_gpu_that_was_late_comes_back_in_a_rest_and_later_each_time() {
        let bank = VoiceBank::default_bank().unwrap();
        let mut decoder = Decoder::new(Arc::clone(&DecoderWeights::of(&bank)[0]), Sampling::default());
        let gpu = emulated_gpu();
        decoder.sing_on(&gpu).unwrap();
        let mut trust = Trust::new(&gpu, 0.5);
        let (loud, rest) = (0.0, -2.5);
        for (falls, wait_hops) in [(1, 20), (2, 40), (3, 80)] {
            trust.hop(&mut decoder, loud);
            assert!(decoder.is_on_gpu());
            trust.late(&mut decoder);
            for _ in 0..wait_hops - 1 {
                trust.hop(&mut decoder, rest);
                assert!(!decoder.is_on_gpu());
            }
            trust.hop(&mut decoder, loud);
            assert_eq!(trust.report(&decoder), GpuUse { sings: false, falls });
            trust.hop(&mut decoder, rest);
            assert_eq!(trust.report(&decoder), GpuUse { sings: true, falls });
        }
        for _ in 0..20 {
            trust.late(&mut decoder);
            trust.hop(&mut decoder, loud);
            let hops = (0..).take_while(|_| {
                trust.hop(&mut decoder, rest);
                !decoder.is_on_gpu()
            });
            assert!(hops.count() <= 1200, "longer than ten minutes");
        }
    }
}
