//! The judge, on the built-in bank and references that the bank sang itself.

use std::fs;
use std::path::Path;

use falsetto_tests::command::write_wav;
use serde_json::Value;

use crate::common::{command, singers, take};

const RATE_HZ: u32 = 16_000;

/// `DIR/<singer>/<seed>.wav` for every singer of the bank.
fn references(folder: &Path, recordings: usize) {
    let source = folder.join("source.wav");
    write_wav(&source, RATE_HZ, &[take(RATE_HZ)]).expect("the take is written");
    for singer in singers() {
        for seed in 0..recordings {
            let seed = seed.to_string();
            let output = folder.join("references").join(&singer).join(format!("{seed}.wav"));
            let settings = ["--seed", seed.as_str()];
            let answer = command().convert_with(&source, &singer, &settings, &output).expect("it starts");
            assert!(answer.success, "{}", answer.stderr);
        }
    }
}

#[test]
fn a_bank_is_judged_on_takes_and_on_its_singers_own_recordings() {
    let folder = tempfile::tempdir().expect("a folder");
    references(folder.path(), 2);
    let path = |name: &str| folder.path().join(name).into_os_string();
    let mut arguments = vec!["judge".into(), "--references".into(), path("references")];
    arguments.extend(["--takes".into(), path("source.wav"), "--clips".into(), "1".into()]);
    arguments.extend(["-o".into(), path("report")]);
    let answer = command().run(arguments).expect("it starts");
    assert!(answer.success, "{}", answer.stderr);

    let json = fs::read(folder.path().join("report/report.json")).expect("the figures");
    let report: Value = serde_json::from_slice(&json).expect("they are JSON");
    let count = singers().len();
    let conversions = report["conversions"].as_array().expect("conversions");
    assert_eq!((conversions.len(), report["reconstructions"].as_array().map(Vec::len)), (count, Some(count)));
    let figure = |name: &str| report["summary"][name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    // Who learnt from what the bank sang must know what it sings.
    assert_eq!(figure("real_identified"), 1.0, "{}", report["real_confusion"]);
    assert!(figure("identified") > 0.8, "{}", report["confusion"]);
    assert!(figure("f0_median_error_cents") < 15.0 && figure("voicing_error") < 0.15);
    // A hop at most: the time that the judge measures in.
    assert!(figure("worst_lag_ms") <= 10.0 && figure("not_finite_samples") == 0.0);
    assert!((1.0..7.0).contains(&figure("bits_per_sample")));
    let page = fs::read_to_string(folder.path().join("report/index.html")).expect("the page");
    for conversion in conversions {
        for sound in ["take_sound", "output_sound"] {
            let sound = conversion[sound].as_str().expect("a path");
            assert!(page.contains(sound) && folder.path().join("report").join(sound).is_file(), "{sound}");
        }
    }
}

#[test]
fn references_that_lack_a_singer_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let references = folder.path().join("references");
    fs::create_dir_all(references.join(&singers()[0])).expect("a folder");
    let answer = command().run([
        "judge".as_ref(),
        "--references".as_ref(),
        references.as_os_str(),
        "-o".as_ref(),
        folder.path().join("report").as_os_str(),
    ]);
    let answer = answer.expect("it starts");
    assert!(!answer.success && !folder.path().join("report").exists());
    assert!(answer.stderr.contains(&singers()[1]) && answer.stderr.lines().count() == 1, "{}", answer.stderr);
}
