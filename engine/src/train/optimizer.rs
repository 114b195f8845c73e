//! Adam (Kingma & Ba 2015) with a clipped global gradient norm. Its moments are plain vectors, so that a checkpoint
//! can hold them.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor};

use crate::model::Parameters;

/// What the first moment remembers.
const MOMENTUM: f32 = 0.9;
const BETA_2: f32 = 0.98;
const EPSILON: f32 = 1e-8;

/// First and second moments of one tensor.
#[derive(Clone, Default)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// Adam over one set of parameters.
pub(crate) struct Adam {
    momentum: f32,
    /// Tensors whose names begin with one of these are moved; all if there is none.
    learn: Vec<String>,
    /// Steps made, for the bias correction.
    pub(crate) steps: u64,
    /// Moments by tensor name, of tensors that the processor moves or that nobody has moved since they were read.
    moments: BTreeMap<String, Moments>,
    /// Those of tensors that a card moves, which lie there.
    #[cfg(feature = "train-cuda")]
    on_card: BTreeMap<String, [Tensor; 2]>,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            momentum: MOMENTUM,
            learn: Vec::new(),
            steps: 0,
            moments: BTreeMap::new(),
            #[cfg(feature = "train-cuda")]
            on_card: BTreeMap::new(),
        }
    }
}

impl Adam {
    /// One that goes by the last gradient alone, in steps as even: what RMSProp does. For whoever aims at what moves.
    pub(crate) fn without_momentum() -> Self {
        Self { momentum: 0.0, ..Self::default() }
    }

    /// One that moves those tensors alone whose names begin with one of `learn`; all if there is none.
    pub(crate) fn of(learn: &[String]) -> Self {
        Self { learn: learn.to_vec(), ..Self::default() }
    }

    /// The moments of every tensor that was moved.
    pub(crate) fn moments(&self) -> Result<BTreeMap<String, Moments>> {
        #[cfg_attr(not(feature = "train-cuda"), expect(unused_mut))]
        let mut all = self.moments.clone();
        #[cfg(feature = "train-cuda")]
        for (name, [first, second]) in &self.on_card {
            let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1();
            all.insert(name.clone(), Moments { first: values(first)?, second: values(second)? });
        }
        Ok(all)
    }

    /// Takes a tensor's moments from a checkpoint.
    pub(crate) fn set_moments(&mut self, name: &str, moments: Moments) {
        self.moments.insert(name.into(), moments);
    }

    /// Whether a tensor of this name is moved.
    pub(crate) fn learns(&self, name: &str) -> bool {
        self.learn.is_empty() || self.learn.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// One step. Tensors without a gradient stay as they are. Returns the gradient's global norm before clipping; a
    /// gradient that is not finite changes nothing.
    pub(crate) fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &GradStore,
        learning_rate: f32,
        largest_norm: f32,
    ) -> Result<f32> {
        #[cfg(feature = "train-cuda")]
        if parameters.device().is_cuda() {
            return self.step_on_card(parameters, gradients, learning_rate, largest_norm);
        }
        let mut collected = Vec::new();
        let mut square = 0f64;
        for (name, var) in parameters.iter().filter(|(name, _)| self.learns(name)) {
            if let Some(gradient) = gradients.get(var.as_tensor()) {
                let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
                square += gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
                collected.push((name, var, gradient));
            }
        }
        let norm = square.sqrt() as f32;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let clip = if norm > largest_norm { largest_norm / norm } else { 1.0 };
        self.steps += 1;
        let [correction_1, correction_2] = self.corrections();
        for (name, var, gradient) in collected {
            let moments = self.moments.entry(name.to_string()).or_default();
            moments.first.resize(gradient.len(), 0.0);
            moments.second.resize(gradient.len(), 0.0);
            let mut values: Vec<f32> = var.flatten_all()?.to_vec1()?;
            let state = moments.first.iter_mut().zip(&mut moments.second);
            for ((value, gradient), (first, second)) in values.iter_mut().zip(&gradient).zip(state) {
                let gradient = gradient * clip;
                *first += (1.0 - self.momentum) * (gradient - *first);
                *second += (1.0 - BETA_2) * (gradient * gradient - *second);
                *value -=
                    learning_rate * (*first / correction_1) / ((*second / correction_2).sqrt() + EPSILON);
            }
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(norm)
    }

    /// What the moments lack after so many steps.
    fn corrections(&self) -> [f32; 2] {
        [self.momentum, BETA_2].map(|memory| 1.0 - f64::from(memory).powi(self.steps as i32) as f32)
    }

    /// The same where the parameters lie on a card: nothing of them leaves it.
    #[cfg(feature = "train-cuda")]
    fn step_on_card(
        &mut self,
        parameters: &Parameters,
        gradients: &GradStore,
        learning_rate: f32,
        largest_norm: f32,
    ) -> Result<f32> {
        use crate::model::ops::{AdamStep, AdamTable, with_tensors_on_card};

        let mut tensors = Vec::new();
        let moved: Vec<_> = parameters.iter().filter(|(name, _)| self.learns(name)).collect();
        for (name, var) in moved {
            let Some(gradient) = gradients.get(var.as_tensor()) else { continue };
            let [first, second] = self.moments_on_card(name, var.as_tensor())?;
            tensors.extend([var.as_tensor().clone(), gradient.contiguous()?, first, second]);
        }
        if tensors.is_empty() {
            return Ok(0.0);
        }
        with_tensors_on_card(&tensors, |card, spans| {
            let table = AdamTable::new(card, spans.as_chunks::<4>().0)?;
            let norm = table.square(card)?.sqrt() as f32;
            if !norm.is_finite() {
                return Ok(norm);
            }
            self.steps += 1;
            let step = AdamStep {
                clip: if norm > largest_norm { largest_norm / norm } else { 1.0 },
                rate: learning_rate,
                memories: [self.momentum, BETA_2],
                corrections: self.corrections(),
                epsilon: EPSILON,
            };
            table.step(card, &step)?;
            Ok(norm)
        })
    }

    /// A tensor's moments on its card: those that were read from a checkpoint, or zeros.
    #[cfg(feature = "train-cuda")]
    fn moments_on_card(&mut self, name: &str, like: &Tensor) -> Result<[Tensor; 2]> {
        if let Some(read) = self.moments.remove(name) {
            let tensor = |values| Tensor::from_vec(values, like.shape(), like.device());
            self.on_card.insert(name.into(), [tensor(read.first)?, tensor(read.second)?]);
        }
        if let Some(moments) = self.on_card.get(name) {
            return Ok(moments.clone());
        }
        let moments = [like.zeros_like()?, like.zeros_like()?];
        self.on_card.insert(name.into(), moments.clone());
        Ok(moments)
    }
}
