//! The encoders as graphs. Shapes: waveforms `(B, 1, samples)`, mel frames `(B, mels + 1, frames)`, latent
//! `(B, latent_size, frames)`.

use candle_core::{Device, Result, Tensor};

use super::ops::{Geometry, conv1d};
use super::parameters::Parameters;
use crate::voice::{DilatedLookAhead, EncoderConfig, ModelConfig, dilations, mel_dilations, mel_past_frames};

/// Frames that [`encode`] needs around those it is asked for. A waveform encoder needs none: as published, its
/// convolutions see zeros beyond the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderContext {
    /// Frames before the segment.
    pub past_frames: usize,
    /// Frames after the segment.
    pub future_frames: usize,
}

/// The context that the configured encoder needs.
pub fn encoder_context(config: &ModelConfig) -> EncoderContext {
    match config.encoder {
        EncoderConfig::Mel { layers, dilation_base, look_ahead_frames, .. } => {
            // The layers are causal, on an input that is look-ahead frames early.
            let past_frames = mel_past_frames(layers, dilation_base) - look_ahead_frames;
            EncoderContext { past_frames, future_frames: look_ahead_frames }
        }
        _ => EncoderContext { past_frames: 0, future_frames: 0 },
    }
}

/// From the encoder's input (mel frames with their context, or the segment's waveform) to latent frames; without an encoder
/// to frames of no channel.
pub fn encode(config: &ModelConfig, parameters: &Parameters, input: &Tensor) -> Result<Tensor> {
    match &config.encoder {
        EncoderConfig::None => {
            let (batch, _, samples) = input.dims3()?;
            // A card has no memory of no length.
            Tensor::zeros((batch, 0, samples / config.hop_samples), input.dtype(), &Device::Cpu)
        }
        EncoderConfig::Mel { layers, dilation_base, .. } => {
            mel(parameters, mel_dilations(*layers, *dilation_base), input)
        }
        EncoderConfig::Dilated { blocks, layers_per_block, look_ahead, .. } => {
            dilated(config, parameters, &dilations(*blocks, *layers_per_block), *look_ahead, input)
        }
        EncoderConfig::Strided { strides, .. } => strided(config, parameters, strides, input),
        EncoderConfig::Envelope { .. } => candle_core::bail!("an envelope encoder hears no waveform"),
    }
}

fn convolve(parameters: &Parameters, name: &str, input: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let weight = parameters.get(&format!("{name}.weight"))?;
    let bias = parameters.get(&format!("{name}.bias"))?;
    conv1d(input, weight, bias, geometry)
}

const POINT: Geometry = Geometry { dilation: 1, stride: 1, left: 0, right: 0 };

fn mel(parameters: &Parameters, dilations: impl Iterator<Item = usize>, input: &Tensor) -> Result<Tensor> {
    let mut hidden = input.clone();
    for (layer, dilation) in dilations.enumerate() {
        let geometry = Geometry { dilation, ..POINT };
        hidden = convolve(parameters, &format!("encoder.layers.{layer}"), &hidden, geometry)?.relu()?;
    }
    convolve(parameters, "encoder.latent", &hidden, POINT)?.tanh()
}

fn dilated(
    config: &ModelConfig,
    parameters: &Parameters,
    dilations: &[usize],
    look_ahead: DilatedLookAhead,
    input: &Tensor,
) -> Result<Tensor> {
    let mut budget = match look_ahead {
        DilatedLookAhead::Full => usize::MAX,
        DilatedLookAhead::Samples(samples) => samples,
    };
    // Kernel 3: taps at right - 2d, right - d, right; `right` is d for a centred layer, 0 for a causal one.
    let mut geometry = |dilation: usize| {
        let right = dilation.min(budget);
        budget = budget.saturating_sub(right);
        Geometry { dilation, stride: 1, left: 2 * dilation - right, right }
    };
    let mut stream = convolve(parameters, "encoder.start", input, geometry(1))?;
    for (layer, dilation) in dilations.iter().enumerate() {
        let name = format!("encoder.layers.{layer}");
        let hidden = convolve(parameters, &format!("{name}.conv"), &stream.relu()?, geometry(*dilation))?;
        stream = (stream + convolve(parameters, &format!("{name}.point"), &hidden.relu()?, POINT)?)?;
    }
    pool(&convolve(parameters, "encoder.latent", &stream.relu()?, POINT)?, config.hop_samples)
}

fn strided(
    config: &ModelConfig,
    parameters: &Parameters,
    strides: &[usize],
    input: &Tensor,
) -> Result<Tensor> {
    let mut hidden = input.clone();
    for (layer, &stride) in strides.iter().enumerate() {
        let geometry = Geometry { dilation: 1, stride, left: stride, right: 0 };
        hidden = convolve(parameters, &format!("encoder.layers.{layer}"), &hidden, geometry)?.relu()?;
    }
    let steps = config.hop_samples / strides.iter().product::<usize>();
    pool(&convolve(parameters, "encoder.latent", &hidden, POINT)?, steps)
}

/// Mean over windows of `steps`: `(B, C, F * steps)` to `(B, C, F)`.
fn pool(input: &Tensor, steps: usize) -> Result<Tensor> {
    let (batch, channels, length) = input.dims3()?;
    input.contiguous()?.reshape((batch, channels, length / steps, steps))?.mean(3)
}
