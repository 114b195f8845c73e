//! The encoder of spectral envelopes: strided convolutions over the bins of one frame.

use crate::stream::product::{Matrix, convolution, fill_rows, leaky_relu};
use crate::voice::{ENVELOPE_STRIDE, ENVELOPE_TAPS, envelope_widths};

#[derive(Clone)]
pub(super) struct Envelope {
    layers: Vec<Layer>,
    /// `[bins that are left, channels]`
    output: Vec<f32>,
    latent_matrix: Matrix,
    latent_bias: Vec<f32>,
    latent: Vec<f32>,
}

#[derive(Clone)]
struct Layer {
    matrix: Matrix,
    bias: Vec<f32>,
    inputs: usize,
    /// Zeros before the bins.
    left: usize,
    bins: usize,
    /// `[left + bins + zeros after them, inputs]`
    input: Vec<f32>,
}

impl Envelope {
    pub fn new<'a>(
        bins: usize,
        channels: &[usize],
        latent_size: usize,
        tensor: &dyn Fn(&str) -> &'a [f32],
    ) -> Self {
        let widths = envelope_widths(bins, channels.len());
        let reach = ENVELOPE_TAPS - ENVELOPE_STRIDE;
        let mut inputs = 1;
        let mut layers = Vec::new();
        for (layer, &outputs) in channels.iter().enumerate() {
            let rows = widths[layer + 1] * ENVELOPE_STRIDE + reach;
            layers.push(Layer {
                matrix: convolution(tensor(&format!("encoder.layers.{layer}.weight")), inputs, ENVELOPE_TAPS),
                bias: tensor(&format!("encoder.layers.{layer}.bias")).to_vec(),
                inputs,
                left: reach / 2,
                bins: widths[layer],
                input: vec![0.0; rows * inputs],
            });
            inputs = outputs;
        }
        let left = widths[channels.len()];
        let weight = tensor("encoder.latent.weight");
        Self {
            layers,
            output: vec![0.0; left * inputs],
            // The graph lays channels out one after the other, we bins. Of a Gaussian the first half are the means.
            latent_matrix: Matrix::new(left * inputs, latent_size, |output, at| {
                weight[output * left * inputs + at % inputs * left + at / inputs]
            }),
            latent_bias: tensor("encoder.latent.bias")[..latent_size].to_vec(),
            latent: vec![0.0; latent_size],
        }
    }

    /// The latent of one frame's normalised shape.
    pub fn push(&mut self, shape: &[f32]) -> &[f32] {
        let mut rest = self.layers.as_mut_slice();
        if let Some(first) = rest.first_mut() {
            first.bins().copy_from_slice(shape);
        }
        while let Some((layer, after)) = rest.split_first_mut() {
            layer.apply(match after.first_mut() {
                Some(next) => next.bins(),
                None => &mut self.output,
            });
            rest = after;
        }
        self.latent.copy_from_slice(&self.latent_bias);
        self.latent_matrix.add_to(&self.output, 0, &mut self.latent);
        &self.latent
    }
}

impl Layer {
    fn bins(&mut self) -> &mut [f32] {
        &mut self.input[self.left * self.inputs..][..self.bins * self.inputs]
    }

    fn apply(&self, output: &mut [f32]) {
        fill_rows(&self.bias, output);
        self.matrix.add_to(&self.input, ENVELOPE_STRIDE * self.inputs, output);
        leaky_relu(output);
    }
}
