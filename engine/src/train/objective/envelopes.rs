//! Learning from spectral envelopes: each frame's shape must come back from its latent.

use candle_core::{Result as GraphResult, Tensor};

use super::Objective;
use crate::model::random::Generator;
use crate::model::{Parameters, decode_shapes, draw_latent, encode_shapes};
use crate::train::backtranslation::SungByBlends;
use crate::train::batch::{Batcher, other_singer};
use crate::train::checkpoint::Checkpoint;
use crate::train::corpus::Corpus;
use crate::train::critic::Critic;
use crate::train::curve::{Losses, Point};
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::train::optimizer::Adam;
use crate::train::recipe::Recipe;
use crate::train::score::validation_cuts;
use crate::train::shapes::{ShapeBatch, Shapes};
use crate::voice::{BottleneckConfig, ModelConfig};

/// What is learnt beside the bank's networks: a critic, if the recipe asks for one.
pub(super) struct Envelopes<'a> {
    recipe: &'a Recipe,
    corpus: &'a Corpus,
    batcher: Batcher<'a>,
    shapes: Shapes,
    critic: Option<Critic>,
}

/// What became of a batch.
struct Reconstruction {
    /// What the decoder was given.
    latent: Tensor,
    /// `-log N(shape | reconstruction, 1)` of a bin, in nats, mean over all.
    nats: Tensor,
    /// Divergence of the latent, in nats a bin as well; none without a Gaussian.
    divergence: Option<Tensor>,
}

impl<'a> Envelopes<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        corpus: &'a Corpus,
        parameters: &Parameters,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let shapes = Shapes::survey(&recipe.model, corpus, recipe.training.seed, parameters)?;
        let bins = recipe.model.envelope_bins();
        let critic = recipe.training.critic.as_ref();
        let seed = recipe.training.seed ^ CRITIC_SEED;
        let critic = critic.map(|config| Critic::new(bins, config.clone(), seed, &device.place));
        Ok(Self {
            recipe,
            corpus,
            batcher: Batcher::new(recipe, corpus, device),
            shapes,
            critic: critic.transpose()?,
        })
    }

    /// With `noise` a Gaussian latent is drawn, else its mean is taken.
    fn reconstruct(
        &self,
        parameters: &Parameters,
        batch: &ShapeBatch,
        noise: Option<&mut Generator>,
    ) -> GraphResult<Reconstruction> {
        let model = &self.recipe.model;
        let encoded = encode_shapes(model, parameters, &batch.shapes)?;
        let (latent, divergence) = latent_of(model, &encoded, noise)?;
        let own = parameters.of_decoder(model, batch.singers[0] as usize);
        let sung = decode_shapes(model, &own, &latent, &batch.singers)?;
        let square = (&sung - &batch.shapes)?.sqr()?.mean_all()?;
        let nats = ((square * 0.5)? + 0.5 * std::f64::consts::TAU.ln())?;
        let bins = model.envelope_bins() as f64;
        let divergence = divergence.map(|nats| nats.mean_all()? / bins).transpose()?;
        Ok(Reconstruction { latent, nats, divergence })
    }
}

impl Envelopes<'_> {
    /// The critic's steps before a step of the decoder, and then what the decoder pays for this batch; with the critic's
    /// mean loss.
    fn consult(
        &mut self,
        parameters: &Parameters,
        step: u64,
        (batch, latent): (&ShapeBatch, &Tensor),
    ) -> GraphResult<Option<(Tensor, f32)>> {
        let (model, training) = (&self.recipe.model, &self.recipe.training);
        let (Some(critic), Some(config)) = (&mut self.critic, &training.critic) else { return Ok(None) };
        let first_step = (f64::from(config.first_share) * training.steps as f64) as u64;
        let Some(since) = step.checked_sub(first_step) else { return Ok(None) };
        let singers = self.corpus.singers.len();
        let mut random = Generator::new(training.seed ^ CRITIC_SEED, step);
        let steps = critic.steps_before(since);
        let mut loss = 0.0;
        for turn in 0..steps {
            let draw = step.wrapping_mul(1 << 20).wrapping_add(turn);
            let batch = self.batcher.shapes(training.seed ^ CRITIC_SEED, draw, &self.shapes)?;
            let encoded = encode_shapes(model, parameters, &batch.shapes)?;
            let (latent, _) = latent_of(model, &encoded, Some(&mut random))?;
            let others = others(&batch.singers, singers, &mut random);
            let converted = decode_shapes(model, parameters, &latent, &others)?;
            loss += critic.learn(&batch.shapes, &converted, &mut random)?;
        }
        // The encoder does not hear of the critic.
        let others = others(&batch.singers, singers, &mut random);
        let converted = decode_shapes(model, parameters, &latent.detach(), &others)?;
        let price = (critic.price(&converted, &batch.shapes)? / model.envelope_bins() as f64)?;
        Ok(Some((price, loss / steps as f32)))
    }
}

/// For each frame another singer than its own, out of so many.
fn others(own: &[u32], singers: usize, random: &mut Generator) -> Vec<u32> {
    let other = |singer: &u32| (*singer as usize + 1 + random.below((singers - 1).max(1))) % singers;
    own.iter().map(other).map(|singer| singer as u32).collect()
}

/// The latent of what was encoded, and its divergence a frame.
fn latent_of(
    model: &ModelConfig,
    encoded: &Tensor,
    noise: Option<&mut Generator>,
) -> GraphResult<(Tensor, Option<Tensor>)> {
    if model.bottleneck != Some(BottleneckConfig::Gaussian) {
        return Ok((encoded.clone(), None));
    }
    let count = encoded.dim(0)? * model.latent_size;
    let noise = match noise {
        Some(random) => (0..count).map(|_| random.normal()).collect(),
        None => vec![0.0; count],
    };
    let (latent, divergence) = draw_latent(encoded, noise)?;
    Ok((latent, Some(divergence)))
}

impl Objective for Envelopes<'_> {
    fn step(
        &mut self,
        parameters: &Parameters,
        adam: &mut Adam,
        step: u64,
        _sung: &SungByBlends,
    ) -> Result<Losses, TrainError> {
        let training = &self.recipe.training;
        let batch = self.batcher.shapes(training.seed, step, &self.shapes)?;
        let mut random = Generator::new(training.seed ^ LATENT_SEED, step);
        let Reconstruction { latent, nats, divergence } =
            self.reconstruct(parameters, &batch, Some(&mut random))?;
        let mut losses = Losses { bits: bits(&nats)?, ..Losses::default() };
        let mut loss = nats;
        if let Some(divergence) = divergence {
            losses.divergence = bits(&divergence)?;
            loss = (loss + divergence)?;
        }
        if let Some((price, critic)) = self.consult(parameters, step, (&batch, &latent))? {
            losses.critic = critic;
            loss = (loss + price)?;
        }
        if !loss.to_scalar::<f32>()?.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        adam.step(parameters, &loss.backward()?, self.recipe.learning_rate(step), training.gradient_norm)?;
        Ok(losses)
    }

    /// Bits a bin on held-out clips with the averaged weights: as sung, and with another singer's decoder.
    fn validate(&self, averaged: &Parameters) -> Result<Point, TrainError> {
        let frames = self.recipe.training.segment_frames;
        let plain = validation_cuts(self.recipe, self.corpus);
        let singers = self.corpus.singers.len();
        let bits_of = |as_sung: bool| -> Result<f32, TrainError> {
            let mut sum = 0.0;
            for cut in &plain {
                let mut batch = self.shapes.batch(&[*cut], frames)?;
                if !as_sung {
                    let other = other_singer(cut.singer, singers) as u32;
                    batch.singers.iter_mut().for_each(|singer| *singer = other);
                }
                sum += bits(&self.reconstruct(averaged, &batch, None)?.nats)?;
            }
            Ok(sum / plain.len() as f32)
        };
        let validation_bits = bits_of(true)?;
        let wrong_singer_bits = bits_of(false)? - validation_bits;
        Ok(Point { validation_bits, wrong_singer_bits, ..Point::default() })
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> GraphResult<()> {
        match &self.critic {
            Some(critic) => checkpoint.put("critic", critic.state().0, critic.state().1),
            None => Ok(()),
        }
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        match &mut self.critic {
            Some(critic) => {
                let (parameters, adam) = critic.state_mut();
                checkpoint.take("critic", parameters, adam)
            }
            None => Ok(()),
        }
    }
}

fn bits(nats: &Tensor) -> GraphResult<f32> {
    Ok(nats.to_scalar::<f32>()? / std::f32::consts::LN_2)
}

/// Keeps the critic's draws apart from those of the batches.
const CRITIC_SEED: u64 = 0xC217;

/// Keeps the latent's noise apart from the draws of the batches.
const LATENT_SEED: u64 = 0x1A7F;
