//! `falsetto judge`: what a voice bank's conversions are worth, or those of several side by side.

mod candidate;
mod core_clock;
mod hearing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use falsetto_engine::judge::{Candidate, Comparison, Cost, Report, Training};
use falsetto_engine::train::TrainingCost;
use falsetto_engine::voice::VoiceBank;
use serde::Serialize;

use super::transpose::Transpose;
use super::{Outcome, open_bank, say};
use candidate::judge;
use hearing::Hearing;

/// Judge voice banks.
#[derive(clap::Args)]
pub struct Arguments {
    /// Voice bank, or several to compare; the built-in one if none is given.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    voice: Vec<PathBuf>,
    /// Recordings of the real singers, `DIR/<singer>/*.wav|flac|...`: those of the banks, and others to be told apart from
    /// them. Half of each singer's teach the classifier, the other half check it. Of a corpus that is split by songs, its test
    /// part.
    #[arg(long, value_name = "DIR")]
    references: PathBuf,
    /// Takes to convert to every singer, files or folders; without it the singers' own recordings are sung by the others.
    #[arg(long, value_name = "IN", num_args = 1..)]
    takes: Vec<PathBuf>,
    /// Recordings of each singer that are converted (without `--takes`) and sung by the singer again.
    #[arg(long, default_value_t = 2)]
    clips: usize,
    /// Semitones up (or down, negative); `octave` or `key` to bring each take nearest to the singer's range.
    #[arg(long, default_value = "0", value_name = "SEMITONES|octave|key", allow_hyphen_values = true, value_parser = Transpose::parse)]
    transpose: Transpose,
    /// Key of the decoder's random numbers.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the report, made if need be: index.html, report.json and the sounds. Of several banks, each has such a
    /// folder in it, beside the index.html and report.json that compare them.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let banks = match arguments.voice.as_slice() {
        [] => vec![open_bank(None)?],
        files => files.iter().map(|file| open_bank(Some(file))).collect::<Result<_, _>>()?,
    };
    let hearing = Hearing::prepare(arguments, &banks)?;
    match banks.as_slice() {
        [bank] => tell(&judge(arguments, bank, &hearing, &arguments.output)?.report),
        _ => compare(arguments, &banks, &hearing)?,
    }
    say!("{}", arguments.output.join("index.html").display());
    Ok(())
}

/// Judges one bank after the other, and writes the comparison.
fn compare(arguments: &Arguments, banks: &[Arc<VoiceBank>], hearing: &Hearing) -> Outcome {
    let mut candidates = Vec::new();
    for ((bank, file), name) in banks.iter().zip(&arguments.voice).zip(folder_names(banks)) {
        let named = |error: String| format!("{}: {error}", file.display());
        let judged = judge(arguments, bank, hearing, &arguments.output.join(&name)).map_err(named)?;
        let file_bytes = std::fs::metadata(file).map_err(|error| named(error.to_string()))?.len();
        let training = TrainingCost::beside(file, &bank.content_hash())
            .map(|cost| Training { steps: cost.steps, cpu_minutes: cost.cpu_s / 60.0 });
        let cost = Cost::of(bank, file_bytes, judged.times_real_time, training)
            .map_err(|error| named(error.to_string()))?;
        say!("bank             {name} ({})", file.display());
        tell(&judged.report);
        tell_cost(&cost);
        candidates.push(Candidate::new(name, file.display().to_string(), bank, &judged.report, cost));
    }
    let comparison = Comparison::new(candidates);
    write(&arguments.output, comparison.html(), &comparison)
}

/// The banks' own names, with `_` for what a path may not hold, and numbered where they are the same.
fn folder_names(banks: &[Arc<VoiceBank>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for bank in banks {
        let safe = |letter: char| if letter.is_alphanumeric() || letter == '-' { letter } else { '_' };
        let own: String = bank.card().name.chars().map(safe).collect();
        // Some file systems do not tell capitals from small letters.
        let taken = |name: &str| names.iter().any(|taken| taken.to_lowercase() == name.to_lowercase());
        let mut name = own.clone();
        let mut number = 1;
        while taken(&name) {
            number += 1;
            name = format!("{own}-{number}");
        }
        names.push(name);
    }
    names
}

/// Writes a page and its figures.
fn write(folder: &Path, page: String, figures: &impl Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())?;
    for (file, text) in [("index.html", page), ("report.json", json)] {
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// The summary in a few lines.
fn tell(report: &Report) {
    let s = &report.summary;
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("unknown".into(), |value| format!("{value:.digits$}"))
    };
    let share =
        |value: Option<f64>| value.map_or("unknown".into(), |value| format!("{:.1} %", 100.0 * value));
    say!("conversions      {}", report.conversions.len());
    say!(
        "melody           F0 correlation {}, RMSE {} cents, {} off key, voicing error {} (medians)",
        number(s.f0_correlation, 3),
        number(s.f0_rmse_cents, 1),
        share(s.off_key),
        share(s.voicing_error)
    );
    say!("timing           worst lag {} ms", number(s.worst_lag_ms, 0));
    say!(
        "singer           {} nearest to the one asked for, mean place {} of {} (real recordings {}, chance {})",
        share(s.identified),
        number(s.rank, 2),
        report.known.len(),
        share(s.real_identified),
        share(Some(s.chance))
    );
    say!(
        "level            {} dB off the take's (median), {} clipped, {} not numbers",
        number(s.louder_db, 1),
        s.clipped_samples,
        s.not_finite_samples
    );
    say!(
        "own recordings   {} bits per sample ({} in f32), MCD {} dB, STFT distance {}",
        number(s.bits_per_sample, 4),
        number(s.bits_per_sample_f32, 4),
        number(s.mel_cepstral_distortion_db, 2),
        number(s.stft_distance, 3)
    );
}

fn tell_cost(cost: &Cost) {
    say!(
        "cost             {} parameters, {:.1} ms latency ({:.1} ms in the plugin), {} times real time on one core",
        cost.parameters,
        cost.engine_latency_ms,
        cost.plugin_latency_ms,
        cost.times_real_time.map_or("unknown".into(), |times| format!("{times:.1}"))
    );
}
