//! `cargo xtask bench-training`: a training step of the live recipe beside the same in PyTorch, in turns on one machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{ChoreError, Result};
use crate::figures::Figures;
use crate::python;
use crate::train_cuda;
use crate::workspace::{answer, cargo, root, run as run_command, target};

/// What the others are compared with.
const OURS: &str = "falsetto";

#[derive(clap::Args)]
pub struct Arguments {
    /// Where the steps are made.
    #[arg(long, value_enum, default_value_t = Place::Cpu)]
    device: Place,
    /// Turns of each; the least of their medians counts.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where steps are made.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// All cores of this machine.
    Cpu,
    /// The first NVIDIA card.
    Cuda,
}

/// `cargo xtask bench-training`
pub fn run(arguments: &Arguments) -> Result<()> {
    let figures = figures(arguments.device, arguments.rounds)?;
    println!("a training step of assets/recipes/live.toml: median milliseconds, times ours");
    print!("{}", figures.table());
    let Some(path) = &arguments.json else { return Ok(()) };
    std::fs::write(path, figures.json("ms").to_string())
        .map_err(|source| ChoreError::File { path: path.clone(), source })
}

/// Has both make the same losses and gradients, then times them. Our steps make their batches meanwhile; PyTorch's are given one.
pub fn figures(place: Place, rounds: u32) -> Result<Figures> {
    let python = python::with_torch()?;
    let card = match place {
        Place::Cpu => None,
        Place::Cuda => Some((train_cuda::toolkit()?, train_cuda::library_path()?)),
    };
    let ours = |more: &[&str]| {
        let mut command = cargo();
        match &card {
            None => {
                command.args(["bench", "--package", "falsetto-engine"]);
            }
            Some((toolkit, libraries)) => {
                command = toolkit.bench();
                command.env("LD_LIBRARY_PATH", libraries);
            }
        }
        command.args(["--quiet", "--bench", "training_step"]).args(more);
        command
    };
    let device = match place {
        Place::Cpu => &[][..],
        Place::Cuda => &["cuda"],
    };
    let case = target().join("training-case.safetensors");
    run_command(ours(&["--", "case"]).arg(&case))?;
    let torch = |case: &Path| {
        let mut command = Command::new(&python);
        command.arg("-B").arg(root().join("xtask/bench_training/torch_step.py")).arg(case).args(device);
        command
    };
    let mut figures = Figures::beside(OURS);
    for round in 1..=rounds {
        println!("round {round}");
        for mut program in [ours(&[&["--", "time"], device].concat()), torch(&case)] {
            let lines = answer(&mut program)?;
            print!("{lines}");
            figures.add(&lines);
        }
    }
    Ok(figures)
}
