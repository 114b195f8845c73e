//! The command refuses what it cannot use: one sentence, an exit code that says so, and no file left behind.

use std::fs;
use std::path::{Path, PathBuf};

use falsetto_tests::command::{Answer, read_wav, write_wav};

use crate::common::{command, last_singer, singers, take};

/// A folder with a good take and a place for the output.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_wav(&folder.path().join("take.wav"), 48_000, &[take(48_000)]).expect("the take is written");
        fs::create_dir(folder.path().join("out")).expect("a folder for the output");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn with_file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the file is written");
        path
    }

    /// `falsetto convert INPUT --singer SINGER [--voice FILE] -o out/sung.wav`
    fn convert(&self, input: &Path, singer: &str, voice: Option<&Path>) -> Answer {
        let mut arguments =
            vec!["convert".into(), input.as_os_str().to_owned(), "--singer".into(), singer.into()];
        if let Some(voice) = voice {
            arguments.extend(["--voice".into(), voice.as_os_str().to_owned()]);
        }
        arguments.extend(["-o".into(), self.path("out/sung.wav").into_os_string()]);
        command().run(arguments).expect("the command starts")
    }

    #[track_caller]
    fn assert_refused(&self, what: &str, answer: &Answer) {
        let said = answer.stderr.trim();
        assert!(!answer.success, "{what}: it says that all is well");
        assert!(!said.is_empty(), "{what}: not a word on stderr");
        assert_eq!(said.lines().count(), 1, "{what}: more than a sentence: {said}");
        for word in ["panicked", "RUST_BACKTRACE", "unwrap", "Os {", "Error {"] {
            assert!(!said.contains(word), "{what}: {said}");
        }
        let left: Vec<_> = fs::read_dir(self.path("out")).expect("the folder").flatten().collect();
        assert!(left.is_empty(), "{what}: left behind {left:?}");
    }
}

#[test]
fn sounds_that_are_none_are_refused() {
    let place = Place::new();
    let bytes = fs::read(place.path("take.wav")).expect("the take");
    let mut lying = bytes.clone();
    // The length of the data chunk: far more than the file has, in a header that is cut after it.
    lying.truncate(60);
    let mut not_a_number = take(4_800);
    not_a_number[2_400] = f32::NAN;
    write_wav(&place.path("nan.wav"), 48_000, &[not_a_number]).expect("the file is written");
    write_wav(&place.path("fast.wav"), 3_999_999_999, &[take(4_800)]).expect("the file is written");
    let inputs = [
        ("a rate that no take has", place.path("fast.wav")),
        ("a text", place.with_file("text.wav", b"This is a letter, not a sound.\n")),
        ("an empty file", place.with_file("empty.wav", b"")),
        ("a header alone", place.with_file("header.wav", &bytes[..20])),
        ("a cut header", place.with_file("cut.wav", &lying)),
        ("no file", place.path("nothing-here.wav")),
    ];
    for (what, input) in inputs {
        place.assert_refused(what, &place.convert(&input, &last_singer(), None));
    }
    let answer = place.convert(&place.path("nan.wav"), &last_singer(), None);
    place.assert_refused("a sample that is no number", &answer);
    assert!(answer.stderr.contains("nan.wav") && answer.stderr.contains("0.050 s"), "{}", answer.stderr);
}

#[test]
fn voice_files_that_lie_are_refused() {
    let place = Place::new();
    // Safetensors: the length of a JSON header, the header, the data.
    let file = |header: &str, data: &[u8]| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    };
    let huge = r#"{"a":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,16]}}"#;
    let beyond = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let plain = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let voices = [
        ("an empty voice", Vec::new()),
        ("a text", b"not a voice at all, but long enough to be read as one".to_vec()),
        ("a header length beyond the file", u64::MAX.to_le_bytes().to_vec()),
        ("a shape that lies", file(huge, &[0; 16])),
        ("data that is cut", file(beyond, &[0; 8])),
        ("tensors without a card", file(plain, &[0; 16])),
    ];
    for (what, bytes) in voices {
        let voice = place.with_file("voice.safetensors", &bytes);
        let answer = place.convert(&place.path("take.wav"), &last_singer(), Some(&voice));
        place.assert_refused(what, &answer);
    }
    place.assert_refused(
        "no voice file",
        &place.convert(&place.path("take.wav"), &last_singer(), Some(&place.path("nowhere.safetensors"))),
    );
}

#[test]
fn an_unknown_singer_is_refused_and_the_known_ones_are_named() {
    let place = Place::new();
    let answer = place.convert(&place.path("take.wav"), "nobody", None);
    place.assert_refused("an unknown singer", &answer);
    assert!(answer.stderr.contains(&last_singer()), "{}", answer.stderr);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let place = Place::new();
    let (take, singer) = (place.path("take.wav"), last_singer());
    let refused = |settings: &[&str]| {
        let answer =
            command().convert_with(&take, &singer, settings, &place.path("out/sung.wav")).expect("it starts");
        assert!(!answer.success && !place.path("out/sung.wav").exists(), "{settings:?}");
        answer.stderr
    };
    assert!(refused(&["--blend", "nobody:0.5"]).contains("has no singer `nobody`"));
    assert!(refused(&["--blend", "half"]).contains("SINGER:SHARE"));
    assert!(refused(&["--air", "1.5"]).contains("0 to 1"));
    assert!(refused(&["--formant", "13"]).contains("-12 to 12"));
    assert!(refused(&["--formant", "low"]).contains("-12 to 12"));
    assert!(refused(&["--transpose", "up"]).contains("`octave`"));
    assert!(refused(&["--transpose", "60"]).contains("36"));
}

#[test]
fn singers_that_cannot_come_in_are_refused() {
    let place = Place::new();
    let known = last_singer();
    for (name, consent, folder, word) in [
        (known.as_str(), "mine", place.path("out"), "already"),
        ("new", " ", place.path("out"), "--consent"),
        ("two\nlines", "mine", place.path("out"), "cannot take this singer in"),
        ("new", "mine", place.path("nowhere"), "nowhere"),
        ("new", "mine", place.path("out"), "usable clips"),
    ] {
        let output = place.path("new.safetensors");
        let arguments = [
            "adapt".as_ref(),
            folder.as_os_str(),
            "--name".as_ref(),
            name.as_ref(),
            "--consent".as_ref(),
            consent.as_ref(),
            "-o".as_ref(),
            output.as_os_str(),
        ];
        let answer = command().run(arguments).expect("it starts");
        place.assert_refused(word, &answer);
        assert!(answer.stderr.contains(word) && !output.exists(), "{}", answer.stderr);
    }
}

#[test]
fn a_take_is_fitted_to_the_octave_of_the_singer() {
    let place = Place::new();
    let convert = |transpose: &str| {
        let output = place.path("out/sung.wav");
        let answer = command()
            .convert_with(&place.path("take.wav"), &last_singer(), &["--transpose", transpose], &output)
            .expect("it starts");
        assert!(answer.success, "{}", answer.stderr);
        (answer.stdout, read_wav(&output).expect("a WAV file").1.remove(0))
    };
    let (told, fitted) = convert("octave");
    let semitones = told.trim().strip_suffix(" semitones").and_then(|text| text.rsplit(' ').next());
    let semitones: f32 = semitones.and_then(|text| text.parse().ok()).expect("it says how far");
    assert_eq!(semitones % 12.0, 0.0, "{told}");
    assert_eq!(fitted, convert(&semitones.to_string()).1);
    assert!(convert("key").0.contains(" semitones"));
}

#[test]
fn a_take_far_from_the_singer_is_told_and_left_where_it_is() {
    let place = Place::new();
    let output = place.path("out/sung.wav");
    let convert = |singer: &str, settings: &[&str]| {
        let answer =
            command().convert_with(&place.path("take.wav"), singer, settings, &output).expect("it starts");
        assert!(answer.success, "{}", answer.stderr);
        (answer, read_wav(&output).expect("a WAV file").1.remove(0))
    };
    let (mut near, mut far) = (0, 0);
    for singer in singers() {
        let (answer, as_it_is) = convert(&singer, &[]);
        let (told, _) = convert(&singer, &["--transpose", "octave"]);
        if told.stdout.contains("transposed +0 semitones") {
            assert_eq!(answer.stderr, "");
            near += 1;
        } else {
            assert!(answer.stderr.contains("--transpose octave"), "{}", answer.stderr);
            let (asked, untransposed) = convert(&singer, &["--transpose", "0"]);
            assert_eq!((asked.stderr.as_str(), untransposed), ("", as_it_is));
            far += 1;
        }
    }
    assert!(near > 0 && far > 0, "{near} near, {far} far: the take tells nothing");
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let place = Place::new();
    // A file where the folder should be refuses root as well, whom no permission stops.
    let blocked = place.with_file("blocked", b"");
    let output = blocked.join("sung.wav");
    let answer = command().convert(&place.path("take.wav"), &last_singer(), &output).expect("it starts");
    place.assert_refused("a file in the folder's place", &answer);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new();
    let folder = place.path("locked");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).expect("permissions");
    if fs::write(folder.join("probe"), b"").is_ok() {
        // Root may write everywhere; the test above holds the same for it.
        return;
    }
    let answer = command()
        .convert(&place.path("take.wav"), &last_singer(), &folder.join("sung.wav"))
        .expect("it starts");
    place.assert_refused("a locked folder", &answer);
}

#[test]
fn six_channels_at_96_khz_are_sung() {
    let place = Place::new();
    let channel = take(96_000);
    let input = place.path("wide.wav");
    write_wav(&input, 96_000, &vec![channel.clone(); 6]).expect("the take is written");
    let answer = place.convert(&input, &last_singer(), None);
    assert!(answer.success, "{}", answer.stderr);
    let (rate, sound) = read_wav(&place.path("out/sung.wav")).expect("a WAV file");
    assert_eq!(rate, 96_000);
    assert_eq!(sound[0].len(), channel.len());
    assert!(sound.iter().flatten().all(|x| x.is_finite() && x.abs() <= 1.5));
    assert!(sound[0].iter().any(|x| x.abs() > 0.01), "silence");
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    for verb in ["inspect", "singers"] {
        let answer = command().run_unread([verb]).expect("the command starts");
        assert!(answer.success, "{verb}: {}", answer.stderr);
        assert_eq!(answer.stderr, "", "{verb}");
    }
}

/// On a machine without a GPU that is asked for, the command says so; on one with it, the GPU sings what the processor sings.
#[test]
fn a_gpu_sings_the_same_or_is_refused_with_words() {
    let place = Place::new();
    let (take, sung) = (place.path("take.wav"), place.path("out/sung.wav"));
    let convert = |device: &str| {
        let mut arguments =
            vec!["convert".into(), take.as_os_str().to_owned(), "--singer".into(), last_singer().into()];
        arguments.extend(["-o".into(), sung.as_os_str().to_owned(), "--device".into(), device.into()]);
        command().run(arguments).expect("the command starts")
    };
    let answer = convert("cuda");
    if answer.success {
        let on_gpu = fs::read(&sung).expect("what the GPU sang");
        assert!(convert("cpu").success);
        assert!(fs::read(&sung).expect("what the processor sang") == on_gpu);
    } else {
        place.assert_refused("no GPU", &answer);
        assert!(answer.stderr.contains("processor"), "{}", answer.stderr);
    }
}
