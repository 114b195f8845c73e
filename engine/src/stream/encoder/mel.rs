//! The encoder over mel frames: causal convolutions over frames, one frame a hop.

use super::product::{Matrix, relu};
use crate::decode::tanh_f64;

/// Taps of a hidden layer.
const TAPS: usize = 3;
/// Taps of the latent layer.
const LATENT_TAPS: usize = 2;
/// The loudness feature of silence, which is the least there is.
const SILENT_LOUDNESS: f32 = -2.5;

pub(super) struct Mel {
    layers: Vec<Layer>,
    /// What goes from layer to layer; each keeps a copy of its input before it overwrites it.
    row: Vec<f32>,
}

/// A convolution over the last frames; its input's history is `[taps, inputs]`, oldest first.
struct Layer {
    inputs: usize,
    matrix: Matrix,
    bias: Vec<f32>,
    history: Vec<f32>,
    /// The history after endless silence.
    silent_history: Vec<f32>,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, taps: usize, weight: &[f32], bias: &[f32]) -> Self {
        // Packed in the order of the history: tap by tap, input by input.
        let matrix = Matrix::new(taps * inputs, outputs, |output, at| {
            weight[(output * inputs + at % inputs) * taps + at / inputs]
        });
        let history = vec![0.0; taps * inputs];
        Self { inputs, matrix, bias: bias.to_vec(), silent_history: history.clone(), history }
    }

    /// Takes its input from the front of `row` and writes its output there; returns the output's width.
    fn push(&mut self, row: &mut [f32]) -> usize {
        let inputs = self.inputs;
        self.history.copy_within(inputs.., 0);
        let newest = self.history.len() - inputs;
        self.history[newest..].copy_from_slice(&row[..inputs]);
        let output = &mut row[..self.bias.len()];
        output.copy_from_slice(&self.bias);
        self.matrix.add_to(&self.history, 0, output);
        output.len()
    }
}

impl Mel {
    pub fn new<'a>(
        mels: usize,
        channels: usize,
        layers: usize,
        latent_size: usize,
        tensor: &dyn Fn(&str) -> &'a [f32],
    ) -> Self {
        let mut stack = Vec::new();
        let mut inputs = mels + 1;
        for layer in 0..layers {
            let weight = tensor(&format!("encoder.layers.{layer}.weight"));
            let bias = tensor(&format!("encoder.layers.{layer}.bias"));
            stack.push(Layer::new(inputs, channels, TAPS, weight, bias));
            inputs = channels;
        }
        let (weight, bias) = (tensor("encoder.latent.weight"), tensor("encoder.latent.bias"));
        stack.push(Layer::new(inputs, latent_size, LATENT_TAPS, weight, bias));
        let width = channels.max(latent_size).max(mels + 1);
        let mut mel = Self { layers: stack, row: vec![0.0; width] };

        let mut silence = vec![0.0; mels + 1];
        silence[mels] = SILENT_LOUDNESS;
        // Each layer is steady once its input has been so for as many frames as it has taps.
        for _ in 0..TAPS * (layers + 1) {
            mel.push(&silence);
        }
        for layer in &mut mel.layers {
            layer.silent_history.copy_from_slice(&layer.history);
        }
        mel
    }

    pub fn reset(&mut self) {
        for layer in &mut self.layers {
            layer.history.copy_from_slice(&layer.silent_history);
        }
    }

    /// The stack's output at this frame.
    pub fn push(&mut self, frame: &[f32]) -> &[f32] {
        let last = self.layers.len() - 1;
        let row = &mut self.row;
        row[..frame.len()].copy_from_slice(frame);
        let mut width = frame.len();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            width = layer.push(row);
            if index < last {
                relu(&mut row[..width]);
            }
        }
        for value in &mut row[..width] {
            *value = tanh_f64(f64::from(*value)) as f32;
        }
        &row[..width]
    }
}
