//! `cargo xtask ablate`: what each part of `live.toml` is worth, by leaving it out. Runs lie in `target/train/ablation`, and those
//! that are done are kept: after a change of the recipe or the corpus, remove it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::error::{ChoreError, Result};
use crate::workspace::{
    answer, cargo, make_folder, release_program, replace, root, run as run_command, target,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Corpus, as `cargo xtask corpus` makes it.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Bank that all runs go on from, for what a part is worth later on [default: from chance]. They lie in a folder of their own;
    /// those whose networks have other sizes are left out unless they are named.
    #[arg(long, value_name = "BANK")]
    from: Option<PathBuf>,
    /// Steps of each run.
    #[arg(long, default_value_t = 300)]
    steps: u64,
    /// Runs at the same time, each on one core.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// These runs alone, separated by commas [default: all]; `whole` beside those that go on from it.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(RUNS.map(|run| run.name)))]
    only: Vec<String>,
}

/// A run: the recipe but for some of its values.
struct Run {
    name: &'static str,
    settings: &'static [&'static str],
    /// Whether it learns as the whole recipe does, so that it can begin where that ended.
    learns_alike: bool,
}

const fn learns(name: &'static str, settings: &'static [&'static str]) -> Run {
    Run { name, settings, learns_alike: false }
}

const fn sings(name: &'static str, settings: &'static [&'static str]) -> Run {
    Run { name, settings, learns_alike: true }
}

/// The recipe as it is.
const WHOLE: &str = "whole";

const RUNS: [Run; 24] = [
    learns(WHOLE, &[]),
    learns(
        "no-f0",
        &[
            "model.condition.f0=false",
            "model.condition.excitation_harmonics=0",
            "model.condition.period_taps=0",
            "model.decoder.prior.harmonics=0",
            "sampling.comb=0.0",
            // It compares singers at their own F0.
            "training.spectrum.critic=",
            "model.condition.timbre=false",
            "sampling.timbre=0.0",
        ],
    ),
    // The prior's harmonics are as loud as they are told to be.
    learns("no-loudness", &["model.condition.loudness=false", "model.decoder.prior.harmonics=0"]),
    learns("no-excitation", &["model.condition.excitation_harmonics=0"]),
    learns("no-period-taps", &["model.condition.period_taps=0"]),
    learns("pairs", &["model.decoder.pairs=true"]),
    learns("no-prior", &["model.decoder.prior="]),
    learns("prior-of-taps", &["model.decoder.prior.harmonics=0"]),
    learns("prior-of-harmonics", &["model.decoder.prior.taps=1"]),
    learns("no-pre-emphasis", &["model.pre_emphasis=0.0"]),
    learns(
        "no-noise-in-the-past",
        &["augment.code_noise=0", "augment.lapses_per_second=0.0", "augment.rough_lapses_per_second=0.0"],
    ),
    learns("no-latent-noise", &["training.latent_noise=0.0"]),
    learns("no-confusion", &["training.confusion=0.0"]),
    learns("pitch-confusion", &["training.pitch_confusion=0.1"]),
    learns("no-critic", &["training.spectrum.critic="]),
    learns("no-views", &["augment.views=0"]),
    learns("other-pitches", &["augment.pitch_semitones=[-6.0, -3.0, 3.0, 6.0]"]),
    learns(
        "no-spectrum",
        &[
            "training.spectrum=",
            "model.condition.spectrum=false",
            "sampling.spectrum=0.0",
            "model.condition.timbre=false",
            "sampling.timbre=0.0",
        ],
    ),
    sings("no-equalizer", &["sampling.spectrum=0.0", "sampling.timbre=0.0"]),
    sings("no-timbre", &["sampling.timbre=0.0"]),
    sings("no-comb", &["sampling.comb=0.0"]),
    sings("no-sharpness", &["sampling.voiced_sharpness=1.0", "sampling.unvoiced_sharpness=1.0"]),
    sings("emphasis", &["training.singer_emphasis=1.5"]),
    sings("contrast", &["training.singer_contrast=0.3"]),
];

/// `cargo xtask ablate`
pub fn run(arguments: &Arguments) -> Result<()> {
    run_command(cargo().args(["build", "--release", "--package", "falsetto-engine", "--bin", "falsetto"]))?;
    let data = arguments.data.clone().unwrap_or_else(|| target().join("small"));
    let start = arguments.from.as_deref();
    let name = start.map(name_of).transpose()?.unwrap_or_default();
    let folder = target().join("train/ablation").join(&name);
    let named = |run: &Run| match arguments.only.is_empty() {
        true => start.is_none() || run.settings.iter().all(|setting| !setting.starts_with("model.")),
        false => arguments.only.iter().any(|name| name == run.name),
    };
    let goes_on = RUNS.iter().any(|run| run.learns_alike && named(run));
    let asked = |run: &&Run| named(run) || (goes_on && run.name == WHOLE);
    let runs: Vec<&Run> = RUNS.iter().filter(asked).collect();
    let (alike, alone): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(|run| run.learns_alike);
    let train = |run: &Run| train(run, &data, &folder, start, arguments.steps);
    in_parallel(&alone, arguments.jobs, &train)?;
    in_parallel(&alike, arguments.jobs, &|run| {
        let (from, to) = (folder.join(WHOLE), folder.join(run.name));
        if steps_of(&to) != Some(arguments.steps) {
            for file in ["checkpoint.safetensors", "curve.csv"] {
                replace(&from.join(file), &to.join(file))?;
            }
        }
        train(run)
    })?;

    let report = target().join("ablation").join(&name);
    let mut judge = Command::new(release_program("falsetto"));
    judge.args(["judge", "--clips", "1", "--transpose", "octave", "--voice"]);
    judge.args(runs.iter().map(|run| folder.join(run.name).join("voice.safetensors")));
    judge.arg("--references").arg(&data).arg("-o").arg(&report);
    answer(&mut judge)?;
    print!("{}", table(&report.join("report.json"), &folder)?);
    Ok(())
}

/// What the folder of runs from a bank is called: another for every content.
fn name_of(bank: &Path) -> Result<String> {
    let content = fs::read(bank).map_err(|source| ChoreError::File { path: bank.into(), source })?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Ok(format!("from-{:016x}", hasher.finish()))
}

/// Trains one bank, goes on with it where it was stopped, or leaves it as it is if it is done.
fn train(run: &Run, data: &Path, folder: &Path, start: Option<&Path>, steps: u64) -> Result<()> {
    let out = folder.join(run.name);
    if steps_of(&out) == Some(steps) {
        return Ok(());
    }
    make_folder(&out)?;
    let mut command = Command::new(release_program("falsetto"));
    command.arg("train").arg(root().join("assets/recipes/live.toml"));
    command.arg("--data").arg(data).arg("--out").arg(&out).args(["--steps", &steps.to_string()]);
    if let Some(start) = start {
        command.arg("--from").arg(start);
    }
    let name = format!("card.name='{}'", run.name);
    // Phase II begins later than these runs end; without the test of F0 no run is stopped by what it is to show.
    let common = ["backtranslation=", "training.tritone_step=0", &name];
    for setting in common.iter().chain(run.settings) {
        command.args(["--set", setting]);
    }
    command.env("RAYON_NUM_THREADS", "1");
    answer(&mut command).map(drop)
}

/// How many steps led to the bank of a run.
fn steps_of(folder: &Path) -> Option<u64> {
    let cost: Value = serde_json::from_str(&fs::read_to_string(folder.join("cost.json")).ok()?).ok()?;
    cost["steps"].as_u64()
}

/// Does something with each run, `jobs` at a time; the first error ends it.
fn in_parallel(runs: &[&Run], jobs: usize, act: &(dyn Fn(&Run) -> Result<()> + Sync)) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, runs.len().max(1)) {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = act(run) {
                        next.store(runs.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).replace(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
}

/// The judge's figures as a table in Markdown.
fn table(report: &Path, runs: &Path) -> Result<String> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|source| ChoreError::File { path: path.into(), source })
    };
    let figures: Value = serde_json::from_str(&read(report)?)
        .map_err(|source| ChoreError::Report { path: report.into(), source })?;
    let mut text = String::from(
        "| run | held-out bits | nearest to the singer asked for | mean place | F0 RMSE, cents | off key | voicing error | MCD, dB | STFT distance |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for bank in figures["banks"].as_array().into_iter().flatten() {
        let name = bank["name"].as_str().unwrap_or_default();
        let curve = read(&runs.join(name).join("curve.csv"))?;
        let bits = curve.lines().last().and_then(|line| line.split(',').nth(2)).unwrap_or("–");
        let summary = &bank["summary"];
        let number = |key: &str, scale: f64, digits: usize| {
            summary[key].as_f64().map_or("–".into(), |value| format!("{:.digits$}", scale * value))
        };
        text += &format!(
            "| {name} | {bits} | {} % | {} | {} | {} % | {} % | {} | {} |\n",
            number("identified", 100.0, 0),
            number("rank", 1.0, 2),
            number("f0_rmse_cents", 1.0, 1),
            number("off_key", 100.0, 1),
            number("voicing_error", 100.0, 1),
            number("mel_cepstral_distortion_db", 1.0, 2),
            number("stft_distance", 1.0, 3),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use falsetto_engine::train::Recipe;

    use super::*;

    #[test]
    fn every_run_changes_the_recipe_into_another() {
        let path = root().join("assets/recipes/live.toml");
        let whole = Recipe::load(&path).unwrap();
        for run in RUNS.iter().filter(|run| run.name != WHOLE) {
            let settings: Vec<_> = run.settings.iter().map(|setting| setting.parse().unwrap()).collect();
            let recipe =
                Recipe::load_with(&path, &settings).unwrap_or_else(|error| panic!("{}: {error}", run.name));
            assert_ne!(recipe, whole, "{}", run.name);
            assert_eq!(
                run.learns_alike,
                recipe.model == whole.model && learning(&recipe) == learning(&whole),
                "{}",
                run.name
            );
        }
    }

    /// What a run learns by, without what its bank is made of afterwards.
    fn learning(recipe: &Recipe) -> impl PartialEq {
        let mut training = recipe.training.clone();
        (training.singer_emphasis, training.singer_contrast) = (1.0, 0.0);
        (training, recipe.augment.clone())
    }
}
