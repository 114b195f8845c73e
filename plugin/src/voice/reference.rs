//! How a project remembers its voice bank.

use falsetto_engine::voice::DEFAULT_BANK_NAME;
use serde::{Deserialize, Serialize};

/// Version of the reference; later versions only add fields.
const VERSION: u32 = 1;

/// A bank by content, then by name, with a hint where it lay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VoiceReference {
    /// Version of this record.
    pub version: u32,
    /// Content hash, in hexadecimal; empty where only the name counts.
    pub hash: String,
    /// Name of the bank.
    pub name: String,
    /// The file it was loaded from last; none for the bank that is built in.
    pub path: Option<String>,
}

impl VoiceReference {
    /// The bank that is built in, whatever it holds in this version.
    pub fn built_in() -> Self {
        Self { version: VERSION, hash: String::new(), name: DEFAULT_BANK_NAME.into(), path: None }
    }
}

impl Default for VoiceReference {
    fn default() -> Self {
        Self::built_in()
    }
}
