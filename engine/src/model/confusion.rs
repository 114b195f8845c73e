//! The singer-confusion classifier: two convolutions (kernel 3) over the latent, a 1x1 to the singers, the mean
//! over time. The encoder is trained against it, so that the latent does not tell who sang.

use candle_core::{D, Result, Tensor};

use super::ops::{Geometry, conv1d, reverse_gradient};
use super::parameters::Parameters;
use crate::voice::TensorSpec;

const CHANNELS: usize = 100;

/// The classifier and its own parameters, which are no part of a bank.
pub struct Confusion {
    /// Trainable tensors.
    pub parameters: Parameters,
}

impl Confusion {
    /// A fresh classifier of `singers` singers on latents of `latent_size`.
    pub fn new(latent_size: usize, singers: usize, seed: u64) -> Result<Self> {
        let layers = [(latent_size, CHANNELS, 3), (CHANNELS, CHANNELS, 3), (CHANNELS, singers, 1)];
        let specs: Vec<TensorSpec> = layers
            .iter()
            .enumerate()
            .flat_map(|(layer, &(inputs, outputs, taps))| {
                [
                    TensorSpec {
                        name: format!("confusion.{layer}.weight"),
                        shape: vec![outputs, inputs, taps],
                    },
                    TensorSpec { name: format!("confusion.{layer}.bias"), shape: vec![outputs] },
                ]
            })
            .collect();
        Ok(Self { parameters: Parameters::from_specs(&specs, seed)? })
    }

    /// Logits `(B, singers)` for a latent `(B, latent_size, frames)`. Gradients reach the classifier as they are and
    /// the latent reversed and scaled by `strength`, which is the paper's `- lambda CE(C(E(s)), j)`.
    pub fn logits(&self, latent: &Tensor, strength: f64) -> Result<Tensor> {
        let mut hidden = reverse_gradient(latent, strength)?;
        for layer in 0..3 {
            let weight = self.parameters.get(&format!("confusion.{layer}.weight"))?;
            let bias = self.parameters.get(&format!("confusion.{layer}.bias"))?;
            let pad = weight.dim(D::Minus1)? / 2;
            hidden =
                conv1d(&hidden, weight, bias, Geometry { dilation: 1, stride: 1, left: pad, right: pad })?;
            if layer < 2 {
                hidden = hidden.relu()?;
            }
        }
        hidden.mean(2)
    }
}
