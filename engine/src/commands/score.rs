//! `falsetto score`: how well a voice bank predicts recordings.

use std::path::PathBuf;

use falsetto_engine::files::{Sound, find_sounds};
use falsetto_engine::judge::bits_per_sample;

use super::{Outcome, open_bank, say};

/// Score recordings: bits per sample that the bank needs for each, given all samples before.
#[derive(clap::Args)]
pub struct Arguments {
    /// Recordings, files or folders.
    #[arg(required = true, value_name = "IN")]
    inputs: Vec<PathBuf>,
    /// Voice bank; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Who is said to sing; the first singer if it is not given.
    #[arg(long, value_name = "NAME")]
    singer: Option<String>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bank = open_bank(arguments.voice.as_deref())?;
    if bank.card().model.envelope.is_some() {
        return Err(format!(
            "bank {} gives spectral envelopes, under which samples have no likelihood; `falsetto judge` compares it",
            bank.card().name
        ));
    }
    let singer = match &arguments.singer {
        Some(name) => bank.singer_index(name).map_err(|error| error.to_string())?,
        None => 0,
    };
    let mut scored = 0;
    for input in &arguments.inputs {
        for path in find_sounds(input).map_err(|error| error.to_string())? {
            let sound = Sound::read(&path).map_err(|error| error.to_string())?;
            let arithmetic = bank.card().arithmetic;
            match bits_per_sample(&bank, arithmetic, sound.rate_hz, singer, &sound.mono()) {
                Some(bits) => say!("{bits:.4} bits per sample  {}", path.display()),
                None => return Err(format!("{} is shorter than a hop of the bank", path.display())),
            }
            scored += 1;
        }
    }
    if scored == 0 {
        return Err("there is no sound file in the folders that were given".into());
    }
    Ok(())
}
