//! The card of a bank: what it is, who sings in it, on what terms.

use serde::{Deserialize, Serialize};

use crate::signal::loudness::{LOUDNESS_CEILING, LOUDNESS_FLOOR};

use super::config::{MU_LAW_CODES, ModelConfig, SingerInput};

/// Version of the file layout; a reader refuses what is newer than itself.
pub const FORMAT_VERSION: u32 = 1;

/// The most singers that a bank may hold.
pub const MAX_SINGERS: usize = 4096;

/// The most singers that may have decoders of their own: each brings a hundred tensors.
const MAX_DECODERS: usize = 64;

/// Longest name of a bank or a singer, in bytes: hosts show it in a list.
const MAX_NAME_BYTES: usize = 128;

/// Everything a bank says about itself. Stored as one JSON text under the key `falsetto.card` of the file's metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of the file layout.
    pub format_version: u32,
    /// Name of the bank, as people call it.
    pub name: String,
    /// The singers, in the order of their embeddings.
    pub singers: Vec<Singer>,
    /// Sizes and switches of the networks.
    pub model: ModelConfig,
    /// How the decoder draws its samples.
    pub sampling: Sampling,
    /// What the decoder's products are made of.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// How far the singers' embeddings were moved from the mean of all when the bank was saved, over how far training put
    /// them.
    #[serde(default = "no_emphasis")]
    pub singer_emphasis: f32,
    /// What share of their distance from their two nearest neighbours they were then moved further away from those.
    #[serde(default)]
    pub singer_contrast: f32,
    /// The loudness (in the feature's unit) up to which the decoder was trained. Louder hops are sung at it and
    /// amplified afterwards: beyond what it knows, a decoder may fall into a squeal.
    pub loudest: f32,
    /// What it was trained on: corpora, minutes, recipe, steps.
    pub trained_on: String,
    /// Licence of the bank itself.
    pub licence: String,
    /// Notices that the sources' licences ask to be passed on.
    pub notices: Vec<String>,
    /// On what consent the singers' voices are used.
    pub consent: String,
}

impl Card {
    /// Median F0 in Hz of a blend, between the singers' own in the logarithm as its embedding is between theirs; a singer past
    /// the last counts as the last.
    pub fn blended_f0_hz(&self, singer: usize, second_singer: usize, blend: f32) -> f32 {
        let last = self.singers.len().saturating_sub(1);
        let log =
            |singer: usize| self.singers.get(singer.min(last)).map_or(0.0, |s| libm::log2f(s.median_f0_hz));
        libm::exp2f(log(singer) + blend * (log(second_singer) - log(singer)))
    }
}

/// One singer of a bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Singer {
    /// Short name, unique in the bank.
    pub name: String,
    /// Median of the training audio's F0 on voiced frames, in Hz.
    pub median_f0_hz: f32,
}

/// Banks that do not say.
fn no_emphasis() -> f32 {
    1.0
}

/// What the products of a decoder's layers and head are made of. It decides the samples to the bit, so it belongs to the
/// bank and not to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// Single precision, as it was trained.
    #[default]
    F32,
    /// Weights and activations of one byte (of the head's output two), with a scale for each row of weights and each
    /// vector: a few times as fast.
    Int8,
}

/// How a code is drawn from the softmax: logits are scaled by a sharpness, improbable codes dropped; and what is done to the
/// sound after that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Factor on the logits of voiced frames.
    pub voiced_sharpness: f32,
    /// Factor on the logits of unvoiced frames.
    pub unvoiced_sharpness: f32,
    /// Codes below this probability are never drawn.
    pub floor_probability: f32,
    /// Weight of the [`Comb`](crate::signal::comb::Comb) on what is sung, 0 to 1; 0 is none.
    #[serde(default)]
    pub comb: f32,
    /// How far the [`Equalizer`](crate::signal::equalizer::Equalizer) leads what is sung to the spectrum that the frame network
    /// expects, 0 to 1; 0 is not at all.
    #[serde(default)]
    pub spectrum: f32,
    /// How far the same filter leads what is sung, in the long run, to what the singer sounds like on average, 0 to 1; 0 is
    /// not at all.
    #[serde(default)]
    pub timbre: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            voiced_sharpness: 1.6,
            unvoiced_sharpness: 1.1,
            floor_probability: 0.002,
            comb: 0.0,
            spectrum: 0.0,
            timbre: 0.0,
        }
    }
}

impl Card {
    /// Refuses a card that no bank can have: another version, impossible sizes, no singers, names that are empty,
    /// unprintable or used twice, numbers that are not finite or out of range. The error is a sentence about the
    /// field.
    pub fn check(&self) -> Result<(), String> {
        if self.format_version != FORMAT_VERSION {
            return Err(format!("format_version is {}, must be {FORMAT_VERSION}", self.format_version));
        }
        check_name("name", &self.name)?;
        self.model.check().map_err(|error| error.to_string())?;
        if !(1..=MAX_SINGERS).contains(&self.singers.len()) {
            return Err(format!("singers has {} entries, must have 1 to {MAX_SINGERS}", self.singers.len()));
        }
        if self.model.singers == SingerInput::Decoders && self.singers.len() > MAX_DECODERS {
            let count = self.singers.len();
            return Err(format!(
                "singers has {count} entries, must have at most {MAX_DECODERS} with decoders of their own"
            ));
        }
        let width = self.model.singer_embedding_size;
        if self.model.singers == SingerInput::OneHot && width < self.singers.len() {
            let count = self.singers.len();
            return Err(format!(
                "model.singer_embedding_size is {width}, must be at least {count} for {count} singers"
            ));
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, singer) in self.singers.iter().enumerate() {
            check_name(&format!("singers[{index}].name"), &singer.name)?;
            if !names.insert(singer.name.as_str()) {
                return Err(format!("singers[{index}].name is `{}`, which is taken already", singer.name));
            }
            let field = format!("singers[{index}].median_f0_hz");
            check_range(&field, singer.median_f0_hz, 20.0, 4_000.0)?;
        }
        check_range("singer_emphasis", self.singer_emphasis, 0.01, 100.0)?;
        check_range("singer_contrast", self.singer_contrast, 0.0, 1.0)?;
        check_range("loudest", self.loudest, LOUDNESS_FLOOR, LOUDNESS_CEILING)?;
        check_range("sampling.voiced_sharpness", self.sampling.voiced_sharpness, 0.01, 100.0)?;
        check_range("sampling.unvoiced_sharpness", self.sampling.unvoiced_sharpness, 0.01, 100.0)?;
        check_range("sampling.comb", self.sampling.comb, 0.0, 1.0)?;
        check_range("sampling.spectrum", self.sampling.spectrum, 0.0, 1.0)?;
        check_range("sampling.timbre", self.sampling.timbre, 0.0, 1.0)?;
        // The likeliest of 256 codes has at least 1/256, so such a floor can never drop them all.
        check_range(
            "sampling.floor_probability",
            self.sampling.floor_probability,
            0.0,
            1.0 / MU_LAW_CODES as f32,
        )
    }
}

fn check_name(field: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("{field} is empty"));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(format!("{field} is {name:?}, must have no control characters and no blanks around it"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("{field} has {} bytes, must have at most {MAX_NAME_BYTES}", name.len()));
    }
    Ok(())
}

fn check_range(field: &str, value: f32, low: f32, high: f32) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("{field} is {value}, must be {low} to {high}"))
    }
}
