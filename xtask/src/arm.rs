//! The tests of kernels on an emulated aarch64 processor, NEON against the reference, and the whole chain against what x86-64 sings,
//! all bit for bit.
//!
//! Minutes of emulation for what seldom changes, so a chore of its own and no part of `cargo xtask test`.

use std::process::Command;

use crate::error::Result;
use crate::system_packages;
use crate::workspace::{cargo, run as run_command};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const SYSTEM_PACKAGES: [&str; 3] = ["qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// `cargo xtask arm`
pub fn run() -> Result<()> {
    system_packages::ensure(&SYSTEM_PACKAGES)?;
    run_command(Command::new("rustup").args(["target", "add", TARGET]))?;
    let mut test = cargo();
    test.args(["test", "--release", "--target", TARGET, "-p", "falsetto-engine", "--no-default-features"]);
    // The GPU's emulator would be compiled for this processor, not for the emulated one.
    test.args(["--lib", "--test", "every_machine", "--"]);
    test.args(["lanes", "decode", "stream::product", "every_machine", "--skip", "decode::cuda"]);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64 -L /usr/aarch64-linux-gnu");
    run_command(&mut test)
}
