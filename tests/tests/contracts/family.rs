//! The relatives of the method are recipes like any other: one command trains a bank, and the plugin sings with it what the
//! command sings, bit for bit.

use std::fs;
use std::path::Path;

use falsetto_tests::command::{read_wav, write_wav};
use falsetto_tests::play::{Blocks, Plan};
use falsetto_tests::take;
use serde_json::json;

use crate::common::{SINGER, assert_same, clap, command};
use crate::state::{saved_after_a_block, state_of, text_of};

const RATE_HZ: u32 = 48_000;

/// Two singers, eight short clips each: what recipes ask for at least.
fn corpus(folder: &Path) {
    for (singer, first_seed) in [("ada", 10), ("bob", 20)] {
        fs::create_dir_all(folder.join(singer)).expect("a folder");
        for clip in 0..8 {
            let sound = [take::sung(16_000, 1.2, first_seed + clip)];
            write_wav(&folder.join(singer).join(format!("{clip}.wav")), 16_000, &sound).expect("a clip");
        }
    }
}

#[test]
fn a_bank_of_any_recipe_sings_in_the_plugin_what_it_sings_in_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    corpus(&folder.path().join("corpus"));
    let take = take::sung(RATE_HZ, 1.5, 1);
    let input = folder.path().join("take.wav");
    write_wav(&input, RATE_HZ, std::slice::from_ref(&take)).expect("the take is written");
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes");

    let (mut latencies, mut sounds) = (Vec::new(), Vec::new());
    // Envelopes and a vocoder; a decoder for each singer; nothing but a seed.
    for name in ["vae", "music-translation", "wavenet"] {
        let run = folder.path().join(name);
        let recipe = recipes.join(name).with_extension("toml");
        let corpus = folder.path().join("corpus");
        let arguments = ["--data".as_ref(), corpus.as_os_str(), "--out".as_ref(), run.as_os_str()];
        let steps = ["--steps", "1"].map(AsRef::as_ref);
        let head = ["train".as_ref(), recipe.as_os_str()];
        let answer =
            command().run(head.into_iter().chain(arguments).chain(steps)).expect("the command starts");
        assert!(answer.success, "{name}: {}", answer.stderr);

        let bank = run.join("voice.safetensors");
        let (bank, output) = (bank.to_str().expect("a path"), run.join("sung.wav"));
        let answer =
            command().convert_with(&input, "bob", &["--voice", bank], &output).expect("the command starts");
        assert!(answer.success, "{name}: {}", answer.stderr);
        let wanted = read_wav(&output).expect("the command's file").1.remove(0);
        assert!(wanted.iter().any(|sample| sample.abs() > 1e-3), "{name}: nothing is sung");

        let mut instance = clap().instance().expect("an instance");
        let mut state = text_of(&saved_after_a_block(&mut instance));
        let voice = json!({ "version": 1, "hash": "", "name": name, "path": bank });
        state["fields"]["voice"] = voice.to_string().into();
        let mut instance = clap().instance().expect("an instance");
        instance.load_state(&state_of(&state)).expect("the state loads");
        instance.set_by_name(SINGER, "bob").expect("the singer is offered");
        for blocks in [Blocks::Of(4096), Blocks::random(3, 97, 700)] {
            let plan = Plan::offline(f64::from(RATE_HZ), 1).in_blocks(blocks.clone());
            let played = instance.bounce(std::slice::from_ref(&take), &plan).expect("a bounce");
            assert_same(&format!("{name}, {blocks:?}"), &played.sound[0], &wanted);
            latencies.push(played.latency_samples);
        }
        sounds.push(wanted);
    }
    // Three banks, three sounds; and what hears further ahead says so.
    assert!(sounds[0] != sounds[1] && sounds[1] != sounds[2], "two banks sing the same");
    assert!(latencies[4] < latencies[0] && latencies[0] < latencies[2], "{latencies:?}");
}
