//! What can go wrong in a chore.

use std::path::PathBuf;

use falsetto_tests::play::HostError;
use thiserror::Error;

pub type Result<T> = std::result::Result<T, ChoreError>;

#[derive(Debug, Error)]
pub enum ChoreError {
    #[error("`{program}` cannot be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: std::process::ExitStatus },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Wav { path: PathBuf, source: hound::Error },
    #[error("{}: the picture cannot be drawn: {reason}", path.display())]
    Picture { path: PathBuf, reason: String },
    #[error("bundling: {0}")]
    Bundle(String),
    #[error(
        "these system packages are missing: {packages}\nrun: sudo apt-get update && sudo apt-get install -y {packages}"
    )]
    Packages { packages: String },
    #[error("{0} is not set, so the user's folders are unknown")]
    NoHome(&'static str),
    #[error("no WAV files in {}", .0.display())]
    NoTakes(PathBuf),
    #[error("the demo: {0}")]
    Host(#[from] HostError),
    #[error("{}: its source gives another PTX; make it anew with: cargo xtask ptx", path.display())]
    StalePtx { path: PathBuf },
    #[error(
        "NVIDIA's compiler comes as Python packages for Linux on x86-64 alone; docs/gpu.md says how to build with a toolkit"
    )]
    NoToolkit,
    #[error("{}: {source}", path.display())]
    Report { path: PathBuf, source: serde_json::Error },
    #[error("{}: not a voice bank: {reason}", path.display())]
    Bank { path: PathBuf, reason: String },
    #[error("{failed} of {steps} steps failed: {names}")]
    Steps { failed: usize, steps: usize, names: String },
}
