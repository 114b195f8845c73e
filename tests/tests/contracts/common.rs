//! What the tests share: takes, singers, and what the command makes of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use falsetto_tests::clap_host::{Instance, Module};
use falsetto_tests::command::{Falsetto, read_wav, write_wav};
use falsetto_tests::python_hosts::PythonHosts;
use falsetto_tests::{built, take, vst3_host};

pub const RATES_HZ: [u32; 2] = [48_000, 44_100];
pub const SINGER: &str = "Singer";
const TAKE_SECONDS: f64 = 3.0;

/// The take that the tests sing, mono.
pub fn take(sample_rate_hz: u32) -> Vec<f32> {
    take::sung(sample_rate_hz, TAKE_SECONDS, 1)
}

pub fn clap() -> Module {
    Module::open(&built::clap()).expect("the built .clap loads")
}

pub fn vst3() -> vst3_host::Module {
    vst3_host::Module::open(&built::vst3()).expect("the built .vst3 loads")
}

pub fn python() -> PythonHosts {
    PythonHosts::new(built::from_environment(built::PYTHON_VARIABLE))
}

pub fn command() -> Falsetto {
    Falsetto::new(built::from_environment(built::COMMAND_VARIABLE))
}

/// A new CLAP instance that sings as `singer`.
pub fn clap_singing(singer: &str) -> Instance {
    let mut instance = clap().instance().expect("an instance");
    instance.set_by_name(SINGER, singer).expect("the singer is offered");
    instance
}

/// Names of all singers of the built-in voice.
pub fn singers() -> Vec<String> {
    let mut instance = clap().instance().expect("an instance");
    let singers = instance.choices(SINGER).expect("a singer parameter");
    assert!(singers.len() >= 2, "the built-in voice has too few singers: {singers:?}");
    singers
}

/// The last singer: not what a parameter stands at by itself.
pub fn last_singer() -> String {
    singers().pop().expect("a singer")
}

/// What `falsetto convert --seed 0` makes of a mono take; made once per test program.
pub fn converted(sample_rate_hz: u32, singer: &str) -> Arc<Vec<f32>> {
    type Known = HashMap<(u32, String), Arc<Vec<f32>>>;
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let sound = known
        .get_or_insert_with(HashMap::new)
        .entry((sample_rate_hz, singer.to_owned()))
        .or_insert_with(|| Arc::new(convert(sample_rate_hz, singer)));
    Arc::clone(sound)
}

fn convert(sample_rate_hz: u32, singer: &str) -> Vec<f32> {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output): (PathBuf, PathBuf) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    let take = take(sample_rate_hz);
    write_wav(&input, sample_rate_hz, std::slice::from_ref(&take)).expect("the take is written");
    let answer = command().convert(&input, singer, &output).expect("the command starts");
    assert!(answer.success, "{}", answer.stderr);
    let (rate, mut sound) = read_wav(&output).expect("the command wrote a WAV file");
    assert_eq!((rate, sound.len()), (sample_rate_hz, 1), "rate and channels of the command's file");
    let sound = sound.remove(0);
    assert_eq!(sound.len(), take.len(), "length of the command's file");
    let difference = sound.iter().zip(&take).filter(|(a, b)| a != b).count();
    assert!(difference > take.len() / 2, "the command sang nothing: the output is the input");
    assert!(sound.iter().any(|x| x.abs() > 0.01), "the command's file is silent");
    sound
}

/// Bit for bit; says where it goes wrong first and how often.
#[track_caller]
pub fn assert_same(what: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{what}: length");
    let wrong: Vec<usize> = (0..got.len()).filter(|i| got[*i].to_bits() != wanted[*i].to_bits()).collect();
    if let Some(first) = wrong.first() {
        panic!(
            "{what}: {} of {} samples differ, the first at {first}: {} instead of {}; the last at {}",
            wrong.len(),
            got.len(),
            got[*first],
            wanted[*first],
            wrong[wrong.len() - 1]
        );
    }
}
