//! What banks are judged by: recordings of the singers, what is learnt from them, and the takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use falsetto_engine::files::{Sound, find_sounds};
use falsetto_engine::judge::{Cepstra, Recording, SingerModels};
use falsetto_engine::train::test_part;
use falsetto_engine::voice::{Singer, VoiceBank};
use rayon::prelude::*;

use super::Arguments;

/// Most recordings of a singer that are read: more make no better classifier.
const MOST_REFERENCES: usize = 60;

/// The same for every bank.
pub struct Hearing {
    /// The known singers.
    pub models: SingerModels,
    /// Recordings that the models were not learnt from: the singer, and who it is taken for.
    pub real: Vec<(String, Option<String>)>,
    known: Vec<Known>,
    given: Vec<Recording>,
    clips: usize,
}

/// Recordings of one singer.
struct Known {
    name: String,
    learnt: Vec<Recording>,
    kept: Vec<Recording>,
}

impl Hearing {
    /// Reads the references and the takes, and learns the singers; refuses references that lack a singer of a bank.
    pub fn prepare(arguments: &Arguments, banks: &[Arc<VoiceBank>]) -> Result<Self, String> {
        let references = test_part(&arguments.references);
        let known = read_references(&references, banks)?;
        let given = read_takes(&arguments.takes)?;
        let frames =
            |known: &Known| -> Cepstra { known.learnt.iter().flat_map(Recording::cepstra).collect() };
        let models = SingerModels::learn(known.iter().map(|k| (k.name.clone(), frames(k))).collect())
            .map_err(|name| {
                format!("{name} has too little voiced sound to be known by: give more recordings")
            })?;
        let real = known
            .par_iter()
            .flat_map_iter(|known| known.kept.iter().map(move |clip| (known, clip)))
            .map(|(known, clip)| (known.name.clone(), nearest(&models, clip)))
            .collect();
        Ok(Self { models, real, known, given, clips: arguments.clips })
    }

    /// Recordings of the singers, as many of each as were asked for: the singer and the recording.
    pub fn own(&self) -> impl Iterator<Item = (&str, &Recording)> {
        (0..self.clips).flat_map(|clip| {
            self.known.iter().filter_map(move |known| Some((known.name.as_str(), known.kept.get(clip)?)))
        })
    }

    /// The takes, each with its singer where that is a known one: without given ones the singers' own recordings are sung
    /// by the others.
    pub fn takes(&self) -> Vec<(&str, &Recording)> {
        match self.given.as_slice() {
            [] => self.own().collect(),
            given => given.iter().map(|take| ("", take)).collect(),
        }
    }
}

/// The recordings of every known singer, split by turns.
fn read_references(root: &Path, banks: &[Arc<VoiceBank>]) -> Result<Vec<Known>, String> {
    let listed =
        std::fs::read_dir(root).map_err(|error| format!("cannot open {}: {error}", root.display()))?;
    let mut folders: Vec<PathBuf> = listed
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let name = |folder: &Path| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for bank in banks {
        let there = |singer: &&Singer| folders.iter().any(|folder| name(folder) == singer.name);
        let missing: Vec<&str> = bank
            .card()
            .singers
            .iter()
            .filter(|singer| !there(singer))
            .map(|singer| singer.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "{} has no folders with recordings of these singers, whom the bank `{}` sings: {}",
                root.display(),
                bank.card().name,
                missing.join(", ")
            ));
        }
    }
    let mut known = Vec::new();
    for folder in folders {
        let files = find_sounds(&folder).map_err(|error| error.to_string())?;
        if files.len() < 2 {
            return Err(format!(
                "{} holds {} recordings; at least two are needed",
                folder.display(),
                files.len()
            ));
        }
        // Evenly over the folder, so that every kind of recording is among them.
        let stride = files.len().div_ceil(MOST_REFERENCES);
        let files: Vec<PathBuf> = files.into_iter().step_by(stride).collect();
        let recordings = files.par_iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        let (learnt, kept): (Vec<_>, Vec<_>) =
            recordings.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
        let strip =
            |list: Vec<(usize, Recording)>| list.into_iter().map(|(_, recording)| recording).collect();
        known.push(Known { name: name(&folder), learnt: strip(learnt), kept: strip(kept) });
    }
    Ok(known)
}

fn read_takes(inputs: &[PathBuf]) -> Result<Vec<Recording>, String> {
    let mut takes = Vec::new();
    for input in inputs {
        for path in find_sounds(input).map_err(|error| error.to_string())? {
            takes.push(read(&path)?);
        }
    }
    if takes.is_empty() && !inputs.is_empty() {
        return Err("the takes hold no sound files".into());
    }
    Ok(takes)
}

fn read(path: &Path) -> Result<Recording, String> {
    let sound = Sound::read(path).map_err(|error| error.to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Recording::new(name, sound.mono(), sound.rate_hz))
}

/// The known singer that a recording is nearest to.
fn nearest(models: &SingerModels, recording: &Recording) -> Option<String> {
    let scores = models.scores(&recording.cepstra())?;
    let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))?;
    Some(models.names()[best].clone())
}
