//! The card of a bank: what it is, who sings in it, on what terms.

use serde::{Deserialize, Serialize};

use super::config::ModelConfig;

/// Version of the file layout; a reader refuses what is newer than itself.
pub const FORMAT_VERSION: u32 = 1;

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
    /// What it was trained on: corpora, minutes, recipe, steps.
    pub trained_on: String,
    /// Licence of the bank itself.
    pub licence: String,
    /// Notices that the sources' licences ask to be passed on.
    pub notices: Vec<String>,
    /// On what consent the singers' voices are used.
    pub consent: String,
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

/// How a code is drawn from the softmax: logits are scaled by a sharpness, improbable codes dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Factor on the logits of voiced frames.
    pub voiced_sharpness: f32,
    /// Factor on the logits of unvoiced frames.
    pub unvoiced_sharpness: f32,
    /// Codes below this probability are never drawn.
    pub floor_probability: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { voiced_sharpness: 1.6, unvoiced_sharpness: 1.1, floor_probability: 0.002 }
    }
}
