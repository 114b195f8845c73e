//! `--transpose`: by semitones, or to where the singer is at home.

use falsetto_engine::signal::range::{octaves_between, semitones_between};
use falsetto_engine::stream::{MAX_TRANSPOSE_SEMITONES, Settings, StreamError, median_f0_hz};
use falsetto_engine::voice::VoiceBank;

/// How a take is transposed.
#[derive(Clone, Copy)]
pub enum Transpose {
    /// By so many semitones.
    Semitones(f32),
    /// To the octave in which the take lies nearest to the singer's range.
    Octave,
    /// To the semitone that brings the take nearest to it.
    Key,
}

/// A transposition that was found for a take.
#[derive(Clone, Copy)]
pub struct Fitted {
    /// Semitones up.
    pub semitones: f32,
    /// Median F0 of the take, if it was asked for and there is one.
    pub take_f0_hz: Option<f32>,
}

impl Transpose {
    /// Reads `octave`, `key` or a number.
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f32>()) {
            ("octave", _) => Ok(Self::Octave),
            ("key", _) => Ok(Self::Key),
            (_, Ok(value)) if (-36.0..=36.0).contains(&value) => Ok(Self::Semitones(value)),
            (_, Ok(_)) => Err("must be between -36 and 36 semitones".into()),
            (_, Err(_)) => Err("must be a number of semitones, `octave` or `key`".into()),
        }
    }

    /// The transposition of a mono take for the settings' singer, or blend of singers.
    pub fn fit(
        self,
        bank: &VoiceBank,
        settings: &Settings,
        rate_hz: u32,
        take: &[f32],
    ) -> Result<Fitted, StreamError> {
        let between = match self {
            Self::Semitones(semitones) => return Ok(Fitted { semitones, take_f0_hz: None }),
            Self::Octave => octaves_between,
            Self::Key => semitones_between,
        };
        let take_f0_hz = median_f0_hz(bank, rate_hz, take)?;
        let singer_f0_hz = bank.card().blended_f0_hz(settings.singer, settings.second_singer, settings.blend);
        let semitones = take_f0_hz.map_or(0.0, |take_f0_hz| {
            between(take_f0_hz, singer_f0_hz).clamp(-MAX_TRANSPOSE_SEMITONES, MAX_TRANSPOSE_SEMITONES)
        });
        Ok(Fitted { semitones, take_f0_hz })
    }
}
