//! `falsetto adapt`: a new singer in a voice bank that is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use falsetto_engine::train::{Corpus, NewSinger, adapt_on, adaptation_recipe};

use super::device::{Products, TrainingDevice};
use super::{Outcome, open_bank, progress_bar, say, tell_left_out};

/// Add a singer to a voice bank. The other singers stay what they are, bit for bit.
#[derive(clap::Args)]
pub struct Arguments {
    /// Recordings of the new singer, 1 to 10 minutes in several files: singing alone, dry, without other sounds.
    #[arg(value_name = "DIR")]
    recordings: PathBuf,
    /// Name of the new singer.
    #[arg(long)]
    name: String,
    /// On what consent this voice is used, in words, for the bank's card: "my own voice", "agreed in writing on ...".
    #[arg(long, value_name = "TEXT")]
    consent: String,
    /// Bank that the singer comes into; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Where the new bank is written.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Steps of learning.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// What makes the steps.
    #[arg(long, value_enum, default_value_t = TrainingDevice::Cpu)]
    device: TrainingDevice,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let device = arguments.device.open(Products::F32)?;
    let bank = open_bank(arguments.voice.as_deref())?;
    if bank.singer_index(&arguments.name).is_ok() {
        let bank = &bank.card().name;
        return Err(format!("bank `{bank}` has a singer `{}` already; choose another name", arguments.name));
    }
    if arguments.consent.trim().is_empty() {
        return Err("--consent must say on what consent this voice is used".into());
    }
    let singer = NewSinger { name: arguments.name.clone(), consent: arguments.consent.trim().into() };
    singer.check(&bank).map_err(|error| error.to_string())?;
    if let Some(folder) = arguments.output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make folder {}: {error}", folder.display()))?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))
        .map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;

    let recipe = adaptation_recipe(&bank, arguments.steps);
    let bar = progress_bar(0, "reading {wide_bar} {pos}/{len}");
    let corpus =
        Corpus::load_singer(&arguments.recordings, &arguments.name, &bank, &recipe, &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })
        .map_err(|error| error.to_string())?;
    bar.finish_and_clear();
    tell_left_out(&corpus);
    say!("{}: {:.1} minutes, median F0 {:.0} Hz", arguments.name, corpus.minutes[0], corpus.median_f0_hz[0]);

    let bar = progress_bar(arguments.steps, "{wide_bar} {pos}/{len} {elapsed}<{eta} {msg}");
    let adapted = adapt_on(&device, &bank, &singer, &recipe, &corpus, &stop, &mut |progress| {
        bar.set_position(progress.step);
        bar.set_message(format!("{:.3} bits", progress.bits));
    })
    .map_err(|error| error.to_string())?;
    bar.finish_and_clear();
    if adapted.steps == 0 {
        return Err("stopped before anything was learnt; nothing is written".into());
    }
    if adapted.steps < arguments.steps {
        eprintln!("stopped after {} steps", adapted.steps);
    }
    adapted.bank.save(&arguments.output).map_err(|error| error.to_string())?;
    let (nearest, nearest_bits) = &adapted.nearest;
    say!(
        "{:.3} bits per sample of recordings that were kept back ({nearest}, the nearest before, needs {nearest_bits:.3})",
        adapted.bits
    );
    say!("{}", arguments.output.display());
    Ok(())
}
