use std::time::Duration;

use nice_plug::params::Params;
use rtrb::RingBuffer;

use super::*;
use crate::params::FalsettoParams;

const RATE_HZ: u32 = 48_000;
const MAX_BLOCK: usize = 512;

/// An active voice, and the audio thread's ends of its rings.
fn active(voice: &Voice, latency_change: usize) -> (Consumer<Option<Stream>>, Producer<Option<Stream>>) {
    let bank = voice.bank();
    let settings = Settings::default();
    let (_stream, info) = open_stream(bank.as_ref().unwrap(), RATE_HZ, MAX_BLOCK, settings).unwrap();
    let ((to_audio, incoming), (outgoing, from_audio)) = (RingBuffer::new(2), RingBuffer::new(2));
    voice.activate(Active {
        host_rate_hz: RATE_HZ,
        max_block_samples: MAX_BLOCK,
        latency_samples: info.latency.total_samples() + latency_change,
        playing: bank,
        incoming: to_audio,
        outgoing: from_audio,
    });
    (incoming, outgoing)
}

fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came about");
}

/// A file of another bank with the same model, and a reference to it.
fn other_bank(folder: &std::path::Path) -> VoiceReference {
    let config = VoiceBank::default_bank().unwrap().card().model.clone();
    let bank = VoiceBank::random(config, 3, 9).unwrap();
    let path = folder.join("other.safetensors");
    bank.save(&path).unwrap();
    VoiceReference {
        hash: bank.content_hash(),
        name: bank.card().name.clone(),
        path: Some(path.display().to_string()),
        ..VoiceReference::built_in()
    }
}

#[test]
fn a_project_remembers_the_bank_by_content_and_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = other_bank(folder.path());
    let board = Arc::new(Board::default());
    let voice = Voice::start(&board);
    let params = FalsettoParams::new(&voice);
    let fresh = params.serialize_fields();
    assert!(fresh["voice"].contains(&VoiceBank::default_bank().unwrap().content_hash()));

    voice.want(wanted.clone());
    assert_eq!(voice.singers().len(), 3);
    let saved = params.serialize_fields();
    let again = Voice::start(&board);
    let loaded = FalsettoParams::new(&again);
    loaded.deserialize_fields(&saved);
    assert_eq!(again.wanted(), wanted);
    assert_eq!(again.bank().unwrap().content_hash(), wanted.hash);

    // A missing bank is remembered too, so that it is found once it is back.
    let missing = VoiceReference { hash: "00".repeat(32), name: "gone".into(), path: None, ..wanted };
    loaded.deserialize_fields(&[("voice".into(), serde_json::to_string(&missing).unwrap())].into());
    assert!(again.bank().is_none() && again.singers().is_empty());
    assert_eq!(again.wanted(), missing);
    voice.close();
    again.close();
}

#[test]
fn a_bank_that_changes_while_playing_goes_to_the_audio_thread() {
    let folder = tempfile::tempdir().unwrap();
    let board = Arc::new(Board::default());
    let voice = Voice::start(&board);
    let (mut incoming, mut outgoing) = active(&voice, 0);
    voice.want(other_bank(folder.path()));
    until(|| !incoming.is_empty());
    let stream = incoming.pop().unwrap();
    assert!(stream.is_some());
    // It is dropped on the voice thread once it comes back.
    outgoing.push(stream).ok().unwrap();
    until(|| outgoing.slots() == 2);
    // A missing one is no stream at all.
    voice.want(VoiceReference { hash: "00".repeat(32), name: "gone".into(), path: None, version: 1 });
    until(|| !incoming.is_empty());
    assert!(incoming.pop().unwrap().is_none());
    assert!(!board.restart.load(std::sync::atomic::Ordering::Relaxed));
    voice.close();
}

#[test]
fn a_bank_of_another_latency_asks_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let board = Arc::new(Board::default());
    let voice = Voice::start(&board);
    let (incoming, _outgoing) = active(&voice, 1);
    voice.want(other_bank(folder.path()));
    until(|| board.restart.load(std::sync::atomic::Ordering::Relaxed));
    assert!(incoming.is_empty());
    voice.close();
}
