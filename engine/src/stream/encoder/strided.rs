//! The encoder of strided convolutions over the waveform.

use crate::stream::product::{Matrix, convolution, fill_rows, mean_rows, relu};

#[derive(Clone)]
pub(super) struct Strided {
    layers: Vec<Layer>,
    /// `[steps, channels]`: what the last layer gives in a hop.
    output: Vec<f32>,
    mean: Vec<f32>,
    latent_matrix: Matrix,
    latent_bias: Vec<f32>,
    latent: Vec<f32>,
}

/// A causal convolution whose kernel spans two strides: the block of inputs that has just come and the one before it.
#[derive(Clone)]
struct Layer {
    stride: usize,
    inputs: usize,
    /// `[2 * stride * inputs, outputs]`.
    matrix: Matrix,
    bias: Vec<f32>,
    /// `[stride + steps of a hop, inputs]`: the last block of the hop before, then this hop.
    input: Vec<f32>,
}

impl Strided {
    pub fn new<'a>(
        strides: &[usize],
        channels: usize,
        hop_samples: usize,
        latent_size: usize,
        tensor: &dyn Fn(&str) -> &'a [f32],
    ) -> Self {
        let (mut inputs, mut steps) = (1, hop_samples);
        let mut layers = Vec::new();
        for (layer, &stride) in strides.iter().enumerate() {
            let weight = tensor(&format!("encoder.layers.{layer}.weight"));
            let matrix = convolution(weight, inputs, 2 * stride);
            let bias = tensor(&format!("encoder.layers.{layer}.bias")).to_vec();
            layers.push(Layer { stride, inputs, matrix, bias, input: vec![0.0; (stride + steps) * inputs] });
            inputs = channels;
            steps /= stride;
        }
        let weight = tensor("encoder.latent.weight");
        Self {
            layers,
            output: vec![0.0; steps * channels],
            mean: vec![0.0; channels],
            latent_matrix: Matrix::new(channels, latent_size, |output, input| {
                weight[output * channels + input]
            }),
            latent_bias: tensor("encoder.latent.bias").to_vec(),
            latent: vec![0.0; latent_size],
        }
    }

    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.input.fill(0.0);
        }
    }

    /// The latent of this hop of waveform.
    pub fn push(&mut self, hop: &[f32]) -> &[f32] {
        let mut rest = self.layers.as_mut_slice();
        if let Some(first) = rest.first_mut() {
            first.this_hop().copy_from_slice(hop);
        }
        while let Some((layer, after)) = rest.split_first_mut() {
            layer.apply(match after.first_mut() {
                Some(next) => next.this_hop(),
                None => &mut self.output,
            });
            rest = after;
        }
        // The 1x1 convolution is linear, so it may come after the mean.
        mean_rows(&self.output, &mut self.mean);
        self.latent.copy_from_slice(&self.latent_bias);
        self.latent_matrix.add_to(&self.mean, 0, &mut self.latent);
        &self.latent
    }
}

impl Layer {
    fn this_hop(&mut self) -> &mut [f32] {
        let block = self.stride * self.inputs;
        &mut self.input[block..]
    }

    fn apply(&mut self, output: &mut [f32]) {
        let block = self.stride * self.inputs;
        fill_rows(&self.bias, output);
        self.matrix.add_to(&self.input, block, output);
        relu(output);
        let last_block = self.input.len() - block;
        self.input.copy_within(last_block.., 0);
    }
}
