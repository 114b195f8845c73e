//! What the recipes in `assets/recipes` promise, held through the engine that would sing with them.
#![cfg(feature = "train")]

use std::path::Path;
use std::sync::Arc;

use falsetto_engine::stream::{Converter, LatencyParts, Settings};
use falsetto_engine::train::{Recipe, Setting};
use falsetto_engine::voice::VoiceBank;

fn recipe(name: &str) -> Recipe {
    recipe_with(name, &[])
}

fn recipe_with(name: &str, settings: &[&str]) -> Recipe {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let settings: Vec<Setting> = settings.iter().map(|setting| setting.parse().expect("a setting")).collect();
    Recipe::load_with(&assets.join("recipes").join(name), &settings).expect("a recipe")
}

/// Reported latency at 48 kHz; the contracts' tests measure it to be true for any bank.
#[test]
fn a_singer_hears_herself_within_forty_milliseconds() {
    let bank = VoiceBank::random(recipe("live.toml").model, 2, 1).expect("a bank");
    let converter = Converter::new(&Arc::new(bank), 48_000, Settings::default()).expect("a converter");
    for block in [16, 64, 256, 512] {
        let total = LatencyParts::new(converter.latency_samples(), 48_000, block).total_samples();
        assert!(total <= 40 * 48, "{total} samples in blocks of {block}");
    }
}

/// Rate and samples of a pass are values of the recipe: at 24 kHz, with hops of as many milliseconds, it is heard as soon and
/// sings up to 12 kHz, one sample a pass or two.
#[test]
fn the_live_recipe_has_forms_of_24_khz_and_of_pairs() {
    let rate = ["model.sample_rate_hz=24000", "model.hop_samples=240"];
    let pairs = "model.decoder.pairs=true";
    for settings in [rate.to_vec(), vec![pairs], [&rate[..], &[pairs]].concat()] {
        let model = recipe_with("live.toml", &settings).model;
        assert_eq!(model.decoder.pairs, settings.contains(&pairs));
        let bank = Arc::new(VoiceBank::random(model, 2, 1).expect("a bank"));
        let mut converter = Converter::new(&bank, 48_000, Settings::default()).expect("a converter");
        let latency = LatencyParts::new(converter.latency_samples(), 48_000, 64).total_samples();
        assert!(latency <= 40 * 48, "{latency} samples");
        let take: Vec<f32> =
            (0..48_000).map(|n| 0.4 * (1.0 - 2.0 * (n as f32 * 180.0 / 48_000.0).fract())).collect();
        let mut sung = vec![0.0; take.len()];
        converter.process(&take, &mut sung);
        assert!(sung.iter().all(|sample| sample.is_finite()), "{settings:?}");
        assert!(sung[converter.latency_samples()..].iter().any(|sample| sample.abs() > 1e-3), "{settings:?}");
    }
}

/// The bank that is built in is what the recipe says, so that training can go on from it.
#[test]
fn the_built_in_bank_is_the_recipes() {
    let (recipe, bank) = (recipe("live.toml"), VoiceBank::default_bank().expect("the bank"));
    let card = bank.card();
    assert_eq!(card.model, recipe.model);
    assert_eq!(card.sampling, recipe.sampling);
    assert_eq!(card.arithmetic, recipe.arithmetic);
    assert_eq!((&card.licence, &card.notices), (&recipe.card.licence, &recipe.card.notices));
    for singer in &card.singers {
        assert_eq!(recipe.card.home_f0_hz.get(&singer.name), Some(&singer.median_f0_hz), "{}", singer.name);
    }
}

/// The published sizes: 30 centred layers and a start layer of kernel 3 look 3 x 1023 + 1 samples ahead, a latent waits
/// for its 800 samples; and what is sung then comes so late.
#[test]
fn the_papers_recipe_sings_with_the_papers_latency() {
    let bank = Arc::new(VoiceBank::random(recipe("nachmani-wolf.toml").model, 2, 1).expect("a bank"));
    let mut converter = Converter::new(&bank, 16_000, Settings::default()).expect("a converter");
    let latency = converter.latency_samples();
    // Hops are whole: the look-ahead takes four of them.
    assert_eq!(latency, 4 * 800 + 799);

    let mut take = vec![0.0f32; latency + 800];
    take.iter_mut().enumerate().for_each(|(n, sample)| *sample = 0.3 * (n as f32 * 0.1).sin());
    let mut sung = vec![0.0; take.len()];
    converter.process(&take, &mut sung);
    assert!(
        sung[..latency].iter().all(|sample| *sample == 0.0),
        "something comes before the latency is over"
    );
    assert!(sung[latency..].iter().any(|sample| *sample != 0.0), "nothing comes after the latency");
    assert!(sung.iter().all(|sample| sample.is_finite()));
}

/// Every recipe makes a bank that the engine loads, says an honest latency of and sings with.
#[test]
fn every_recipe_makes_a_bank_that_sings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder of recipes")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names.len(), 10, "{names:?}");
    for name in names {
        let saved = tempfile::tempdir().expect("a folder");
        let path = saved.path().join("voice.safetensors");
        VoiceBank::random(recipe(&name).model, 2, 1).expect("a bank").save(&path).expect("a file");
        let bank = Arc::new(VoiceBank::load(&path).expect("a bank"));
        let mut converter = Converter::new(&bank, 16_000, Settings::default()).expect("a converter");
        let latency = converter.latency_samples();
        let mut take = vec![0.0f32; latency + 3_200];
        let mut phase = 0.0f32;
        for sample in &mut take {
            phase = (phase + 180.0 / 16_000.0).fract();
            *sample = 0.4 * (1.0 - 2.0 * phase);
        }
        let mut sung = vec![0.0; take.len()];
        converter.process(&take, &mut sung);
        assert!(sung.iter().all(|sample| sample.is_finite()), "{name}");
        assert!(sung[..latency].iter().all(|sample| *sample == 0.0), "{name}: earlier than it says");
        assert!(sung[latency..].iter().any(|sample| sample.abs() > 1e-3), "{name}: silent");
    }
}
