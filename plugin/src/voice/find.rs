//! Finding a bank: by content wherever it lies now, then by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use falsetto_engine::voice::{DEFAULT_BANK_NAME, VoiceBank};

use super::{VoiceReference, VoiceStatus};

/// A bank that fits, where it lay, and how well it fits.
pub struct Found {
    pub bank: Arc<VoiceBank>,
    pub path: Option<PathBuf>,
    pub status: VoiceStatus,
}

/// Where people's banks lie: `FALSETTO_VOICES`, or the folder that the system has for such things.
pub fn voices_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("FALSETTO_VOICES") {
        return Some(folder);
    }
    if cfg!(target_os = "windows") {
        variable("APPDATA").map(|data| data.join("Falsetto").join("voices"))
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support/Falsetto/voices"))
    } else {
        variable("XDG_DATA_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("falsetto/voices"))
    }
}

/// Finds what `wanted` means: in the build, at its last place, in the voices folder.
pub fn find(wanted: &VoiceReference) -> Result<Found, String> {
    find_in(wanted, VoiceBank::default_bank().map_err(|error| error.to_string()), voices_folder().as_deref())
}

fn find_in(
    wanted: &VoiceReference,
    built_in: Result<Arc<VoiceBank>, String>,
    folder: Option<&Path>,
) -> Result<Found, String> {
    let by_hash = |bank: &VoiceBank| !wanted.hash.is_empty() && bank.content_hash() == wanted.hash;
    if let Ok(bank) = &built_in
        && (by_hash(bank) || wanted.hash.is_empty() && wanted.name == DEFAULT_BANK_NAME)
    {
        return Ok(Found { bank: Arc::clone(bank), path: None, status: VoiceStatus::Ready });
    }
    let mut namesake: Option<Found> = None;
    let mut refused = Vec::new();
    let hint = wanted.path.iter().map(PathBuf::from).filter(|path| path.is_file());
    for path in hint.chain(files_in(folder)) {
        match VoiceBank::load(&path) {
            Ok(bank) if by_hash(&bank) => {
                return Ok(Found { bank: Arc::new(bank), path: Some(path), status: VoiceStatus::Ready });
            }
            Ok(bank) if namesake.is_none() && bank.card().name == wanted.name => {
                // Where no content was asked for, the name is all that there is to match.
                let status = if wanted.hash.is_empty() { VoiceStatus::Ready } else { VoiceStatus::ByName };
                namesake = Some(Found { bank: Arc::new(bank), path: Some(path), status });
            }
            Ok(_) => {}
            Err(error) => refused.push(error.to_string()),
        }
    }
    if let Some(found) = namesake {
        return Ok(found);
    }
    match built_in {
        Ok(bank) if wanted.name == DEFAULT_BANK_NAME || bank.card().name == wanted.name => {
            Ok(Found { bank, path: None, status: VoiceStatus::ByName })
        }
        Err(error) if wanted.name == DEFAULT_BANK_NAME => Err(error),
        _ => Err(missing(wanted, folder, &refused)),
    }
}

fn missing(wanted: &VoiceReference, folder: Option<&Path>, refused: &[String]) -> String {
    let mut text = format!("missing voice {}", wanted.name);
    match folder {
        Some(folder) => text += &format!("; put its file into {}", folder.display()),
        None => text += "; set FALSETTO_VOICES to the folder with its file",
    }
    if let Some(first) = refused.first() {
        text += &format!(" ({} file(s) refused, the first: {first})", refused.len());
    }
    text
}

/// The folder's bank files in the order of their names, so that a search ends alike on every machine.
fn files_in(folder: Option<&Path>) -> Vec<PathBuf> {
    let Some(entries) = folder.and_then(|folder| std::fs::read_dir(folder).ok()) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .collect();
    files.sort();
    files
}
