//! One step of a WaveNet of 40 layers of 64 channels, head of 256, as it would first be written, beside the decoder's.
//!
//! `cargo xtask bench-peers` runs it in turns with a PyTorch one; alone: `cargo bench -p falsetto-engine --bench peers`.
//! Prints one line for each, name and least microseconds a sample.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{D, Device, Result, Tensor};
use falsetto_engine::decode::{Decoder, DecoderWeights, FrameInput, uniform};
use falsetto_engine::voice::{Arithmetic, Sampling, VoiceBank};

const LAYERS: usize = 40;
const CHANNELS: usize = 64;
const HEAD: usize = 256;
const CODES: usize = 256;
const SAMPLES: usize = 40;
const TRIES: usize = 12;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn dilation(layer: usize) -> usize {
    1 << (layer % 10)
}

/// Uniform numbers that keep activations of order one, `[rows, inputs]`.
fn random(id: usize, rows: usize, inputs: usize) -> Vec<f32> {
    let bound = (3.0 / inputs as f32).sqrt();
    (0..rows * inputs).map(|n| (2.0 * uniform(id as u64, n as u64) - 1.0) * bound).collect()
}

/// The first code whose running sum exceeds the draw.
fn draw(probabilities: &[f32], time: usize) -> usize {
    let (mut sum, target) = (0.0, uniform(7, time as u64));
    let exceeds = |probability: &f32| {
        sum += probability;
        sum > target
    };
    probabilities.iter().position(exceeds).unwrap_or(CODES - 1)
}

/// What every peer has: a step from the last code to the next.
trait Step {
    fn step(&mut self, time: usize, last: usize) -> Result<usize>;
}

/// Microseconds of a sample, the least of several tries.
fn least_us(peer: &mut dyn Step) -> Result<f64> {
    let (mut least, mut last) = (f64::INFINITY, CODES / 2);
    for attempt in 0..TRIES {
        let start = Instant::now();
        for time in attempt * SAMPLES..(attempt + 1) * SAMPLES {
            last = peer.step(time, last)?;
        }
        least = least.min(start.elapsed().as_secs_f64() * 1e6 / SAMPLES as f64);
    }
    Ok(least)
}

/// Loops over rows and inputs, queues as circular buffers: what a textbook has.
struct PlainLoops {
    layers: Vec<PlainLayer>,
    table: Vec<f32>,
    hidden: Vec<f32>,
    output: Vec<f32>,
}

struct PlainLayer {
    previous: Vec<f32>,
    current: Vec<f32>,
    condition: Vec<f32>,
    residual: Vec<f32>,
    skip: Vec<f32>,
    queue: Vec<Vec<f32>>,
}

fn add_product(matrix: &[f32], inputs: &[f32], sums: &mut [f32]) {
    for (row, sum) in matrix.chunks_exact(inputs.len()).zip(sums) {
        for (weight, input) in row.iter().zip(inputs) {
            *sum += weight * input;
        }
    }
}

impl PlainLoops {
    fn new() -> Self {
        let layer = |layer: usize| PlainLayer {
            previous: random(10 * layer, 2 * CHANNELS, CHANNELS),
            current: random(10 * layer + 1, 2 * CHANNELS, CHANNELS),
            condition: random(10 * layer + 2, 2 * CHANNELS, CHANNELS)[..2 * CHANNELS].to_vec(),
            residual: random(10 * layer + 3, CHANNELS, CHANNELS),
            skip: random(10 * layer + 4, CHANNELS, CHANNELS),
            queue: vec![vec![0.0; CHANNELS]; dilation(layer)],
        };
        Self {
            layers: (0..LAYERS).map(layer).collect(),
            table: random(901, CODES, CHANNELS),
            hidden: random(902, HEAD, CHANNELS),
            output: random(903, CODES, HEAD),
        }
    }
}

impl Step for PlainLoops {
    fn step(&mut self, time: usize, last: usize) -> Result<usize> {
        let mut path = self.table[last * CHANNELS..][..CHANNELS].to_vec();
        let mut skips = vec![0.0; CHANNELS];
        for layer in &mut self.layers {
            let slot = time % layer.queue.len();
            let mut gates = layer.condition.clone();
            add_product(&layer.previous, &layer.queue[slot], &mut gates);
            add_product(&layer.current, &path, &mut gates);
            layer.queue[slot].copy_from_slice(&path);
            let gated: Vec<f32> =
                (0..CHANNELS).map(|c| gates[c].tanh() / (1.0 + (-gates[CHANNELS + c]).exp())).collect();
            add_product(&layer.skip, &gated, &mut skips);
            add_product(&layer.residual, &gated, &mut path);
        }
        let rectified = |values: &[f32]| values.iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
        let (mut hidden, mut logits) = (vec![0.0; HEAD], vec![0.0; CODES]);
        add_product(&self.hidden, &rectified(&skips), &mut hidden);
        add_product(&self.output, &rectified(&hidden), &mut logits);
        let largest = logits.iter().copied().fold(f32::MIN, f32::max);
        let weights: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
        let total: f32 = weights.iter().sum();
        Ok(draw(&weights.iter().map(|weight| weight / total).collect::<Vec<_>>(), time))
    }
}

/// candle's tensors, one operation after another, with queues.
struct CandleOps {
    layers: Vec<CandleLayer>,
    table: Tensor,
    hidden: Tensor,
    output: Tensor,
}

struct CandleLayer {
    previous: Tensor,
    current: Tensor,
    condition: Tensor,
    residual: Tensor,
    skip: Tensor,
    queue: Vec<Tensor>,
}

impl CandleOps {
    fn new() -> Result<Self> {
        // Rows of inputs, so that a row vector multiplies from the left without a copy.
        let tensor = |id: usize, rows: usize, inputs: usize| {
            Tensor::from_vec(random(id, rows, inputs), (inputs, rows), &Device::Cpu)
        };
        let layer = |layer: usize| {
            Ok(CandleLayer {
                previous: tensor(10 * layer, 2 * CHANNELS, CHANNELS)?,
                current: tensor(10 * layer + 1, 2 * CHANNELS, CHANNELS)?,
                condition: tensor(10 * layer + 2, 2 * CHANNELS, 1)?,
                residual: tensor(10 * layer + 3, CHANNELS, CHANNELS)?,
                skip: tensor(10 * layer + 4, CHANNELS, CHANNELS)?,
                queue: vec![
                    Tensor::zeros((1, CHANNELS), candle_core::DType::F32, &Device::Cpu)?;
                    dilation(layer)
                ],
            })
        };
        Ok(Self {
            layers: (0..LAYERS).map(layer).collect::<Result<_>>()?,
            table: tensor(901, CHANNELS, CODES)?,
            hidden: tensor(902, HEAD, CHANNELS)?,
            output: tensor(903, CODES, HEAD)?,
        })
    }
}

impl Step for CandleOps {
    fn step(&mut self, time: usize, last: usize) -> Result<usize> {
        let mut path = self.table.get(last)?.unsqueeze(0)?;
        let mut skips = Tensor::zeros((1, CHANNELS), candle_core::DType::F32, &Device::Cpu)?;
        for layer in &mut self.layers {
            let slot = time % layer.queue.len();
            let delayed = layer.queue[slot].matmul(&layer.previous)?;
            let gates = ((delayed + path.matmul(&layer.current)?)? + &layer.condition)?;
            let sigmoid = (gates.narrow(1, CHANNELS, CHANNELS)?.neg()?.exp()? + 1.0)?.recip()?;
            let gated = (gates.narrow(1, 0, CHANNELS)?.tanh()? * sigmoid)?;
            layer.queue[slot] = path.clone();
            skips = (skips + gated.matmul(&layer.skip)?)?;
            path = (path + gated.matmul(&layer.residual)?)?;
        }
        let logits = skips.relu()?.matmul(&self.hidden)?.relu()?.matmul(&self.output)?;
        let weights = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
        let probabilities = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        Ok(draw(&probabilities.squeeze(0)?.to_vec1::<f32>()?, time))
    }
}

/// The decoder of a random bank of these sizes, with all that the built-in bank's has: prior, excitation, one F0 period ago.
fn decoder_us(arithmetic: Arithmetic) -> std::result::Result<f64, Box<dyn std::error::Error>> {
    let mut model = VoiceBank::default_bank()?.card().model.clone();
    model.decoder.residual_channels = CHANNELS;
    model.decoder.skip_channels = CHANNELS;
    model.decoder.head_channels = HEAD;
    (model.decoder.blocks, model.decoder.layers_per_block) = (LAYERS / 10, 10);
    let bank = VoiceBank::random(model.clone(), 1, 1)?;
    let weights = Arc::new(DecoderWeights::new(&model, arithmetic, |name| bank.decoder_tensor(0, name)));
    let mut decoder = Decoder::new(weights, Sampling::default());
    decoder.set_singer(bank.singer_embedding(0));
    let latent = vec![0.2; model.latent_size];
    let frame = FrameInput { latent: &latent, f0_hz: 220.0, voiced: true, loudness: 0.5 };
    let mut output = vec![0.0; model.hop_samples];
    let mut least = f64::INFINITY;
    for _ in 0..20 * TRIES {
        let start = Instant::now();
        decoder.decode_hop(&frame, 1, black_box(&mut output));
        least = least.min(start.elapsed().as_secs_f64() * 1e6 / model.hop_samples as f64);
    }
    Ok(least)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    println!("falsetto int8\t{:.2}", decoder_us(Arithmetic::Int8)?);
    println!("falsetto f32\t{:.2}", decoder_us(Arithmetic::F32)?);
    println!("plain loops\t{:.2}", least_us(&mut PlainLoops::new())?);
    println!("candle op by op\t{:.2}", least_us(&mut CandleOps::new()?)?);
    println!("falsetto int8\t{:.2}", decoder_us(Arithmetic::Int8)?);
    Ok(())
}
