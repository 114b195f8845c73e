//! The judge, on the built-in bank and references that the bank sang itself.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use falsetto_tests::command::{Answer, write_wav};
use serde_json::Value;

use crate::common::{command, singers, take};

const RATE_HZ: u32 = 16_000;

/// The built-in bank as a file.
fn bank() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/voices/default.safetensors");
    fs::read(path).expect("the built-in bank")
}

/// A copy of a bank with another card: the safetensors header is its length, and JSON with the card as a text in it.
fn with_card(bank: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (length, rest) = bank.split_first_chunk().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).expect("a header");
    let text = &mut header["__metadata__"]["falsetto.card"];
    let mut card = serde_json::from_str(text.as_str().expect("a card")).expect("it is JSON");
    change(&mut card);
    *text = card.to_string().into();
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

/// `source.wav`, so many seconds of a take, and `references/<singer>/<seed>.wav` for every singer of the bank.
fn references(folder: &Path, recordings: usize, seconds: f64) {
    let source = folder.join("source.wav");
    let mut take = take(RATE_HZ);
    take.truncate((seconds * f64::from(RATE_HZ)) as usize);
    write_wav(&source, RATE_HZ, &[take]).expect("the take is written");
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
    references(folder.path(), 2, 3.0);
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

/// `falsetto judge --voice FILES --references references --takes source.wav --clips 1 -o report`, all in a folder.
fn compare(folder: &Path, files: &[&str]) -> Answer {
    let path = |name: &str| folder.join(name).into_os_string();
    let mut arguments: Vec<OsString> = vec!["judge".into(), "--voice".into()];
    arguments.extend(files.iter().map(|file| path(file)));
    arguments.extend(["--references".into(), path("references"), "--takes".into(), path("source.wav")]);
    arguments.extend(["--clips".into(), "1".into(), "-o".into(), path("report")]);
    command().run(arguments).expect("it starts")
}

#[test]
fn banks_are_compared_on_the_same_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    references(folder.path(), 2, 1.5);
    let sharper = with_card(&bank(), |card| card["sampling"]["voiced_sharpness"] = 9.0.into());
    let files = [("one", bank()), ("same", bank()), ("sharper", sharper)];
    for (file, bytes) in &files {
        fs::write(folder.path().join(file), bytes).expect("the bank is written");
    }
    let told =
        command().run(["inspect".into(), folder.path().join("sharper").into_os_string()]).expect("it starts");
    let hash = told.stdout.lines().find_map(|line| line.strip_prefix("hash")).expect("a hash").trim();
    let cost = format!(r#"{{"bank_hash": "{hash}", "steps": 1500, "cpu_s": 378.0}}"#);
    fs::write(folder.path().join("cost.json"), cost).expect("the cost is written");
    let answer = compare(folder.path(), &files.each_ref().map(|(file, _)| *file));
    assert!(answer.success, "{}", answer.stderr);

    let report = folder.path().join("report");
    let json = fs::read(report.join("report.json")).expect("the figures");
    let comparison: Value = serde_json::from_slice(&json).expect("they are JSON");
    let page = fs::read_to_string(report.join("index.html")).expect("the page");
    let banks = comparison["banks"].as_array().expect("banks");
    // All three have the same name on their cards.
    let names: Vec<&str> = banks.iter().filter_map(|bank| bank["name"].as_str()).collect();
    assert_eq!(names, ["default", "default-2", "default-3"]);
    for (bank, (_, bytes)) in banks.iter().zip(&files) {
        let name = bank["name"].as_str().expect("a name");
        let own = fs::read(report.join(name).join("report.json")).expect("the bank's own report");
        let own: Value = serde_json::from_slice(&own).expect("it is JSON");
        assert_eq!((&own["summary"], &own["bank_hash"]), (&bank["summary"], &bank["bank_hash"]));
        assert!(
            page.contains(&format!("{name}/index.html")) && report.join(name).join("index.html").is_file()
        );
        let cost = |figure: &str| bank["cost"][figure].as_f64().unwrap_or_else(|| panic!("no {figure}"));
        assert_eq!(cost("file_bytes"), bytes.len() as f64);
        assert!(cost("parameters") > 1e5 && cost("times_real_time") > 0.0);
        assert!(cost("engine_latency_ms") < cost("plugin_latency_ms") && cost("plugin_latency_ms") <= 40.0);
    }
    // What a run left beside the banks is of one of them.
    let training = |bank: usize| &banks[bank]["cost"]["training"];
    assert_eq!(training(2)["steps"], 1500);
    assert_eq!(training(2)["cpu_minutes"], 6.3);
    assert!(training(0).is_null() && training(1).is_null());
    assert_eq!(banks[0]["summary"], banks[1]["summary"], "equal banks");
    assert_eq!(banks[0]["bank_hash"], banks[1]["bank_hash"], "equal banks");
    assert_ne!(banks[0]["summary"], banks[2]["summary"], "another bank");
    assert_eq!(banks[0]["summary"]["real_identified"], banks[2]["summary"]["real_identified"]);

    let heard = comparison["heard"].as_array().expect("what is heard side by side");
    assert_eq!(heard.len(), singers().len(), "one take, every singer");
    for heard in heard {
        let sounds = heard["output_sounds"].as_array().expect("sounds");
        let read = |sound: &Value| {
            let sound = sound.as_str().expect("a path");
            assert!(page.contains(sound), "{sound}");
            fs::read(report.join(sound)).expect("the sound")
        };
        assert_eq!((sounds.len(), read(&heard["take_sound"]).is_empty()), (3, false));
        assert_eq!(read(&sounds[0]), read(&sounds[1]), "equal banks");
        assert_ne!(read(&sounds[0]), read(&sounds[2]), "another bank");
    }
}

#[test]
fn banks_that_cannot_be_compared_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for singer in singers() {
        fs::create_dir_all(folder.path().join("references").join(singer)).expect("a folder");
    }
    let stranger = with_card(&bank(), |card| card["singers"][1]["name"] = "zoe".into());
    fs::write(folder.path().join("one"), bank()).expect("the bank is written");
    fs::write(folder.path().join("stranger"), stranger).expect("the bank is written");
    for (files, words) in
        [(["one", "stranger"], ["`default`", "zoe"]), (["one", "none"], ["none", "cannot read"])]
    {
        let answer = compare(folder.path(), &files);
        assert!(!answer.success && !folder.path().join("report").exists(), "{files:?}");
        assert!(words.iter().all(|word| answer.stderr.contains(word)), "{}", answer.stderr);
        assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    }
}
