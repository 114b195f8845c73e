//! Everything that must pass before a change, on a machine that has only Rust and apt.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use falsetto_tests::built::{BUNDLES_VARIABLE, CHECKED_BUNDLES_VARIABLE, COMMAND_VARIABLE, PYTHON_VARIABLE};

use crate::error::{ChoreError, Result};
use crate::workspace::{cargo, release_program, run as run_command};
use crate::{bundle, ptx, python, system_packages};

/// A C compiler for the build scripts, one of C++ for the GPU's emulator, the standalone program's sound systems, Python for two of the hosts.
const SYSTEM_PACKAGES: [&str; 7] =
    ["gcc", "g++", "libc6-dev", "pkg-config", "libasound2-dev", "libjack-jackd2-dev", "python3-venv"];
const PYTHON_PACKAGES: [&str; 3] = ["pedalboard==0.9.26", "dawdreamer==0.9.0", "numpy"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Only tests whose name contains this; format and lints are skipped.
    filter: Option<String>,
}

/// `cargo xtask test`
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::default();
    steps.must("system packages", || system_packages::ensure(&SYSTEM_PACKAGES))?;
    let python = steps.must("Python hosts", || python::environment("python", &PYTHON_PACKAGES))?;
    if arguments.filter.is_none() {
        steps.may("format", || run_command(cargo().args(["fmt", "--all", "--check"])));
        steps.may("lints", lint);
        steps.may("PTX", ptx::check);
    }
    steps.must("plugin, command and tests", build)?;
    let bundles = steps.must("bundles", bundle::package)?;
    let checked = steps.must("plugin with allocation guard", bundle::checked)?;
    steps.may("tests", || test(arguments, &bundles, &checked, &python));
    steps.report()
}

fn lint() -> Result<()> {
    let mut clippy = cargo();
    clippy.args(["clippy", "--release", "--workspace", "--all-targets", "--quiet"]);
    run_command(clippy.args(["--features", "falsetto-plugin/standalone", "--", "-D", "warnings"]))
}

fn build() -> Result<()> {
    // One build for all, so that what they share is compiled with one set of features, once. The plugin by itself, as
    // `cargo xtask bundle` builds it, has fewer: the one with the allocation guard is built so.
    run_command(cargo().args(["build", "--release", "--workspace", "--lib", "--bins", "--tests"]))
}

fn test(arguments: &Arguments, bundles: &PathBuf, checked: &PathBuf, python: &PathBuf) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--release", "--workspace", "--no-fail-fast"]);
    test.args(&arguments.filter);
    test.env(BUNDLES_VARIABLE, bundles).env(CHECKED_BUNDLES_VARIABLE, checked);
    test.env(COMMAND_VARIABLE, release_program("falsetto")).env(PYTHON_VARIABLE, python);
    run_command(&mut test)
}

/// The steps so far, how long each took and which failed.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration, bool)>,
}

impl Steps {
    /// A step that the later ones need.
    fn must<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = step();
        self.done.push((name, started.elapsed(), outcome.is_ok()));
        outcome
    }

    /// A step after whose failure the others are still worth knowing.
    fn may(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        if let Err(e) = self.must(name, step) {
            eprintln!("xtask: {e}");
        }
    }

    fn report(&self) -> Result<()> {
        println!();
        for (name, time, passed) in &self.done {
            let verdict = if *passed { "passed" } else { "FAILED" };
            println!("{verdict}  {:>5.0} s  {name}", time.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, time, _)| *time).sum();
        println!("        {:>5.0} s  in all", total.as_secs_f64());
        let failed: Vec<&str> =
            self.done.iter().filter(|(.., passed)| !passed).map(|(name, ..)| *name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(ChoreError::Steps { failed: failed.len(), steps: self.done.len(), names: failed.join(", ") })
    }
}
