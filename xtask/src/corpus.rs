//! `cargo xtask corpus`: a labelled corpus of singing, made by synthesisers that come as packages.

use std::path::PathBuf;
use std::process::Command;

use crate::error::Result;
use crate::workspace::{root, run as run_command, target};
use crate::{python, system_packages};

/// The voices, and a C++ build chain for the singing synthesiser, which comes as source.
const SYSTEM_PACKAGES: [&str; 8] = [
    "festival",
    "flite",
    "festvox-kallpc16k",
    "festvox-kdlpc16k",
    "cmake",
    "g++",
    "python3-dev",
    "python3-venv",
];
/// The voices of strangers.
const STRANGERS_PACKAGES: [&str; 9] = [
    "festvox-ca-ona-hts",
    "festvox-czech-dita",
    "festvox-czech-krb",
    "festvox-czech-machac",
    "festvox-czech-ph",
    "festvox-italp16k",
    "festvox-itapc16k",
    "festvox-suopuhe-lj",
    "festvox-suopuhe-mv",
];
const PYTHON_PACKAGES: [&str; 5] = ["numpy", "scipy", "soundfile", "pyworld", "pysinsy"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder to write to [default: target/corpus, or target/strangers].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Minutes of each singer to train on.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Minutes of each singer to watch training by, of other songs.
    #[arg(long, default_value_t = 1.0)]
    validation_minutes: f64,
    /// Minutes of each singer to judge by, of other songs again.
    #[arg(long, default_value_t = 3.0)]
    test_minutes: f64,
    /// Share of each singer's minutes in a register far beyond the natural one, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    wide: f64,
    /// Singers, separated by commas [default: all].
    #[arg(long)]
    singers: Option<String>,
    /// Nine singers instead that no bank is trained on, for licences that may ask something of a model: takes of strangers,
    /// to judge by, in `test` alone.
    #[arg(long, conflicts_with_all = ["minutes", "validation_minutes", "wide"])]
    strangers: bool,
    /// Another seed gives other melodies and words.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Singers made at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// `cargo xtask corpus`
pub fn run(arguments: &Arguments) -> Result<()> {
    system_packages::ensure(&SYSTEM_PACKAGES)?;
    if arguments.strangers {
        system_packages::ensure(&STRANGERS_PACKAGES)?;
    }
    let python = python::environment("corpus-python", &PYTHON_PACKAGES)?;
    let default = if arguments.strangers { "strangers" } else { "corpus" };
    let folder = arguments.out.clone().unwrap_or_else(|| target().join(default));
    let mut maker = Command::new(python);
    maker.arg("-B").arg(root().join("xtask/corpus")).arg("--out").arg(&folder);
    maker.args(["--minutes", &arguments.minutes.to_string(), "--wide", &arguments.wide.to_string()]);
    maker.args(["--validation-minutes", &arguments.validation_minutes.to_string()]);
    maker.args(["--test-minutes", &arguments.test_minutes.to_string()]);
    maker.args(["--seed", &arguments.seed.to_string(), "--jobs", &arguments.jobs.to_string()]);
    if let Some(singers) = &arguments.singers {
        maker.args(["--singers", singers]);
    }
    if arguments.strangers {
        maker.arg("--strangers");
    }
    run_command(&mut maker)
}
