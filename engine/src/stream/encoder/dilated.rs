//! The encoder of dilated convolutions over the waveform.
//!
//! Every convolution runs as soon as its inputs are there: one whose newest tap lies `right` samples in the future gives its
//! output that much later. The lateness of the layers adds up to the look-ahead; the waveform is held back so that the
//! sum is a whole number of hops, and then each push takes one hop in and one hop out of every layer.

use crate::stream::product::{Matrix, fill_rows, mean_rows, relu};
use crate::voice::DilatedLookAhead;

/// Taps of every convolution.
const TAPS: usize = 3;

#[derive(Clone)]
pub(super) struct Dilated {
    look_ahead_hops: usize,
    /// The waveform as long as it is held back.
    take: Ring,
    held_back: usize,
    start: Convolution,
    start_lateness: usize,
    layers: Vec<Layer>,
    /// Samples pushed since the reset before this hop.
    position: usize,
    /// `[hop, channels]`: the residual stream between two layers.
    stream: Vec<f32>,
    /// `[hop, channels]`: the inside of a layer.
    inside: Vec<f32>,
    mean: Vec<f32>,
    latent_matrix: Matrix,
    latent_bias: Vec<f32>,
    latent: Vec<f32>,
}

#[derive(Clone)]
struct Layer {
    convolution: Convolution,
    point: Matrix,
    point_bias: Vec<f32>,
    /// The residual stream as long as the convolution is late.
    stream: Ring,
    right: usize,
    /// How much later than the waveform the output comes, in samples.
    lateness: usize,
}

/// A convolution of three taps, fed hop by hop.
#[derive(Clone)]
struct Convolution {
    dilation: usize,
    taps: [Matrix; TAPS],
    bias: Vec<f32>,
    history: Ring,
}

/// The last rows of a signal. A hop's rows always lie together.
#[derive(Clone)]
struct Ring {
    width: usize,
    hop: usize,
    values: Vec<f32>,
    /// Row where the next hop goes.
    next: usize,
}

impl Ring {
    /// Keeps at least `past` rows before the newest hop.
    fn new(width: usize, hop: usize, past: usize) -> Self {
        Self { width, hop, values: vec![0.0; (past.div_ceil(hop) + 1) * hop * width], next: 0 }
    }

    fn reset(&mut self) {
        self.values.fill(0.0);
        self.next = 0;
    }

    fn push(&mut self, rows: &[f32]) {
        self.push_pieces(rows, &[]);
    }

    fn push_pieces(&mut self, first: &[f32], second: &[f32]) {
        let hop = &mut self.values[self.next * self.width..][..self.hop * self.width];
        let (hop_first, hop_second) = hop.split_at_mut(first.len());
        hop_first.copy_from_slice(first);
        hop_second.copy_from_slice(second);
        self.next = (self.next + self.hop) % (self.values.len() / self.width);
    }

    /// The newest hop as it was `delay` rows ago: one piece or two that follow each other.
    fn delayed(&self, delay: usize) -> (&[f32], &[f32]) {
        let rows = self.values.len() / self.width;
        let begin = (self.next + 2 * rows - self.hop - delay) % rows;
        let first = self.hop.min(rows - begin);
        let values = &self.values;
        (&values[begin * self.width..][..first * self.width], &values[..(self.hop - first) * self.width])
    }
}

impl Convolution {
    fn new(inputs: usize, dilation: usize, hop: usize, weight: &[f32], bias: &[f32]) -> Self {
        let tap = |tap| {
            Matrix::new(inputs, bias.len(), |output, input| weight[(output * inputs + input) * TAPS + tap])
        };
        Self {
            dilation,
            taps: [tap(0), tap(1), tap(2)],
            bias: bias.to_vec(),
            history: Ring::new(inputs, hop, (TAPS - 1) * dilation),
        }
    }

    /// Takes the input that has just been pushed to the history, gives the hop of output that is due.
    fn apply(&self, output: &mut [f32]) {
        fill_rows(&self.bias, output);
        let (inputs, outputs) = (self.history.width, self.bias.len());
        for (index, tap) in self.taps.iter().enumerate() {
            let (first, second) = self.history.delayed((TAPS - 1 - index) * self.dilation);
            let (output_first, output_second) = output.split_at_mut(first.len() / inputs * outputs);
            tap.add_to(first, inputs, output_first);
            tap.add_to(second, inputs, output_second);
        }
    }
}

impl Dilated {
    pub fn new<'a>(
        dilations: &[usize],
        channels: usize,
        look_ahead: DilatedLookAhead,
        hop: usize,
        latent_size: usize,
        tensor: &dyn Fn(&str) -> &'a [f32],
    ) -> Self {
        let mut budget = match look_ahead {
            DilatedLookAhead::Full => usize::MAX,
            DilatedLookAhead::Samples(samples) => samples,
        };
        let mut share = |dilation: usize| {
            let right = dilation.min(budget);
            budget -= right;
            right
        };
        let start_right = share(1);
        let rights: Vec<usize> = dilations.iter().map(|dilation| share(*dilation)).collect();
        let look_ahead_samples = start_right + rights.iter().sum::<usize>();
        let look_ahead_hops = look_ahead_samples.div_ceil(hop);
        let held_back = look_ahead_hops * hop - look_ahead_samples;

        let mut lateness = held_back + start_right;
        let layers = dilations.iter().zip(rights).enumerate().map(|(layer, (&dilation, right))| {
            lateness += right;
            let part = |part: &str| tensor(&format!("encoder.layers.{layer}.{part}"));
            let point = part("point.weight");
            Layer {
                convolution: Convolution::new(
                    channels,
                    dilation,
                    hop,
                    part("conv.weight"),
                    part("conv.bias"),
                ),
                point: Matrix::new(channels, channels, |output, input| point[output * channels + input]),
                point_bias: part("point.bias").to_vec(),
                stream: Ring::new(channels, hop, right),
                right,
                lateness,
            }
        });
        let latent = tensor("encoder.latent.weight");
        Self {
            look_ahead_hops,
            take: Ring::new(1, hop, held_back),
            held_back,
            start: Convolution::new(1, 1, hop, tensor("encoder.start.weight"), tensor("encoder.start.bias")),
            start_lateness: held_back + start_right,
            layers: layers.collect(),
            position: 0,
            stream: vec![0.0; hop * channels],
            inside: vec![0.0; hop * channels],
            mean: vec![0.0; channels],
            latent_matrix: Matrix::new(channels, latent_size, |output, input| {
                latent[output * channels + input]
            }),
            latent_bias: tensor("encoder.latent.bias").to_vec(),
            latent: vec![0.0; latent_size],
        }
    }

    pub fn look_ahead_hops(&self) -> usize {
        self.look_ahead_hops
    }

    pub fn reset(&mut self) {
        self.take.reset();
        self.start.history.reset();
        for layer in &mut self.layers {
            layer.convolution.history.reset();
            layer.stream.reset();
        }
        self.position = 0;
    }

    /// Takes a hop of waveform, gives the latent of `look_ahead_hops` before; what it gives for hops before the first means
    /// nothing.
    pub fn push(&mut self, hop: &[f32]) -> &[f32] {
        let channels = self.mean.len();
        self.take.push(hop);
        let (first, second) = self.take.delayed(self.held_back);
        self.start.history.push_pieces(first, second);
        self.start.apply(&mut self.stream);
        silence_early(&mut self.stream, channels, self.start_lateness, self.position);

        for layer in &mut self.layers {
            layer.stream.push(&self.stream);
            relu(&mut self.stream);
            layer.convolution.history.push(&self.stream);
            layer.convolution.apply(&mut self.inside);
            relu(&mut self.inside);

            let (first, second) = layer.stream.delayed(layer.right);
            let (stream_first, stream_second) = self.stream.split_at_mut(first.len());
            stream_first.copy_from_slice(first);
            stream_second.copy_from_slice(second);
            add_bias(&layer.point_bias, &mut self.stream);
            layer.point.add_to(&self.inside, channels, &mut self.stream);
            silence_early(&mut self.stream, channels, layer.lateness, self.position);
        }
        self.position = self.position.saturating_add(hop.len());

        relu(&mut self.stream);
        // The 1x1 convolution is linear, so it may come after the mean.
        mean_rows(&self.stream, &mut self.mean);
        self.latent.copy_from_slice(&self.latent_bias);
        self.latent_matrix.add_to(&self.mean, 0, &mut self.latent);
        &self.latent
    }
}

fn add_bias(bias: &[f32], rows: &mut [f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// What a layer gives for times before the start is 0 to the next one, not its answer to zeros.
fn silence_early(rows: &mut [f32], width: usize, lateness: usize, position: usize) {
    let early = lateness.saturating_sub(position).min(rows.len() / width);
    rows[..early * width].fill(0.0);
}
