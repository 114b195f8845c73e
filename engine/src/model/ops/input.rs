//! The decoder's input: past codes and excitation to the first state.

use std::sync::Arc;
#[cfg(feature = "train-cuda")]
use std::sync::OnceLock;

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "train-cuda")]
use super::device::{
    card::{Card, Memory, kept, with_spans},
    input as on_card,
};
use super::host::{check_length, sum_in_order, values, with_real, with_values};
use super::matrix::{Put, View, ViewMut, multiply};
use super::real::{Real, add_sum};
use crate::voice::MU_LAW_CODES;

/// Sizes of [`decoder_input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSizes {
    /// Segments, `B`.
    pub batch: usize,
    /// Residual channels, `R`.
    pub residual: usize,
    /// Skip channels, `S`.
    pub skip: usize,
    /// Width of the excitation, `E`.
    pub excitation: usize,
}

impl InputSizes {
    pub(super) fn pack(self) -> usize {
        self.residual * (2 * MU_LAW_CODES + self.excitation) + self.skip
    }

    /// The tables' ends in the pack: current, previous, excitation.
    pub(super) fn ends(self) -> (usize, usize, usize) {
        let table = MU_LAW_CODES * self.residual;
        (table, 2 * table, 2 * table + self.excitation * self.residual)
    }
}

/// The state `(B, R+S, T)` before the first layer. `pack` is `input.current (256, R)`, `input.previous (256, R)`,
/// `excitation.weight (R, E)`, `skip_bias (S)` one after the other. `codes (B, T+2)` are the segment's past:
/// sample `t` reads `codes[t+1]` as the current and `codes[t]` as the previous code. `excitation (B, T, E)` is
/// already zero where the take is unvoiced.
///
/// # Errors
/// Sizes that do not fit each other, or a pack that is not f32 or f64 on the CPU.
pub fn decoder_input(
    pack: &Tensor,
    codes: Arc<[u8]>,
    excitation: Arc<[f32]>,
    sizes: InputSizes,
) -> Result<Tensor> {
    check_length("decoder input", "the pack of weights", pack.elem_count(), sizes.pack())?;
    if sizes.batch == 0 || sizes.residual == 0 || sizes.skip == 0 {
        candle_core::bail!("decoder input: no size may be zero, {sizes:?}")
    }
    let Some(samples) = (codes.len() / sizes.batch).checked_sub(2).filter(|&samples| samples > 0) else {
        candle_core::bail!("decoder input: {} codes are too few for {} segments", codes.len(), sizes.batch)
    };
    check_length("decoder input", "the codes", codes.len(), sizes.batch * (samples + 2))?;
    let features = sizes.excitation;
    check_length("decoder input", "the excitation", excitation.len(), sizes.batch * samples * features)?;
    pack.contiguous()?.apply_op1(DecoderInput {
        sizes,
        samples,
        codes,
        excitation,
        #[cfg(feature = "train-cuda")]
        constants: OnceLock::new(),
    })
}

struct DecoderInput {
    sizes: InputSizes,
    samples: usize,
    codes: Arc<[u8]>,
    excitation: Arc<[f32]>,
    /// What of it lies on a card.
    #[cfg(feature = "train-cuda")]
    constants: OnceLock<on_card::Constants<Memory>>,
}

/// `(rows, columns)` to `(columns, rows)`.
fn transposed<T: Real>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

impl DecoderInput {
    fn shape(&self) -> (usize, usize, usize) {
        (self.sizes.batch, self.sizes.residual + self.sizes.skip, self.samples)
    }

    #[cfg(feature = "train-cuda")]
    fn constants(&self, card: &Card) -> Result<&on_card::Constants<Memory>> {
        kept(&self.constants, || on_card::Constants::new(card, &self.codes, &self.excitation, self.samples))
    }

    fn forward<T: Real>(&self, pack: &[T]) -> Vec<T> {
        let (residual, features, samples) = (self.sizes.residual, self.sizes.excitation, self.samples);
        let (current_end, previous_end, excitation_end) = self.sizes.ends();
        // One contiguous table of 256 entries a channel: each stays in the first cache while its channel is read.
        let current = transposed(&pack[..current_end], residual);
        let previous = transposed(&pack[current_end..previous_end], residual);
        let weight = &pack[previous_end..excitation_end];
        let skip_bias = &pack[excitation_end..];
        let excitation = T::constants(&self.excitation);
        let (batch, channels, _) = self.shape();
        let mut state = vec![T::zero(); batch * channels * samples];
        state.par_chunks_exact_mut(channels * samples).enumerate().for_each(|(item, state)| {
            let (residual_rows, skip_rows) = state.split_at_mut(residual * samples);
            let codes = &self.codes[item * (samples + 2)..][..samples + 2];
            let tables = current.chunks_exact(MU_LAW_CODES).zip(previous.chunks_exact(MU_LAW_CODES));
            for (row, (current, previous)) in residual_rows.chunks_exact_mut(samples).zip(tables) {
                for (value, pair) in row.iter_mut().zip(codes.array_windows::<2>()) {
                    *value = current[usize::from(pair[1])] + previous[usize::from(pair[0])];
                }
            }
            for (row, &bias) in skip_rows.chunks_exact_mut(samples).zip(skip_bias) {
                row.fill(bias);
            }
            multiply(
                (residual, features, samples),
                ViewMut::rows(residual_rows, samples),
                Put::Add,
                View::rows(weight, features),
                View::rows(&excitation[item * samples * features..], features).transposed(),
            );
        });
        state
    }

    fn backward<T: Real>(&self, gradient: &[T]) -> Vec<T> {
        let (residual, features, samples) = (self.sizes.residual, self.sizes.excitation, self.samples);
        let (current_end, previous_end, excitation_end) = self.sizes.ends();
        let excitation = T::constants(&self.excitation);
        let (batch, channels, _) = self.shape();
        let length = self.sizes.pack();
        let mut partials = vec![T::zero(); batch * length];
        partials
            .par_chunks_exact_mut(length)
            .zip(gradient.par_chunks_exact(channels * samples))
            .enumerate()
            .for_each(|(item, (partial, gradient))| {
                let (residual_rows, skip_rows) = gradient.split_at(residual * samples);
                let codes = &self.codes[item * (samples + 2)..][..samples + 2];
                let (tables, rest) = partial.split_at_mut(previous_end);
                let (weight, skip_bias) = rest.split_at_mut(excitation_end - previous_end);
                for (channel, row) in residual_rows.chunks_exact(samples).enumerate() {
                    let (mut current, mut previous) = ([T::zero(); MU_LAW_CODES], [T::zero(); MU_LAW_CODES]);
                    for (&value, pair) in row.iter().zip(codes.array_windows::<2>()) {
                        current[usize::from(pair[1])] += value;
                        previous[usize::from(pair[0])] += value;
                    }
                    for code in 0..MU_LAW_CODES {
                        tables[code * residual + channel] = current[code];
                        tables[current_end + code * residual + channel] = previous[code];
                    }
                }
                multiply(
                    (residual, samples, features),
                    ViewMut::rows(weight, features),
                    Put::Set,
                    View::rows(residual_rows, samples),
                    View::rows(&excitation[item * samples * features..], features),
                );
                for (bias, row) in skip_bias.iter_mut().zip(skip_rows.chunks_exact(samples)) {
                    add_sum(bias, row);
                }
            });
        sum_in_order(&partials, length)
    }
}

impl CustomOp1 for DecoderInput {
    fn name(&self) -> &'static str {
        "decoder-input"
    }

    fn cpu_fwd(&self, pack: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(pack);
        with_real!(dtype, T => {
            let state = self.forward::<T>(values(pack, layout)?);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(state), Shape::from(self.shape())))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(&self, pack: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let card = Card::of(pack);
        let state = on_card::forward(&card, self.sizes, self.constants(&card)?, card.values(pack, layout)?)?;
        Ok((card.storage(state), Shape::from(self.shape())))
    }

    fn bwd(&self, pack: &Tensor, _state: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "train-cuda")]
        if pack.device().is_cuda() {
            return with_spans([gradient], |card, [gradient]| {
                let gradient = on_card::backward(card, self.sizes, self.constants(card)?, gradient)?;
                Ok(Some(card.tensor(gradient, pack.shape())))
            });
        }
        with_real!(pack.dtype(), T => {
            let pack_gradient = with_values([gradient], |[gradient]| Ok(self.backward::<T>(gradient)))?;
            Ok(Some(Tensor::from_vec(pack_gradient, pack.shape(), &Device::Cpu)?))
        })
    }
}
