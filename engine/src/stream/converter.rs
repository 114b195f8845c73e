//! From a take to the same take in another singer's voice, as a pure function of what went in.
//!
//! ```text
//! host rate    samples in -> resample ->                                      -> resample -> queue -> limit -> samples out
//! model rate                            hops -> networks (analyse, encode, decode)
//! ```

mod chain;
mod networks;
mod queue;
mod timeline;

use std::sync::Arc;

use thiserror::Error;

use crate::voice::VoiceBank;
use chain::Chain;
use networks::Networks;

/// Lowest and highest rate of a host, in Hz.
pub const HOST_RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// Furthest transposition, up or down.
pub const MAX_TRANSPOSE_SEMITONES: f32 = 48.0;

/// What a stream is asked to do, and may be asked anew at any sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// Who sings: an index into the bank's singers.
    pub singer: usize,
    /// How much higher the singer sings than the take, in semitones.
    pub transpose_semitones: f32,
    /// Which of all possible performances is given: the key of the decoder's random numbers.
    pub seed: u64,
}

/// How long one stage holds the sound back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDelay {
    /// What the stage does.
    pub name: &'static str,
    /// Its delay at the host's rate.
    pub samples: usize,
}

/// Why a stream cannot be made.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The host's rate is out of range.
    #[error("the sample rate is {rate_hz} Hz, must be {} to {} Hz", HOST_RATES_HZ.start(), HOST_RATES_HZ.end())]
    HostRate {
        /// The rate.
        rate_hz: u32,
    },
    /// The bank has fewer singers.
    #[error("there is no singer {index} in bank `{bank}`, which has {count}, counted from 0")]
    Singer {
        /// The bank's name.
        bank: String,
        /// The index that was asked for.
        index: usize,
        /// How many singers there are.
        count: usize,
    },
    /// The transposition is out of range or not a number.
    #[error(
        "the transposition is {semitones} semitones, must be -{MAX_TRANSPOSE_SEMITONES} to {MAX_TRANSPOSE_SEMITONES}"
    )]
    Transpose {
        /// The transposition.
        semitones: f32,
    },
}

/// One stream: mono sound in, mono sound out, the same number of samples, `latency_samples` later.
///
/// Output sample n is a function of the bank, the settings' timeline and the input up to n since the last reset, and of
/// nothing else. Nothing allocates after construction.
pub struct Converter {
    chain: Chain<Networks>,
    singers: usize,
}

impl Converter {
    /// A stream at its start.
    ///
    /// # Errors
    /// [`StreamError`] where the rate or a setting is out of range.
    pub fn new(bank: &Arc<VoiceBank>, host_rate_hz: u32, settings: Settings) -> Result<Self, StreamError> {
        if !HOST_RATES_HZ.contains(&host_rate_hz) {
            return Err(StreamError::HostRate { rate_hz: host_rate_hz });
        }
        let singers = bank.card().singers.len();
        if settings.singer >= singers {
            let bank = bank.card().name.clone();
            return Err(StreamError::Singer { bank, index: settings.singer, count: singers });
        }
        if !(-MAX_TRANSPOSE_SEMITONES..=MAX_TRANSPOSE_SEMITONES).contains(&settings.transpose_semitones) {
            return Err(StreamError::Transpose { semitones: settings.transpose_semitones });
        }
        let model = &bank.card().model;
        let chain = Chain::new(
            Networks::new(bank, settings),
            model.sample_rate_hz,
            model.hop_samples,
            host_rate_hz,
            settings,
        );
        Ok(Self { chain, singers })
    }

    /// Delay from input to output in samples of the host's rate: the sum of [`stages`](Self::stages).
    pub fn latency_samples(&self) -> usize {
        self.stages().iter().map(|stage| stage.samples).sum()
    }

    /// What the latency is made of.
    pub fn stages(&self) -> &[StageDelay] {
        self.chain.stages()
    }

    /// Back to the start. The settings stay as they were last set.
    pub fn reset(&mut self) {
        self.chain.reset();
    }

    /// Settings that hold for the input from the next processed sample on: they take effect with the first hop of the
    /// model that starts at or after that sample, wherever blocks begin and end. Before the first sample they hold from
    /// the start. A singer past the last is taken as the last, a transposition out of range as the nearest
    /// one in range, and one that is not a number as none.
    pub fn set(&mut self, settings: Settings) {
        let transpose = settings.transpose_semitones;
        let transpose = if transpose.is_nan() { 0.0 } else { transpose };
        self.chain.set(Settings {
            singer: settings.singer.min(self.singers - 1),
            transpose_semitones: transpose.clamp(-MAX_TRANSPOSE_SEMITONES, MAX_TRANSPOSE_SEMITONES),
            seed: settings.seed,
        });
    }

    /// Converts the next samples. Samples that are not finite count as 0, those beyond 24 dB over full scale as that; the
    /// output stays within 0.999 of full scale.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn process(&mut self, input: &[f32], output: &mut [f32]) {
        assert_eq!(input.len(), output.len(), "input and output of a block");
        self.chain.process(input, output);
    }
}

#[cfg(test)]
mod tests;
