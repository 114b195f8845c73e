//! A critic of spectral envelopes: a network that tells converted shapes from sung ones, for the decoder to learn from.
//!
//! Hsu et al., "Voice Conversion from Unaligned Corpora using Variational Autoencoding Wasserstein Generative Adversarial
//! Networks" (Interspeech 2017): the critic is there for naturalness. It is not told who sings, and the encoder never hears
//! of it.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::ops::leaky_relu;

use super::optimizer::Adam;
use super::recipe::{CriticConfig, CriticKind};
use crate::model::Parameters;
use crate::model::ops::{Geometry, conv1d};
use crate::model::random::Generator;
use crate::voice::TensorSpec;

/// Widths and kernels of the layers, each of stride 3, as in the authors' code; the last kernel sees all that is left.
const LAYERS: [(usize, usize); 3] = [(16, 7), (32, 7), (64, 115)];
const STRIDE: usize = 3;
/// What a leaky rectifier lets through below zero.
const LEAK: f64 = 0.1;
/// How far apart two points are between which a slope is measured.
const SLOPE_STEP: f64 = 0.1;

/// The critic and how it learns.
pub(crate) struct Critic {
    parameters: Parameters,
    adam: Adam,
    config: CriticConfig,
}

impl Critic {
    /// A fresh critic of shapes of so many bins, on a device.
    pub(crate) fn new(bins: usize, config: CriticConfig, seed: u64, device: &Device) -> Result<Self> {
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
        let parameters = Parameters::from_specs(&specs, seed)?.on(device)?;
        Ok(Self { parameters, adam: Adam::without_momentum(), config })
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
        self.scores_by(Tensor::clone, shapes)
    }

    /// The same, where only the shapes' gradient is asked for: the critic's own is half of the work.
    fn fixed_scores(&self, shapes: &Tensor) -> Result<Tensor> {
        self.scores_by(Tensor::detach, shapes)
    }

    fn scores_by(&self, parameter: fn(&Tensor) -> Tensor, shapes: &Tensor) -> Result<Tensor> {
        let parameter = |name: &str| Ok::<_, candle_core::Error>(parameter(self.parameters.get(name)?));
        let mut hidden = shapes.unsqueeze(1)?;
        for (layer, (_, taps)) in LAYERS.into_iter().enumerate() {
            let bins = hidden.dim(2)?;
            // As many outputs as thirds, the taps around their middles.
            let pad = (bins.div_ceil(STRIDE) - 1) * STRIDE + taps - bins;
            let geometry = Geometry { dilation: 1, stride: STRIDE, left: pad / 2, right: pad - pad / 2 };
            let weight = parameter(&format!("critic.layers.{layer}.weight"))?;
            let bias = parameter(&format!("critic.layers.{layer}.bias"))?;
            hidden = leaky_relu(&conv1d(&hidden, &weight, &bias, geometry)?, LEAK)?;
        }
        let weight = parameter("critic.score.weight")?;
        hidden
            .flatten_from(1)?
            .matmul(&weight.t()?.contiguous()?)?
            .broadcast_add(&parameter("critic.score.bias")?)
    }

    /// How many steps the critic makes before a step of the decoder, the `step`th since it came.
    pub(crate) fn steps_before(&self, step: u64) -> u64 {
        if step.is_multiple_of(self.config.many_every) { self.config.many_steps } else { self.config.steps }
    }

    /// One step of its own: `sung` apart from `converted`, which are taken as they are and are as many. Returns its loss:
    /// a sigmoid's two cross entropies, or minus the Wasserstein estimate.
    pub(crate) fn learn(&mut self, sung: &Tensor, converted: &Tensor, random: &mut Generator) -> Result<f32> {
        let (sung, converted) = (sung.detach(), converted.detach());
        let (loss, penalty) = match self.config.kind {
            // -ln sigmoid of a sung shape's score, -ln (1 - sigmoid) of a converted one's.
            CriticKind::Sigmoid => {
                let fooled = softplus(&self.scores(&converted)?)?.mean_all()?;
                ((softplus(&self.scores(&sung)?.neg()?)?.mean_all()? + fooled)?, None)
            }
            CriticKind::Wasserstein { slope_penalty, .. } => {
                let distance = (self.scores(&sung)?.mean_all()? - self.scores(&converted)?.mean_all()?)?;
                let penalty = (slope_penalty > 0.0)
                    .then(|| self.steepness(&sung, &converted, random)? * f64::from(slope_penalty));
                (distance.neg()?, penalty.transpose()?)
            }
        };
        let value = loss.to_scalar()?;
        let loss = match penalty {
            Some(penalty) => (loss + penalty)?,
            None => loss,
        };
        self.adam.step(&self.parameters, &loss.backward()?, self.config.learning_rate, f32::MAX)?;
        if let CriticKind::Wasserstein { clip, .. } = self.config.kind
            && clip > 0.0
        {
            for (_, var) in self.parameters.iter() {
                var.set(&var.clamp(-clip, clip)?)?;
            }
        }
        Ok(value)
    }

    /// Mean square of what the length of the gradient exceeds 1 by, at a random point on the way from each converted to a
    /// sung shape. The length is measured as the rise along the gradient's own direction, half a step to either side: so it
    /// needs no second derivative, and its own derivative is that of the length all the same.
    fn steepness(&self, sung: &Tensor, converted: &Tensor, random: &mut Generator) -> Result<Tensor> {
        let frames = sung.dim(0)?;
        let shares: Vec<f32> = (0..frames).map(|_| random.uniform()).collect();
        let shares = Tensor::from_vec(shares, (frames, 1), sung.device())?;
        let points = Var::from_tensor(&(converted + (sung - converted)?.broadcast_mul(&shares)?)?)?;
        let gradients = self.fixed_scores(points.as_tensor())?.sum_all()?.backward()?;
        let Some(slope) = gradients.get(points.as_tensor()) else {
            return Tensor::zeros((), sung.dtype(), sung.device());
        };
        let length = (slope.sqr()?.sum_keepdim(1)? + 1e-12)?.sqrt()?;
        let half = (slope.broadcast_div(&length)? * (0.5 * SLOPE_STEP))?;
        let points = points.as_detached_tensor();
        let rise = (self.scores(&(&points + &half)?)? - self.scores(&(&points - &half)?)?)?;
        (rise / SLOPE_STEP)?.affine(1.0, -1.0)?.relu()?.sqr()?.mean_all()
    }

    /// What the decoder pays for converted shapes, in nats a frame, times the weight: `-ln sigmoid` of the score (Goodfellow et
    /// al. 2014, the form that does not saturate), or how far the mean score lies below that of `sung` shapes.
    pub(crate) fn price(&self, converted: &Tensor, sung: &Tensor) -> Result<Tensor> {
        let scores = self.fixed_scores(converted)?;
        let price = match self.config.kind {
            CriticKind::Sigmoid => softplus(&scores.neg()?)?.mean_all()?,
            CriticKind::Wasserstein { clip, .. } => {
                let unit = if clip > 0.0 { f64::from(clip) } else { 1.0 };
                ((self.fixed_scores(&sung.detach())?.mean_all()? - scores.mean_all()?)? / unit)?
            }
        };
        price * f64::from(self.config.weight)
    }
}

/// `ln(1 + e^x)`, which overflows nowhere: `max(x, 0) + ln(1 + e^-|x|)`.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINS: usize = 27;
    const FRAMES: usize = 48;

    fn critic(kind: CriticKind) -> Critic {
        let config = CriticConfig {
            kind,
            weight: 1.0,
            first_share: 0.0,
            learning_rate: 2e-3,
            steps: 5,
            many_steps: 100,
            many_every: 50,
        };
        Critic::new(BINS, config, 3, &Device::Cpu).unwrap()
    }

    /// Shapes of a Gaussian of unit variance whose mean lies `distance` from 0, evenly over the bins.
    fn gaussian(distance: f32, random: &mut Generator) -> Tensor {
        let mean = distance / (BINS as f32).sqrt();
        let values = (0..FRAMES * BINS).map(|_| mean + random.normal()).collect();
        Tensor::from_vec(values, (FRAMES, BINS), &Device::Cpu).unwrap()
    }

    /// Mean over fresh draws of what the critic thinks two Gaussians are apart, after so many steps.
    fn estimate(critic: &mut Critic, distance: f32, steps: u64) -> f32 {
        let mut random = Generator::new(7, 7);
        for _ in 0..steps {
            let (sung, converted) = (gaussian(distance, &mut random), gaussian(0.0, &mut random));
            critic.learn(&sung, &converted, &mut random).unwrap();
        }
        let draws = 20;
        let sum: f32 = (0..draws)
            .map(|_| {
                let (sung, converted) = (gaussian(distance, &mut random), gaussian(0.0, &mut random));
                critic.price(&converted, &sung).unwrap().to_scalar::<f32>().unwrap()
            })
            .sum();
        sum / draws as f32
    }

    /// Two Gaussians of one shape are as far apart as their means: moving every point by that much is the cheapest way, and
    /// a score that rises by 1 for each unit on the way shows it.
    #[test]
    fn a_critic_of_slope_one_measures_how_far_two_gaussians_are_apart() {
        let kind = CriticKind::Wasserstein { clip: 0.0, slope_penalty: 30.0 };
        let measured = estimate(&mut critic(kind), 4.0, 120);
        assert!((measured / 4.0 - 1.0).abs() < 0.2, "{measured} for 4");
    }

    #[test]
    fn a_clipped_critic_keeps_its_weights_small_and_knows_which_is_farther() {
        let apart = [1.0, 4.0].map(|distance| {
            let mut critic = critic(CriticKind::Wasserstein { clip: 0.01, slope_penalty: 0.0 });
            let measured = estimate(&mut critic, distance, 60);
            for (name, var) in critic.state().0.iter() {
                let values: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
                assert!(values.iter().all(|value| value.abs() <= 0.01), "{name}");
            }
            measured
        });
        assert!(apart[0] > 0.0 && apart[1] > 2.0 * apart[0], "{apart:?}");
    }

    /// With two Gaussians of known densities the best sigmoid is known: its score is the logarithm of their ratio,
    /// `d x - d^2 / 2` along the line between them.
    #[test]
    fn a_sigmoid_critic_learns_the_ratio_of_the_densities() {
        let mut critic = critic(CriticKind::Sigmoid);
        let mut random = Generator::new(5, 5);
        for _ in 0..150 {
            let (sung, converted) = (gaussian(3.0, &mut random), gaussian(0.0, &mut random));
            critic.learn(&sung, &converted, &mut random).unwrap();
        }
        let mean_score = |critic: &Critic, distance: f32, random: &mut Generator| {
            critic
                .scores(&gaussian(distance, random))
                .unwrap()
                .mean_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        let (sung, converted) =
            (mean_score(&critic, 3.0, &mut random), mean_score(&critic, 0.0, &mut random));
        // 4.5 and -4.5.
        assert!((sung - 4.5).abs() < 1.8 && (converted + 4.5).abs() < 1.8, "{sung} and {converted}");
    }

    #[test]
    fn it_learns_much_at_first_and_from_time_to_time() {
        let critic = critic(CriticKind::Sigmoid);
        assert_eq!([0, 1, 49, 50, 51].map(|step| critic.steps_before(step)), [100, 5, 5, 100, 5]);
    }
}
