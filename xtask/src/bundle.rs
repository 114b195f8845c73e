//! The plugin as hosts want it: a `.clap` file and a `.vst3` folder.

use std::path::PathBuf;

use crate::error::{ChoreError, Result};
use crate::workspace::{cargo, replace, root, run as run_command, target};

const PACKAGE: &str = "falsetto-plugin";
const RELEASE: &str = "--release";

/// `cargo xtask bundle`
pub fn run() -> Result<()> {
    let folder = release()?;
    println!("{}\n{}", folder.join("Falsetto.clap").display(), folder.join("Falsetto.vst3").display());
    Ok(())
}

/// Builds both formats in release, with the editor; gives their folder.
pub fn release() -> Result<PathBuf> {
    from_root()?;
    nice_plug_xtask::build(&[PACKAGE.to_owned()], &[RELEASE.to_owned()]).map_err(failed)?;
    package()
}

/// Makes both formats of the plugin that a release build of the workspace left; gives their folder.
pub fn package() -> Result<PathBuf> {
    from_root()?;
    nice_plug_xtask::bundle(&target(), PACKAGE, &[RELEASE.to_owned()], false).map_err(failed)?;
    Ok(target().join("bundled"))
}

/// The bundler reads `bundler.toml` in, and runs cargo from, the current folder.
fn from_root() -> Result<()> {
    std::env::set_current_dir(root()).map_err(|source| ChoreError::File { path: root(), source })
}

fn failed(error: impl std::fmt::Display) -> ChoreError {
    ChoreError::Bundle(format!("{error:#}"))
}

/// Builds a `.clap` that aborts the host when its audio thread allocates; gives its folder. It has no editor, since
/// the editor's crates would all be compiled once more for nothing that this build is about.
pub fn checked() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--profile", "checked", "-p", PACKAGE]);
    run_command(build.args(["--no-default-features", "--features", "assert-no-alloc"]))?;
    let name = format!("{}falsetto_plugin{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let folder = target().join("bundled-checked");
    replace(&target().join("checked").join(name), &folder.join("Falsetto.clap"))?;
    Ok(folder)
}
