//! The decoder's head: from the sum of skips to the cross-entropy of the next code, without ever holding the logits
//! of a whole segment.

#[cfg(feature = "train-cuda")]
use std::sync::OnceLock;
use std::sync::{Arc, LazyLock};

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "train-cuda")]
use super::device::{
    card::{Card, Memory, kept, with_spans},
    head as on_card,
};
use super::host::{check_length, hop_runs, hop_samples, sum_in_order, values, with_real, with_values};
use super::matrix::{Put, View, ViewMut, multiply, transpose};
use super::real::{Real, add_log_density, add_log_density_gradient, add_sum, exp_below, raise_to, scale_by};
use crate::voice::MU_LAW_CODES;

/// Samples whose logits are held at a time: 256 KiB of them in f32.
const BLOCK: usize = 256;

/// Value and logarithm of the width of every code of the mu-law alphabet.
pub(super) static CODES: LazyLock<[(f64, f64); MU_LAW_CODES]> = LazyLock::new(|| {
    let value = |code: usize| {
        let v = (code as f64 + 0.5) / 128.0 - 1.0;
        v.signum() * (256.0f64.powf(v.abs()) - 1.0) / 255.0
    };
    std::array::from_fn(|code| {
        let (below, above) = (code.saturating_sub(1), (code + 1).min(MU_LAW_CODES - 1));
        let width = (value(above) - value(below)) / (above - below) as f64;
        (value(code), width.ln())
    })
});

/// Switches and sizes of [`head_nll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadOptions {
    /// Skip channels, `S`: the last channels of the state.
    pub skip: usize,
    /// Hidden channels of the head, `A`.
    pub hidden: usize,
    /// Frames of a segment, `F`; `T = F * hop`.
    pub frames: usize,
    /// Whether the logarithm of the linear prior's density is added to the logits.
    pub with_prior: bool,
    /// Samples at the segment's start that are not scored.
    pub first_scored: usize,
}

/// Negative log-likelihood `(B, T)` in nats of the `targets (B, T)`, zero for the samples before `first_scored`.
///
/// `state (B, R+S, T)` ends with the sum of skips; `side` is the head's biases `(B, F, A)` and, with a prior, its mean
/// `(B, T)` and log-scale `(B, F)`; `pack` is `head.hidden.weight (A, S)`, `head.output.weight (256, A)`,
/// `head.output.bias (256)`; each one after the other in one vector.
///
/// # Errors
/// Sizes that do not fit each other, or tensors that are not f32 or f64 on the CPU.
pub fn head_nll(
    state: &Tensor,
    side: &Tensor,
    pack: &Tensor,
    targets: Arc<[u8]>,
    options: HeadOptions,
) -> Result<Tensor> {
    let sizes = Sizes::of(options, state.shape(), side.shape(), pack.shape())?;
    check_length("head", "the targets", targets.len(), sizes.batch * sizes.samples)?;
    let op = HeadNll {
        options,
        targets,
        #[cfg(feature = "train-cuda")]
        constants: OnceLock::new(),
    };
    state.contiguous()?.apply_op3(&side.contiguous()?, &pack.contiguous()?, op)
}

/// The logits `(B, 256, T)` that [`head_nll`] scores, for tests and for comparison with the decoder. No gradient;
/// `first_scored` is ignored.
///
/// # Errors
/// As [`head_nll`].
pub fn head_logits(state: &Tensor, side: &Tensor, pack: &Tensor, options: HeadOptions) -> Result<Tensor> {
    let sizes = Sizes::of(options, state.shape(), side.shape(), pack.shape())?;
    with_real!(state.dtype(), T => {
        let logits = with_values([state, side, pack], |[state, side, pack]| {
            Ok(sizes.all_logits::<T>(state, side, pack))
        })?;
        Tensor::from_vec(logits, (sizes.batch, MU_LAW_CODES, sizes.samples), &Device::Cpu)
    })
}

struct HeadNll {
    options: HeadOptions,
    targets: Arc<[u8]>,
    /// What of it lies on a card.
    #[cfg(feature = "train-cuda")]
    constants: OnceLock<on_card::Constants<Memory>>,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) samples: usize,
    pub(super) hop: usize,
    pub(super) options: HeadOptions,
}

/// What the head reads besides the state, split up.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    /// `(F, A)` of one item.
    biases: &'a [T],
    /// Mean `(T)` and log-scale `(F)` of one item.
    prior: Option<(&'a [T], &'a [T])>,
    hidden_weight: &'a [T],
    output_weight: &'a [T],
    output_bias: &'a [T],
}

/// Everything between state and logits of one block.
struct Block<T> {
    /// `relu(s)`, `(S, n)`.
    skip: Vec<T>,
    /// The hidden layer, `(A, n)`.
    hidden: Vec<T>,
    /// `(256, n)`: logits, then probabilities, then their gradient.
    logits: Vec<T>,
    mean: Vec<T>,
    inverse_scale: Vec<T>,
    highest: Vec<T>,
    total: Vec<T>,
}

impl<T: Real> Block<T> {
    fn new(options: HeadOptions) -> Self {
        let zeros = |rows: usize| vec![T::zero(); rows * BLOCK];
        Self {
            skip: zeros(options.skip),
            hidden: zeros(options.hidden),
            logits: zeros(MU_LAW_CODES),
            mean: zeros(1),
            inverse_scale: zeros(1),
            highest: zeros(1),
            total: zeros(1),
        }
    }

    fn resize(&mut self, options: HeadOptions, length: usize) {
        self.skip.resize(options.skip * length, T::zero());
        self.hidden.resize(options.hidden * length, T::zero());
        self.logits.resize(MU_LAW_CODES * length, T::zero());
        for row in [&mut self.mean, &mut self.inverse_scale, &mut self.highest, &mut self.total] {
            row.resize(length, T::zero());
        }
    }

    /// Fills `skip`, `hidden`, `logits` and, with a prior, `mean` and `inverse_scale`.
    fn fill(&mut self, sizes: Sizes, state: &[T], inputs: Inputs<'_, T>, start: usize, end: usize) {
        let HeadOptions { skip, hidden, .. } = sizes.options;
        let length = end - start;
        self.resize(sizes.options, length);
        let zero = T::zero();
        let skip_rows =
            state.chunks_exact(sizes.samples).skip(sizes.channels - skip).map(|row| &row[start..end]);
        for (row, state) in self.skip.chunks_exact_mut(length).zip(skip_rows) {
            for (value, &s) in row.iter_mut().zip(state) {
                *value = if s > zero { s } else { zero };
            }
        }
        for (frame, first, last) in hop_runs(start, end, sizes.hop) {
            let biases = &inputs.biases[frame * hidden..][..hidden];
            for (row, &bias) in self.hidden.chunks_exact_mut(length).zip(biases) {
                row[first - start..last - start].fill(bias);
            }
        }
        multiply(
            (hidden, skip, length),
            ViewMut::rows(&mut self.hidden, length),
            Put::Add,
            View::rows(inputs.hidden_weight, skip),
            View::rows(&self.skip, length),
        );
        for value in &mut self.hidden {
            *value = if *value > zero { *value } else { zero };
        }
        for (row, &bias) in self.logits.chunks_exact_mut(length).zip(inputs.output_bias) {
            row.fill(bias);
        }
        multiply(
            (MU_LAW_CODES, hidden, length),
            ViewMut::rows(&mut self.logits, length),
            Put::Add,
            View::rows(inputs.output_weight, hidden),
            View::rows(&self.hidden, length),
        );
        if let Some((mean, log_scale)) = inputs.prior {
            self.mean.copy_from_slice(&mean[start..end]);
            for (frame, first, last) in hop_runs(start, end, sizes.hop) {
                let inverse = (-log_scale[frame]).exp::<false>();
                self.inverse_scale[first - start..last - start].fill(inverse);
            }
            for (row, &(value, log_width)) in self.logits.chunks_exact_mut(length).zip(CODES.iter()) {
                let (value, log_width) = (T::from_f64(value), T::from_f64(log_width));
                add_log_density(row, &self.mean, &self.inverse_scale, value, log_width);
            }
        }
    }

    /// Logits to `exp(logits - highest)`; `total` becomes their sum.
    fn exponentiate(&mut self, length: usize) {
        self.highest.copy_from_slice(&self.logits[..length]);
        for row in self.logits.chunks_exact(length) {
            raise_to(&mut self.highest, row);
        }
        self.total.fill(T::zero());
        for row in self.logits.chunks_exact_mut(length) {
            exp_below(row, &self.highest, &mut self.total);
        }
    }
}

impl Sizes {
    pub(super) fn of(options: HeadOptions, state: &Shape, side: &Shape, pack: &Shape) -> Result<Self> {
        let (batch, channels, samples) = state.dims3()?;
        let HeadOptions { skip, hidden, frames, with_prior, .. } = options;
        if skip == 0 || skip > channels || hidden == 0 {
            candle_core::bail!("head: state {state:?} and {options:?} do not fit each other")
        }
        let hop = hop_samples("head", samples, frames)?;
        let prior = if with_prior { samples + frames } else { 0 };
        check_length("head", "the side pack", side.elem_count(), batch * (frames * hidden + prior))?;
        let weights = hidden * skip + MU_LAW_CODES * (hidden + 1);
        check_length("head", "the pack of weights", pack.elem_count(), weights)?;
        Ok(Self { batch, channels, samples, hop, options })
    }

    pub(super) fn pack(self) -> usize {
        self.options.hidden * self.options.skip + MU_LAW_CODES * (self.options.hidden + 1)
    }

    /// Ends in the pack: hidden weight, output weight.
    pub(super) fn ends(self) -> (usize, usize) {
        let hidden = self.options.hidden * self.options.skip;
        (hidden, hidden + MU_LAW_CODES * self.options.hidden)
    }

    fn inputs<'a, T>(self, item: usize, side: &'a [T], pack: &'a [T]) -> Inputs<'a, T> {
        let HeadOptions { hidden, frames, with_prior, .. } = self.options;
        let (biases, prior) = side.split_at(self.batch * frames * hidden);
        let prior = with_prior.then(|| {
            let (mean, log_scale) = prior.split_at(self.batch * self.samples);
            (&mean[item * self.samples..][..self.samples], &log_scale[item * frames..][..frames])
        });
        let (hidden_end, output_end) = self.ends();
        Inputs {
            biases: &biases[item * frames * hidden..][..frames * hidden],
            prior,
            hidden_weight: &pack[..hidden_end],
            output_weight: &pack[hidden_end..output_end],
            output_bias: &pack[output_end..],
        }
    }

    /// `(start, end)` of every block that holds a scored sample.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (self.options.first_scored..self.samples)
            .step_by(BLOCK)
            .map(move |start| (start, (start + BLOCK).min(self.samples)))
    }

    fn all_logits<T: Real>(self, state: &[T], side: &[T], pack: &[T]) -> Vec<T> {
        let unscored = Self { options: HeadOptions { first_scored: 0, ..self.options }, ..self };
        let mut logits = vec![T::zero(); self.batch * MU_LAW_CODES * self.samples];
        logits
            .par_chunks_exact_mut(MU_LAW_CODES * self.samples)
            .zip(state.par_chunks_exact(self.channels * self.samples))
            .enumerate()
            .for_each(|(item, (logits, state))| {
                let inputs = self.inputs(item, side, pack);
                let mut block = Block::new(self.options);
                for (start, end) in unscored.blocks() {
                    block.fill(self, state, inputs, start, end);
                    let rows = logits.chunks_exact_mut(self.samples);
                    for (row, block) in rows.zip(block.logits.chunks_exact(end - start)) {
                        for (t, (logit, &value)) in row[start..end].iter_mut().zip(block).enumerate() {
                            let log_scale =
                                inputs.prior.map_or(T::zero(), |(_, scale)| scale[(start + t) / self.hop]);
                            *logit = value - log_scale;
                        }
                    }
                }
            });
        logits
    }

    fn forward<T: Real>(self, state: &[T], side: &[T], pack: &[T], targets: &[u8]) -> Vec<T> {
        let mut nll = vec![T::zero(); self.batch * self.samples];
        nll.par_chunks_exact_mut(self.samples)
            .zip(state.par_chunks_exact(self.channels * self.samples))
            .zip(targets.par_chunks_exact(self.samples))
            .enumerate()
            .for_each(|(item, ((nll, state), targets))| {
                let inputs = self.inputs(item, side, pack);
                let mut block = Block::new(self.options);
                for (start, end) in self.blocks() {
                    let length = end - start;
                    block.fill(self, state, inputs, start, end);
                    let nll = &mut nll[start..end];
                    for (t, (nll, &target)) in nll.iter_mut().zip(&targets[start..end]).enumerate() {
                        *nll = -block.logits[usize::from(target) * length + t];
                    }
                    block.exponentiate(length);
                    for ((nll, &highest), &total) in nll.iter_mut().zip(&block.highest).zip(&block.total) {
                        *nll += highest + total.ln();
                    }
                }
            });
        nll
    }

    /// The gradients of state, side pack and pack.
    fn backward<T: Real>(
        self,
        (state, side, pack): (&[T], &[T], &[T]),
        targets: &[u8],
        gradient: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let HeadOptions { hidden, frames, with_prior, .. } = self.options;
        let item = self.channels * self.samples;
        let prior = if with_prior { self.samples + frames } else { 0 };
        let side_item = frames * hidden + prior;
        let mut state_gradient = vec![T::zero(); self.batch * item];
        let mut sides = vec![T::zero(); self.batch * side_item];
        let mut partials = vec![T::zero(); self.batch * self.pack()];
        state
            .par_chunks_exact(item)
            .zip(targets.par_chunks_exact(self.samples))
            .zip(gradient.par_chunks_exact(self.samples))
            .zip(state_gradient.par_chunks_exact_mut(item))
            .zip(sides.par_chunks_exact_mut(side_item))
            .zip(partials.par_chunks_exact_mut(self.pack()))
            .enumerate()
            .for_each(
                |(item, (((((state, targets), gradient), state_gradient), side_gradient), partial))| {
                    self.backward_item(
                        (state, self.inputs(item, side, pack)),
                        (targets, gradient),
                        (state_gradient, side_gradient, partial),
                    );
                },
            );
        // From one item's biases, mean and log-scale after the other to all biases, all means, all log-scales.
        let mut side_gradient = Vec::with_capacity(sides.len());
        let mean_end = side_item - if with_prior { frames } else { 0 };
        for part in [0..frames * hidden, frames * hidden..mean_end, mean_end..side_item] {
            for side in sides.chunks_exact(side_item) {
                side_gradient.extend_from_slice(&side[part.clone()]);
            }
        }
        (state_gradient, side_gradient, sum_in_order(&partials, self.pack()))
    }

    fn backward_item<T: Real>(
        self,
        (state, inputs): (&[T], Inputs<'_, T>),
        (targets, gradient): (&[u8], &[T]),
        (state_gradient, side_gradient, pack_gradient): (&mut [T], &mut [T], &mut [T]),
    ) {
        let HeadOptions { skip, hidden, frames, .. } = self.options;
        let (bias_gradient, prior_gradient) = side_gradient.split_at_mut(frames * hidden);
        let (hidden_end, output_end) = self.ends();
        let (weights, output_bias_gradient) = pack_gradient.split_at_mut(output_end);
        let (hidden_weight_gradient, output_weight_gradient) = weights.split_at_mut(hidden_end);
        let zero = T::zero();
        let mut block = Block::new(self.options);
        let mut hidden_gradient_block = vec![zero; hidden * BLOCK];
        let mut log_scale_gradient = [zero; BLOCK];
        let mut by_time = vec![zero; hidden.max(skip) * BLOCK];
        for (start, end) in self.blocks() {
            let length = end - start;
            block.fill(self, state, inputs, start, end);
            block.exponentiate(length);
            // Softmax less the target, times the gradient of the sample's score.
            let gradient = &gradient[start..end];
            for (total, &gradient) in block.total.iter_mut().zip(gradient) {
                *total = gradient / *total;
            }
            for row in block.logits.chunks_exact_mut(length) {
                scale_by(row, &block.total);
            }
            for (t, (&target, &gradient)) in targets[start..end].iter().zip(gradient).enumerate() {
                block.logits[usize::from(target) * length + t] -= gradient;
            }
            let logits_gradient = &block.logits;

            if inputs.prior.is_some() {
                let (mean_gradient, scale_gradient) = prior_gradient.split_at_mut(self.samples);
                let log_scale_gradient = &mut log_scale_gradient[..length];
                log_scale_gradient.fill(zero);
                for (row, &(value, _)) in logits_gradient.chunks_exact(length).zip(CODES.iter()) {
                    add_log_density_gradient(
                        row,
                        &block.mean,
                        &block.inverse_scale,
                        T::from_f64(value),
                        &mut mean_gradient[start..end],
                        log_scale_gradient,
                    );
                }
                for (frame, first, last) in hop_runs(start, end, self.hop) {
                    add_sum(&mut scale_gradient[frame], &log_scale_gradient[first - start..last - start]);
                }
            }

            transpose(&block.hidden, length, (hidden, length), &mut by_time);
            multiply(
                (MU_LAW_CODES, length, hidden),
                ViewMut::rows(output_weight_gradient, hidden),
                Put::Add,
                View::rows(logits_gradient, length),
                View::rows(&by_time, hidden),
            );
            for (bias, row) in output_bias_gradient.iter_mut().zip(logits_gradient.chunks_exact(length)) {
                add_sum(bias, row);
            }
            let hidden_gradient = &mut hidden_gradient_block[..hidden * length];
            multiply(
                (hidden, MU_LAW_CODES, length),
                ViewMut::rows(hidden_gradient, length),
                Put::Set,
                View::rows(inputs.output_weight, hidden).transposed(),
                View::rows(logits_gradient, length),
            );
            for (gradient, &value) in hidden_gradient.iter_mut().zip(&block.hidden) {
                *gradient = if value > zero { *gradient } else { zero };
            }
            for (frame, first, last) in hop_runs(start, end, self.hop) {
                let biases = &mut bias_gradient[frame * hidden..][..hidden];
                for (row, bias) in hidden_gradient.chunks_exact(length).zip(biases) {
                    add_sum(bias, &row[first - start..last - start]);
                }
            }
            transpose(&block.skip, length, (skip, length), &mut by_time);
            multiply(
                (hidden, length, skip),
                ViewMut::rows(hidden_weight_gradient, skip),
                Put::Add,
                View::rows(hidden_gradient, length),
                View::rows(&by_time, skip),
            );
            let skip_start = (self.channels - skip) * self.samples;
            let skip_gradient = &mut state_gradient[skip_start..];
            multiply(
                (skip, hidden, length),
                ViewMut::rows(&mut skip_gradient[start..], self.samples),
                Put::Set,
                View::rows(inputs.hidden_weight, skip).transposed(),
                View::rows(hidden_gradient, length),
            );
            let rows = skip_gradient.chunks_exact_mut(self.samples);
            for (row, relu) in rows.zip(block.skip.chunks_exact(length)) {
                for (gradient, &value) in row[start..end].iter_mut().zip(relu) {
                    *gradient = if value > zero { *gradient } else { zero };
                }
            }
        }
    }
}

impl CustomOp3 for HeadNll {
    fn name(&self) -> &'static str {
        "head-nll"
    }

    fn cpu_fwd(
        &self,
        state: &CpuStorage,
        state_layout: &Layout,
        side: &CpuStorage,
        side_layout: &Layout,
        pack: &CpuStorage,
        pack_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(self.options, state_layout.shape(), side_layout.shape(), pack_layout.shape())?;
        let dtype = candle_core::backend::BackendStorage::dtype(state);
        with_real!(dtype, T => {
            let (state, side, pack) =
                (values(state, state_layout)?, values(side, side_layout)?, values(pack, pack_layout)?);
            let nll = sizes.forward::<T>(state, side, pack, &self.targets);
            let shape = Shape::from((sizes.batch, sizes.samples));
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(nll), shape))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(
        &self,
        state: &CudaStorage,
        state_layout: &Layout,
        side: &CudaStorage,
        side_layout: &Layout,
        pack: &CudaStorage,
        pack_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sizes = Sizes::of(self.options, state_layout.shape(), side_layout.shape(), pack_layout.shape())?;
        let card = Card::of(state);
        let inputs = (
            card.values(state, state_layout)?,
            card.values(side, side_layout)?,
            card.values(pack, pack_layout)?,
        );
        let constants = kept(&self.constants, || on_card::Constants::new(&card, &self.targets))?;
        let nll = on_card::forward(&card, sizes, constants, inputs)?;
        Ok((card.storage(nll), Shape::from((sizes.batch, sizes.samples))))
    }

    fn bwd(
        &self,
        state: &Tensor,
        side: &Tensor,
        pack: &Tensor,
        _nll: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(self.options, state.shape(), side.shape(), pack.shape())?;
        #[cfg(feature = "train-cuda")]
        if state.device().is_cuda() {
            let values = [state, side, pack, gradient];
            return with_spans(values, |card, [state_values, side_values, pack_values, gradient]| {
                let constants = kept(&self.constants, || on_card::Constants::new(card, &self.targets))?;
                let inputs = (state_values, side_values, pack_values);
                let [of_state, of_side, of_pack] =
                    on_card::backward(card, sizes, constants, inputs, gradient)?;
                Ok((
                    Some(card.tensor(of_state, state.shape())),
                    Some(card.tensor(of_side, side.shape())),
                    Some(card.tensor(of_pack, pack.shape())),
                ))
            });
        }
        with_real!(state.dtype(), T => {
            let (state_gradient, side_gradient, pack_gradient) =
                with_values([state, side, pack, gradient], |[state, side, pack, gradient]| {
                    Ok(sizes.backward::<T>((state, side, pack), &self.targets, gradient))
                })?;
            Ok((
                Some(Tensor::from_vec(state_gradient, state.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(side_gradient, side.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(pack_gradient, pack.shape(), &Device::Cpu)?),
            ))
        })
    }
}
