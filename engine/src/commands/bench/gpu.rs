//! What a GPU sings: the same samples as the processor, and how fast.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use falsetto_engine::decode::{Decoder, DecoderWeights, FrameInput, Gpu, HopTask, decode_hops, uniform};
use falsetto_engine::train::Recipe;
use falsetto_engine::voice::{Arithmetic, ModelConfig, Sampling, VoiceBank};
use serde_json::{Value, json};

use super::super::say;
use super::{LOAD, SIZES, least_and_median, sized};

/// Streams that sing together.
const STREAMS: [usize; 6] = [1, 8, 32, 64, 128, 256];
/// Streams that are compared with the processor's, and seconds of sound: of the built-in bank, and of each recipe.
const COMPARED_STREAMS: usize = 16;
const COMPARED_S: [f64; 2] = [60.0, 2.0];
/// Channels of a layer whose products take next to no time beside what it waits for.
const BARE_CHANNELS: usize = 16;

/// Compares and times; the figures as they go into a file.
pub fn measure(gpu: &Arc<Gpu>, recipes: &[PathBuf], time: Duration) -> Result<Value, String> {
    say!("{}", gpu.name());
    let bank = VoiceBank::default_bank().map_err(|error| error.to_string())?;
    let built_in = ("built-in".to_owned(), Arc::clone(&DecoderWeights::of(&bank)[0]));
    let mut networks = vec![built_in.clone()];
    for file in recipe_files(recipes)? {
        let recipe = Recipe::load(&file).map_err(|error| error.to_string())?;
        // Envelopes are sung by a vocoder, on the processor.
        if recipe.model.envelope.is_none() {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            networks.push((name, random_weights(&recipe.model)?));
        }
    }
    say!("samples that differ from the processor's, of {COMPARED_STREAMS} streams");
    let mut equality = Vec::new();
    for (index, (name, weights)) in networks.iter().enumerate() {
        let seconds = COMPARED_S[usize::from(index > 0)];
        let differ = differing_samples(gpu, weights, seconds)?;
        say!("  {differ:>8}  {name}, {seconds} s");
        equality.push(json!({ "network": name, "seconds": seconds, "differing_samples": differ }));
    }

    say!(
        "microseconds a hop of all streams (least, median), kHz of each stream, x real time, transfers included"
    );
    say!("  layers channels skip head streams      least     median      kHz  x real time  at 70 %");
    let mut rows = Vec::new();
    let model = bank.card().model.clone();
    // The sizes that nv-wavenet's figures are of.
    let mut wide_skip = sized(&model, (64, 256, 2));
    wide_skip.decoder.skip_channels = 128;
    let sizes = SIZES.map(|size| sized(&model, size)).into_iter().chain([wide_skip]);
    for (index, model) in sizes.enumerate() {
        let weights = if index == 0 { Arc::clone(&built_in.1) } else { random_weights(&model)? };
        for streams in STREAMS {
            rows.push(row(gpu, &weights, streams, time)?);
        }
    }
    let handover_us = handover_us(gpu, &model, time)?;
    say!(
        "a layer of {BARE_CHANNELS} channels takes {handover_us:.3} us of a sample: what it waits for whatever its products take"
    );
    let differing: u64 = equality.iter().filter_map(|row| row["differing_samples"].as_u64()).sum();
    if differing > 0 {
        return Err(format!(
            "{} does not sing what the processor sings: {differing} samples differ",
            gpu.name()
        ));
    }
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"), "device": gpu.name(), "equality": equality, "decoders": rows,
        "layer_handover_us": handover_us,
    }))
}

fn recipe_files(recipes: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in recipes {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let recipes = entries.flatten().map(|entry| entry.path());
            files
                .extend(recipes.filter(|path| path.extension().is_some_and(|extension| extension == "toml")));
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    Ok(files)
}

fn random_weights(model: &ModelConfig) -> Result<Arc<DecoderWeights>, String> {
    let random = VoiceBank::random(model.clone(), 2, 1).map_err(|error| error.to_string())?;
    let tensor = |name: &str| random.decoder_tensor(0, name);
    Ok(Arc::new(DecoderWeights::new(model, Arithmetic::Int8, tensor)))
}

/// Streams that sing side by side.
struct Choir {
    decoders: Vec<Decoder>,
    outputs: Vec<Vec<f32>>,
    latent: Vec<f32>,
}

impl Choir {
    fn new(weights: &Arc<DecoderWeights>, streams: usize, gpu: Option<&Arc<Gpu>>) -> Result<Self, String> {
        let model = weights.config();
        let mut decoders = Vec::new();
        for stream in 0..streams {
            let mut decoder = Decoder::new(Arc::clone(weights), Sampling::default());
            if let Some(gpu) = gpu {
                decoder.sing_on(gpu).map_err(|error| error.to_string())?;
            }
            let embedding =
                (0..model.singer_embedding_size).map(|at| uniform(stream as u64, at as u64) - 0.5);
            decoder.set_singer(&embedding.collect::<Vec<_>>());
            decoders.push(decoder);
        }
        let outputs = vec![vec![0.0; model.hop_samples]; streams];
        Ok(Self { decoders, outputs, latent: vec![0.2; model.latent_size] })
    }

    /// A hop of all, each of another take.
    fn sing(&mut self, hop: usize) {
        let (latent, streams) = (&self.latent, self.decoders.iter_mut().zip(&mut self.outputs));
        let mut tasks = Vec::new();
        for (stream, (decoder, output)) in streams.enumerate() {
            let random = uniform(stream as u64, hop as u64);
            let (f0_hz, voiced) = (110.0 + 440.0 * random, !(hop + stream).is_multiple_of(7));
            let frame = FrameInput { latent, f0_hz, voiced, loudness: 2.0 * random - 1.0 };
            tasks.push(HopTask { decoder, frame, seed: stream as u64, output });
        }
        decode_hops(&mut tasks);
    }

    fn is_on_gpu(&self) -> bool {
        self.decoders.iter().all(Decoder::is_on_gpu)
    }
}

/// What a layer adds to a sample of one stream where it has next to nothing to multiply: what layers hand on to each other, and
/// the threads of a block to each other on the way. So many layers times this is what no network of theirs falls below.
fn handover_us(gpu: &Arc<Gpu>, model: &ModelConfig, time: Duration) -> Result<f64, String> {
    let mut hop_us = [0.0; 2];
    for (hop_us, blocks) in hop_us.iter_mut().zip([2, 4]) {
        let weights = random_weights(&sized(model, (BARE_CHANNELS, BARE_CHANNELS, blocks)))?;
        *hop_us = least_and_median(hop_times_us(gpu, &weights, 1, time)?).1;
    }
    Ok((hop_us[1] - hop_us[0]) / (20 * model.hop_samples) as f64)
}

fn differing_samples(gpu: &Arc<Gpu>, weights: &Arc<DecoderWeights>, seconds: f64) -> Result<usize, String> {
    let model = weights.config();
    let hops = (seconds * f64::from(model.sample_rate_hz) / model.hop_samples as f64).ceil() as usize;
    let mut processor = Choir::new(weights, COMPARED_STREAMS, None)?;
    let mut card = Choir::new(weights, COMPARED_STREAMS, Some(gpu))?;
    let mut differ = 0;
    for hop in 0..hops {
        processor.sing(hop);
        card.sing(hop);
        let pairs = card.outputs.iter().flatten().zip(processor.outputs.iter().flatten());
        differ += pairs.filter(|(got, wanted)| got.to_bits() != wanted.to_bits()).count();
    }
    still_on_gpu(&card, gpu).map(|()| differ)
}

/// A GPU that fails is replaced by the processor, whose figures must not be taken for its.
fn still_on_gpu(choir: &Choir, gpu: &Gpu) -> Result<(), String> {
    if choir.is_on_gpu() { Ok(()) } else { Err(format!("{} failed while it sang", gpu.name())) }
}

/// Microseconds of each of many hops of so many streams.
fn hop_times_us(
    gpu: &Arc<Gpu>,
    weights: &Arc<DecoderWeights>,
    streams: usize,
    time: Duration,
) -> Result<Vec<f64>, String> {
    let mut choir = Choir::new(weights, streams, Some(gpu))?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < time || times.len() < 8 {
        let start = Instant::now();
        choir.sing(times.len());
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    still_on_gpu(&choir, gpu)?;
    Ok(times)
}

fn row(
    gpu: &Arc<Gpu>,
    weights: &Arc<DecoderWeights>,
    streams: usize,
    time: Duration,
) -> Result<Value, String> {
    let model = weights.config();
    let (least, median) = least_and_median(hop_times_us(gpu, weights, streams, time)?);
    let khz = model.hop_samples as f64 / median * 1e3;
    let realtime = khz * 1e3 / f64::from(model.sample_rate_hz);
    let at_70_percent = (LOAD * realtime * streams as f64) as u64;
    let decoder = &model.decoder;
    let (layers, channels, head) = (decoder.layers(), decoder.residual_channels, decoder.head_channels);
    let skip = decoder.skip_channels;
    say!(
        "  {layers:>6} {channels:>8} {skip:>4} {head:>4} {streams:>7} {least:>10.0} {median:>10.0} {khz:>8.1} {realtime:>12.1} {at_70_percent:>8}"
    );
    Ok(json!({
        "layers": layers, "residual": channels, "skip": skip, "head": head, "streams": streams,
        "hop_us_min": least, "hop_us_median": median, "khz": khz, "realtime": realtime,
        "streams_at_70_percent": at_70_percent,
    }))
}
