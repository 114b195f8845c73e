//! Several processes that make a run together, a card each: every batch is shared out among them, and each moves its own
//! parameters by the mean of all gradients. So all parameters stay the same, and the run is the one that a single rank would make,
//! but for the order of sums. The first rank alone saves.

#[cfg(feature = "train-cuda")]
pub(super) mod nccl;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor};

use super::error::TrainError;
use super::recipe::Recipe;
use crate::model::Parameters;

/// What the ranks of a run tell each other. All of them ask for the same in the same order.
pub(super) trait Ranks: Send + Sync {
    /// This one's number.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// The means over all ranks of tensors of the same shapes everywhere.
    fn means(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>>;
}

/// A rank's share of a run: all of it where there are no others.
#[derive(Clone, Default)]
pub(super) struct Share(Option<Arc<dyn Ranks>>);

impl std::fmt::Debug for Share {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "rank {} of {}", self.rank(), self.count())
    }
}

impl Share {
    /// All of it.
    pub(super) const ALL: Self = Self(None);

    /// That of one of several ranks.
    #[cfg(any(feature = "train-cuda", test))]
    pub(super) fn of(ranks: impl Ranks + 'static) -> Self {
        Self(Some(Arc::new(ranks)))
    }

    pub(super) fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |ranks| ranks.rank())
    }

    pub(super) fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |ranks| ranks.count())
    }

    /// Whether this rank saves.
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Which of so many things are this rank's; they are a multiple of the ranks.
    pub(super) fn part(&self, things: usize) -> Range<usize> {
        let each = things / self.count();
        self.rank() * each..(self.rank() + 1) * each
    }

    /// Whether a recipe's batches can be shared out so that the mean of the ranks' gradients is the whole batch's.
    pub(super) fn check(&self, recipe: &Recipe) -> std::result::Result<(), TrainError> {
        let count = self.count();
        if count == 1 {
            return Ok(());
        }
        let training = &recipe.training;
        let segments = training.spectrum.as_ref().map_or(0, |spectrum| spectrum.segments);
        let reason = if recipe.model.envelope.is_some() || training.codebook.is_some() {
            "networks with a codebook or of spectral envelopes learn from whole batches".into()
        } else if training.pitch_confusion > 0.0 {
            "training.pitch_confusion is a mean over a whole batch's voiced frames".into()
        } else if !(training.batch.is_multiple_of(count) && segments.is_multiple_of(count)) {
            format!("training.batch and training.spectrum.segments must be multiples of {count}")
        } else {
            return Ok(());
        };
        Err(TrainError::Ranks { count, reason })
    }

    /// Every gradient of the parameters becomes its mean.
    pub(super) fn average_gradients(&self, gradients: &mut GradStore, parameters: &Parameters) -> Result<()> {
        let Some(ranks) = &self.0 else { return Ok(()) };
        let (mut moved, mut own) = (Vec::new(), Vec::new());
        for (_, var) in parameters.iter() {
            if let Some(gradient) = gradients.get(var.as_tensor()) {
                own.push(gradient.contiguous()?);
                moved.push(var.as_tensor());
            }
        }
        for (tensor, mean) in moved.into_iter().zip(ranks.means(&own)?) {
            gradients.insert(tensor, mean);
        }
        Ok(())
    }

    /// Numbers of this rank to their means over all.
    pub(super) fn average<const N: usize>(&self, values: [f32; N], device: &Device) -> Result<[f32; N]> {
        let Some(ranks) = &self.0 else { return Ok(values) };
        let means = ranks.means(&[Tensor::new(values.as_slice(), device)?])?;
        let means: Vec<f32> = means.first().map_or(Ok(Vec::new()), Tensor::to_vec1)?;
        match <[f32; N]>::try_from(means) {
            Ok(means) => Ok(means),
            Err(_) => candle_core::bail!("the ranks gave back another number of values"),
        }
    }

    /// Whether it is so on any rank.
    pub(super) fn any(&self, is_so: bool, device: &Device) -> Result<bool> {
        Ok(match self.0 {
            None => is_so,
            Some(_) => self.average([f32::from(u8::from(is_so))], device)? != [0.0],
        })
    }
}
