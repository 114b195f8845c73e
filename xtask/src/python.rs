//! Python environments under the target folder, for the hosts and tools that exist only in Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{ChoreError, Result};
use crate::workspace::{answer, remove, run, target};

/// Makes an environment with these packages, or takes the one that is there; gives its Python.
pub fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    environment_with(name, packages, &[])
}

/// The environment with PyTorch, for comparisons.
pub fn with_torch() -> Result<PathBuf> {
    environment("torch-python", &["numpy", "safetensors", "torch"])
}

/// The same with some packages more, which are taken without what they ask for.
pub fn environment_with(name: &str, packages: &[&str], alone: &[&str]) -> Result<PathBuf> {
    let folder = target().join(name);
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let record = folder.join("packages.txt");
    let wanted = [packages, alone].concat().join("\n");
    if fs::read_to_string(&record).is_ok_and(|have| have == wanted) && python.exists() {
        return Ok(python);
    }
    println!("making a Python environment in {}", folder.display());
    remove(&folder)?;
    let system_python = if cfg!(windows) { "python" } else { "python3" };
    run(Command::new(system_python).args(["-m", "venv"]).arg(&folder))?;
    let install = |options: &[&str], packages: &[&str]| {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(options).args(packages))
    };
    if !packages.is_empty() {
        install(&[], packages)?;
    }
    if !alone.is_empty() {
        install(&["--no-deps"], alone)?;
    }
    // The record comes last: an environment without it is not finished.
    fs::write(&record, wanted).map_err(|source| ChoreError::File { path: record, source })?;
    Ok(python)
}

/// Where an environment's packages lie.
pub fn packages(python: &Path) -> Result<PathBuf> {
    let program = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
    Ok(answer(Command::new(python).args(["-c", program]))?.trim().into())
}
