//! `cargo xtask demo`: the built plugin in a real host, singing every demo take with every singer.

mod glyphs;
mod home;
mod melody;
mod picture;

use std::fs;
use std::path::{Path, PathBuf};

use falsetto_tests::clap_host::Module;
use falsetto_tests::command::{read_wav, write_wav};
use falsetto_tests::play::Plan;

use crate::error::{ChoreError, Result};
use crate::workspace::{make_folder, root, target};
use crate::{bundle, workspace};

const BLOCK_SAMPLES: usize = 512;
const SINGER: &str = "Singer";
const TRANSPOSE: &str = "Transpose";

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder of takes as WAV files.
    #[arg(long, default_value = "assets/demo")]
    takes: PathBuf,
    /// Only this singer.
    #[arg(long)]
    singer: Option<String>,
}

/// One line of the table.
struct Conversion {
    take: String,
    singer: String,
    transpose_semitones: f64,
    latency_samples: usize,
    sample_rate_hz: u32,
    real_time_factor: f64,
}

/// `cargo xtask demo`
pub fn run(arguments: &Arguments) -> Result<()> {
    let bundles = bundle::release()?;
    let folder = target().join("demo");
    workspace::remove(&folder)?;
    make_folder(&folder)?;
    let takes = takes_in(&root().join(&arguments.takes))?;
    let module = Module::open(&bundles.join("Falsetto.clap"))?;
    let homes_hz = home::homes_hz()?;
    let mut conversions = Vec::new();
    for take in &takes {
        for singer in module.instance()?.choices(SINGER)? {
            if arguments.singer.as_ref().is_some_and(|only| *only != singer) {
                continue;
            }
            let conversion = convert(&module, homes_hz.get(&singer).copied(), take, &singer, &folder)?;
            println!("{} -> {} ({:.2} x real time)", conversion.take, singer, conversion.real_time_factor);
            conversions.push(conversion);
        }
    }
    print_table(&conversions);
    println!("\nSounds and pictures are in {}", folder.display());
    Ok(())
}

fn takes_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|source| ChoreError::File { path: folder.into(), source })?;
    let mut takes: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")))
        .collect();
    takes.sort();
    if takes.is_empty() { Err(ChoreError::NoTakes(folder.into())) } else { Ok(takes) }
}

fn convert(
    module: &Module,
    home_hz: Option<f64>,
    take: &Path,
    singer: &str,
    folder: &Path,
) -> Result<Conversion> {
    let wav = |path: &Path| {
        let path = path.to_owned();
        move |source| ChoreError::Wav { path, source }
    };
    let (sample_rate_hz, input) = read_wav(take).map_err(wav(take))?;
    let mut instance = module.instance()?;
    instance.set_by_name(SINGER, singer)?;
    let median_hz = melody::median_f0_hz(&melody::f0_hz(sample_rate_hz, &input[0]));
    let transpose_semitones =
        median_hz.zip(home_hz).map_or(0.0, |(take, home)| home::fitted_octave(take, home));
    instance.set_by_name(TRANSPOSE, &format!("{transpose_semitones} st"))?;
    let played = instance.bounce(&input, &Plan::offline(f64::from(sample_rate_hz), BLOCK_SAMPLES))?;
    let name = take.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let seconds = input.first().map_or(0, Vec::len) as f64 / f64::from(sample_rate_hz);
    // The voice comes out of every channel alike.
    let sung = &played.sound[..1];
    let sound_path = folder.join(format!("{name}-{singer}.wav"));
    write_wav(&sound_path, sample_rate_hz, sung).map_err(wav(&sound_path))?;
    picture::draw(&folder.join(format!("{name}-{singer}.png")), sample_rate_hz, &input[0], &sung[0])?;
    Ok(Conversion {
        take: name,
        singer: singer.to_owned(),
        transpose_semitones,
        latency_samples: played.latency_samples,
        sample_rate_hz,
        real_time_factor: played.elapsed.as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
    })
}

fn print_table(conversions: &[Conversion]) {
    let width = conversions.iter().map(|c| c.take.len()).max().unwrap_or(0).max(4);
    println!("\n{:width$}  {:<12}  transposed  latency samples      ms  real-time factor", "take", "singer");
    for c in conversions {
        let milliseconds = 1000.0 * c.latency_samples as f64 / f64::from(c.sample_rate_hz);
        println!(
            "{:width$}  {:<12}  {:>+10}  {:>15}  {milliseconds:>6.1}  {:>16.2}",
            c.take, c.singer, c.transpose_semitones, c.latency_samples, c.real_time_factor
        );
    }
}
