//! What the frame network knows, read out as a spectrum: a linear map from its output to the log-mel frame that is to be
//! sung.
//!
//! Of the sample that comes next the decoder's true past tells nearly all, so what its likelihood teaches the encoder
//! about words is faint. A spectrum has no past to lean on: all that is right in it came through the latent. And when the
//! decoder sings, what it drew can be led to it (see [`Equalizer`](crate::signal::equalizer::Equalizer)).

use candle_core::{Result, Tensor};

use super::decoder::linear;
use super::parameters::Parameters;

/// The spectra `(N, mels)` that are read from `frames (N, frame_channels)`.
pub fn read_spectrum(parameters: &Parameters, frames: &Tensor) -> Result<Tensor> {
    linear(frames, parameters.get("spectrum.weight")?, parameters.get("spectrum.bias")?)
}

/// Mean distance of `expected (N, mels)` from the `wanted [N][mels]`.
pub fn spectrum_distance(expected: &Tensor, wanted: &[f32]) -> Result<Tensor> {
    (expected - Tensor::from_slice(wanted, expected.shape(), expected.device())?)?.abs()?.mean_all()
}
