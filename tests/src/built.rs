//! Where the built plugin and command are. `cargo xtask test` builds them and says so in environment variables.

use std::path::PathBuf;

/// Folder with `Falsetto.clap` and `Falsetto.vst3`.
pub const BUNDLES_VARIABLE: &str = "FALSETTO_BUNDLES";
/// The `falsetto` program.
pub const COMMAND_VARIABLE: &str = "FALSETTO_COMMAND";
/// Python that has pedalboard and DawDreamer.
pub const PYTHON_VARIABLE: &str = "FALSETTO_PYTHON";
/// Folder with a `Falsetto.clap` that aborts when its audio thread allocates.
pub const CHECKED_BUNDLES_VARIABLE: &str = "FALSETTO_CHECKED_BUNDLES";

/// The built `.clap` file.
pub fn clap() -> PathBuf {
    from_environment(BUNDLES_VARIABLE).join("Falsetto.clap")
}

/// The built `.vst3` folder.
pub fn vst3() -> PathBuf {
    from_environment(BUNDLES_VARIABLE).join("Falsetto.vst3")
}

/// The built `.clap` file with the allocation guard.
pub fn checked_clap() -> PathBuf {
    from_environment(CHECKED_BUNDLES_VARIABLE).join("Falsetto.clap")
}

/// A path that `cargo xtask test` sets.
///
/// # Panics
/// When the variable is not set: the test was started without its chore.
pub fn from_environment(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set; run: cargo xtask test"),
    }
}
