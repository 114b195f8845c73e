//! What the frame network knows, read out as a spectrum: a linear map from its output to the log-mel frame that is to be
//! sung. It is there in training alone.
//!
//! Of the sample that comes next the decoder's true past tells nearly all, so what its likelihood teaches the encoder
//! about words is faint. A spectrum has no past to lean on: all that is right in it came through the latent.

use candle_core::{Device, Result, Tensor};

use super::decoder::linear;
use super::parameters::Parameters;
use crate::voice::TensorSpec;

/// The map and its parameters, which are no part of a bank.
pub struct Spectrum {
    /// Trainable tensors.
    pub parameters: Parameters,
}

impl Spectrum {
    /// A fresh map from `frame_channels` to `mels`.
    pub fn new(frame_channels: usize, mels: usize, seed: u64) -> Result<Self> {
        let spec = |name: &str, shape: &[usize]| TensorSpec {
            name: format!("spectrum.{name}"),
            shape: shape.to_vec(),
        };
        let specs = [spec("weight", &[mels, frame_channels]), spec("bias", &[mels])];
        Ok(Self { parameters: Parameters::from_specs(&specs, seed)? })
    }

    /// Mean distance of the frames that are read from `frames (N, frame_channels)` from `wanted (N, mels)`.
    pub fn distance(&self, frames: &Tensor, wanted: &[f32]) -> Result<Tensor> {
        let weight = self.parameters.get("spectrum.weight")?;
        let read = linear(frames, weight, self.parameters.get("spectrum.bias")?)?;
        (&read - Tensor::from_slice(wanted, read.shape(), &Device::Cpu)?)?.abs()?.mean_all()
    }
}
