//! Loading, checking and saving a bank.
use std::path::PathBuf;
use thiserror::Error;

/// Name of the bank that is built in.
pub const DEFAULT_BANK_NAME: &str = "default";

/// A bank: its card and its tensors, checked.
pub struct VoiceBank {
    _private: (),
}

/// Why a bank was refused.
#[derive(Debug, Error)]
pub enum VoiceError {
    /// The file could not be read.
    #[error("cannot read voice bank {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}
