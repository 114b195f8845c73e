//! `falsetto bench`: how fast this machine sings, against what its processor can do at most, measured in one run.

mod gpu;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use falsetto_engine::decode::{
    BareStream, Decoder, DecoderWeights, FrameInput, HopTask, Isa, MOST_TOGETHER, decode_hops,
    multiply_adds_per_second,
};
use falsetto_engine::signal::analysis::Analyzer;
use falsetto_engine::signal::resample::Resampler;
use falsetto_engine::stream::{Converter, EncodeTask, Encoder, Settings, encode_hops};
use falsetto_engine::voice::{Arithmetic, EncoderConfig, ModelConfig, Sampling, VoiceBank};
use serde_json::{Value, json};

use super::device::Device;
use super::{Outcome, open_bank, say};

/// Measure this machine.
#[derive(clap::Args)]
pub struct Arguments {
    /// Voice bank whose whole chain is measured; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
    /// Also write the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Device that is measured.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Recipes whose decoders a GPU must sing as the processor does, files or a folder of them.
    #[arg(long, value_name = "IN", num_args = 1..)]
    recipes: Vec<PathBuf>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
}

const HOST_RATE_HZ: u32 = 48_000;
const ARITHMETICS: [Arithmetic; 2] = [Arithmetic::F32, Arithmetic::Int8];
/// Residual and skip channels, head channels, blocks of ten layers: the default bank's, and what WaveNets are made of.
const SIZES: [(usize, usize, usize); 5] =
    [(48, 64, 2), (64, 256, 2), (64, 256, 4), (96, 256, 4), (128, 256, 4)];
/// The same of decoders that draw pairs of samples.
const PAIRS: [(usize, usize, usize); 2] = [(48, 64, 2), (64, 256, 4)];
/// Streams that are sung together.
const STREAMS: [usize; 3] = [1, 2, 4];
/// Share of a core's time that may be planned for.
const LOAD: f64 = 0.7;

pub fn run(arguments: &Arguments) -> Outcome {
    if !(0.01..=600.0).contains(&arguments.seconds) {
        return Err(format!("--seconds is {}, must be 0.01 to 600", arguments.seconds));
    }
    let time = Duration::from_secs_f64(arguments.seconds);
    if let Some(gpu) = arguments.device.open()? {
        let figures = gpu::measure(&gpu, &arguments.recipes, time)?;
        return arguments.json.as_deref().map_or(Ok(()), |path| write(path, &figures));
    }
    if !arguments.recipes.is_empty() {
        return Err("--recipes are compared on a GPU; add --device cuda".into());
    }
    let bank = open_bank(arguments.voice.as_deref())?;
    if bank.card().model.envelope.is_some() {
        let name = &bank.card().name;
        return Err(format!(
            "bank {name} gives spectral envelopes, and what is measured here are decoders of samples; `falsetto judge` \
             tells its speed"
        ));
    }
    let ceilings = measure_ceilings();
    let decoders: Vec<Value> = measure_decoders(&bank, &ceilings, time)?;
    let chain = measure_chain(&bank, time)?;
    let together = measure_together(&bank, time);
    let live = measure_live(&bank, time)?;
    if let Some(path) = &arguments.json {
        let figures = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "bank": bank.content_hash(),
            "ceilings": ceilings.iter().map(Ceiling::json).collect::<Vec<_>>(),
            "decoders": decoders,
            "chain": chain,
            "together": together,
            "live": live,
        });
        write(path, &figures)?;
    }
    Ok(())
}

fn write(path: &Path, figures: &Value) -> Outcome {
    let text = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())?;
    std::fs::write(path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What one core does at most with an instruction set.
struct Ceiling {
    isa: Isa,
    /// In the order of [`ARITHMETICS`].
    multiply_adds_per_second: [f64; 2],
    /// Kilobytes, and the bytes a second that they are read at.
    streams: Vec<(usize, f64)>,
}

impl Ceiling {
    fn json(&self) -> Value {
        let [f32_rate, int8_rate] = self.multiply_adds_per_second;
        let streams =
            self.streams.iter().map(|(kb, rate)| json!({ "kilobytes": kb, "bytes_per_second": rate }));
        json!({
            "kernel": format!("{:?}", self.isa),
            "f32_multiply_adds_per_second": f32_rate,
            "int8_multiply_adds_per_second": int8_rate,
            "streams": streams.collect::<Vec<_>>(),
        })
    }
}

/// Every instruction set but the reference, which is hundreds of times too slow to wait for.
fn kernels() -> Vec<Isa> {
    let available = |isa: &Isa| isa.is_available();
    let fast: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar).filter(available).collect();
    if fast.is_empty() { vec![Isa::Scalar] } else { fast }
}

fn measure_ceilings() -> Vec<Ceiling> {
    say!("ceilings of one core");
    let measure = |isa: Isa| {
        let rates = ARITHMETICS.map(|arithmetic| multiply_adds_per_second(isa, arithmetic, 50));
        // About the nearest cache, the one behind it, and the last.
        let streams = [16, 256, 2_048, 8_192].map(|kilobytes| {
            let stream = BareStream::new(kilobytes << 10);
            let least = (0..40).map(|_| stream.pass(isa)).min().unwrap_or_default();
            (kilobytes, (kilobytes << 10) as f64 / least.as_secs_f64().max(1e-9))
        });
        let streams = streams.to_vec();
        let read: Vec<String> =
            streams.iter().map(|(kb, rate)| format!("{kb} KB at {:.0} GB/s", rate / 1e9)).collect();
        let [f32_rate, int8_rate] = rates.map(|rate| rate / 1e9);
        say!(
            "  {isa:?}: {f32_rate:.0} G multiply-adds/s in f32, {int8_rate:.0} in int8; {}",
            read.join(", ")
        );
        Ceiling { isa, multiply_adds_per_second: rates, streams }
    };
    kernels().into_iter().map(measure).collect()
}

/// Least and median.
fn least_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values.first().copied().unwrap_or(0.0), values.get(values.len() / 2).copied().unwrap_or(0.0))
}

/// A decoder of random weights, of the bank's model but for the sizes.
fn sized(model: &ModelConfig, (channels, head, blocks): (usize, usize, usize)) -> ModelConfig {
    let mut model = model.clone();
    model.decoder.residual_channels = channels;
    model.decoder.skip_channels = channels;
    model.decoder.head_channels = head;
    model.decoder.pairs = false;
    (model.decoder.blocks, model.decoder.layers_per_block) = (blocks, 10);
    model
}

fn measure_decoders(bank: &VoiceBank, ceilings: &[Ceiling], time: Duration) -> Result<Vec<Value>, String> {
    say!(
        "decoders, microseconds a sample of each of so many streams sung together (least, median); x real time by the"
    );
    say!(
        "median; a bare read of the same bytes over the least of all streams; the multiply-adds at the core's peak over"
    );
    say!(
        "the least (1.00 is the limit); how many streams 70 % of a core sings; `a pass` are the samples of one pass"
    );
    say!(
        "  layers channels head a pass  format kernel   streams    least  median  x real time    read  peak  at 70 %"
    );
    let mut rows = Vec::new();
    let sizes = SIZES.map(|size| (size, false)).into_iter().chain(PAIRS.map(|size| (size, true)));
    for (size, pairs) in sizes {
        let mut model = sized(&bank.card().model, size);
        model.decoder.pairs = pairs;
        let random = VoiceBank::random(model.clone(), 1, 1).map_err(|error| error.to_string())?;
        for arithmetic in ARITHMETICS {
            let weights =
                Arc::new(DecoderWeights::new(&model, arithmetic, |name| random.decoder_tensor(0, name)));
            for (ceiling, streams) in
                ceilings.iter().flat_map(|ceiling| STREAMS.map(|streams| (ceiling, streams)))
            {
                if arithmetic == Arithmetic::F32 && ceiling.isa == Isa::AvxVnni {
                    // Its floats are AVX2's.
                    continue;
                }
                let embedding = random.singer_embedding(0);
                let figures = Figures::measure(&weights, ceiling.isa, streams, embedding, time);
                let sample_us = 1e6 / f64::from(model.sample_rate_hz);
                let rate = ceiling.multiply_adds_per_second[usize::from(arithmetic == Arithmetic::Int8)];
                let realtime = sample_us / figures.us_median;
                let samples = model.decoder.samples_per_pass();
                let pass_us = figures.us_min * samples as f64;
                let ratio_stream = figures.stream_us_min / (pass_us * streams as f64);
                let ratio_compute = weights.network_multiply_adds() as f64 / rate * 1e6 / pass_us;
                let at_70_percent = (LOAD * realtime) as u64;
                let (layers, (channels, head, _)) = (model.decoder.layers(), size);
                let (format, kernel) =
                    (format!("{arithmetic:?}").to_lowercase(), format!("{:?}", ceiling.isa));
                say!(
                    "  {layers:>6} {channels:>8} {head:>4} {samples:>6}  {format:>6} {kernel:<8} {streams:>7} {:>8.2} {:>7.2} {realtime:>12.1} {ratio_stream:>7.2} {ratio_compute:>5.2} {at_70_percent:>8}",
                    figures.us_min,
                    figures.us_median
                );
                rows.push(json!({
                    "layers": layers, "residual": channels, "skip": channels, "head": head,
                    "samples_per_pass": samples, "kernel": kernel,
                    "format": format, "streams": streams, "us_min": figures.us_min,
                    "us_median": figures.us_median, "realtime": realtime, "ratio_stream": ratio_stream,
                    "ratio_compute": ratio_compute, "streams_at_70_percent": at_70_percent,
                }));
            }
        }
    }
    Ok(rows)
}

/// Microseconds a sample and stream.
struct Figures {
    us_min: f64,
    us_median: f64,
    /// Of a bare read of the bytes of one pass through the network, taken in turns with the decoders.
    stream_us_min: f64,
}

impl Figures {
    fn measure(
        weights: &Arc<DecoderWeights>,
        isa: Isa,
        streams: usize,
        embedding: &[f32],
        time: Duration,
    ) -> Self {
        let model = weights.config();
        let mut decoders: Vec<Decoder> = (0..streams)
            .map(|_| {
                let mut decoder = Decoder::with_isa(Arc::clone(weights), Sampling::default(), isa);
                decoder.set_singer(embedding);
                decoder
            })
            .collect();
        let stream = BareStream::new(weights.network_bytes());
        let latent = vec![0.2; model.latent_size];
        let frame = FrameInput { latent: &latent, f0_hz: 220.0, voiced: true, loudness: 0.5 };
        let mut outputs = vec![vec![0.0; model.hop_samples]; streams];
        let (mut hops, mut reads) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        while begun.elapsed() < time || hops.len() < 8 {
            let tasks = decoders.iter_mut().zip(&mut outputs).zip(1..);
            let mut tasks: Vec<HopTask> =
                tasks.map(|((decoder, output), seed)| HopTask { decoder, frame, seed, output }).collect();
            let start = Instant::now();
            decode_hops(&mut tasks);
            hops.push(start.elapsed().as_secs_f64() * 1e6 / (model.hop_samples * streams) as f64);
            for _ in 0..4 {
                reads.push(stream.pass(isa).as_secs_f64() * 1e6);
            }
        }
        let (us_min, us_median) = least_and_median(hops);
        Self { us_min, us_median, stream_us_min: least_and_median(reads).0 }
    }
}

/// A glide through two octaves with a little noise: something for every stage to do.
fn take(rate_hz: u32, seconds: f64) -> Vec<f32> {
    let mut phase = 0.0_f64;
    let mut noise = 1_u32;
    (0..(seconds * f64::from(rate_hz)) as usize)
        .map(|n| {
            let f0 = 220.0 * (n as f64 / f64::from(rate_hz) * 0.8).sin().exp2();
            phase = (phase + f0 / f64::from(rate_hz)).fract();
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let harmonics: f64 =
                (1..9).map(|k| (std::f64::consts::TAU * phase * f64::from(k)).sin() / f64::from(k)).sum();
            (0.1 * harmonics + 1e-3 * (f64::from(noise) / f64::from(u32::MAX) - 0.5)) as f32
        })
        .collect()
}

/// Microseconds that each stage of the bank's chain takes for one hop, at the host's rate of 48 kHz, and that a [`Converter`]
/// takes for the same hops, which does all of that, and filters what was sung, adds air and limits it.
fn measure_chain(bank: &Arc<VoiceBank>, time: Duration) -> Result<Value, String> {
    let card = bank.card();
    let model = &card.model;
    let hop_us = 1e6 * model.hop_samples as f64 / f64::from(model.sample_rate_hz);
    let host_hop = (f64::from(HOST_RATE_HZ) * hop_us / 1e6).round() as usize;
    let reads_mel = matches!(model.encoder, EncoderConfig::Mel { .. });
    let mut analyzer = Analyzer::new(model, reads_mel.then(|| bank.tensor("encoder.mel_mean")));
    let mut encoder = Encoder::of(bank);
    let mut decoder = Decoder::new(Arc::clone(&DecoderWeights::of(bank)[0]), card.sampling);
    decoder.set_singer(bank.singer_embedding(0));
    let mut down = Resampler::new(HOST_RATE_HZ, model.sample_rate_hz);
    let mut up = Resampler::new(model.sample_rate_hz, HOST_RATE_HZ);

    let take = take(HOST_RATE_HZ, 4.0);
    let (mut resampled, mut output) = (Vec::new(), Vec::new());
    let mut hop = vec![0.0; model.hop_samples];
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut converter =
        Converter::new(bank, HOST_RATE_HZ, Settings::FIRST_SINGER).map_err(|e| e.to_string())?;
    let mut converted = vec![0.0; host_hop];
    let mut whole_times = Vec::new();
    let names =
        ["resample to the model's rate", "analysis", "encoder", "decoder", "resample to the host's rate"];
    let begun = Instant::now();
    for block in take.chunks_exact(host_hop).cycle() {
        if begun.elapsed() > time && !times[0].is_empty() {
            break;
        }
        let mut marks = [begun; 6];
        marks[0] = Instant::now();
        down.push_into(block, &mut resampled);
        if resampled.len() < hop.len() {
            continue;
        }
        hop.copy_from_slice(&resampled[..model.hop_samples]);
        resampled.drain(..model.hop_samples);
        marks[1] = Instant::now();
        let frame = analyzer.push(&hop);
        marks[2] = Instant::now();
        let Some(frame) = frame else { continue };
        let latent = encoder.push(if reads_mel { &frame.mel } else { &hop });
        marks[3] = Instant::now();
        let Some(latent) = latent else { continue };
        let input = FrameInput { latent, f0_hz: frame.f0_hz, voiced: frame.voiced, loudness: frame.loudness };
        decoder.decode_hop(&input, 1, &mut hop);
        marks[4] = Instant::now();
        output.clear();
        up.push_into(&hop, &mut output);
        marks[5] = Instant::now();
        for (times, marks) in times.iter_mut().zip(marks.windows(2)) {
            times.push((marks[1] - marks[0]).as_secs_f64() * 1e6);
        }
        let started = Instant::now();
        converter.process(block, &mut converted);
        whole_times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    say!("chain of bank {}, median microseconds a hop of {:.0} ms", card.name, hop_us / 1e3);
    let mut chain = serde_json::Map::new();
    for (name, times) in names.into_iter().zip(times) {
        let (_, median) = least_and_median(times);
        say!("  {median:>9.1}  {name}");
        chain.insert(name.into(), json!(median));
    }
    let (_, whole) = least_and_median(whole_times);
    say!(
        "  {whole:>9.1}  in all, with filters and air, {:.1} % of real time on one core",
        100.0 * whole / hop_us
    );
    chain.insert("in all".into(), json!(whole));
    Ok(Value::Object(chain))
}

/// Microseconds that the networks take for one hop of each of several streams that are sung together.
fn measure_together(bank: &VoiceBank, time: Duration) -> Value {
    let card = bank.card();
    let model = &card.model;
    let weights = DecoderWeights::of(bank);
    let mut encoders = vec![Encoder::of(bank); MOST_TOGETHER];
    let decoder = || Decoder::new(Arc::clone(&weights[0]), card.sampling);
    let mut decoders: Vec<Decoder> = std::iter::repeat_with(decoder).take(MOST_TOGETHER).collect();
    let input = vec![0.1; encoders[0].input_size()];
    let mut latents = vec![vec![0.0; model.latent_size]; MOST_TOGETHER];
    let mut outputs = vec![vec![0.0; model.hop_samples]; MOST_TOGETHER];
    let mut times: [Vec<f64>; 2] = Default::default();
    let begun = Instant::now();
    while begun.elapsed() < time || times[0].len() < 8 {
        let tasks = encoders.iter_mut().zip(&mut latents);
        let mut tasks: Vec<EncodeTask> =
            tasks.map(|(encoder, latent)| EncodeTask { encoder, input: &input, latent }).collect();
        let start = Instant::now();
        encode_hops(&mut tasks);
        let encoded = Instant::now();
        let tasks = decoders.iter_mut().zip(&latents).zip(&mut outputs).zip(1..);
        let mut tasks: Vec<HopTask> = tasks
            .map(|(((decoder, latent), output), seed)| {
                let frame = FrameInput { latent, f0_hz: 220.0, voiced: true, loudness: 0.5 };
                HopTask { decoder, frame, seed, output }
            })
            .collect();
        decode_hops(&mut tasks);
        times[0].push((encoded - start).as_secs_f64() * 1e6 / MOST_TOGETHER as f64);
        times[1].push(encoded.elapsed().as_secs_f64() * 1e6 / MOST_TOGETHER as f64);
    }
    let [encoder, decoder] = times.map(|times| least_and_median(times).1);
    say!("of {MOST_TOGETHER} streams together, each: {encoder:.1} us the encoder, {decoder:.1} the decoder");
    json!({ "streams": MOST_TOGETHER, "encoder": encoder, "decoder": decoder })
}

/// Times of the converter's blocks when they come as a sound card's do.
fn measure_live(bank: &Arc<VoiceBank>, time: Duration) -> Result<Value, String> {
    let block_samples = HOST_RATE_HZ as usize / 100;
    let mut converter =
        Converter::new(bank, HOST_RATE_HZ, Settings::default()).map_err(|error| error.to_string())?;
    let take = take(HOST_RATE_HZ, 4.0);
    let mut output = vec![0.0; block_samples];
    let period = Duration::from_millis(10);
    let begun = Instant::now();
    let mut times = Vec::new();
    for (index, block) in (0u32..).zip(take.chunks_exact(block_samples).cycle()) {
        let due = begun + index * period;
        if due > begun + time {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        converter.process(block, &mut output);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0);
    let (p50, p99, p999, most) = (at(0.5), at(0.99), at(0.999), at(1.0));
    say!(
        "live, blocks of 10 ms: {p50:.0} us p50, {p99:.0} p99, {p999:.0} p99.9, {most:.0} at most; a block has 10000"
    );
    Ok(json!({ "blocks": times.len(), "us_p50": p50, "us_p99": p99, "us_p999": p999, "us_max": most }))
}
