//! A voice bank: one safetensors file that holds the networks, the singers and a card that says where they come from.

mod bank;
mod card;
mod codebook;
mod config;
mod container;
mod derived;
mod random;
mod tensors;
mod timbre;

pub use bank::{DEFAULT_BANK_NAME, MAX_FILE_BYTES, VoiceBank, VoiceError};
pub use card::{Arithmetic, Card, FORMAT_VERSION, MAX_SINGERS, Sampling, Singer};
pub(crate) use codebook::nearest_code;
pub use config::{
    BottleneckConfig, ConditionConfig, ConfigError, DecoderConfig, DilatedLookAhead, ENVELOPE_LEAK,
    ENVELOPE_LOWEST_F0_HZ, ENVELOPE_STRIDE, ENVELOPE_TAPS, EncoderConfig, EnvelopeConfig, MU_LAW_CODES,
    ModelConfig, PriorConfig, SingerInput,
};
pub(crate) use config::{dilations, envelope_widths, mel_dilations, mel_past_frames};
pub(crate) use tensors::{CODEBOOK, LOG_F0};
#[cfg(feature = "train")]
pub(crate) use tensors::{EMBEDDING, decoder_tensor_name, name_in_decoder};
pub use tensors::{TensorSpec, tensor_specs};
pub(crate) use timbre::mean_frame;
#[cfg(feature = "train")]
pub(crate) use timbre::{REGISTERS, TIMBRE, register_of};
