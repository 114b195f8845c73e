//! The encoder over mel frames: causal convolutions over frames, one frame a hop.

use crate::decode::tanh_f64;
use crate::stream::product::{Matrix, relu};
use crate::voice::{mel_dilations, mel_past_frames};

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

/// A convolution over the last frames; its input's history is `[(taps - 1) dilation + 1, inputs]`, oldest first.
struct Layer {
    inputs: usize,
    dilation: usize,
    matrix: Matrix,
    bias: Vec<f32>,
    /// What the taps read, `[taps, inputs]`.
    read: Vec<f32>,
    history: Vec<f32>,
    /// The history after endless silence.
    silent_history: Vec<f32>,
}

impl Layer {
    fn new(inputs: usize, (taps, dilation): (usize, usize), weight: &[f32], bias: &[f32]) -> Self {
        // Packed in the order of what is read: tap by tap, input by input.
        let matrix = Matrix::new(taps * inputs, bias.len(), |output, at| {
            weight[(output * inputs + at % inputs) * taps + at / inputs]
        });
        let history = vec![0.0; ((taps - 1) * dilation + 1) * inputs];
        Self {
            inputs,
            dilation,
            matrix,
            bias: bias.to_vec(),
            read: vec![0.0; taps * inputs],
            silent_history: history.clone(),
            history,
        }
    }

    /// Takes its input from the front of `row` and writes its output there; returns the output's width.
    fn push(&mut self, row: &mut [f32]) -> usize {
        let inputs = self.inputs;
        self.history.copy_within(inputs.., 0);
        let newest = self.history.len() - inputs;
        self.history[newest..].copy_from_slice(&row[..inputs]);
        let taps = self.history.chunks_exact(inputs).step_by(self.dilation);
        self.read.chunks_exact_mut(inputs).zip(taps).for_each(|(read, tap)| read.copy_from_slice(tap));
        let output = &mut row[..self.bias.len()];
        output.copy_from_slice(&self.bias);
        self.matrix.add_to(&self.read, 0, output);
        output.len()
    }
}

impl Mel {
    pub fn new<'a>(
        mels: usize,
        channels: usize,
        (layers, dilation_base): (usize, usize),
        latent_size: usize,
        tensor: &dyn Fn(&str) -> &'a [f32],
    ) -> Self {
        let mut stack = Vec::new();
        let mut inputs = mels + 1;
        for (layer, dilation) in mel_dilations(layers, dilation_base).enumerate() {
            let weight = tensor(&format!("encoder.layers.{layer}.weight"));
            let bias = tensor(&format!("encoder.layers.{layer}.bias"));
            stack.push(Layer::new(inputs, (TAPS, dilation), weight, bias));
            inputs = channels;
        }
        let (weight, bias) = (tensor("encoder.latent.weight"), tensor("encoder.latent.bias"));
        stack.push(Layer::new(inputs, (LATENT_TAPS, 1), weight, bias));
        let width = channels.max(latent_size).max(mels + 1);
        let mut mel = Self { layers: stack, row: vec![0.0; width] };

        let mut silence = vec![0.0; mels + 1];
        silence[mels] = SILENT_LOUDNESS;
        // Each layer is steady once its input has been so for as many frames as it reads.
        for _ in 0..=mel_past_frames(layers, dilation_base) {
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
