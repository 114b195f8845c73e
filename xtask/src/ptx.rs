//! `cargo xtask ptx`: makes the PTX of the kernels, which is committed beside its source so that no build needs CUDA.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{ChoreError, Result};
use crate::python;
use crate::workspace::{root, run as run_command, target};

/// Pinned, since every version writes other PTX. Of CUDA 12.0, whose PTX drivers since 2022 take.
const COMPILERS: [&str; 2] = ["nvidia-cuda-nvrtc-cu12==12.0.140", "nvidia-cuda-nvcc-cu12==12.0.140"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Only say whether the committed PTX is what its source gives.
    #[arg(long)]
    check: bool,
}

/// The decoder's, for all cards and for those with clusters, and the trainer's: folder, source, PTX.
const PTX: [(&str, &str, &str); 3] = [
    ("engine/src/decode/cuda/kernels", "decoder.cu", "decoder.ptx"),
    ("engine/src/decode/cuda/kernels", "decoder.cu", "decoder_clusters.ptx"),
    ("engine/src/model/ops/device/kernels", "training.cu", "training.ptx"),
];

/// `cargo xtask ptx`
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.check { check() } else { compile(&committed()) }
}

/// Whether the committed PTX is what its source gives. Where the compilers do not run, this is said.
pub fn check() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("NVRTC is pinned for Linux on x86-64 alone; the PTX is not compared here");
        return Ok(());
    }
    let made = PTX.map(|(_, _, name)| target().join(name));
    compile(&made)?;
    for (made, committed) in made.iter().zip(committed()) {
        if read(made)? != read(&committed)? {
            return Err(ChoreError::StalePtx { path: committed });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| ChoreError::File { path: path.to_owned(), source })
}

fn committed() -> [PathBuf; 3] {
    PTX.map(|(folder, _, name)| root().join(folder).join(name))
}

fn compile(to: &[PathBuf]) -> Result<()> {
    let python = python::environment_with("ptx-python", &[], &COMPILERS)?;
    let mut command = Command::new(python);
    command.arg("-B").arg(root().join("xtask/ptx/compile.py"));
    for ((folder, source, _), to) in PTX.iter().zip(to) {
        command.arg(root().join(folder).join(source)).arg(to);
    }
    run_command(&mut command)
}
