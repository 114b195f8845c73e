//! The encoder over mel frames: causal convolutions over frames, one frame a hop.

use crate::decode::tanh_f64;
use crate::stream::product::{Matrix, Row, relu};
use crate::voice::{mel_dilations, mel_past_frames};

/// Taps of a hidden layer.
const TAPS: usize = 3;
/// Taps of the latent layer.
const LATENT_TAPS: usize = 2;
/// The loudness feature of silence, which is the least there is.
const SILENT_LOUDNESS: f32 = -2.5;

#[derive(Clone)]
pub(super) struct Mel {
    layers: Vec<Layer>,
    /// What goes from layer to layer; each keeps a copy of its input before its output overwrites it.
    row: Vec<f32>,
}

/// A convolution over the last frames; its input's history is `[(taps - 1) dilation + 1, inputs]`, oldest first.
#[derive(Clone)]
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

    /// Takes its input from the front of `row`; gives what the taps read and where its output goes, the bias in it.
    fn take<'a>(&'a mut self, row: &'a mut [f32]) -> Row<'a> {
        let inputs = self.inputs;
        self.history.copy_within(inputs.., 0);
        let newest = self.history.len() - inputs;
        self.history[newest..].copy_from_slice(&row[..inputs]);
        let taps = self.history.chunks_exact(inputs).step_by(self.dilation);
        self.read.chunks_exact_mut(inputs).zip(taps).for_each(|(read, tap)| read.copy_from_slice(tap));
        let output = &mut row[..self.bias.len()];
        output.copy_from_slice(&self.bias);
        (&self.read, output)
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

    /// Whether both are clones of one, so that they can be pushed together.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.layers[0].matrix.is_shared_with(&other.layers[0].matrix)
    }

    /// The stack's output at this frame.
    pub fn push(&mut self, frame: &[f32]) -> &[f32] {
        Self::push_together([(self, frame)]);
        self.latent()
    }

    /// Pushes a frame to each of several stacks, clones of one, in one pass over the weights.
    pub fn push_together<const B: usize>(mut stacks: [(&mut Self, &[f32]); B]) {
        for (mel, frame) in &mut stacks {
            mel.row[..frame.len()].copy_from_slice(frame);
        }
        let layers = stacks[0].0.layers.len();
        for index in 0..layers {
            // A clone, since the rows borrow whose it is.
            let matrix = stacks[0].0.layers[index].matrix.clone();
            matrix.add_to_rows(stacks.each_mut().map(|(mel, _)| mel.layers[index].take(&mut mel.row)));
            for (mel, _) in &mut stacks {
                let output = &mut mel.row[..mel.layers[index].bias.len()];
                if index + 1 < layers {
                    relu(output);
                } else {
                    output.iter_mut().for_each(|value| *value = tanh_f64(f64::from(*value)) as f32);
                }
            }
        }
    }

    /// The output at the last frame.
    pub fn latent(&self) -> &[f32] {
        &self.row[..self.layers.last().map_or(0, |layer| layer.bias.len())]
    }
}
