//! Where things are, and how other programs are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{ChoreError, Result};

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    // Cargo sets the variable when it runs us; the folder at compile time is right when we are run by hand.
    let manifest_folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_folder.parent().map(Path::to_owned).unwrap_or(manifest_folder)
}

/// Cargo's target folder: the one that this program was built into.
pub fn target() -> PathBuf {
    let of_program = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    of_program.filter(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or_else(|| root().join("target"))
}

/// A program of a release build.
pub fn release_program(name: &str) -> PathBuf {
    target().join("release").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// `cargo` in the workspace's folder.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    command
}

/// Runs a command and waits; its output goes where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|source| ChoreError::Start { program, source })?;
    if status.success() { Ok(()) } else { Err(ChoreError::Failed { command: said(command), status }) }
}

/// Runs a command and gives what it writes to its standard output.
pub fn answer(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|source| ChoreError::Start { program, source })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(ChoreError::Failed { command: said(command), status: output.status }),
    }
}

/// A command as it would be typed.
fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Makes a folder and those above it.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| ChoreError::File { path: path.into(), source })
}

/// Copies a file or a folder over what is there. A program that has the old file open keeps the old one.
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    remove(&temporary)?;
    copy(from, &temporary)?;
    remove(to)?;
    fs::rename(&temporary, to).map_err(|source| ChoreError::File { path: to.into(), source })
}

/// Removes a file or a folder; says whether there was one.
pub fn remove(path: &Path) -> Result<bool> {
    let Ok(kind) = fs::symlink_metadata(path) else { return Ok(false) };
    let removed = if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|source| ChoreError::File { path: path.into(), source })?;
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| ChoreError::File { path, source }
    };
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ()).map_err(file_error(from));
    }
    make_folder(to)?;
    for entry in fs::read_dir(from).map_err(file_error(from))? {
        let entry = entry.map_err(file_error(from))?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
