//! What `assets/recipes/live.toml` promises, held through the engine that would sing with it.
#![cfg(feature = "train")]

use std::path::Path;
use std::sync::Arc;

use falsetto_engine::stream::{Converter, LatencyParts, Settings};
use falsetto_engine::train::Recipe;
use falsetto_engine::voice::VoiceBank;

fn recipe() -> Recipe {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    Recipe::load(&assets.join("recipes/live.toml")).expect("a recipe")
}

/// Reported latency at 48 kHz; the contracts' tests measure it to be true for any bank.
#[test]
fn a_singer_hears_herself_within_forty_milliseconds() {
    let bank = VoiceBank::random(recipe().model, 2, 1).expect("a bank");
    let converter = Converter::new(&Arc::new(bank), 48_000, Settings::default()).expect("a converter");
    for block in [16, 64, 256, 512] {
        let total = LatencyParts::new(converter.latency_samples(), 48_000, block).total_samples();
        assert!(total <= 40 * 48, "{total} samples in blocks of {block}");
    }
}

/// The bank that is built in is what the recipe says, so that training can go on from it.
#[test]
fn the_built_in_bank_is_the_recipes() {
    let (recipe, bank) = (recipe(), VoiceBank::default_bank().expect("the bank"));
    let card = bank.card();
    assert_eq!(card.model, recipe.model);
    assert_eq!(card.sampling, recipe.sampling);
    assert_eq!((&card.licence, &card.notices), (&recipe.card.licence, &recipe.card.notices));
    for singer in &card.singers {
        assert_eq!(recipe.card.home_f0_hz.get(&singer.name), Some(&singer.median_f0_hz), "{}", singer.name);
    }
}
