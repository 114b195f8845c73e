//! What runs once a hop: the frame network, the conditioning of every layer and the linear prior's parameters.

use super::FrameInput;
use super::arithmetic::Single;
use super::math::{exp_f64, ln_f64, tanh, tanh_f64};
use super::matrix::{Matrix, product};
use super::weights::DecoderWeights;
use crate::lanes::{Block, Lanes, blocks_for, flat, flat_mut};
use crate::voice::ModelConfig;

/// Most prediction taps that a configuration may ask for.
const MOST_TAPS: usize = 64;
/// F0 where `log2(f0 / 220 Hz)` is 0; also what stands in for an F0 that is no number.
const REFERENCE_F0_HZ: f32 = 220.0;

/// One hop's conditioning, as the step reads it.
pub(super) struct HopCondition {
    /// Gate biases of all layers (tanh blocks, sigmoid blocks), then the head's.
    pub(super) condition: Box<[Block]>,
    pub(super) voiced: bool,
    pub(super) f0_hz: f32,
    loudness: f32,
    /// Prediction coefficients, oldest sample first, zeros in front up to whole blocks.
    pub(super) taps: Box<[Block]>,
    /// Weights of the harmonics' sines and cosines on the mean, level included; zero where silent.
    pub(super) sine_weights: Box<[Block]>,
    pub(super) cosine_weights: Box<[Block]>,
    /// Weights of the taps one period ago on the mean; zero while unvoiced.
    pub(super) period_weights: Box<[Block]>,
    /// Logarithm of the prior's scale, and its reciprocal.
    pub(super) ln_scale: f32,
    pub(super) inverse_scale: f32,
    /// `bias + singer columns . embedding` of the frame network.
    singer_bias: Box<[Block]>,
    embedding: Box<[Block]>,
    features: Box<[Block]>,
    hidden: Box<[Block]>,
    hidden_input: Box<[Block]>,
    prior_outputs: Box<[Block]>,
    /// The spectrum that is to be sung.
    pub(super) spectrum: Box<[Block]>,
}

fn zeros(values: usize) -> Box<[Block]> {
    vec![Block::default(); blocks_for(values)].into()
}

fn finite_or(value: f32, instead: f32) -> f32 {
    if value.is_finite() { value } else { instead }
}

impl HopCondition {
    pub(super) fn new(weights: &DecoderWeights) -> Self {
        let config = &weights.config;
        let prior = config.decoder.prior;
        Self {
            condition: weights.frame.condition_bias.clone(),
            voiced: false,
            f0_hz: REFERENCE_F0_HZ,
            loudness: 0.0,
            taps: zeros(prior.map_or(0, |prior| prior.taps)),
            sine_weights: zeros(prior.map_or(0, |prior| prior.harmonics)),
            cosine_weights: zeros(prior.map_or(0, |prior| prior.harmonics)),
            period_weights: zeros(prior.map_or(0, |_| config.condition.period_taps)),
            ln_scale: 0.0,
            inverse_scale: 1.0,
            singer_bias: weights.frame.bias.clone(),
            embedding: zeros(config.singer_embedding_size),
            features: zeros(config.frame_input_size()),
            hidden: zeros(config.condition.frame_channels),
            hidden_input: zeros(config.condition.frame_channels),
            prior_outputs: zeros(config.prior_size()),
            spectrum: zeros(config.spectrum_bands()),
        }
    }

    /// Folds a singer's embedding into the frame network's bias.
    #[inline(always)]
    pub(super) fn set_singer<L: Lanes>(&mut self, lanes: L, weights: &DecoderWeights, embedding: &[f32]) {
        self.singer_bias.copy_from_slice(&weights.frame.bias);
        flat_mut(&mut self.embedding)[..embedding.len()].copy_from_slice(embedding);
        product(lanes, &weights.frame.singer, [((&self.embedding, ()), &mut self.singer_bias)]);
    }

    /// Runs the frame network for a hop of each of `B` streams, in one pass over its weights.
    #[inline(always)]
    pub(super) fn update<L: Lanes, const B: usize>(
        lanes: L,
        weights: &DecoderWeights,
        mut hops: [(&mut Self, &FrameInput); B],
    ) {
        for (hop, frame) in &mut hops {
            hop.tell(&weights.config, frame);
        }
        let frame = &weights.frame;
        let mut hops = hops.map(|(hop, _)| hop);
        let first = hops.each_mut().map(|hop| {
            hop.hidden.copy_from_slice(&hop.singer_bias);
            ((&*hop.features, ()), &mut *hop.hidden)
        });
        product(lanes, &frame.features, first);
        tanh_of_hidden(lanes, &mut hops);
        for (matrix, bias) in &frame.layers {
            for hop in &mut hops {
                std::mem::swap(&mut hop.hidden, &mut hop.hidden_input);
            }
            linear(lanes, (matrix, bias), &mut hops, |hop| (&hop.hidden_input, &mut hop.hidden));
            tanh_of_hidden(lanes, &mut hops);
        }
        let condition = (&frame.condition, &*frame.condition_bias);
        linear(lanes, condition, &mut hops, |hop| (&hop.hidden, &mut hop.condition));
        if let Some((matrix, bias)) = &frame.prior {
            linear(lanes, (matrix, bias), &mut hops, |hop| (&hop.hidden, &mut hop.prior_outputs));
            hops.iter_mut().for_each(|hop| hop.update_prior(weights));
        }
        if let Some((matrix, bias)) = &frame.spectrum {
            linear(lanes, (matrix, bias), &mut hops, |hop| (&hop.hidden, &mut hop.spectrum));
        }
    }

    /// Takes what the frame network is told of a hop.
    fn tell(&mut self, config: &ModelConfig, frame: &FrameInput) {
        let f0_limit = config.sample_rate_hz as f32 / 2.0;
        self.f0_hz = finite_or(frame.f0_hz, REFERENCE_F0_HZ).clamp(1.0, f0_limit);
        self.voiced = frame.voiced;
        self.loudness = finite_or(frame.loudness, 0.0);

        let features = flat_mut(&mut self.features);
        for (feature, &value) in features.iter_mut().zip(frame.latent) {
            *feature = finite_or(value, 0.0);
        }
        let mut next = config.latent_size;
        if config.condition.f0 {
            let ratio = f64::from(self.f0_hz) / f64::from(REFERENCE_F0_HZ);
            let octaves = (ln_f64(ratio) * std::f64::consts::LOG2_E) as f32;
            features[next] = if self.voiced { octaves } else { 0.0 };
            features[next + 1] = if self.voiced { 1.0 } else { 0.0 };
            next += 2;
        }
        if config.condition.loudness {
            features[next] = self.loudness;
        }
    }

    fn update_prior(&mut self, weights: &DecoderWeights) {
        let Some(prior) = weights.config.decoder.prior else { return };
        let outputs = flat(&self.prior_outputs);
        let level = 0.5 * exp_f64((3.0 * f64::from(self.loudness) - 6.0) / 2.0);
        let taps = flat_mut(&mut self.taps);
        step_up(&outputs[..prior.taps], taps);

        let rate = weights.config.sample_rate_hz as f32;
        let (sines, cosines) = (flat_mut(&mut self.sine_weights), flat_mut(&mut self.cosine_weights));
        for k in 0..prior.harmonics {
            let heard = self.voiced && (k + 1) as f32 * self.f0_hz < 0.475 * rate;
            let gain = if heard { level as f32 } else { 0.0 };
            sines[k] = gain * outputs[prior.taps + k];
            cosines[k] = gain * outputs[prior.taps + prior.harmonics + k];
        }
        let period = &outputs[prior.taps + 2 * prior.harmonics + 1..];
        for (weight, &output) in flat_mut(&mut self.period_weights).iter_mut().zip(period) {
            *weight = if self.voiced { output } else { 0.0 };
        }
        let scale_output = f64::from(outputs[prior.taps + 2 * prior.harmonics]);
        let ln_scale = ln_f64(level + 0.001) + scale_output.clamp(-5.0, 3.0) - 0.7;
        self.ln_scale = ln_scale as f32;
        self.inverse_scale = exp_f64(-ln_scale) as f32;
    }
}

/// `bias + matrix . inputs` of every hop, where `parts` gives the inputs and where the result goes.
#[inline(always)]
fn linear<L: Lanes, const B: usize>(
    lanes: L,
    (matrix, bias): (&Matrix<Single>, &[Block]),
    hops: &mut [&mut HopCondition; B],
    parts: impl Fn(&mut HopCondition) -> (&[Block], &mut [Block]),
) {
    let pairs = hops.each_mut().map(|hop| {
        let (inputs, sums) = parts(hop);
        sums.copy_from_slice(bias);
        ((inputs, ()), sums)
    });
    product(lanes, matrix, pairs);
}

#[inline(always)]
fn tanh_of_hidden<L: Lanes>(lanes: L, hops: &mut [&mut HopCondition]) {
    for block in hops.iter_mut().flat_map(|hop| &mut hop.hidden) {
        lanes.store(tanh(lanes, lanes.load(&block.0)), &mut block.0);
    }
}

/// Prediction taps from raw outputs: reflection coefficients `0.99 tanh(o)`, then the step-up recursion in its
/// prediction form, which is stable for all of them. Tap `j` (from 1) is written `j` places from the end.
fn step_up(outputs: &[f32], taps: &mut [f32]) {
    let mut b = [0.0_f64; MOST_TAPS + 1];
    let mut before = b;
    for (index, &output) in outputs.iter().take(MOST_TAPS).enumerate() {
        let i = index + 1;
        let reflection = 0.99 * tanh_f64(f64::from(output));
        before[1..i].copy_from_slice(&b[1..i]);
        for j in 1..i {
            b[j] = before[j] - reflection * before[i - j];
        }
        b[i] = reflection;
    }
    let end = taps.len();
    for j in 1..=outputs.len().min(MOST_TAPS) {
        taps[end - j] = b[j] as f32;
    }
}

/// The last numbers of a stream, kept twice so that any window of them is contiguous.
pub(super) struct Recent {
    values: Box<[Block]>,
    /// Where the window starts.
    start: usize,
}

impl Recent {
    /// At least the last `count`, in whole blocks.
    pub(super) fn new(count: usize) -> Self {
        Self { values: vec![Block::default(); 2 * blocks_for(count)].into(), start: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.values.fill(Block::default());
        self.start = 0;
    }

    #[inline(always)]
    pub(super) fn push(&mut self, value: f32) {
        let values = flat_mut(&mut self.values);
        let window = values.len() / 2;
        if window > 0 {
            values[self.start] = value;
            values[self.start + window] = value;
            self.start += 1;
            if self.start == window {
                self.start = 0;
            }
        }
    }

    /// All that are kept, oldest first.
    #[inline(always)]
    pub(super) fn window(&self) -> &[f32] {
        let values = flat(&self.values);
        &values[self.start..self.start + values.len() / 2]
    }
}
