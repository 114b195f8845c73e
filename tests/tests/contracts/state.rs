//! Nothing is lost in a project: parameters and the voice come back, and a voice that is not there is not forgotten.

use falsetto_tests::clap_host::Instance;
use falsetto_tests::play::Plan;
use serde_json::Value;

use crate::common::{SINGER, assert_same, clap, clap_singing, last_singer, take};

const RATE_HZ: u32 = 48_000;
/// The shell writes the length of its JSON text first.
const LENGTH_BYTES: usize = 8;

fn plan() -> Plan {
    Plan::offline(f64::from(RATE_HZ), 512)
}

pub fn text_of(state: &[u8]) -> Value {
    serde_json::from_slice(&state[LENGTH_BYTES..]).expect("the state is JSON after its length")
}

pub fn state_of(text: &Value) -> Vec<u8> {
    let bytes = text.to_string().into_bytes();
    (bytes.len() as u64).to_le_bytes().into_iter().chain(bytes).collect()
}

/// What the state says of the voice bank, which is itself a JSON text.
fn voice_in(state: &Value) -> Value {
    let text = state["fields"]["voice"].as_str().expect("the state names a voice");
    serde_json::from_str(text).expect("the voice's reference is JSON")
}

/// The state's own view of the parameters is one block behind in some formats, so a block is played before saving.
pub fn saved_after_a_block(instance: &mut Instance) -> Vec<u8> {
    instance.play(&[vec![0.0; 512]], &plan()).expect("a block");
    instance.save_state().expect("a state")
}

#[test]
fn a_state_brings_back_every_parameter_and_the_sound() {
    let mut instance = clap_singing(&last_singer());
    let values = [
        ("Second singer", 1.0),
        ("Blend", 0.3),
        ("Transpose", 0.7),
        ("Mix", 0.6),
        ("Air", 0.2),
        ("Gain", 0.5),
        ("Seed", 7.0),
    ];
    for (name, value) in values {
        let parameter = instance.parameter(name).expect("the parameter");
        // Whole numbers as they are, else a plain value somewhere inside the range, whatever the range is.
        let value =
            if value >= 1.0 { value } else { parameter.min + value * (parameter.max - parameter.min) };
        instance.set(parameter.id, value).expect("the value");
    }
    let state = saved_after_a_block(&mut instance);
    let mut other = clap().instance().expect("an instance");
    other.load_state(&state).expect("the state loads");
    for parameter in instance.parameters().expect("parameters") {
        let (saved, loaded) = (instance.value(parameter.id), other.value(parameter.id));
        assert_eq!(loaded.expect("a value"), saved.expect("a value"), "{}", parameter.name);
    }
    let take = [take(RATE_HZ)];
    let wanted = instance.bounce(&take, &plan()).expect("a bounce");
    let played = other.bounce(&take, &plan()).expect("a bounce");
    assert_same("after loading", &played.sound[0], &wanted.sound[0]);
}

#[test]
fn a_state_loaded_while_active_elsewhere_changes_the_singer() {
    let mut instance = clap_singing(&last_singer());
    let state = saved_after_a_block(&mut instance);
    let mut other = clap().instance().expect("an instance");
    other.bounce(&[take(RATE_HZ)], &plan()).expect("a bounce with another singer");
    other.load_state(&state).expect("the state loads");
    let singer = other.parameter(SINGER).expect("a singer");
    let value = other.value(singer.id).expect("a value");
    assert_eq!(other.text_of(singer.id, value).expect("a name"), last_singer());
}

#[test]
fn an_unknown_voice_passes_aligned_dry_sound_and_is_remembered() {
    let mut instance = clap_singing(&last_singer());
    let mut state = text_of(&saved_after_a_block(&mut instance));
    let mut voice = voice_in(&state);
    voice["name"] = "a voice that nobody has".into();
    voice["hash"] = "0".repeat(64).into();
    state["fields"]["voice"] = voice.to_string().into();

    let mut other = clap().instance().expect("an instance");
    other.load_state(&state_of(&state)).expect("the state loads");
    let take = take(RATE_HZ);
    let played = other.bounce(std::slice::from_ref(&take), &plan()).expect("a bounce");
    assert!(played.latency_samples > 0, "no latency is reported");
    assert_same("dry sound", &played.sound[0], &take);
    let again = text_of(&other.save_state().expect("a state"));
    let kept = voice_in(&again);
    assert_eq!(kept["name"], voice["name"]);
    assert_eq!(kept["hash"], voice["hash"]);
}

#[test]
fn a_broken_state_is_refused_and_does_no_harm() {
    let mut instance = clap_singing(&last_singer());
    let state = saved_after_a_block(&mut instance);
    let wanted = instance.bounce(&[take(RATE_HZ)], &plan()).expect("a bounce");
    for broken in [&state[..state.len() / 2], &state[..3], &[], b"\x05\0\0\0\0\0\0\0\xff\xfe\xfd{}"] {
        assert!(instance.load_state(broken).is_err(), "{} bytes are accepted", broken.len());
    }
    let played = instance.bounce(&[take(RATE_HZ)], &plan()).expect("a bounce");
    assert_same("after broken states", &played.sound[0], &wanted.sound[0]);
}
