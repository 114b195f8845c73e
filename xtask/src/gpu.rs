//! `cargo xtask gpu`: on a machine with an NVIDIA card, whether it sings and learns what the processor does, and how fast.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench_training::{self, Place};
use crate::error::{ChoreError, Result};
use crate::train_cuda;
use crate::workspace::{cargo, release_program, root, run as run_command, target};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only one half of it.
    #[arg(long, value_enum)]
    only: Option<Half>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Half {
    /// Whether the card sings what the processor sings, and how fast.
    Decoder,
    /// Whether the card trains as the processor does, and how long a step takes there and in PyTorch.
    Training,
}

/// `cargo xtask gpu`: writes docs/gpu.json, and its tables into docs/gpu.md.
pub fn run(arguments: &Arguments) -> Result<()> {
    let json_path = root().join("docs/gpu.json");
    let page_path = root().join("docs/gpu.md");
    // What the half that is left out has measured before stays.
    let mut figures = if json_path.exists() { read_json(&json_path)? } else { json!({}) };
    for half in [Half::Decoder, Half::Training] {
        if arguments.only.is_some_and(|only| only != half) {
            continue;
        }
        // Each is written as soon as it is measured: the other may fail.
        match half {
            Half::Decoder => figures["decoder"] = decoder()?,
            Half::Training => figures["training"] = training()?,
        }
        write(&json_path, &figures.to_string())?;
        let page = std::fs::read_to_string(&page_path).map_err(file_error(&page_path))?;
        write(&page_path, &with_tables(&page, &tables(&figures)))?;
        println!("docs/gpu.md and docs/gpu.json hold these figures now");
    }
    Ok(())
}

/// Compares the card's samples with the processor's, and times it.
fn decoder() -> Result<Value> {
    let engine = ["--release", "--package", "falsetto-engine"];
    run_command(cargo().arg("test").args(engine).args(["--lib", "decode::cuda"]))?;
    run_command(cargo().arg("build").args(engine))?;
    let json = target().join("gpu-decoder.json");
    let mut bench = Command::new(release_program("falsetto"));
    bench.args(["bench", "--device", "cuda", "--recipes"]).arg(root().join("assets/recipes"));
    run_command(bench.arg("--json").arg(&json))?;
    read_json(&json)
}

/// Compares the card's operations and first steps with the processor's, and times a step beside PyTorch's.
fn training() -> Result<Value> {
    // One at a time, since times are taken.
    let mut test = train_cuda::toolkit()?.cargo(&["test", "--lib", "--test", "training_on_card"]);
    test.env("LD_LIBRARY_PATH", train_cuda::library_path()?);
    run_command(test.args(["a_card", "--", "--ignored", "--nocapture", "--test-threads=1"]))?;
    Ok(bench_training::figures(Place::Cuda, 2)?.json("ms"))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    serde_json::from_str(&text).map_err(|source| ChoreError::Report { path: path.into(), source })
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> ChoreError {
    let path = path.to_owned();
    move |source| ChoreError::File { path, source }
}

const BEGIN: &str = "<!-- cargo xtask gpu writes what follows -->\n";
const END: &str = "<!-- until here -->";

/// The page with what lies between its marks replaced.
fn with_tables(page: &str, tables: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).unwrap_or((page, END));
    let after = rest.split_once(END).map_or("", |(_, after)| after);
    format!("{before}{BEGIN}\n{tables}\n{END}{after}")
}

/// Those of the halves that have been measured.
fn tables(figures: &Value) -> String {
    let decoder = figures.get("decoder").map(decoder_tables);
    let training = figures.get("training").map(training_table);
    decoder.into_iter().chain(training).collect::<Vec<_>>().join("\n")
}

fn training_table(figures: &Value) -> String {
    let mut lines = vec![
        "| a training step of `live.toml` | ms (median) | times ours |".to_owned(),
        "| --- | --- | --- |".to_owned(),
    ];
    for row in figures.as_array().into_iter().flatten() {
        let [ms, times] = ["ms", "times_ours"].map(|key| row[key].as_f64().unwrap_or(f64::NAN));
        lines.push(format!("| {} | {ms:.2} | {times:.2} |", row["name"].as_str().unwrap_or("-")));
    }
    lines.join("\n") + "\n"
}

fn decoder_tables(figures: &Value) -> String {
    let number = |row: &Value, key: &str, digits: usize| {
        row[key].as_f64().map_or("-".into(), |value| format!("{value:.digits$}"))
    };
    let rows = |key: &str| figures[key].as_array().cloned().unwrap_or_default();
    let mut lines = vec![
        figures["device"].as_str().unwrap_or("a card without a name").to_owned() + ":",
        String::new(),
        "| network | seconds of 16 streams | samples that differ from the processor's |".into(),
        "| --- | --- | --- |".into(),
    ];
    for row in rows("equality") {
        let name = row["network"].as_str().unwrap_or("-");
        let [seconds, differing] = ["seconds", "differing_samples"].map(|key| number(&row, key, 0));
        lines.push(format!("| {name} | {seconds} | {differing} |"));
    }
    lines.push(String::new());
    lines.push(
        "| layers | channels | skip | head | streams | hop, us (median) | kHz of each | x real time | at 70 % |"
            .into(),
    );
    lines.push("| --- | --- | --- | --- | --- | --- | --- | --- | --- |".into());
    for row in rows("decoders") {
        let keys = [
            ("layers", 0),
            ("residual", 0),
            ("skip", 0),
            ("head", 0),
            ("streams", 0),
            ("hop_us_median", 0),
            ("khz", 1),
            ("realtime", 1),
            ("streams_at_70_percent", 0),
        ];
        let cells: Vec<String> = keys.iter().map(|(key, digits)| number(&row, key, *digits)).collect();
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    let handover = number(figures, "layer_handover_us", 3);
    lines.push(String::new());
    lines.push(format!(
        "A layer with next to nothing to multiply adds {handover} us to a sample of one stream."
    ));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tables_take_the_place_of_old_ones() {
        let decoder = json!({
            "device": "a card",
            "equality": [{ "network": "live", "seconds": 2.0, "differing_samples": 0 }],
            "layer_handover_us": 0.25,
            "decoders": [{ "layers": 20, "residual": 48, "skip": 48, "head": 64, "streams": 8, "hop_us_median": 1234.4, "khz": 129.63,
                "realtime": 8.1, "streams_at_70_percent": 45 }],
        });
        let training = json!([{ "name": "PyTorch eager", "ms": 12.345, "times_ours": 3.0 }]);
        let both = tables(&json!({ "decoder": decoder, "training": training }));
        assert!(both.starts_with("a card:\n"));
        assert!(
            both.contains("| live | 2 | 0 |\n")
                && both.contains("adds 0.250 us")
                && both.contains("| 20 | 48 | 48 | 64 | 8 | 1234 | 129.6 | 8.1 | 45 |\n")
                && both.contains("| PyTorch eager | 12.35 | 3.00 |\n")
        );
        assert!(both.starts_with(&tables(&json!({ "decoder": decoder }))));
        let page = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let once = with_tables(&page, &both);
        assert_eq!(with_tables(&once, &both), once);
        assert!(once.starts_with("before\n") && once.ends_with("\nafter\n") && !once.contains("old"));
    }
}
