//! `falsetto train`: from folders of singing to a voice bank.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use falsetto_engine::train::{Corpus, Recipe, Setting, Trainer};
use falsetto_engine::voice::VoiceBank;

use super::device::{Products, TrainingDevice};
use super::{Outcome, progress_bar, ranks, tell_left_out};

/// Train a voice bank.
#[derive(clap::Args)]
pub struct Arguments {
    /// Recipe (TOML), for example assets/recipes/live.toml.
    recipe: PathBuf,
    /// Training audio: one folder for each singer, `DIR/<singer>/*.wav|flac|...`, or NUS-48E, OpenSinger or VocalSet as they
    /// lie. Where there are DIR/train and DIR/validation, singers' folders are below these. Songs are cut into phrases at their rests.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the run is kept: checkpoint, bank, loss curve, previews. A run that was stopped goes on.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A bank to start from: the first steps know what it knows. A run that goes on has its own checkpoint.
    #[arg(long, value_name = "BANK")]
    from: Option<PathBuf>,
    /// Another value for a key of the recipe, written as there: `--set training.batch=4`; `--set KEY=` takes the key out. May
    /// be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
    /// Steps in all, instead of the recipe's.
    #[arg(long)]
    steps: Option<u64>,
    /// What makes the steps.
    #[arg(long, value_enum, default_value_t = TrainingDevice::Cpu)]
    device: TrainingDevice,
    /// What the factors of a card's products are rounded to: fewer bits are faster.
    #[arg(long, value_enum, default_value_t = Products::F32)]
    products: Products,
    /// Train on so many cards, each its part of every batch, by NVIDIA's NCCL.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    ranks: Option<u16>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let mut recipe =
        Recipe::load_with(&arguments.recipe, &arguments.set).map_err(|error| error.to_string())?;
    if let Some(steps) = arguments.steps {
        recipe.training.steps = steps;
    }
    let from =
        arguments.from.as_deref().map(VoiceBank::load).transpose().map_err(|error| error.to_string())?;
    let device = match arguments.ranks {
        None => arguments.device.open(arguments.products)?,
        Some(count) if arguments.device == TrainingDevice::Cuda => {
            ranks::open(count.into(), arguments.products.into())?
        }
        Some(_) => return Err("ranks are cards: --ranks goes with --device cuda".into()),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))
        .map_err(|error| format!("cannot watch for Ctrl-C: {error}"))?;

    let bar = progress_bar(0, "reading {wide_bar} {pos}/{len}");
    let corpus = Corpus::load(&arguments.data, &recipe, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })
    .map_err(|error| error.to_string())?;
    bar.finish_and_clear();
    for ((name, minutes), f0_hz) in corpus.singers.iter().zip(&corpus.minutes).zip(&corpus.median_f0_hz) {
        eprintln!("{name}: {minutes:.1} minutes, median F0 {f0_hz:.0} Hz");
    }
    tell_left_out(&corpus);

    let mut trainer = Trainer::on(&device, &recipe, &corpus, &arguments.out, from.as_ref())
        .map_err(|error| error.to_string())?;
    if trainer.step() > 0 {
        eprintln!("going on from step {}", trainer.step());
    }
    let bar = progress_bar(recipe.training.steps, "{wide_bar} {pos}/{len} {elapsed}<{eta} {msg}");
    bar.set_position(trainer.step());
    bar.reset_eta();
    let summary = trainer
        .run(&stop, &mut |progress| {
            bar.set_position(progress.step);
            let mut message = format!("{:.3} bits", progress.bits);
            if let (Some(bits), Some(tritone)) = (progress.validation_bits, progress.tritone_bits) {
                message += &format!(", held out {bits:.3}, tritone +{tritone:.2}");
            }
            bar.set_message(message);
        })
        .map_err(|error| error.to_string())?;
    bar.finish_and_clear();
    let ended = if summary.finished { "finished" } else { "stopped" };
    eprintln!("{ended} at step {}; bank: {}", summary.steps, summary.bank.display());
    if let Some(cpu_time) = summary.cpu_time {
        eprintln!("the run took {:.1} CPU minutes", cpu_time.as_secs_f64() / 60.0);
    }
    Ok(())
}
