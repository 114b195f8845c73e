//! What the frame network knows, read out as a spectrum: a linear map from its output to the log-mel frame that is to be
//! sung.
//!
//! Of the sample that comes next the decoder's true past tells nearly all, so what its likelihood teaches the encoder
//! about words is faint. A spectrum has no past to lean on: all that is right in it came through the latent. And when the
//! decoder sings, what it drew can be led to it (see [`Equalizer`](crate::signal::equalizer::Equalizer)).

use candle_core::{Result, Tensor};

use super::decoder::linear;
use super::parameters::Parameters;

/// Mean distance of what is read from `frames (N, frame_channels)` from the `wanted (N, mels)`.
pub fn spectrum_distance(parameters: &Parameters, frames: &Tensor, wanted: &[f32]) -> Result<Tensor> {
    let weight = parameters.get("spectrum.weight")?;
    let read = linear(frames, weight, parameters.get("spectrum.bias")?)?;
    (&read - Tensor::from_slice(wanted, read.shape(), read.device())?)?.abs()?.mean_all()
}
