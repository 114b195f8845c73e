//! `cargo xtask train-cuda`: builds `falsetto` with training on CUDA, on a machine that needs neither a card nor NVIDIA's toolkit.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::{ChoreError, Result};
use crate::python;
use crate::workspace::{answer, cargo, root, run as run_command, target};

/// NVIDIA's compiler and headers, of CUDA 13.0, whose PTX drivers of 580 and later take.
const TOOLKIT: [&str; 5] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
];
/// The library of random numbers, which candle asks for when it opens a card.
const CURAND: &str = "nvidia-curand==10.4.0.35";
/// The oldest cards that candle's kernels are compiled for; later ones take them as well.
const COMPUTE_CAPABILITY: &str = "80";

/// `cargo xtask train-cuda`
pub fn run() -> Result<()> {
    let mut build = toolkit()?.cargo(&["build"]);
    run_command(build.args(["--bin", "falsetto"]))?;
    println!("{}", folder().join("release/falsetto").display());
    Ok(())
}

/// `cargo` of another target folder with NVIDIA's compiler at hand.
pub struct Toolkit {
    home: PathBuf,
}

/// Fetches and makes what a build needs, unless it is there.
pub fn toolkit() -> Result<Toolkit> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(ChoreError::NoToolkit);
    }
    let python = python::environment_with("cuda-python", &[], &TOOLKIT)?;
    let home = python::packages(&python)?.join("nvidia/cu13");
    let loaders = Command::new(&python)
        .arg("-B")
        .arg(root().join("xtask/cuda/loaders.py"))
        .args([cudarc_source()?, home.join("lib")])
        .status();
    let program = python.to_string_lossy().into_owned();
    let status = loaders.map_err(|source| ChoreError::Start { program, source })?;
    if !status.success() {
        return Err(ChoreError::Failed { command: "loaders.py".into(), status });
    }
    // candle's kernels ask for the runtime library, which is to be in the program.
    let (from, to) = (home.join("lib/libcudart_static.a"), home.join("lib/libcudart.a"));
    fs::copy(&from, &to).map_err(|source| ChoreError::File { path: from, source })?;
    Ok(Toolkit { home })
}

/// `LD_LIBRARY_PATH` with the libraries that a run needs, before what it names already: PyTorch brings all of them but one.
pub fn library_path() -> Result<OsString> {
    let mut folders = Vec::new();
    for python in [python::with_torch()?, python::environment_with("cuda-libraries", &[], &[CURAND])?] {
        let nvidia = python::packages(&python)?.join("nvidia");
        let entries = fs::read_dir(&nvidia).map_err(|source| ChoreError::File { path: nvidia, source })?;
        folders.extend(entries.flatten().map(|entry| entry.path().join("lib")));
    }
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty()));
    Ok(std::env::join_paths(folders).unwrap_or(named))
}

impl Toolkit {
    /// A release build or test of the engine with training on CUDA.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        self.with_compiler(&[arguments, &["--release"]].concat())
    }

    /// A benchmark of the same.
    pub fn bench(&self) -> Command {
        self.with_compiler(&["bench"])
    }

    fn with_compiler(&self, arguments: &[&str]) -> Command {
        let mut command = cargo();
        command.args(arguments).args(["--package", "falsetto-engine", "--features", "train-cuda"]);
        command.env("CARGO_TARGET_DIR", folder());
        command.env("CUDA_HOME", &self.home).env("CUDA_COMPUTE_CAP", COMPUTE_CAPABILITY);
        command.env("NVCC", root().join("xtask/cuda/nvcc"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(self.home.join("bin")).chain(std::env::split_paths(&path));
        if let Ok(paths) = std::env::join_paths(paths) {
            command.env("PATH", paths);
        }
        command
    }
}

fn folder() -> PathBuf {
    target().join("train-cuda")
}

/// The folder of the sources of cudarc that the engine is built with.
fn cudarc_source() -> Result<PathBuf> {
    let metadata = answer(cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|source| ChoreError::Report { path: "cargo metadata".into(), source })?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let cudarc = packages.iter().find(|package| package["name"] == "cudarc");
    let manifest = cudarc.and_then(|package| package["manifest_path"].as_str()).unwrap_or_default();
    Ok(Path::new(manifest).with_file_name("src"))
}
