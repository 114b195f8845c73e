//! A folder's takes are converted side by side on several threads; nobody can tell from what comes out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use falsetto_tests::command::{Answer, write_wav};

use crate::common::{command, last_singer, take};

fn convert(input: &Path, output: &Path, more: &[&str]) -> Answer {
    let mut arguments = vec!["convert".into(), input.as_os_str().to_owned(), "-o".into(), output.into()];
    arguments.extend(["--singer".into(), last_singer().into()]);
    arguments.extend(more.iter().map(|argument| (*argument).into()));
    command().run(arguments).expect("the command starts")
}

/// Names and bytes of a folder's files.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let read = |path: &Path| fs::read(path).expect("the file");
    entries.flatten().map(|e| (e.file_name().to_string_lossy().into_owned(), read(&e.path()))).collect()
}

#[test]
fn a_folder_gives_what_each_of_its_files_gives_alone_and_a_broken_one_costs_no_other() {
    let place = tempfile::tempdir().expect("a folder");
    let path = |name: &str| place.path().join(name);
    for folder in ["takes", "alone"] {
        fs::create_dir(path(folder)).expect("a folder");
    }
    let whole = take(48_000);
    let lengths = [30_000, 1, 7_777, 48_000, 480, 22_050, 12_000];
    for (index, length) in lengths.into_iter().enumerate() {
        let name = format!("{index}.wav");
        let rate_hz = [48_000, 44_100, 16_000][index % 3];
        let sound = vec![whole[100 * index..][..length].to_vec(); 1 + index % 2];
        write_wav(&path("takes").join(&name), rate_hz, &sound).expect("the take is written");
        let answer = convert(&path("takes").join(&name), &path("alone").join(&name), &[]);
        assert!(answer.success, "{}", answer.stderr);
    }
    let wanted = files(&path("alone"));
    assert_eq!(wanted.len(), lengths.len());
    fs::write(path("takes").join("broken.wav"), b"This is a letter, not a sound.\n").expect("a text");

    for threads in ["1", "2", "9"] {
        let output = path(&format!("sung-{threads}"));
        let answer = convert(&path("takes"), &output, &["--threads", threads]);
        assert!(!answer.success);
        let said = &answer.stderr;
        assert!(said.contains("broken.wav") && said.contains("1 of 8 files"), "{threads}: {said}");
        assert!(files(&output) == wanted, "{threads} threads");
    }

    for shard in ["1/3", "2/3", "3/3"] {
        let answer = convert(&path("takes"), &path("shards"), &["--shard", shard]);
        assert_eq!(answer.success, !answer.stderr.contains("broken.wav"), "{shard}: {}", answer.stderr);
    }
    assert!(files(&path("shards")) == wanted, "shards");

    let answer = convert(&path("takes"), &path("none"), &["--threads", "0"]);
    assert!(!answer.success && answer.stderr.contains("--threads"), "{}", answer.stderr);
    assert!(!path("none").exists());
}
