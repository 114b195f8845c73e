//! Training on an NVIDIA card: what the processor learns, and in what time. `cargo xtask gpu` runs it.
#![cfg(feature = "train-cuda")]

mod toy;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use falsetto_engine::train::{Corpus, Device, Meeting, Products, Recipe, Setting, Trainer};
use toy::make_corpus;

const STEPS: u64 = 40;
/// The first steps load kernels and find their memory.
const WARM_UP: usize = 10;
/// Steps that must agree: later ones drift apart, as any two roundings of a recursion do.
const ALIKE: usize = 3;

/// Bits per sample of each step and seconds of all of them but the first, which are the median's.
fn run(device: &Device, recipe: &Recipe, corpus: &Corpus, folder: &Path, steps: u64) -> (Vec<f32>, f64) {
    let stop = AtomicBool::new(false);
    let (mut bits, mut times) = (Vec::new(), vec![Instant::now()]);
    let mut trainer = Trainer::on(device, recipe, corpus, folder, None).unwrap();
    trainer
        .run(&stop, &mut |progress| {
            bits.push(progress.bits);
            times.push(Instant::now());
            stop.store(progress.step >= steps, Ordering::Relaxed);
        })
        .unwrap();
    let mut seconds: Vec<f64> =
        times.windows(2).skip(WARM_UP).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    (bits, seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN))
}

#[test]
#[ignore = "needs an NVIDIA card: cargo xtask gpu"]
fn a_card_learns_what_the_processor_learns() {
    let folder = tempfile::tempdir().unwrap();
    let corpus_folder = folder.path().join("corpus");
    make_corpus(&corpus_folder);
    // In the program, so that it can be built elsewhere.
    let file = folder.path().join("live.toml");
    std::fs::write(&file, include_str!("../../assets/recipes/live.toml")).unwrap();
    let settings =
        ["card.home_f0_hz=", "backtranslation=", "training.validation_clips=1", "training.tritone_step=0"];
    let settings = settings.map(|setting| setting.parse::<Setting>().unwrap());
    let recipe = Recipe::load_with(&file, &settings).unwrap();
    let corpus = Corpus::load(&corpus_folder, &recipe, &|_, _| {}).unwrap();

    let card = Device::cuda(Products::Single).unwrap();
    let (first, seconds) = run(&card, &recipe, &corpus, &folder.path().join("card"), STEPS);
    let (second, _) = run(&card, &recipe, &corpus, &folder.path().join("again"), STEPS);
    assert_eq!(first, second, "the same run twice");
    let steps = ALIKE as u64;
    let (wanted, _) = run(&Device::CPU, &recipe, &corpus, &folder.path().join("processor"), steps);
    for (step, (got, wanted)) in first.iter().zip(&wanted).enumerate().take(ALIKE) {
        assert!((got - wanted).abs() < 2e-3, "step {step}: {got} bits, the processor {wanted}");
    }
    // As the only one of several cards, where their library is there.
    match Meeting::new() {
        Ok(meeting) => {
            let alone = Device::cuda_rank(0, 1, meeting, Products::Single).unwrap();
            let (ranked, _) = run(&alone, &recipe, &corpus, &folder.path().join("rank"), STEPS);
            assert_eq!(ranked, first, "one rank");
        }
        Err(error) => println!("one rank was not tried: {error}"),
    }
    println!("{:.2} ms a step of the live recipe, batches included", 1e3 * seconds);

    // What the card left is gone on with by the processor, and the other way round.
    let (more, _) = run(&Device::CPU, &recipe, &corpus, &folder.path().join("card"), STEPS + 2);
    assert_eq!(more.len(), 2);
    let (more, _) = run(&card, &recipe, &corpus, &folder.path().join("processor"), steps + 2);
    assert!(more.iter().all(|bits| bits.is_finite()) && more.len() == 2);

    // What fewer bits cost and save; how a card multiplies is one for all that follows.
    for products in [Products::Tf32, Products::Bfloat16] {
        let card = Device::cuda(products).unwrap();
        let (bits, seconds) =
            run(&card, &recipe, &corpus, &folder.path().join(format!("{products:?}")), STEPS);
        let last = |bits: &[f32]| bits.iter().rev().take(10).sum::<f32>() / 10.0;
        println!(
            "{:.2} ms with {products:?}; the last ten steps have {:.4} bits, {:.4} in single precision",
            1e3 * seconds,
            last(&bits),
            last(&first)
        );
        assert!((last(&bits) - last(&first)).abs() < 0.1, "{products:?}");
    }
}
