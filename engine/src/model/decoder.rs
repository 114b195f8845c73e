//! The singer-conditioned WaveNet decoder as a teacher-forced graph. Formulas: `crate::decode`.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::ops;
use super::parameters::Parameters;
use crate::voice::{EMBEDDING, ModelConfig, SingerInput};

/// What the decoder is given beside the latent, for a batch of B segments of F frames (T = F x hop samples).
pub struct DecoderInput {
    /// Singer of each segment: an index into the embedding table. Where singers have decoders of their own, all are one.
    pub singers: Vec<u32>,
    /// Per frame `(B, F, channels)`: log2 F0 ratio and voiced flag, then loudness, as far as configured.
    pub features: Tensor,
    /// Past codes `(B, T + 2)`: sample t reads `[t + 1]` as the last and `[t]` as the last but one.
    pub codes: Arc<[u8]>,
    /// Sines, then cosines of the F0 harmonics, then codes one period ago, times voicing: `(B, T, excitation_size)`. Of
    /// pairs those of the first samples alone are read.
    pub excitation: Arc<[f32]>,
    /// The prior's regressors `(B, T, taps + 2 harmonics + period_taps)`: past sample values, level-scaled harmonics,
    /// sample values one period ago.
    pub prior_basis: Arc<[f32]>,
    /// `ln(level + 0.001)` of each frame `(B, F)`.
    pub log_level: Tensor,
    /// The codes to be predicted `(B, T)`.
    pub targets: Arc<[u8]>,
}

/// The graph's sizes.
pub struct Decoder<'a> {
    config: &'a ModelConfig,
    parameters: &'a Parameters,
}

impl<'a> Decoder<'a> {
    /// The decoder of `config` with the tensors of `parameters`.
    pub fn new(config: &'a ModelConfig, parameters: &'a Parameters) -> Self {
        Self { config, parameters }
    }

    /// Negative log-likelihood in nats of every sample, `(B, T)`, for latent frames `(B, latent_size, F)`; zero
    /// before `first_scored`.
    pub fn nll(&self, latent: &Tensor, input: &DecoderInput, first_scored: usize) -> Result<Tensor> {
        let mut nll = Vec::new();
        let in_pass = self.config.decoder.samples_per_pass();
        for (nth, head) in self.run(latent, input)?.into_iter().enumerate() {
            let targets: Arc<[u8]> = input.targets.iter().skip(nth).step_by(in_pass).copied().collect();
            let first_scored = (first_scored + in_pass - 1 - nth) / in_pass;
            let options = self.head_options(latent.dim(2)?, first_scored);
            nll.push(ops::head_nll(&head.state, &head.side, &head.weights, targets, options)?);
        }
        in_turns(&nll, 2)
    }

    /// Logits `(B, 256, T)` including the prior's log-density, without gradient: the reference of the fast decoder.
    pub fn logits(&self, latent: &Tensor, input: &DecoderInput) -> Result<Tensor> {
        let options = self.head_options(latent.dim(2)?, 0);
        let logits = |head: Head| ops::head_logits(&head.state, &head.side, &head.weights, options);
        in_turns(&self.run(latent, input)?.into_iter().map(logits).collect::<Result<Vec<_>>>()?, 3)
    }

    fn head_options(&self, frames: usize, first_scored: usize) -> ops::HeadOptions {
        let decoder = &self.config.decoder;
        ops::HeadOptions {
            skip: decoder.skip_channels,
            hidden: decoder.head_channels,
            frames,
            with_prior: decoder.prior.is_some(),
            first_scored,
        }
    }

    /// The packs of all layers, one after the other.
    fn layer_weights(&self) -> Result<Tensor> {
        let parts = ["previous", "current", "residual.weight", "residual.bias", "skip.weight"];
        let names: Vec<String> = (0..self.config.decoder.layers())
            .flat_map(|layer| parts.map(|part| format!("decoder.layers.{layer}.{part}")))
            .collect();
        self.parameters.pack(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn head_weights(&self, name: &str) -> Result<Tensor> {
        let names =
            ["hidden.weight", "output.weight", "output.bias"].map(|part| format!("decoder.{name}.{part}"));
        self.parameters.pack(&names.each_ref().map(String::as_str))
    }

    /// What each sample of a pass through the layers is read from, the first first.
    fn run(&self, latent: &Tensor, input: &DecoderInput) -> Result<Vec<Head>> {
        let config = self.config;
        let decoder = &config.decoder;
        let (batch, _, frames) = latent.dims3()?;
        let frame = self.frame_network(latent, &input.singers, &input.features)?;
        let conditions =
            linear(&frame, self.parameters.get("condition.weight")?, self.parameters.get("condition.bias")?)?;

        let gates = decoder.layers() * 2 * decoder.residual_channels;
        let gate_biases = conditions.narrow(1, 0, gates)?.contiguous()?.reshape((batch, frames, gates))?;
        let in_pass = decoder.samples_per_pass();
        let state = every(&self.input_state(input, batch)?, 0, in_pass)?;
        let state = ops::gated_stack(&state, &gate_biases, &self.layer_weights()?, &decoder.dilations())?;

        let bias = conditions.narrow(1, gates, decoder.head_channels)?.contiguous()?;
        let prior =
            decoder.prior.map(|prior| self.prior(input, &frame, prior.taps, batch, frames)).transpose()?;
        let side = |nth: usize| {
            let mut side = vec![bias.flatten_all()?];
            if let Some((mean, log_scale)) = &prior {
                side.push(every(mean, nth, in_pass)?.flatten_all()?);
                side.push(log_scale.flatten_all()?);
            }
            Tensor::cat(&side, 0)
        };
        let mut heads = vec![Head { state, side: side(0)?, weights: self.head_weights("head")? }];
        if decoder.pairs {
            heads.push(Head {
                state: self.told_first(&heads[0].state, input)?,
                side: side(1)?,
                weights: self.head_weights("second")?,
            });
        }
        Ok(heads)
    }

    /// The layers' final state with what the first sample's code adds to its skips.
    fn told_first(&self, state: &Tensor, input: &DecoderInput) -> Result<Tensor> {
        let (batch, _, passes) = state.dims3()?;
        let (residual, skip) = (self.config.decoder.residual_channels, self.config.decoder.skip_channels);
        // Of a segment's `T + 2` codes sample t is the one at t + 2.
        let of_segment =
            |codes: &'_ [u8]| codes[2..].iter().step_by(2).map(|&code| u32::from(code)).collect();
        let drawn: Vec<Vec<u32>> = input.codes.chunks_exact(2 * passes + 2).map(of_segment).collect();
        let table = self.parameters.get("decoder.second.code")?;
        let told = table.index_select(&Tensor::new(drawn.concat(), table.device())?, 0)?;
        let told = told.reshape((batch, passes, skip))?.transpose(1, 2)?;
        let skips = (state.narrow(1, residual, skip)? + told)?;
        Tensor::cat(&[&state.narrow(1, 0, residual)?, &skips], 1)
    }

    /// The frame network's output `(B F, frame_channels)`; `singers` and `features` as in [`DecoderInput`].
    pub fn frame_network(&self, latent: &Tensor, singers: &[u32], features: &Tensor) -> Result<Tensor> {
        let (batch, latent_size, frames) = latent.dims3()?;
        let rows = batch * frames;
        // Parts of no channel are left out: candle has no use for empty tensors.
        let mut parts = Vec::new();
        if latent_size > 0 {
            parts.push(latent.transpose(1, 2)?.contiguous()?.reshape((rows, latent_size))?);
        }
        let channels = features.dim(2)?;
        if channels > 0 {
            parts.push(features.reshape((rows, channels))?);
        }
        let width = self.config.singer_embedding_size;
        if width > 0 {
            let mut table = self.parameters.get(EMBEDDING)?.clone();
            let singers = Tensor::new(singers, table.device())?;
            if self.config.singers == SingerInput::OneHot {
                table = table.detach();
            }
            let embedding = table.index_select(&singers, 0)?.unsqueeze(1)?;
            parts.push(embedding.broadcast_as((batch, frames, width))?.contiguous()?.reshape((rows, width))?);
        }
        let bias = self.parameters.get("frame.bias")?;
        let mut hidden = if parts.is_empty() {
            bias.unsqueeze(0)?.broadcast_as((rows, bias.dim(0)?))?.contiguous()?.tanh()?
        } else {
            linear(&Tensor::cat(&parts, 1)?, self.parameters.get("frame.weight")?, bias)?.tanh()?
        };
        for layer in 1..self.config.condition.frame_layers {
            let weight = self.parameters.get(&format!("frame.layers.{layer}.weight"))?;
            let bias = self.parameters.get(&format!("frame.layers.{layer}.bias"))?;
            hidden = linear(&hidden, weight, bias)?.tanh()?;
        }
        Ok(hidden)
    }

    fn input_state(&self, input: &DecoderInput, batch: usize) -> Result<Tensor> {
        let excitation = self.config.condition.excitation_size();
        let mut names = vec!["decoder.input.current", "decoder.input.previous"];
        if excitation > 0 {
            names.push("decoder.excitation.weight");
        }
        names.push("decoder.skip_bias");
        let sizes = ops::InputSizes {
            residual: self.config.decoder.residual_channels,
            skip: self.config.decoder.skip_channels,
            excitation,
            batch,
        };
        ops::decoder_input(
            &self.parameters.pack(&names)?,
            input.codes.clone(),
            input.excitation.clone(),
            sizes,
        )
    }

    /// The prior's mean `(B, T)` and log-scale `(B, F)`.
    fn prior(
        &self,
        input: &DecoderInput,
        frame: &Tensor,
        taps: usize,
        batch: usize,
        frames: usize,
    ) -> Result<(Tensor, Tensor)> {
        let raw = linear(frame, self.parameters.get("prior.weight")?, self.parameters.get("prior.bias")?)?;
        let width = raw.dim(1)?;
        let period_taps = self.config.condition.period_taps;
        let scale_at = width - period_taps - 1;
        let prediction = ops::reflection_to_taps(&raw.narrow(1, 0, taps)?.contiguous()?)?;
        let mut parts = vec![prediction, raw.narrow(1, taps, scale_at - taps)?.contiguous()?];
        if period_taps > 0 {
            parts.push(raw.narrow(1, scale_at + 1, period_taps)?.contiguous()?);
        }
        let coefficients = Tensor::cat(&parts, 1)?.reshape((batch, frames, width - 1))?;
        let mean = ops::frame_basis(&coefficients, input.prior_basis.clone())?;
        let scale = raw.narrow(1, scale_at, 1)?.contiguous()?.reshape((batch, frames))?.clamp(-5f32, 3f32)?;
        let log_scale = ((scale + &input.log_level)? - 0.7)?;
        Ok((mean, log_scale))
    }
}

/// What one head reads.
struct Head {
    /// The layers' final state `(B, R + S, T / heads)`.
    state: Tensor,
    /// The head's frame-wise inputs, packed.
    side: Tensor,
    weights: Tensor,
}

/// From the `nth` on every `step`th of the values along the last axis.
fn every(values: &Tensor, nth: usize, step: usize) -> Result<Tensor> {
    if step == 1 {
        return Ok(values.clone());
    }
    let mut shape = values.dims().to_vec();
    let last = shape.len();
    shape[last - 1] /= step;
    shape.push(step);
    values.reshape(shape)?.narrow(last, nth, 1)?.squeeze(last)?.contiguous()
}

/// One value of each in turns along their last axis, which is number `axis - 1`.
fn in_turns(parts: &[Tensor], axis: usize) -> Result<Tensor> {
    match parts {
        [only] => Ok(only.clone()),
        parts => Tensor::stack(parts, axis)?.flatten_from(axis - 1),
    }
}

/// `x W^T + b` for two-dimensional `x`, the one form of candle's matmul whose gradients are right at any batch.
pub(super) fn linear(input: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    input.matmul(&weight.t()?.contiguous()?)?.broadcast_add(bias)
}
