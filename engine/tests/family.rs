//! The systems that the method grew from: every recipe learns, streams, bounces exactly and does what makes it itself.
//!
//! Each run takes a recipe from `assets/recipes` as it is and makes its networks small; its switches stay.
#![cfg(all(feature = "train", feature = "judge"))]

mod toy;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use falsetto_engine::decode::{Decoder, DecoderWeights, FrameInput};
use falsetto_engine::files::Sound;
use falsetto_engine::judge::bits_per_sample;
use falsetto_engine::signal::mu_law;
use falsetto_engine::stream::{Converter, Encoder, Settings, convert};
use falsetto_engine::train::{Corpus, Recipe, Trainer};
use falsetto_engine::voice::{EncoderConfig, VoiceBank};

/// A recipe with networks that learn in seconds.
fn small(name: &str) -> Recipe {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/recipes");
    let mut recipe = Recipe::load(&recipes.join(name).with_extension("toml")).unwrap();
    if let Some(envelope) = &mut recipe.model.envelope {
        envelope.channels = vec![8, 8, 4];
        recipe.model.encoder = EncoderConfig::Envelope { channels: vec![4, 4, 8, 8] };
        recipe.model.latent_size = recipe.model.latent_size.min(16);
        recipe.training.segment_frames = 15;
        if let Some(critic) = &mut recipe.training.critic {
            (critic.first_share, critic.learning_rate) = (0.75, 1e-3);
            (critic.steps, critic.many_steps) = (1, 4);
        }
        return in_a_hurry(recipe);
    }
    let decoder = &mut recipe.model.decoder;
    (decoder.blocks, decoder.layers_per_block) = (1, 7);
    (decoder.residual_channels, decoder.skip_channels, decoder.head_channels) = (16, 16, 32);
    if let EncoderConfig::Dilated { blocks, layers_per_block, channels, .. } = &mut recipe.model.encoder {
        (*blocks, *layers_per_block, *channels) = (1, 6, 12);
    }
    if let EncoderConfig::Strided { channels, .. } = &mut recipe.model.encoder {
        *channels = 12;
    }
    recipe.training.segment_frames = 2_400usize.div_ceil(recipe.model.hop_samples);
    recipe.training.unscored_samples = 160;
    in_a_hurry(recipe)
}

fn in_a_hurry(mut recipe: Recipe) -> Recipe {
    let training = &mut recipe.training;
    (training.steps, training.batch, training.validation_clips) = (160, 4, 1);
    (training.validate_every, training.learning_rate) = (160, 6e-3);
    training.average_decay = 0.0;
    recipe
}

/// Trained on the toy singers, with the bits per sample of its last steps.
fn trained(recipe: &Recipe, folder: &Path) -> (Arc<VoiceBank>, f32) {
    let corpus = Corpus::load(&folder.join("corpus"), recipe, &|_, _| {}).unwrap();
    let mut trainer = Trainer::new(recipe, &corpus, &folder.join(&recipe.card.name), None).unwrap();
    let mut bits = Vec::new();
    let summary = trainer.run(&AtomicBool::new(false), &mut |progress| bits.push(progress.bits)).unwrap();
    let last = &bits[bits.len() - 20..];
    (Arc::new(VoiceBank::load(&summary.bank).unwrap()), last.iter().sum::<f32>() / last.len() as f32)
}

/// A folder with the corpus, and one clip of it.
fn corpus() -> (tempfile::TempDir, Vec<f32>) {
    let folder = tempfile::tempdir().unwrap();
    toy::make_corpus(&folder.path().join("corpus"));
    let clip = Sound::read(&folder.path().join("corpus/high/0.wav")).unwrap().mono();
    (folder, clip)
}

/// Bits per sample of all that can be learnt where targets have nothing to do with what is heard: the entropy of the
/// codes' histogram.
fn histogram_bits(folder: &Path) -> f32 {
    let mut counts = [0f64; 256];
    for singer in ["low", "high"] {
        for clip in 0..4 {
            let sound = Sound::read(&folder.join(format!("corpus/{singer}/{clip}.wav"))).unwrap();
            sound.mono().iter().for_each(|sample| counts[usize::from(mu_law::encode(*sample))] += 1.0);
        }
    }
    let total: f64 = counts.iter().sum();
    let shares = counts.iter().filter(|count| **count > 0.0).map(|count| count / total);
    shares.map(|share| -share * share.log2()).sum::<f64>() as f32
}

fn sung(bank: &Arc<VoiceBank>, take: &[f32], singer: usize, seed: u64) -> Vec<f32> {
    convert(bank, 16_000, Settings { singer, seed, ..Settings::default() }, take).unwrap()
}

/// What every bank must do: learn more than can be learnt where targets have nothing to do with what is heard, and sing the
/// same in one piece and in many.
fn learns_and_streams(name: &str) -> (tempfile::TempDir, Vec<f32>, Arc<VoiceBank>) {
    let (folder, clip) = corpus();
    let (bank, bits) = trained(&small(name), folder.path());
    let by_chance = match bank.card().model.envelope {
        // A Gaussian of variance 1 around the mean of shapes whose variance is 1.
        Some(_) => 0.5 * (std::f32::consts::TAU * std::f32::consts::E).log2(),
        None => histogram_bits(folder.path()),
    };
    assert!(bits < 0.8 * by_chance, "{name}: {bits} bits, {by_chance} by chance");

    let settings = Settings { singer: 1, seed: 3, ..Settings::default() };
    let mut whole = vec![0.0; clip.len()];
    Converter::new(&bank, 16_000, settings).unwrap().process(&clip, &mut whole);
    let mut pieces = vec![0.0; clip.len()];
    let mut converter = Converter::new(&bank, 16_000, settings).unwrap();
    for (input, output) in clip.chunks(77).zip(pieces.chunks_mut(77)) {
        converter.process(input, output);
    }
    assert!(whole == pieces, "{name}: blocks are heard");
    converter.reset();
    converter.process(&clip, &mut pieces);
    assert!(whole == pieces, "{name}: a reset is heard");
    let latency = converter.latency_samples();
    assert!(whole[..latency].iter().all(|sample| *sample == 0.0), "{name}: it comes too early");
    assert!(whole.iter().any(|sample| *sample != 0.0), "{name}: nothing is sung");
    (folder, clip, bank)
}

#[test]
fn wavenet_sings_from_its_seed_and_hears_nothing() {
    let (folder, clip, bank) = learns_and_streams("wavenet");
    let other: Vec<f32> = clip.iter().rev().map(|sample| 0.5 * sample).collect();
    assert_eq!(sung(&bank, &clip, 0, 1), sung(&bank, &other, 1, 1));
    assert_ne!(sung(&bank, &clip, 0, 1), sung(&bank, &clip, 0, 2));

    // What it scores is what the trainer scored, and a recording that it never could have made scores worse.
    let arithmetic = bank.card().arithmetic;
    let score = |sound: &[f32]| bits_per_sample(&bank, arithmetic, 16_000, 0, sound).unwrap();
    let shuffled: Vec<f32> = (0..clip.len()).map(|n| clip[n * 7_919 % clip.len()]).collect();
    assert!(score(&clip) + 1.0 < score(&shuffled), "{} bits, shuffled {}", score(&clip), score(&shuffled));
    assert!(score(&clip) < 0.85 * f64::from(histogram_bits(folder.path())));
}

/// `p(x) = p(x_1) p(x_2 | x_1) ...`: the probabilities of all two-sample songs, each the product of two conditionals of
/// the cached decoder, add up to one.
#[test]
fn conditionals_of_the_cached_decoder_are_a_distribution_over_songs() {
    let model = small("wavenet").model;
    let hop = model.hop_samples;
    let bank = VoiceBank::random(model.clone(), 1, 5).unwrap();
    let weights = Arc::new(DecoderWeights::new(&model, bank.card().arithmetic, |name| bank.tensor(name)));
    let mut decoder = Decoder::new(weights, bank.card().sampling);
    let frame = FrameInput { latent: &[], f0_hz: 220.0, voiced: false, loudness: 0.0 };
    let log_softmax = |logits: &[f32], code: usize| {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        f64::from(logits[code]) - sum.ln()
    };
    let mut total = 0.0;
    for first in 0..256 {
        let mut codes = vec![0; hop];
        codes[0] = first as u8;
        let mut logits = vec![0.0; hop * 256];
        decoder.reset();
        decoder.score_hop(&frame, &codes, &mut logits);
        let beginning = log_softmax(&logits[..256], first);
        total +=
            (0..256).map(|second| (beginning + log_softmax(&logits[256..512], second)).exp()).sum::<f64>();
    }
    assert!((total - 1.0).abs() < 1e-9, "{total}");
}

#[test]
fn nsynth_has_no_singer_to_choose() {
    let (_folder, clip, bank) = learns_and_streams("nsynth");
    assert_eq!(sung(&bank, &clip, 0, 1), sung(&bank, &clip, 1, 1));
    let other: Vec<f32> = clip.iter().map(|sample| -0.3 * sample).collect();
    assert_ne!(sung(&bank, &clip, 0, 1), sung(&bank, &other, 0, 1));
    assert!(bank.blend(&[(0, 0.5), (1, 0.5)]).is_err());
}

#[test]
fn music_translation_has_a_decoder_for_each_singer() {
    let (_folder, clip, bank) = learns_and_streams("music-translation");
    for name in ["decoder.layers.0.current", "condition.weight", "decoder.head.output.bias"] {
        assert_ne!(bank.decoder_tensor(0, name), bank.decoder_tensor(1, name), "{name}");
    }
    assert_ne!(sung(&bank, &clip, 0, 1), sung(&bank, &clip, 1, 1));
    // Decoders cannot be blended: the greater share sings.
    let mostly = |blend| {
        let settings = Settings { singer: 0, second_singer: 1, blend, seed: 1, ..Settings::default() };
        convert(&bank, 16_000, settings, &clip).unwrap()
    };
    assert_eq!(mostly(0.4), sung(&bank, &clip, 0, 1));
    assert_eq!(mostly(0.6), sung(&bank, &clip, 1, 1));
    // Each decoder knows its own singer best.
    let arithmetic = bank.card().arithmetic;
    let bits = [0, 1].map(|singer| bits_per_sample(&bank, arithmetic, 16_000, singer, &clip).unwrap());
    assert!(bits[0] + 0.2 < bits[1], "sung by `high`: {bits:?}");
}

#[test]
fn vq_vae_tells_the_decoder_a_code_and_a_one_hot_singer() {
    let (folder, clip, bank) = learns_and_streams("vq-vae");
    let width = bank.card().model.singer_embedding_size;
    for singer in 0..2 {
        let expected: Vec<f32> = (0..width).map(|at| if at == singer { 1.0 } else { 0.0 }).collect();
        assert_eq!(bank.singer_embedding(singer), expected);
    }
    assert_ne!(sung(&bank, &clip, 0, 1), sung(&bank, &clip, 1, 1));

    // Every latent is a code, and several are in use.
    let model = &bank.card().model;
    let codebook: Vec<&[f32]> = bank.tensor("bottleneck.codebook").chunks_exact(model.latent_size).collect();
    let mut encoder = Encoder::of(&bank);
    let used: std::collections::BTreeSet<usize> = clip
        .chunks_exact(model.hop_samples)
        .map(|hop| {
            let latent = encoder.push(hop).unwrap();
            codebook.iter().position(|code| *code == latent).expect("a row of the codebook")
        })
        .collect();
    assert!(used.len() > 4, "{used:?}");
    let curve = std::fs::read_to_string(folder.path().join("vq-vae/curve.csv")).unwrap();
    assert!(curve.starts_with("step,") && curve.contains("perplexity"), "{curve}");
}

/// Seconds from one pulse to the next: the lag from 2 to 20 ms at which a sound is most like itself.
fn period(sound: &[f32]) -> f32 {
    let middle = &sound[sound.len() / 4..3 * sound.len() / 4];
    let likeness = |lag: usize| {
        let (a, b) = (&middle[..middle.len() - lag], &middle[lag..]);
        let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        let energy = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        product / (energy(a) * energy(b)).sqrt()
    };
    let lag = (32..320).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
    lag as f32 / 16_000.0
}

#[test]
fn the_autoencoder_gives_the_take_back() {
    let (_folder, clip, bank) = learns_and_streams("autoencoder");
    assert_eq!(sung(&bank, &clip, 0, 1), sung(&bank, &clip, 1, 1));
    let back = sung(&bank, &clip, 0, 1);
    let ratio = period(&back) / period(&clip);
    assert!((ratio - 1.0).abs() < 0.03, "{ratio}");
    let level = |sound: &[f32]| sound.iter().map(|x| x * x).sum::<f32>() / sound.len() as f32;
    let louder_db = 10.0 * (level(&back) / level(&clip)).log10();
    assert!(louder_db.abs() < 3.0, "{louder_db} dB");

    // What is said of the latency is true: a note that begins in the middle begins there in what is sung.
    let mut late = vec![0.0; clip.len() + 8_000];
    late[8_000..].copy_from_slice(&clip);
    let onset = |sound: &[f32]| {
        let loud = level(sound);
        sound.chunks(16).position(|piece| level(piece) > 0.1 * loud).unwrap() as i64
    };
    let slip_ms = onset(&sung(&bank, &late, 0, 1)) - onset(&late);
    assert!(slip_ms.abs() <= 15, "{slip_ms} ms");
}

#[test]
fn vae_moves_envelope_and_pitch_to_the_singer() {
    let (folder, clip, bank) = learns_and_streams("vae");
    let (high, low) = (sung(&bank, &clip, 0, 1), sung(&bank, &clip, 1, 1));
    assert_ne!(high, low);
    // The clip is `high` on 150 Hz; both toy singers sing from 150 to 250 Hz, with the same mean and spread.
    let moments: Vec<&[f32]> = bank.tensor("singers.log_f0").chunks_exact(2).collect();
    let notes = [150f32, 180.0, 210.0, 250.0].map(f32::ln);
    let mean = notes.iter().sum::<f32>() / 4.0;
    let deviation = (notes.iter().map(|log| (log - mean).powi(2)).sum::<f32>() / 4.0).sqrt();
    for singer in moments {
        // One clip of four is kept for validation.
        assert!((singer[0] - mean).abs() < 0.1 && (singer[1] - deviation).abs() < 0.1, "{singer:?}");
    }
    let moved = 1.0 / period(&low);
    assert!(moved > 175.0 && moved < 215.0, "the take's 150 Hz became {moved} Hz");
    // Energy around each singer's resonance, 600 and 1800 Hz, over that around the other's.
    let around = |sound: &[f32], hz: f32| -> f32 {
        let (mut sine, mut cosine) = (0.0, 0.0);
        let mut power = 0.0;
        for (n, sample) in sound.iter().enumerate() {
            let angle = std::f32::consts::TAU * hz * n as f32 / 16_000.0;
            sine = 0.98 * sine + sample * angle.sin();
            cosine = 0.98 * cosine + sample * angle.cos();
            power += sine * sine + cosine * cosine;
        }
        power
    };
    let brightness = |sound: &[f32]| around(sound, 1_800.0) / around(sound, 600.0);
    assert!(brightness(&high) > 4.0 * brightness(&low), "{} and {}", brightness(&high), brightness(&low));
    let divergence = last_of(&folder.path().join("vae"), "divergence");
    assert!(divergence > 0.0 && divergence < 1.0, "{divergence}");
}

/// The last figure of a column of a run's curve.
fn last_of(run: &Path, column: &str) -> f32 {
    let curve = std::fs::read_to_string(run.join("curve.csv")).unwrap();
    let place = curve.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
    curve.lines().last().unwrap().split(',').nth(place).unwrap().parse().unwrap()
}

/// With a critic the decoder comes out otherwise than without, and the critic is not where a coin would be.
#[test]
fn vae_gan_has_a_critic_of_what_is_converted() {
    let (folder, clip, bank) = learns_and_streams("vae-gan");
    let mut alone = small("vae-gan");
    alone.training.critic = None;
    alone.card.name = "alone".into();
    let (alone, _) = trained(&alone, folder.path());
    assert_ne!(sung(&bank, &clip, 1, 1), sung(&alone, &clip, 1, 1));
    // Two coins' cross entropies are 2 ln 2; the mean counts the steps before the critic came as nothing.
    let loss = last_of(&folder.path().join("vae-gan"), "critic");
    assert!(loss > 0.02 && loss < 1.3, "{loss}");
}

/// The critic's estimate is a distance, and what is learnt beside the bank is taken up again with it.
#[test]
fn vaw_gan_measures_a_distance_and_goes_on_where_it_stopped() {
    let (folder, _clip, _bank) = learns_and_streams("vaw-gan");
    // The critic maximises the distance, so its loss is minus that.
    let loss = last_of(&folder.path().join("vaw-gan"), "critic");
    assert!(loss < 0.0, "{loss}");

    let mut short = small("vaw-gan");
    short.training.steps = 124; // The critic comes at step 93.
    let corpus = Corpus::load(&folder.path().join("corpus"), &short, &|_, _| {}).unwrap();
    let run = |out: &str, pause: Option<u64>| {
        let stop = AtomicBool::new(false);
        let mut trainer = Trainer::new(&short, &corpus, &folder.path().join(out), None).unwrap();
        let summary = trainer.run(&stop, &mut |progress| {
            stop.store(Some(progress.step) == pause, std::sync::atomic::Ordering::Relaxed);
        });
        std::fs::read(summary.unwrap().bank).unwrap()
    };
    let whole = run("whole", None);
    run("broken", Some(122));
    assert!(run("broken", None) == whole, "a resumed run is another one");
}
