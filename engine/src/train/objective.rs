//! What a step learns from, by the kind of thing that the model gives.

mod envelopes;
mod samples;

use super::backtranslation::SungByBlends;
use super::checkpoint::Checkpoint;
use super::corpus::Corpus;
use super::curve::Point;
use super::error::TrainError;
use super::optimizer::Adam;
use super::recipe::Recipe;
use crate::model::Parameters;
use envelopes::Envelopes;
use samples::Samples;

/// One way to learn. The loop around it is the same for all: schedule, average, validation, checkpoints, previews.
pub(super) trait Objective {
    /// One step of the bank's tensors with `adam`, and of whatever else is learnt beside them.
    fn step(
        &mut self,
        parameters: &Parameters,
        adam: &mut Adam,
        step: u64,
        sung: &SungByBlends,
    ) -> Result<Losses, TrainError>;

    /// What averaged weights are worth on the clips that are kept for validation.
    fn validate(&self, averaged: &Parameters) -> Result<Point, TrainError>;

    /// Puts what is learnt beside the bank's tensors into a checkpoint.
    fn save(&self, checkpoint: &mut Checkpoint) -> candle_core::Result<()>;

    /// Takes it back; the error says what is missing.
    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), String>;
}

/// The one that the recipe's model asks for.
pub(super) fn objective<'a>(
    recipe: &'a Recipe,
    corpus: &'a Corpus,
    parameters: &Parameters,
) -> Result<Box<dyn Objective + 'a>, TrainError> {
    Ok(match recipe.model.envelope {
        Some(_) => Box::new(Envelopes::new(recipe, corpus, parameters)?),
        None => Box::new(Samples::new(recipe, corpus, parameters)?),
    })
}

/// What a step's batch was worth before it.
#[derive(Clone, Copy, Default)]
pub(super) struct Losses {
    /// Bits of a sample, or of a bin of an envelope.
    pub(super) bits: f32,
    pub(super) confusion_accuracy: f32,
    /// Mean square of octaves that the pitch guessed from the latent is off.
    pub(super) pitch_error: f32,
    pub(super) spectrum_distance: f32,
    pub(super) perplexity: f32,
    /// Bits that a Gaussian latent says beyond a standard one, of a bin of an envelope.
    pub(super) divergence: f32,
    /// The critic's own loss.
    pub(super) critic: f32,
}

impl Losses {
    /// How many there are.
    pub(super) const COUNT: usize = 7;

    /// All of them, to be averaged.
    pub(super) fn values(self) -> [f32; Self::COUNT] {
        [
            self.bits,
            self.confusion_accuracy,
            self.pitch_error,
            self.spectrum_distance,
            self.perplexity,
            self.divergence,
            self.critic,
        ]
    }

    /// The other way round.
    pub(super) fn from_values(values: [f32; Self::COUNT]) -> Self {
        let [bits, confusion_accuracy, pitch_error, spectrum_distance, perplexity, divergence, critic] =
            values;
        Self { bits, confusion_accuracy, pitch_error, spectrum_distance, perplexity, divergence, critic }
    }
}
