//! From a take to the same take in another singer's voice, as a pure function of what went in.
//!
//! ```text
//! host rate    samples in -> resample ->                         -> resample -> + air -> queue -> limit -> samples out
//! model rate                            hops -> networks (analyse, encode, decode to samples)
//!                                            or vocoder (analyse, encode, decode to envelopes, synthesise)
//! ```

mod air;
mod chain;
mod delay;
mod level;
mod networks;
mod queue;
mod timeline;
mod trust;
mod vocoder;

use std::sync::Arc;

use thiserror::Error;

use super::encoder::EncodeTask;
use crate::decode::{Gpu, GpuError, HopTask};
use crate::voice::VoiceBank;
pub use chain::Progress;
use chain::{Chain, Middle};
use networks::Networks;
pub use trust::GpuUse;
use vocoder::Vocoder;

/// Lowest and highest rate of a host, in Hz.
pub const HOST_RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;

/// Furthest transposition, up or down.
pub const MAX_TRANSPOSE_SEMITONES: f32 = 48.0;

/// Furthest shift of formants, up or down.
pub const MAX_FORMANT_SEMITONES: f32 = 12.0;

/// What a stream is asked to do, and may be asked anew at any sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Who sings: an index into the bank's singers.
    pub singer: usize,
    /// Whose voice is blended into his: an index into the bank's singers.
    pub second_singer: usize,
    /// The second singer's share of the voice, 0 to 1.
    pub blend: f32,
    /// How much higher the singer sings than the take, in semitones.
    pub transpose_semitones: f32,
    /// How much higher the singer's formants lie than his own, in semitones: a shorter throat.
    pub formant_semitones: f32,
    /// How much is heard of what the model's rate cannot carry, which the take gives: 0 to 1.
    pub air: f32,
    /// Which of all possible performances is given: the key of the decoder's random numbers.
    pub seed: u64,
}

impl Settings {
    /// The first singer, at the take's pitch, with all of its air.
    pub const FIRST_SINGER: Self = Self {
        singer: 0,
        second_singer: 0,
        blend: 0.0,
        transpose_semitones: 0.0,
        formant_semitones: 0.0,
        air: 1.0,
        seed: 0,
    };

    /// Who sings where singers have decoders of their own: two of those cannot be blended, the one with the greater share
    /// sings.
    fn sole_singer(&self) -> usize {
        if self.blend > 0.5 { self.second_singer } else { self.singer }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::FIRST_SINGER
    }
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
    /// The shift of formants is out of range or not a number.
    #[error(
        "the shift of formants is {semitones} semitones, must be -{MAX_FORMANT_SEMITONES} to {MAX_FORMANT_SEMITONES}"
    )]
    Formant {
        /// The shift.
        semitones: f32,
    },
    /// A share is out of range or not a number.
    #[error("the {of} is {share}, must be 0 to 1")]
    Share {
        /// What it is a share of.
        of: &'static str,
        /// The share.
        share: f32,
    },
}

/// One stream: mono sound in, mono sound out, the same number of samples, `latency_samples` later.
///
/// Output sample n is a function of the bank, the settings' timeline and the input up to n since the last reset, and of
/// nothing else. Nothing allocates after construction.
pub struct Converter {
    chain: Chain<Box<dyn Middle + Send>>,
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
        if let Some(index) = [settings.singer, settings.second_singer].into_iter().find(|i| *i >= singers) {
            let bank = bank.card().name.clone();
            return Err(StreamError::Singer { bank, index, count: singers });
        }
        for (of, share) in [("blend", settings.blend), ("air", settings.air)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(StreamError::Share { of, share });
            }
        }
        if !(-MAX_TRANSPOSE_SEMITONES..=MAX_TRANSPOSE_SEMITONES).contains(&settings.transpose_semitones) {
            return Err(StreamError::Transpose { semitones: settings.transpose_semitones });
        }
        if !(-MAX_FORMANT_SEMITONES..=MAX_FORMANT_SEMITONES).contains(&settings.formant_semitones) {
            return Err(StreamError::Formant { semitones: settings.formant_semitones });
        }
        let model = &bank.card().model;
        let middle: Box<dyn Middle + Send> = match &model.envelope {
            Some(envelope) => Box::new(Vocoder::new(bank, envelope, settings)),
            None => Box::new(Networks::new(bank, settings)),
        };
        let chain = Chain::new(middle, model.sample_rate_hz, model.hop_samples, host_rate_hz, settings);
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

    /// Median F0 of the voiced hops so far, in Hz, before transposition; none before there is one, or where the model
    /// does not ask for F0.
    pub fn take_median_f0_hz(&self) -> Option<f32> {
        self.chain.middle().take_median_f0_hz()
    }

    /// Lets a GPU decode from the next hop on: at a stream's start the same samples, later with a silent past. What has no
    /// decoder of samples stays on the processor.
    ///
    /// # Errors
    /// [`GpuError`] where the GPU cannot sing with this bank; then nothing has changed.
    pub fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        self.chain.sing_on(gpu)
    }

    /// The due hop comes too late: a GPU that sings must be left for a while.
    pub(super) fn late(&mut self) {
        self.chain.late();
    }

    /// What a GPU does for this stream; none where [`sing_on`](Self::sing_on) did not ask one to.
    pub fn gpu_use(&self) -> Option<GpuUse> {
        self.chain.middle().gpu_use()
    }

    /// How many streams gain from being sung together with this one.
    pub(super) fn company(&self) -> usize {
        self.chain.middle().company()
    }

    /// Back to the start. The settings stay as they were last set.
    pub fn reset(&mut self) {
        self.chain.reset();
    }

    /// Settings that hold for the input from the next processed sample on: they take effect with the first hop of the
    /// model that starts at or after that sample, wherever blocks begin and end. Before the first sample they hold from
    /// the start. A singer past the last is taken as the last, a number out of range as the nearest one in range, and what
    /// is not a number as 0.
    pub fn set(&mut self, settings: Settings) {
        let within =
            |value: f32, low: f32, high: f32| if value.is_nan() { 0.0 } else { value.clamp(low, high) };
        let last = self.singers - 1;
        self.chain.set(Settings {
            singer: settings.singer.min(last),
            second_singer: settings.second_singer.min(last),
            blend: within(settings.blend, 0.0, 1.0),
            transpose_semitones: within(
                settings.transpose_semitones,
                -MAX_TRANSPOSE_SEMITONES,
                MAX_TRANSPOSE_SEMITONES,
            ),
            formant_semitones: within(
                settings.formant_semitones,
                -MAX_FORMANT_SEMITONES,
                MAX_FORMANT_SEMITONES,
            ),
            air: within(settings.air, 0.0, 1.0),
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

    /// [`process`](Self::process) in parts: goes on with a block until a hop is due, or, with false, to its end. The due hop
    /// must be [encoded](Self::encoding), [decoded](Self::decoding) and [sung](Self::sing) before it goes on.
    pub(super) fn advance(&mut self, input: &[f32], output: &mut [f32], progress: &mut Progress) -> bool {
        self.chain.advance(input, output, progress)
    }

    /// The encoder's part of the due hop, where it is left to whoever asks, who must ask once.
    pub(super) fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        self.chain.encoding()
    }

    /// The decoder's part of the due hop, where the bank has a decoder of samples.
    pub(super) fn decoding(&mut self) -> Option<HopTask<'_>> {
        self.chain.decoding()
    }

    /// See [`advance`](Self::advance).
    pub(super) fn sing(&mut self) {
        self.chain.sing();
    }
}

#[cfg(test)]
mod tests;
