//! What `falsetto bench` tells. How fast anything is, no test says.

use std::fs;

use serde_json::Value;

use crate::common::command;

#[test]
fn every_figure_is_there_and_a_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("figures.json");
    let arguments = ["bench", "--seconds", "0.01", "--json"].map(Into::into);
    let answer =
        command().run(arguments.into_iter().chain([path.clone().into_os_string()])).expect("it starts");
    assert!(answer.success, "{}", answer.stderr);
    let figures: Value = serde_json::from_slice(&fs::read(&path).expect("the figures")).expect("JSON");

    let rows = |name: &str| figures[name].as_array().cloned().unwrap_or_default();
    let (ceilings, decoders) = (rows("ceilings"), rows("decoders"));
    assert!(!ceilings.is_empty());
    // Five sizes of single samples and two of pairs, for 1, 2 and 4 streams, in bytes with every kernel, in `f32` with all
    // but one that is no other there.
    let own_f32 = ceilings.iter().filter(|ceiling| ceiling["kernel"] != "AvxVnni").count();
    let of_each_size = 3 * (ceilings.len() + own_f32);
    for (samples, sizes) in [(1, 5), (2, 2)] {
        let rows = decoders.iter().filter(|row| row["samples_per_pass"] == samples);
        assert_eq!(rows.count(), sizes * of_each_size, "{samples} samples a pass");
    }
    let positive = |value: &Value, name: &str| {
        assert!(
            value[name].as_f64().is_some_and(|figure| figure.is_finite() && figure > 0.0),
            "{name} of {value}"
        );
    };
    for ceiling in &ceilings {
        positive(ceiling, "f32_multiply_adds_per_second");
        positive(ceiling, "int8_multiply_adds_per_second");
        assert_eq!(ceiling["streams"].as_array().map(Vec::len), Some(4));
    }
    for row in &decoders {
        for name in ["skip", "streams", "us_min", "us_median", "realtime", "ratio_stream"] {
            positive(row, name);
        }
        positive(row, "ratio_compute");
        assert!(row["kernel"].is_string() && row["format"].is_string(), "{row}");
        let size = ["layers", "residual"].map(|name| row[name].as_u64().expect("a count"));
        assert!(answer.stdout.contains(&format!("{:>6} {:>8}", size[0], size[1])), "{row}");
    }
    let chain = figures["chain"].as_object().expect("the chain");
    assert_eq!(chain.len(), 6);
    chain.iter().for_each(|(stage, _)| positive(&figures["chain"], stage));
    for name in ["streams", "encoder", "decoder"] {
        positive(&figures["together"], name);
    }
    for name in ["blocks", "us_p50", "us_p99", "us_p999", "us_max"] {
        positive(&figures["live"], name);
    }

    let nowhere = folder.path().join("missing").join("figures.json").into_os_string();
    let arguments = ["bench", "--seconds", "0.01", "--json"].map(Into::into);
    let answer = command().run(arguments.into_iter().chain([nowhere])).expect("it starts");
    assert!(!answer.success && answer.stderr.contains("cannot write"), "{}", answer.stderr);
}
