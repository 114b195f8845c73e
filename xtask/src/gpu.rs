//! `cargo xtask gpu`: on a machine with an NVIDIA card, whether it sings what the processor sings, and how fast.

use serde_json::Value;

use crate::error::{ChoreError, Result};
use crate::train_cuda;
use crate::workspace::{cargo, release_program, root, run as run_command};

#[derive(clap::Args)]
pub struct Arguments {
    /// Instead, whether the card trains as the processor does, and how long a step takes.
    #[arg(long)]
    training: bool,
}

/// `cargo xtask gpu`: writes docs/gpu.json, and its table into docs/gpu.md.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.training {
        // One at a time, since times are taken.
        let mut test = train_cuda::toolkit()?.cargo(&["test", "--lib", "--test", "training_on_card"]);
        return run_command(test.args(["a_card", "--", "--ignored", "--nocapture", "--test-threads=1"]));
    }
    run_command(cargo().args([
        "test",
        "--release",
        "--package",
        "falsetto-engine",
        "--lib",
        "decode::cuda",
    ]))?;
    run_command(cargo().args(["build", "--release", "--package", "falsetto-engine"]))?;
    let json = root().join("docs/gpu.json");
    let mut bench = std::process::Command::new(release_program("falsetto"));
    bench.args(["bench", "--device", "cuda", "--recipes"]).arg(root().join("assets/recipes"));
    run_command(bench.arg("--json").arg(&json))?;

    let failed = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| ChoreError::File { path, source }
    };
    let text = std::fs::read_to_string(&json).map_err(failed(&json))?;
    let figures: Value = serde_json::from_str(&text).map_err(|error| failed(&json)(error.into()))?;
    let page = root().join("docs/gpu.md");
    let old = std::fs::read_to_string(&page).map_err(failed(&page))?;
    std::fs::write(&page, with_table(&old, &table(&figures))).map_err(failed(&page))?;
    println!("docs/gpu.md and docs/gpu.json hold these figures now");
    Ok(())
}

const BEGIN: &str = "<!-- cargo xtask gpu writes what follows -->\n";
const END: &str = "<!-- until here -->";

/// The page with what lies between its marks replaced.
fn with_table(page: &str, table: &str) -> String {
    let (before, rest) = page.split_once(BEGIN).unwrap_or((page, END));
    let after = rest.split_once(END).map_or("", |(_, after)| after);
    format!("{before}{BEGIN}\n{table}\n{END}{after}")
}

fn table(figures: &Value) -> String {
    let number = |row: &Value, key: &str, digits: usize| {
        row[key].as_f64().map_or("-".into(), |value| format!("{value:.digits$}"))
    };
    let rows = |key: &str| figures[key].as_array().cloned().unwrap_or_default();
    let mut lines = vec![
        figures["device"].as_str().unwrap_or("a card without a name").to_owned() + ":",
        String::new(),
        "| network | samples that differ from the processor's |".into(),
        "| --- | --- |".into(),
    ];
    for row in rows("equality") {
        let name = row["network"].as_str().unwrap_or("-");
        lines.push(format!("| {name} | {} |", number(&row, "differing_samples", 0)));
    }
    lines.push(String::new());
    lines.push(
        "| layers | channels | head | streams | hop, us (median) | kHz of each | x real time | at 70 % |"
            .into(),
    );
    lines.push("| --- | --- | --- | --- | --- | --- | --- | --- |".into());
    for row in rows("decoders") {
        let keys = [
            ("layers", 0),
            ("residual", 0),
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
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_table_takes_the_place_of_the_old_one() {
        let figures = serde_json::json!({
            "device": "a card",
            "equality": [{ "network": "live", "differing_samples": 0 }],
            "decoders": [{ "layers": 20, "residual": 48, "head": 64, "streams": 8, "hop_us_median": 1234.4, "khz": 129.63,
                "realtime": 8.1, "streams_at_70_percent": 45 }],
        });
        let table = table(&figures);
        assert!(table.starts_with("a card:\n"));
        assert!(
            table.contains("| live | 0 |\n")
                && table.contains("| 20 | 48 | 64 | 8 | 1234 | 129.6 | 8.1 | 45 |\n")
        );
        let page = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let once = with_table(&page, &table);
        assert_eq!(with_table(&once, &table), once);
        assert!(once.starts_with("before\n") && once.ends_with("\nafter\n") && !once.contains("old"));
    }
}
