//! System packages on Debian and its relatives. Installed where we may, asked for where we may not.

use std::process::{Command, Stdio};

use crate::error::{ChoreError, Result};
use crate::workspace::run;

/// Makes sure that the packages are there. Elsewhere than on Debian's relatives they are only named.
pub fn ensure(packages: &[&str]) -> Result<()> {
    if !succeeds(Command::new("dpkg").arg("--version")) {
        println!(
            "This system has no dpkg; make sure that you have what Debian calls: {}",
            packages.join(" ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = packages.iter().copied().filter(|p| !is_installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = administrator_prefix() else {
        return Err(ChoreError::Packages { packages: missing.join(" ") });
    };
    println!("installing system packages: {}", missing.join(" "));
    run(&mut apt_get(prefix, &["update", "-q"]))?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    run(apt_get(prefix, &install).args(missing))
}

fn is_installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    query.is_ok_and(|answer| answer.stdout == b"installed")
}

/// What must stand before `apt-get`: nothing for root, `sudo` where it asks for no password.
fn administrator_prefix() -> Option<&'static [&'static str]> {
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Command {
    let words: Vec<&str> =
        prefix.iter().chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).copied().collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(arguments);
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}
