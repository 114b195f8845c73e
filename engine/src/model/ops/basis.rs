//! Weighted sums of constant signals, with weights that change once per hop.

use std::sync::Arc;
#[cfg(feature = "train-cuda")]
use std::sync::OnceLock;

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "train-cuda")]
use super::device::{
    Machine,
    card::{Card, Memory, kept, with_spans},
    prior as on_card,
};
use super::host::{check_length, hop_runs, hop_samples, values, with_real, with_values};
use super::real::Real;

/// `coefficients (B, F, D)` and the constant `basis (B, T, D)` to `(B, T)`, `T = F * hop`:
/// `out[b, t] = sum_d coefficients[b, t / hop, d] * basis[b, t, d]`.
///
/// # Errors
/// Sizes that do not fit each other, or coefficients that are not f32 or f64 on the CPU.
pub fn frame_basis(coefficients: &Tensor, basis: Arc<[f32]>) -> Result<Tensor> {
    let (batch, frames, size) = coefficients.dims3()?;
    if batch == 0 || size == 0 {
        candle_core::bail!("frame basis: no size may be zero, coefficients are {:?}", coefficients.shape())
    }
    let samples = basis.len() / (batch * size);
    check_length("frame basis", "the basis", basis.len(), batch * samples * size)?;
    let hop = hop_samples("frame basis", samples, frames)?;
    coefficients.contiguous()?.apply_op1(FrameBasis {
        sizes: Sizes { batch, size, samples, hop },
        basis,
        #[cfg(feature = "train-cuda")]
        basis_on_card: OnceLock::new(),
    })
}

/// Of the coefficients and of the basis: `B`, `D`, `T` and `T / F`.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) size: usize,
    pub(super) samples: usize,
    pub(super) hop: usize,
}

struct FrameBasis {
    sizes: Sizes,
    basis: Arc<[f32]>,
    #[cfg(feature = "train-cuda")]
    basis_on_card: OnceLock<Memory>,
}

impl FrameBasis {
    /// Calls with `(sample of all, frame of all)` ranges: `(frame, first sample, last sample + 1)`.
    fn frames(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        // Segments lie end to end and are whole numbers of hops, so that frames simply go on counting.
        hop_runs(0, self.sizes.batch * self.sizes.samples, self.sizes.hop)
    }

    fn forward<T: Real>(&self, coefficients: &[T]) -> Vec<T> {
        let Sizes { batch, size, samples, .. } = self.sizes;
        let basis = T::constants(&self.basis);
        let mut sums = vec![T::zero(); batch * samples];
        for (frame, first, last) in self.frames() {
            let weights = &coefficients[frame * size..][..size];
            let rows = basis[first * size..last * size].chunks_exact(size);
            for (sum, row) in sums[first..last].iter_mut().zip(rows) {
                for (&weight, &value) in weights.iter().zip(row) {
                    *sum += weight * value;
                }
            }
        }
        sums
    }

    fn backward<T: Real>(&self, gradient: &[T]) -> Vec<T> {
        let Sizes { batch, size, samples, hop } = self.sizes;
        let basis = T::constants(&self.basis);
        let mut weights = vec![T::zero(); batch * samples / hop * size];
        for (frame, first, last) in self.frames() {
            let weights = &mut weights[frame * size..][..size];
            let rows = basis[first * size..last * size].chunks_exact(size);
            for (&gradient, row) in gradient[first..last].iter().zip(rows) {
                for (weight, &value) in weights.iter_mut().zip(row) {
                    *weight += gradient * value;
                }
            }
        }
        weights
    }
}

impl CustomOp1 for FrameBasis {
    fn name(&self) -> &'static str {
        "frame-basis"
    }

    fn cpu_fwd(&self, coefficients: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(coefficients);
        with_real!(dtype, T => {
            let sums = self.forward::<T>(values(coefficients, layout)?);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(sums), Shape::from((self.sizes.batch, self.sizes.samples))))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(&self, coefficients: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let card = Card::of(coefficients);
        let basis = card.span(kept(&self.basis_on_card, || card.upload(&self.basis))?);
        let sums = on_card::frame_basis(&card, self.sizes, card.values(coefficients, layout)?, basis)?;
        Ok((card.storage(sums), Shape::from((self.sizes.batch, self.sizes.samples))))
    }

    fn bwd(&self, coefficients: &Tensor, _sums: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "train-cuda")]
        if coefficients.device().is_cuda() {
            return with_spans([gradient], |card, [gradient]| {
                let basis = card.span(kept(&self.basis_on_card, || card.upload(&self.basis))?);
                let weights = on_card::frame_basis_gradient(card, self.sizes, basis, gradient)?;
                Ok(Some(card.tensor(weights, coefficients.shape())))
            });
        }
        with_real!(coefficients.dtype(), T => {
            let weights = with_values([gradient], |[gradient]| Ok(self.backward::<T>(gradient)))?;
            Ok(Some(Tensor::from_vec(weights, coefficients.shape(), &Device::Cpu)?))
        })
    }
}
