//! `cargo xtask ptx`: makes the PTX of the GPU's decoder, which is committed beside its source so that no build needs CUDA.

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

/// For all cards, and for those with clusters.
const PTX: [&str; 2] = ["decoder.ptx", "decoder_clusters.ptx"];

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
    let made = PTX.map(|name| target().join(name));
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

fn kernels() -> PathBuf {
    root().join("engine/src/decode/cuda/kernels")
}

fn committed() -> [PathBuf; 2] {
    PTX.map(|name| kernels().join(name))
}

fn compile(to: &[PathBuf]) -> Result<()> {
    let python = python::environment_with("ptx-python", &[], &COMPILERS)?;
    let script = root().join("xtask/ptx/compile.py");
    run_command(Command::new(python).arg("-B").arg(script).arg(kernels().join("decoder.cu")).args(to))
}
