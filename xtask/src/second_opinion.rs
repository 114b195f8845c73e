//! `cargo xtask second-opinion`: conversions judged by other people's networks.

use std::ffi::OsString;
use std::process::Command;

use crate::error::Result;
use crate::python;
use crate::workspace::{cargo, release_program, root, run as run_command, target};

/// The judges come with their weights; what else some of them ask for is not needed to run these.
const PYTHON_PACKAGES: [&str; 4] = ["numpy", "scipy", "soundfile", "onnxruntime"];
const JUDGES: [&str; 4] =
    ["resemblyzer==0.1.4", "speechmos==0.0.1.1", "swift-f0==0.3.0", "pocketsphinx==5.1.1"];

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// What `--help` lists.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// `cargo xtask second-opinion`
pub fn run(arguments: &Arguments) -> Result<()> {
    let python = python::environment_with("second-opinion-python", &PYTHON_PACKAGES, &JUDGES)?;
    run_command(cargo().args(["build", "--release", "--package", "falsetto-engine", "--bin", "falsetto"]))?;
    let mut judge = Command::new(python);
    judge.arg("-B").arg(root().join("xtask/second_opinion"));
    judge.arg("--falsetto").arg(release_program("falsetto"));
    judge.arg("--out").arg(target().join("second-opinion"));
    judge.args(&arguments.rest);
    // Small matrices: more threads only cost.
    judge.env("OMP_NUM_THREADS", "1").env("OPENBLAS_NUM_THREADS", "1");
    run_command(&mut judge)
}
