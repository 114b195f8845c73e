//! A critic of spectral envelopes: a network that tells converted shapes from sung ones, for the decoder to learn from.
//!
//! Hsu et al., "Voice Conversion from Unaligned Corpora using Variational Autoencoding Wasserstein Generative Adversarial
//! Networks" (Interspeech 2017): the critic is there for naturalness. It is not told who sings, and the encoder never hears
//! of it.

use candle_core::{Result, Tensor};
use candle_nn::ops::leaky_relu;

use super::optimizer::Adam;
use super::recipe::CriticConfig;
use crate::model::Parameters;
use crate::model::ops::{Geometry, conv1d};
use crate::voice::TensorSpec;

/// Widths and kernels of the layers, each of stride 3, as in the authors' code; the last kernel sees all that is left.
const LAYERS: [(usize, usize); 3] = [(16, 7), (32, 7), (64, 115)];
const STRIDE: usize = 3;
/// What a leaky rectifier lets through below zero.
const LEAK: f64 = 0.1;

/// The critic and how it learns.
pub(crate) struct Critic {
    parameters: Parameters,
    adam: Adam,
    config: CriticConfig,
}

impl Critic {
    /// A fresh critic of shapes of so many bins.
    pub(crate) fn new(bins: usize, config: CriticConfig, seed: u64) -> Result<Self> {
        let mut specs = Vec::new();
        let mut spec = |name: String, shape: &[usize]| specs.push(TensorSpec { name, shape: shape.to_vec() });
        let (mut inputs, mut left) = (1, bins);
        for (layer, (channels, taps)) in LAYERS.into_iter().enumerate() {
            spec(format!("critic.layers.{layer}.weight"), &[channels, inputs, taps]);
            spec(format!("critic.layers.{layer}.bias"), &[channels]);
            (inputs, left) = (channels, left.div_ceil(STRIDE));
        }
        spec("critic.score.weight".into(), &[1, inputs * left]);
        spec("critic.score.bias".into(), &[1]);
        Ok(Self { parameters: Parameters::from_specs(&specs, seed)?, adam: Adam::without_momentum(), config })
    }

    /// Its parameters and their optimizer, for a checkpoint.
    pub(crate) fn state(&self) -> (&Parameters, &Adam) {
        (&self.parameters, &self.adam)
    }

    /// The same, to be read back.
    pub(crate) fn state_mut(&mut self) -> (&Parameters, &mut Adam) {
        (&self.parameters, &mut self.adam)
    }

    /// Scores `(N, 1)` of shapes `(N, bins)`: the higher, the more they look sung.
    fn scores(&self, shapes: &Tensor) -> Result<Tensor> {
        let mut hidden = shapes.unsqueeze(1)?;
        for (layer, (_, taps)) in LAYERS.into_iter().enumerate() {
            let bins = hidden.dim(2)?;
            // As many outputs as thirds, the taps around their middles.
            let pad = (bins.div_ceil(STRIDE) - 1) * STRIDE + taps - bins;
            let geometry = Geometry { dilation: 1, stride: STRIDE, left: pad / 2, right: pad - pad / 2 };
            let weight = self.parameters.get(&format!("critic.layers.{layer}.weight"))?;
            let bias = self.parameters.get(&format!("critic.layers.{layer}.bias"))?;
            hidden = leaky_relu(&conv1d(&hidden, weight, bias, geometry)?, LEAK)?;
        }
        let weight = self.parameters.get("critic.score.weight")?;
        hidden
            .flatten_from(1)?
            .matmul(&weight.t()?.contiguous()?)?
            .broadcast_add(self.parameters.get("critic.score.bias")?)
    }

    /// How many steps the critic makes before a step of the decoder, the `step`th since it came.
    pub(crate) fn steps_before(&self, step: u64) -> u64 {
        if step.is_multiple_of(self.config.many_every) { self.config.many_steps } else { self.config.steps }
    }

    /// One step of its own: `sung` apart from `converted`, which are taken as they are. Returns its loss.
    pub(crate) fn learn(&mut self, sung: &Tensor, converted: &Tensor) -> Result<f32> {
        let (sung, converted) = (sung.detach(), converted.detach());
        // -ln sigmoid of a sung shape's score, -ln (1 - sigmoid) of a converted one's.
        let loss = (softplus(&self.scores(&sung)?.neg()?)?.mean_all()?
            + softplus(&self.scores(&converted)?)?.mean_all()?)?;
        let value = loss.to_scalar()?;
        self.adam.step(&self.parameters, &loss.backward()?, self.config.learning_rate, f32::MAX)?;
        Ok(value)
    }

    /// What the decoder pays for shapes that look converted, in nats a frame: `-ln sigmoid` of the score (Goodfellow et al.
    /// 2014, the form that does not saturate), times the weight.
    pub(crate) fn price(&self, converted: &Tensor) -> Result<Tensor> {
        softplus(&self.scores(converted)?.neg()?)?.mean_all()? * f64::from(self.config.weight)
    }
}

/// `ln(1 + e^x)`, which overflows nowhere: `max(x, 0) + ln(1 + e^-|x|)`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
