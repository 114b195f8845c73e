//! `cargo xtask bench-peers`: the decoder's step beside what one would first write, in turns on one thread.

use std::path::PathBuf;
use std::process::Command;

use crate::error::{ChoreError, Result};
use crate::figures::Figures;
use crate::python;
use crate::workspace::{answer, cargo, root, run as run_command};

/// What the others are compared with.
const OURS: &str = "falsetto int8";

#[derive(clap::Args)]
pub struct Arguments {
    /// Turns of each; the least of all counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// `cargo xtask bench-peers`
pub fn run(arguments: &Arguments) -> Result<()> {
    let python = python::with_torch()?;
    let bench = |more: &[&str]| {
        let mut command = cargo();
        command.args(["bench", "--quiet", "--package", "falsetto-engine", "--bench", "peers"]).args(more);
        // A pool of threads makes candle's small products ten times slower.
        command.env("RAYON_NUM_THREADS", "1");
        command
    };
    run_command(&mut bench(&["--no-run"]))?;
    let torch = || {
        let mut command = Command::new(&python);
        command.arg("-B").arg(root().join("xtask/bench_peers/torch_step.py"));
        command
    };
    let mut figures = Figures::beside(OURS);
    for round in 1..=arguments.rounds {
        println!("round {round}");
        figures.add(&answer(&mut bench(&[]))?);
        figures.add(&answer(&mut torch())?);
    }
    println!("40 layers of 64 channels, one stream, one thread: least microseconds a sample, times ours");
    print!("{}", figures.table());
    let Some(path) = &arguments.json else { return Ok(()) };
    std::fs::write(path, figures.json("us_min").to_string())
        .map_err(|source| ChoreError::File { path: path.clone(), source })
}
