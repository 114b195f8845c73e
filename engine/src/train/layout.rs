//! How corpora lie on a disk: who sings in which files.
//!
//! ```text
//! DIR/<singer>/...                        one folder for each singer, whatever is below it
//! DIR/<singer>/sing/... and read/...      NUS-48E: what is read is not sung
//! DIR/ManRaw/<number>_<song>/...          OpenSinger, and WomanRaw likewise: man-<number>, woman-<number>
//! DIR/FULL/<singer>/... (and others)      VocalSet: all of it is below FULL, once
//! DIR/train/<singer>/... and validation/...  and test/..., which is neither trained on nor watched
//! ```
//! A corpus may lie one folder deeper than it is given, as archives unpack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{FileError, find_sounds};

/// Who sings in which files, in the order of names; and what is there but not read, with the reason.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) singers: BTreeMap<String, Vec<PathBuf>>,
    /// What training is watched by, where the corpus says so itself.
    pub(crate) validation: BTreeMap<String, Vec<PathBuf>>,
    pub(crate) left_out: Vec<(PathBuf, String)>,
}

/// Parts of a corpus that is split by songs.
const TRAIN: &str = "train";
const VALIDATION: &str = "validation";
const TEST: &str = "test";

/// The part of a corpus that banks are judged by: `root/test` of one that is split by songs, else all of it.
pub fn test_part(root: &Path) -> PathBuf {
    let test = root.join(TEST);
    if root.join(TRAIN).is_dir() && test.is_dir() { test } else { root.into() }
}

/// Halves of OpenSinger and what their singers are called.
const OPEN_SINGER: [(&str, &str); 2] = [("ManRaw", "man"), ("WomanRaw", "woman")];

impl Layout {
    /// Looks below `root`. Nothing is read but names.
    pub(crate) fn find(root: &Path) -> Result<Self, FileError> {
        let (train, validation, test) = (root.join(TRAIN), root.join(VALIDATION), root.join(TEST));
        if train.is_dir() && validation.is_dir() {
            let mut layout = Self::of_singers(&train)?;
            let watched = Self::of_singers(&validation)?;
            layout.left_out.extend(watched.left_out);
            let (watched, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) =
                watched.singers.into_iter().partition(|(name, _)| layout.singers.contains_key(name));
            layout.validation = watched;
            layout.left_out.extend(
                unknown
                    .into_keys()
                    .map(|name| (validation.join(name), "its singer is not trained on".into())),
            );
            if test.is_dir() {
                layout.left_out.push((test, "it is kept for `falsetto judge`".into()));
            }
            return Ok(layout);
        }
        Self::of_singers(root)
    }

    fn of_singers(root: &Path) -> Result<Self, FileError> {
        let mut root = root.to_path_buf();
        let mut folders = folders_in(&root)?;
        // An archive's own folder around what is meant.
        if let [only] = folders.as_slice()
            && is_known(only)?
        {
            root = only.clone();
            folders = folders_in(&root)?;
        }
        let full = root.join("FULL");
        if full.is_dir() {
            folders = folders_in(&full)?;
        }
        let mut layout = Self::default();
        for folder in folders {
            let name = name_of(&folder);
            match OPEN_SINGER.iter().find(|(half, _)| *half == name) {
                Some((_, sex)) => layout.add_open_singer(&folder, sex)?,
                None => layout.add_singer(name, &folder)?,
            }
        }
        Ok(layout)
    }

    fn add_singer(&mut self, name: String, folder: &Path) -> Result<(), FileError> {
        let (sung, read) = (folder.join("sing"), folder.join("read"));
        let files = if sung.is_dir() && read.is_dir() {
            self.left_out.push((read, "it is read, not sung".into()));
            find_sounds(&sung)?
        } else {
            find_sounds(folder)?
        };
        if !files.is_empty() {
            self.singers.insert(name, files);
        }
        Ok(())
    }

    fn add_open_singer(&mut self, half: &Path, sex: &str) -> Result<(), FileError> {
        for song in folders_in(half)? {
            let name = name_of(&song);
            let number = name.split('_').next().unwrap_or(&name);
            let files = find_sounds(&song)?;
            self.singers.entry(format!("{sex}-{number}")).or_default().extend(files);
        }
        self.singers.retain(|_, files| !files.is_empty());
        Ok(())
    }
}

/// Whether a folder holds a corpus of a layout that has a name, rather than being a singer.
fn is_known(folder: &Path) -> Result<bool, FileError> {
    let inside = folders_in(folder)?;
    let named = |path: &PathBuf| {
        let name = name_of(path);
        name == "FULL" || OPEN_SINGER.iter().any(|(half, _)| *half == name)
    };
    let nus = |path: &PathBuf| path.join("sing").is_dir() && path.join("read").is_dir();
    Ok(inside.iter().any(|path| named(path) || nus(path)))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn folders_in(root: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .map_err(|source| FileError::Open { path: root.into(), source })?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Empty files with these names.
    fn corpus(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    /// What is found in a corpus of such files.
    fn layout(files: &[&str]) -> Vec<(String, usize)> {
        let folder = corpus(files);
        let found = Layout::find(folder.path()).unwrap();
        let left_out = found.left_out.len();
        let counts = found.singers.into_iter().map(|(name, files)| (name, files.len()));
        counts.chain((left_out > 0).then(|| ("left out".to_string(), left_out))).collect()
    }

    fn wanted(counts: &[(&str, usize)]) -> Vec<(String, usize)> {
        counts.iter().map(|(name, count)| (name.to_string(), *count)).collect()
    }

    #[test]
    fn a_folder_for_each_singer() {
        let found = layout(&[
            "ann/1.wav",
            "ann/deeper/2.flac",
            "ann/notes.txt",
            "bob/1.ogg",
            "empty/x.txt",
            "loose.wav",
        ]);
        assert_eq!(found, wanted(&[("ann", 2), ("bob", 1)]));
        // One singer alone is no archive.
        assert_eq!(layout(&["ann/sing/1.wav"]), wanted(&[("ann", 1)]));
    }

    #[test]
    fn songs_that_are_kept_from_training() {
        let files = ["train/ann/1.wav", "train/bob/1.wav", "validation/ann/2.wav", "test/ann/3.wav"];
        assert_eq!(layout(&files), wanted(&[("ann", 1), ("bob", 1), ("left out", 1)]));

        let folder = corpus(&files);
        let validation = Layout::find(folder.path()).unwrap().validation;
        assert_eq!(validation["ann"], [folder.path().join("validation/ann/2.wav")]);
        assert_eq!(validation.len(), 1);

        let stranger = ["train/ann/1.wav", "validation/ann/2.wav", "validation/eve/1.wav"];
        assert_eq!(layout(&stranger), wanted(&[("ann", 1), ("left out", 1)]));

        assert_eq!(test_part(folder.path()), folder.path().join("test"));

        // A singer may be called so.
        let folder = corpus(&["test/1.wav", "ann/1.wav"]);
        assert_eq!(test_part(folder.path()), folder.path());
        assert_eq!(Layout::find(folder.path()).unwrap().singers.len(), 2);
    }

    #[test]
    fn what_is_read_is_not_sung() {
        let files =
            ["nus/ADIZ/sing/01.wav", "nus/ADIZ/read/01.wav", "nus/JLEE/sing/05.wav", "nus/JLEE/read/05.wav"];
        let found = wanted(&[("ADIZ", 1), ("JLEE", 1), ("left out", 2)]);
        assert_eq!(layout(&files), found);
        assert_eq!(layout(&files.map(|file| &file[4..])), found);
    }

    #[test]
    fn singers_with_numbers() {
        let files =
            ["ManRaw/0_song/0_song_0.wav", "ManRaw/0_other/0_other_0.wav", "ManRaw/1_song/1_song_0.wav"];
        let files = [files[0], files[1], files[2], "WomanRaw/0_song/0_song_0.wav"];
        assert_eq!(layout(&files), wanted(&[("man-0", 2), ("man-1", 1), ("woman-0", 1)]));
    }

    #[test]
    fn the_same_recordings_sorted_in_several_ways_are_read_once() {
        let files = [
            "VocalSet/FULL/female1/scales/f1.wav",
            "VocalSet/FULL/male1/scales/m1.wav",
            "VocalSet/data_by_vowel/a/f1.wav",
        ];
        assert_eq!(layout(&files), wanted(&[("female1", 1), ("male1", 1)]));
    }
}
