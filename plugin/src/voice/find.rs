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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with two banks of other content than the built-in one, and a file that is none.
    fn folder() -> (tempfile::TempDir, VoiceBank, VoiceBank) {
        let folder = tempfile::tempdir().unwrap();
        let config = VoiceBank::default_bank().unwrap().card().model.clone();
        let one = VoiceBank::random(config.clone(), 2, 1).unwrap();
        let other = VoiceBank::random(config, 3, 2).unwrap();
        one.save(&folder.path().join("b.safetensors")).unwrap();
        other.save(&folder.path().join("c.safetensors")).unwrap();
        std::fs::write(folder.path().join("a.safetensors"), b"no bank").unwrap();
        (folder, one, other)
    }

    fn look(wanted: &VoiceReference, folder: &Path) -> Result<Found, String> {
        find_in(wanted, VoiceBank::default_bank().map_err(|error| error.to_string()), Some(folder))
    }

    #[test]
    fn content_counts_wherever_the_file_went() {
        let (folder, _, other) = folder();
        let wanted = VoiceReference {
            hash: other.content_hash(),
            name: "renamed since".into(),
            path: Some("/nowhere/c.safetensors".into()),
            ..VoiceReference::built_in()
        };
        let found = look(&wanted, folder.path()).unwrap();
        assert_eq!(found.bank.content_hash(), other.content_hash());
        assert_eq!(
            (found.status, found.path),
            (VoiceStatus::Ready, Some(folder.path().join("c.safetensors")))
        );
        // The hint alone is enough, outside any folder.
        let hint = folder.path().join("c.safetensors").display().to_string();
        let built_in = VoiceBank::default_bank().map_err(|error| error.to_string());
        let found = find_in(&VoiceReference { path: Some(hint), ..wanted }, built_in, None).unwrap();
        assert_eq!(found.bank.content_hash(), other.content_hash());
    }

    #[test]
    fn a_namesake_stands_in_and_is_told() {
        let (folder, one, _) = folder();
        let wanted = VoiceReference {
            hash: "00".repeat(32),
            name: one.card().name.clone(),
            ..VoiceReference::built_in()
        };
        let found = look(&wanted, folder.path()).unwrap();
        // The first in the order of file names, since both have the name.
        assert_eq!(found.bank.content_hash(), one.content_hash());
        assert_eq!(found.status, VoiceStatus::ByName);
    }

    #[test]
    fn the_built_in_bank_is_found_by_name_and_by_content() {
        let nowhere = Path::new("/nowhere");
        let found = look(&VoiceReference::built_in(), nowhere).unwrap();
        assert_eq!((found.status, found.path), (VoiceStatus::Ready, None));
        let wanted = VoiceReference {
            hash: found.bank.content_hash(),
            name: "renamed since".into(),
            ..VoiceReference::built_in()
        };
        assert_eq!(look(&wanted, nowhere).unwrap().status, VoiceStatus::Ready);
        let older = VoiceReference { hash: "00".repeat(32), ..VoiceReference::built_in() };
        assert_eq!(look(&older, nowhere).unwrap().status, VoiceStatus::ByName);
    }

    #[test]
    fn a_missing_voice_is_named() {
        let (folder, ..) = folder();
        let wanted = VoiceReference {
            hash: "00".repeat(32),
            name: "Ida's choir".into(),
            ..VoiceReference::built_in()
        };
        let reason = look(&wanted, folder.path()).err().unwrap();
        assert!(reason.starts_with("missing voice Ida's choir; put its file into"), "{reason}");
        assert!(reason.contains("a.safetensors"), "what was refused is told: {reason}");
    }
}
