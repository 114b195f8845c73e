//! The running average of the parameters, which a bank is made of.

use std::collections::BTreeMap;

use candle_core::Result;

use crate::model::Parameters;

/// Averages by tensor name. They lie where the parameters are.
pub(super) struct Average {
    values: BTreeMap<String, Vec<f32>>,
    #[cfg(feature = "train-cuda")]
    on_card: Option<Parameters>,
}

impl Average {
    /// One that begins where the parameters are.
    pub(super) fn new(parameters: &Parameters) -> Result<Self> {
        #[cfg(feature = "train-cuda")]
        if parameters.device().is_cuda() {
            return Ok(Self { values: BTreeMap::new(), on_card: Some(parameters.copy()?) });
        }
        Ok(Self {
            values: parameters.values()?,
            #[cfg(feature = "train-cuda")]
            on_card: None,
        })
    }

    /// Moves toward the parameters; `decay` is the share of itself that stays.
    pub(super) fn follow(&mut self, parameters: &Parameters, decay: f32) -> Result<()> {
        #[cfg(feature = "train-cuda")]
        if let Some(on_card) = &self.on_card {
            return crate::model::ops::follow_on_card(on_card, parameters, 1.0 - decay);
        }
        for (name, values) in parameters.values()? {
            if let Some(average) = self.values.get_mut(&name) {
                average
                    .iter_mut()
                    .zip(&values)
                    .for_each(|(mean, value)| *mean += (1.0 - decay) * (value - *mean));
            }
        }
        Ok(())
    }

    /// All averages.
    pub(super) fn values(&self) -> Result<BTreeMap<String, Vec<f32>>> {
        #[cfg(feature = "train-cuda")]
        if let Some(on_card) = &self.on_card {
            return on_card.values();
        }
        Ok(self.values.clone())
    }

    /// Takes them from a checkpoint.
    pub(super) fn set(&mut self, values: BTreeMap<String, Vec<f32>>) -> Result<()> {
        #[cfg(feature = "train-cuda")]
        if let Some(on_card) = &self.on_card {
            return values.iter().try_for_each(|(name, values)| on_card.set(name, values));
        }
        self.values = values;
        Ok(())
    }
}
