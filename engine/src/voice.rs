//! A voice bank: one safetensors file that holds the networks, the singers and a card that says where they come from.

mod bank;
mod card;
mod config;
mod container;
mod random;
mod tensors;

pub use bank::{DEFAULT_BANK_NAME, MAX_FILE_BYTES, VoiceBank, VoiceError};
pub use card::{Arithmetic, Card, FORMAT_VERSION, MAX_SINGERS, Sampling, Singer};
pub use config::{
    ConditionConfig, ConfigError, DecoderConfig, DilatedLookAhead, EncoderConfig, MU_LAW_CODES, ModelConfig,
    PriorConfig,
};
pub(crate) use config::{dilations, mel_dilations, mel_past_frames};
pub use tensors::{TensorSpec, tensor_specs};
