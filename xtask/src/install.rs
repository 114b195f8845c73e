//! Copies the plugins and the command into the user's own folders; no administrator is needed.

use std::path::{Path, PathBuf};

use crate::bundle;
use crate::error::{ChoreError, Result};
use crate::workspace::{cargo, release_program, remove, replace, run};

/// Where things go for this user.
struct Folders {
    clap: PathBuf,
    vst3: PathBuf,
    programs: PathBuf,
}

impl Folders {
    /// The folders that hosts search on this system (CLAP's and VST3's own rules) and the usual one for programs.
    fn of_user() -> Result<Self> {
        let of = |variable| std::env::var_os(variable).map(PathBuf::from).ok_or(ChoreError::NoHome(variable));
        Ok(match std::env::consts::OS {
            "macos" => {
                let home = of("HOME")?;
                let plugins = home.join("Library/Audio/Plug-Ins");
                Self {
                    clap: plugins.join("CLAP"),
                    vst3: plugins.join("VST3"),
                    programs: home.join(".local/bin"),
                }
            }
            "windows" => {
                let programs = of("LOCALAPPDATA")?.join("Programs");
                let common = programs.join("Common");
                Self {
                    clap: common.join("CLAP"),
                    vst3: common.join("VST3"),
                    programs: programs.join("Falsetto"),
                }
            }
            _ => {
                let home = of("HOME")?;
                Self { clap: home.join(".clap"), vst3: home.join(".vst3"), programs: home.join(".local/bin") }
            }
        })
    }

    fn installed(&self) -> [PathBuf; 3] {
        let command = format!("falsetto{}", std::env::consts::EXE_SUFFIX);
        [self.clap.join("Falsetto.clap"), self.vst3.join("Falsetto.vst3"), self.programs.join(command)]
    }
}

/// `cargo xtask install`
pub fn install() -> Result<()> {
    let folders = Folders::of_user()?;
    let bundles = bundle::release()?;
    run(cargo().args(["build", "--release", "-p", "falsetto-engine", "--bin", "falsetto"]))?;
    let built = [bundles.join("Falsetto.clap"), bundles.join("Falsetto.vst3"), release_program("falsetto")];
    for (from, to) in built.iter().zip(folders.installed()) {
        replace(from, &to)?;
        println!("installed {}", to.display());
    }
    if !is_searched(&folders.programs) {
        println!("{} is not in PATH; add it to run `falsetto` by its name", folders.programs.display());
    }
    println!("Your DAW finds the plugin at its next scan. `cargo xtask uninstall` removes all of this.");
    Ok(())
}

/// `cargo xtask uninstall`
pub fn uninstall() -> Result<()> {
    for path in Folders::of_user()?.installed() {
        let done = if remove(&path)? { "removed" } else { "not there:" };
        println!("{done} {}", path.display());
    }
    Ok(())
}

fn is_searched(folder: &Path) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p == folder))
}
