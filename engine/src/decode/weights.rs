//! The decoder's tensors, packed for the kernels.

use std::sync::Arc;

use crate::voice::{Arithmetic, ModelConfig, SingerInput, VoiceBank};

use super::arithmetic::Single;
use super::math::{exp_f64, ln_f64};
use super::matrix::Matrix;
use super::network::AnyNetwork;
use crate::lanes::{Block, LANES, blocks_for, flat, flat_mut};

/// Codes of the mu-law alphabet.
pub(super) const CODES: usize = 256;
/// Blocks of their logits.
pub(super) const CODE_BLOCKS: usize = CODES / LANES;

/// Where the logit of a code lies in a row of 16 blocks: code `16 l + b` in lane `l` of block `b`. So the lanes of a
/// running sum over blocks are sums over sixteen neighbouring codes, and the two-level inverse CDF needs no shuffles.
pub(super) const fn code_slot(code: usize) -> usize {
    (code % CODE_BLOCKS) * LANES + code / CODE_BLOCKS
}

/// One bank's decoder and frame networks, packed once and shared by all streams that use it.
pub struct DecoderWeights {
    pub(super) config: ModelConfig,
    /// Input tables, `[256, blocks of the residual path]`, of the last code and the one before it.
    pub(super) input_current: Box<[Block]>,
    pub(super) input_previous: Box<[Block]>,
    /// Excitation of sines, then of cosines.
    pub(super) excitation: Option<[Matrix<Single>; 2]>,
    /// The same of the taps one period ago.
    pub(super) period: Option<Matrix<Single>>,
    pub(super) network: AnyNetwork,
    pub(super) frame: FrameWeights,
    /// Value of every code, permuted by [`code_slot`].
    pub(super) values: [Block; CODE_BLOCKS],
    /// Logarithm of the width of every code's interval, permuted.
    pub(super) ln_widths: [Block; CODE_BLOCKS],
}

/// The networks that run once a hop.
pub(super) struct FrameWeights {
    /// Columns of latent, F0 and loudness.
    pub(super) features: Matrix<Single>,
    /// Columns of the singer's embedding.
    pub(super) singer: Matrix<Single>,
    pub(super) bias: Box<[Block]>,
    /// The frame network's layers after the first, each with its bias.
    pub(super) layers: Vec<(Matrix<Single>, Box<[Block]>)>,
    /// Rows: for each layer tanh biases and sigmoid biases, then the head's, each padded to blocks.
    pub(super) condition: Matrix<Single>,
    pub(super) condition_bias: Box<[Block]>,
    pub(super) prior: Option<(Matrix<Single>, Box<[Block]>)>,
    pub(super) spectrum: Option<(Matrix<Single>, Box<[Block]>)>,
}

/// Value of a mu-law code: `sign(v) (256^|v| - 1) / 255` with `v = (code + 0.5) / 128 - 1`.
fn code_value(code: usize) -> f32 {
    exact_value(code) as f32
}

fn exact_value(code: usize) -> f64 {
    let v = (code as f64 + 0.5) / 128.0 - 1.0;
    ((exp_f64(v.abs() * 8.0 * std::f64::consts::LN_2) - 1.0) / 255.0).copysign(v)
}

fn ln_width(code: usize) -> f32 {
    let (below, above) = (code.max(1) - 1, (code + 1).min(CODES - 1));
    ln_f64((exact_value(above) - exact_value(below)) / (above - below) as f64) as f32
}

/// Values padded with zeros to whole blocks.
pub(super) fn padded(values: &[f32]) -> Box<[Block]> {
    let mut blocks = vec![Block::default(); blocks_for(values.len())];
    flat_mut(&mut blocks)[..values.len()].copy_from_slice(values);
    blocks.into()
}

/// Values of all codes, permuted by [`code_slot`].
pub(super) fn permuted(value: impl Fn(usize) -> f32) -> [Block; CODE_BLOCKS] {
    let mut blocks = [Block::default(); CODE_BLOCKS];
    for code in 0..CODES {
        flat_mut(&mut blocks)[code_slot(code)] = value(code);
    }
    blocks
}

/// Each group of rows padded to whole blocks: maps a padded row to its row, if it has one.
pub(super) struct PaddedGroups(Vec<Option<usize>>);

impl PaddedGroups {
    pub(super) fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let (mut rows, mut first) = (Vec::new(), 0);
        for size in sizes {
            rows.extend((first..first + size).map(Some));
            rows.resize(rows.len().next_multiple_of(LANES), None);
            first += size;
        }
        Self(rows)
    }

    /// Rows with their padding.
    pub(super) fn rows(&self) -> usize {
        self.0.len()
    }

    pub(super) fn weight(&self, padded_row: usize, value: impl Fn(usize) -> f32) -> f32 {
        self.0.get(padded_row).copied().flatten().map_or(0.0, value)
    }

    fn vector(&self, values: &[f32]) -> Box<[Block]> {
        padded(&(0..self.0.len()).map(|row| self.weight(row, |row| values[row])).collect::<Vec<_>>())
    }

    pub(super) fn matrix<A: super::arithmetic::Arithmetic>(
        &self,
        tensor: &[f32],
        inputs: usize,
    ) -> Matrix<A> {
        Matrix::pack(self.0.len(), inputs, |row, input| self.weight(row, |row| tensor[row * inputs + input]))
    }
}

impl std::fmt::Debug for DecoderWeights {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DecoderWeights").field("config", &self.config).finish_non_exhaustive()
    }
}

impl DecoderWeights {
    /// A bank's decoders, packed once for all that sing with it: one for each singer where singers have decoders of their
    /// own, else one for all of them.
    pub fn of(bank: &VoiceBank) -> Arc<[Arc<Self>]> {
        bank.derived.get_or_make(|| {
            let card = bank.card();
            let own = card.model.singers == SingerInput::Decoders;
            let decoders = 0..if own { card.singers.len() } else { 1 };
            let pack = |singer| {
                let tensor = |name: &str| bank.decoder_tensor(singer, name);
                Arc::new(Self::new(&card.model, card.arithmetic, tensor))
            };
            decoders.map(pack).collect()
        })
    }

    /// Packs the tensors of a bank. `tensor(name)` gives a tensor of the name and size that
    /// [`crate::voice::tensor_specs`] lists for `config`, row-major. The products of the dilated layers and of the head
    /// are made in `arithmetic`, all else in `f32`.
    ///
    /// # Panics
    /// If a tensor is shorter than listed; a bank that was loaded has been checked for that.
    pub fn new<'a>(config: &ModelConfig, arithmetic: Arithmetic, tensor: impl Fn(&str) -> &'a [f32]) -> Self {
        let residual = config.decoder.residual_channels;
        let residual_groups = PaddedGroups::new([residual]);
        let table = |name: &str| -> Box<[Block]> {
            tensor(name)
                .chunks_exact(residual)
                .flat_map(|row| residual_groups.vector(row).into_vec())
                .collect()
        };
        let harmonics = config.condition.excitation_harmonics;
        let width = config.condition.excitation_size();
        let excitation_of = |first: usize, count: usize| {
            let weights = tensor("decoder.excitation.weight");
            Matrix::pack(residual, count, |row, input| {
                residual_groups.weight(row, |row| weights[row * width + first + input])
            })
        };
        let excitation = (harmonics > 0).then(|| [0, harmonics].map(|first| excitation_of(first, harmonics)));
        let taps = config.condition.period_taps;
        Self {
            input_current: table("decoder.input.current"),
            input_previous: table("decoder.input.previous"),
            excitation,
            period: (taps > 0).then(|| excitation_of(2 * harmonics, taps)),
            network: AnyNetwork::new(config, arithmetic, &tensor),
            frame: FrameWeights::new(config, &tensor),
            values: permuted(code_value),
            ln_widths: permuted(ln_width),
            config: config.clone(),
        }
    }

    /// Value of a code.
    #[inline(always)]
    pub(super) fn value(&self, code: u8) -> f32 {
        flat(&self.values)[code_slot(usize::from(code))]
    }

    /// Bytes of weights that one pass through the network needs: what it has to read.
    pub fn network_bytes(&self) -> usize {
        self.network.bytes()
    }

    /// Multiply-adds of one pass through the network.
    pub fn network_multiply_adds(&self) -> usize {
        let decoder = &self.config.decoder;
        let (residual, skip) = (decoder.residual_channels, decoder.skip_channels);
        let layers = decoder.layers() * residual * (5 * residual + skip) - residual * residual;
        layers + decoder.samples_per_pass() * decoder.head_channels * (skip + CODES)
    }

    /// Sizes and switches of the model these weights are of.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}

impl FrameWeights {
    fn new<'a>(config: &ModelConfig, tensor: &impl Fn(&str) -> &'a [f32]) -> Self {
        let (inputs, singer) = (config.frame_input_size(), config.singer_embedding_size);
        let features = inputs - singer;
        let channels = config.condition.frame_channels;
        let rows = PaddedGroups::new([channels]);
        let weights = if inputs > 0 { tensor("frame.weight") } else { &[] };
        let columns = |first: usize, count: usize| {
            Matrix::pack(channels, count, |row, input| {
                rows.weight(row, |row| weights[row * inputs + first + input])
            })
        };
        let decoder = &config.decoder;
        let gates = std::iter::repeat_n(decoder.residual_channels, 2 * decoder.layers());
        let groups = PaddedGroups::new(gates.chain([decoder.head_channels]));
        Self {
            features: columns(0, features),
            singer: columns(features, singer),
            bias: padded(tensor("frame.bias")),
            layers: (1..config.condition.frame_layers)
                .map(|layer| {
                    let weight = tensor(&format!("frame.layers.{layer}.weight"));
                    let bias = tensor(&format!("frame.layers.{layer}.bias"));
                    (rows.matrix(weight, channels), rows.vector(bias))
                })
                .collect(),
            condition: groups.matrix(tensor("condition.weight"), channels),
            condition_bias: groups.vector(tensor("condition.bias")),
            prior: decoder
                .prior
                .map(|_| (Matrix::from_rows(tensor("prior.weight"), channels), padded(tensor("prior.bias")))),
            spectrum: config.condition.spectrum.then(|| {
                // What was learnt is halved and has not the mean of all singers.
                let (weight, bias) = (tensor("spectrum.weight"), tensor("spectrum.bias"));
                let weight: Vec<f32> = weight.iter().map(|value| 2.0 * value).collect();
                let means = tensor("encoder.mel_mean");
                let bias: Vec<f32> = bias.iter().zip(means).map(|(value, mean)| 2.0 * value + mean).collect();
                (Matrix::from_rows(&weight, channels), padded(&bias))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_values_and_widths_follow_mu_law() {
        let value = |c: usize| {
            let v = (c as f64 + 0.5) / 128.0 - 1.0;
            v.signum() * (256.0_f64.powf(v.abs()) - 1.0) / 255.0
        };
        for code in 0..256 {
            assert!((f64::from(code_value(code)) - value(code)).abs() <= 1e-7 * value(code).abs());
            let width = match code {
                0 => value(1) - value(0),
                255 => value(255) - value(254),
                _ => (value(code + 1) - value(code - 1)) / 2.0,
            };
            assert!((f64::from(ln_width(code)) - width.ln()).abs() < 1e-6);
            assert_eq!(code_slot(code_slot(code)), code);
        }
    }
}
