//! What a step learns from, by the kind of thing that the model gives.

mod envelopes;
mod samples;

use super::backtranslation::SungByBlends;
use super::checkpoint::Checkpoint;
use super::corpus::Corpus;
use super::curve::{Losses, Point};
use super::device::Device;
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

/// The one that the recipe's model asks for, on the parameters' device.
pub(super) fn objective<'a>(
    recipe: &'a Recipe,
    corpus: &'a Corpus,
    parameters: &Parameters,
    device: &Device,
) -> Result<Box<dyn Objective + 'a>, TrainError> {
    Ok(match recipe.model.envelope {
        Some(_) => Box::new(Envelopes::new(recipe, corpus, parameters, device)?),
        None => Box::new(Samples::new(recipe, corpus, parameters, device)?),
    })
}
