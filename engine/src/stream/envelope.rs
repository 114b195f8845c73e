//! The decoder of spectral envelopes: latent and singer to the normalised shape of one frame.

use super::product::{Matrix, convolution, fill_rows, leaky_relu};
use crate::voice::{ENVELOPE_STRIDE, ENVELOPE_TAPS, EnvelopeConfig};

/// The decoder of a bank that gives envelopes. What it computes is stated by [`EnvelopeConfig`]. Allocates nothing after it
/// is made.
pub(super) struct EnvelopeDecoder {
    /// Latent, then the singer's embedding.
    told: Vec<f32>,
    latent_size: usize,
    merge: Matrix,
    merge_bias: Vec<f32>,
    /// `[bins, channels]` before the first layer.
    merged: Vec<f32>,
    layers: Vec<Layer>,
}

/// Three bins of one, then a convolution.
struct Layer {
    matrix: Matrix,
    bias: Vec<f32>,
    inputs: usize,
    /// `[side + bins + side, inputs]`
    input: Vec<f32>,
    /// `[bins, outputs]`
    output: Vec<f32>,
}

/// Bins that a convolution reads beside its own, on either side.
const SIDE: usize = ENVELOPE_TAPS / 2;

impl EnvelopeDecoder {
    /// `tensor` gives the decoder's tensors by name, `latent_size` and `embedding_size` are the model's.
    pub fn new<'a>(
        config: &EnvelopeConfig,
        (latent_size, embedding_size): (usize, usize),
        tensor: impl Fn(&str) -> &'a [f32],
    ) -> Self {
        let told = latent_size + embedding_size;
        let (weight, bias) = (tensor("envelope.merge.weight"), tensor("envelope.merge.bias"));
        let channels = config.channels[0];
        let mut bins = bias.len() / channels;
        // The graph lays channels out one after the other, we bins.
        let row = |at: usize| at % channels * bins + at / channels;
        let merge = Matrix::new(told, bias.len(), |output, input| weight[row(output) * told + input]);
        let merge_bias: Vec<f32> = (0..bias.len()).map(|at| bias[row(at)]).collect();
        let layers = config.channels.iter().enumerate().map(|(layer, &inputs)| {
            bins *= ENVELOPE_STRIDE;
            let bias = tensor(&format!("envelope.layers.{layer}.bias")).to_vec();
            Layer {
                matrix: convolution(
                    tensor(&format!("envelope.layers.{layer}.weight")),
                    inputs,
                    ENVELOPE_TAPS,
                ),
                inputs,
                input: vec![0.0; (bins + 2 * SIDE) * inputs],
                output: vec![0.0; bins * bias.len()],
                bias,
            }
        });
        Self {
            layers: layers.collect(),
            told: vec![0.0; told],
            latent_size,
            merged: vec![0.0; merge_bias.len()],
            merge,
            merge_bias,
        }
    }

    /// Sets the singer from the next frame on.
    pub fn set_singer(&mut self, embedding: &[f32]) {
        self.told[self.latent_size..].copy_from_slice(embedding);
    }

    /// The normalised shape of one frame, `[bins]`.
    pub fn decode(&mut self, latent: &[f32]) -> &[f32] {
        self.told[..self.latent_size].copy_from_slice(latent);
        self.merged.copy_from_slice(&self.merge_bias);
        self.merge.add_to(&self.told, 0, &mut self.merged);
        let mut narrow = &mut self.merged;
        for layer in &mut self.layers {
            layer.apply(narrow);
            narrow = &mut layer.output;
        }
        narrow
    }
}

impl Layer {
    fn apply(&mut self, narrow: &mut [f32]) {
        leaky_relu(narrow);
        let wide = self.input[SIDE * self.inputs..].chunks_exact_mut(ENVELOPE_STRIDE * self.inputs);
        for (three, one) in wide.zip(narrow.chunks_exact(self.inputs)) {
            fill_rows(one, three);
        }
        fill_rows(&self.bias, &mut self.output);
        self.matrix.add_to(&self.input, self.inputs, &mut self.output);
    }
}

#[cfg(all(test, feature = "train"))]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::model::{Parameters, decode_shapes, encode_shapes};
    use crate::stream::Encoder;
    use crate::voice::ModelConfig;

    #[test]
    fn the_streaming_networks_compute_the_graphs_envelopes() {
        let recipe: toml::Value = toml::from_str(include_str!("../../../assets/recipes/vae.toml")).unwrap();
        let config: ModelConfig = recipe["model"].clone().try_into().unwrap();
        let parameters = Parameters::new(&config, 3, 9).unwrap();
        let values = parameters.values().unwrap();
        let tensor = |name: &str| values[name].as_slice();
        let bins = config.envelope_bins();
        let shape: Vec<f32> =
            (0..bins).map(|bin| (0.07 * bin as f32).sin() - 0.01 * (bin % 7) as f32).collect();

        let graph_shape = Tensor::from_slice(&shape, (1, bins), &Device::Cpu).unwrap();
        let encoded = encode_shapes(&config, &parameters, &graph_shape).unwrap();
        // Of a Gaussian the mean is sung.
        let mean = encoded.narrow(1, 0, config.latent_size).unwrap();
        let expected = decode_shapes(&config, &parameters, &mean, &[2]).unwrap();

        let mut encoder = Encoder::new(&config, tensor);
        let latent = encoder.push(&shape).unwrap().to_vec();
        let sizes = (config.latent_size, config.singer_embedding_size);
        let mut decoder = EnvelopeDecoder::new(config.envelope.as_ref().unwrap(), sizes, tensor);
        let width = config.singer_embedding_size;
        decoder.set_singer(&values["singers.embedding"][2 * width..3 * width]);
        let sung = decoder.decode(&latent);
        let near = |a: &[f32], b: &Tensor| {
            let b: Vec<f32> = b.flatten_all().unwrap().to_vec1().unwrap();
            let scale = b.iter().fold(0.0f32, |most, b| most.max(b.abs()));
            assert_eq!(a.len(), b.len());
            assert!(scale > 0.01 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * scale));
        };
        near(&latent, &mean);
        near(sung, &expected);
    }
}
