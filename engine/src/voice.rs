//! A voice bank: one safetensors file that holds the networks, the singers and a card that says where they come from.

mod bank;
mod card;
mod config;
mod tensors;

pub use bank::{DEFAULT_BANK_NAME, VoiceBank, VoiceError};
pub use card::{Card, FORMAT_VERSION, Sampling, Singer};
pub use config::{MU_LAW_CODES, dilations};
pub use config::{
    ConditionConfig, ConfigError, DecoderConfig, DilatedLookAhead, EncoderConfig, ModelConfig, PriorConfig,
};
pub use tensors::{TensorSpec, tensor_specs};
