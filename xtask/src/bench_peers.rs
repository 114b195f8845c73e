//! `cargo xtask bench-peers`: the decoder's step beside what one would first write, in turns on one thread.

use std::path::PathBuf;
use std::process::Command;

use crate::error::{ChoreError, Result};
use crate::python;
use crate::workspace::{answer, cargo, root, run as run_command};

/// What the others are compared with.
const OURS: &str = "falsetto int8";

#[derive(clap::Args)]
pub struct Arguments {
    /// Turns of each; the least of all counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// `cargo xtask bench-peers`
pub fn run(arguments: &Arguments) -> Result<()> {
    let python = python::environment("bench-python", &["numpy", "torch"])?;
    let bench = |more: &[&str]| {
        let mut command = cargo();
        command.args(["bench", "--quiet", "--package", "falsetto-engine", "--bench", "peers"]).args(more);
        // A pool of threads makes candle's small products ten times slower.
        command.env("RAYON_NUM_THREADS", "1");
        command
    };
    run_command(&mut bench(&["--no-run"]))?;
    let torch = || {
        let mut command = Command::new(&python);
        command.arg("-B").arg(root().join("xtask/bench_peers/torch_step.py"));
        command
    };
    let mut figures = Figures::default();
    for round in 1..=arguments.rounds {
        println!("round {round}");
        figures.add(&answer(&mut bench(&[]))?);
        figures.add(&answer(&mut torch())?);
    }
    let table = figures.table();
    print!("{table}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, figures.json())
            .map_err(|source| ChoreError::File { path: path.clone(), source })?;
    }
    Ok(())
}

/// Least microseconds a sample of each, in the order in which they were first heard of.
#[derive(Default)]
struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Takes lines of a name, a tab and microseconds; others are not figures.
    fn add(&mut self, lines: &str) {
        for line in lines.lines() {
            let Some((name, us)) = line.split_once('\t') else { continue };
            let Ok(us) = us.trim().parse::<f64>() else { continue };
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, least)) => *least = least.min(us),
                None => self.0.push((name.into(), us)),
            }
        }
    }

    /// How many times as long as ours each takes.
    fn times(&self) -> impl Iterator<Item = (&str, f64, f64)> {
        let ours = self.0.iter().find(|(name, _)| name == OURS).map_or(f64::NAN, |(_, us)| *us);
        self.0.iter().map(move |(name, us)| (name.as_str(), *us, us / ours))
    }

    fn table(&self) -> String {
        let row = |(name, us, times)| format!("  {name:<22} {us:>12.2} {times:>9.1}\n");
        let rows: String = self.times().map(row).collect();
        format!(
            "40 layers of 64 channels, one stream, one thread: least microseconds a sample, times ours\n{rows}"
        )
    }

    fn json(&self) -> String {
        let row = |(name, us, times)| {
            format!("  {{ \"name\": \"{name}\", \"us_min\": {us}, \"times_ours\": {times:.2} }}")
        };
        format!("[\n{}\n]\n", self.times().map(row).collect::<Vec<_>>().join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_counts_and_ours_is_the_measure() {
        let mut figures = Figures::default();
        figures.add("warming up\nfalsetto int8\t12.0\ncandle\t300\n");
        figures.add("falsetto int8\t10.0\ncandle\t400\nbroken\tline\n");
        let times: Vec<_> = figures.times().collect();
        assert_eq!(times, [("falsetto int8", 10.0, 1.0), ("candle", 300.0, 30.0)]);
        assert!(figures.table().contains("candle") && figures.json().contains("\"times_ours\": 30.00"));
    }
}
