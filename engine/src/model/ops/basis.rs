//! Weighted sums of constant signals, with weights that change once per hop.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

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
    coefficients.contiguous()?.apply_op1(FrameBasis { batch, size, samples, hop, basis })
}

struct FrameBasis {
    batch: usize,
    size: usize,
    samples: usize,
    hop: usize,
    basis: Arc<[f32]>,
}

impl FrameBasis {
    /// Calls with `(sample of all, frame of all)` ranges: `(frame, first sample, last sample + 1)`.
    fn frames(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        // Segments lie end to end and are whole numbers of hops, so that frames simply go on counting.
        hop_runs(0, self.batch * self.samples, self.hop)
    }

    fn forward<T: Real>(&self, coefficients: &[T]) -> Vec<T> {
        let basis = T::constants(&self.basis);
        let mut sums = vec![T::zero(); self.batch * self.samples];
        for (frame, first, last) in self.frames() {
            let weights = &coefficients[frame * self.size..][..self.size];
            let rows = basis[first * self.size..last * self.size].chunks_exact(self.size);
            for (sum, row) in sums[first..last].iter_mut().zip(rows) {
                for (&weight, &value) in weights.iter().zip(row) {
                    *sum += weight * value;
                }
            }
        }
        sums
    }

    fn backward<T: Real>(&self, gradient: &[T]) -> Vec<T> {
        let basis = T::constants(&self.basis);
        let mut weights = vec![T::zero(); self.batch * self.samples / self.hop * self.size];
        for (frame, first, last) in self.frames() {
            let weights = &mut weights[frame * self.size..][..self.size];
            let rows = basis[first * self.size..last * self.size].chunks_exact(self.size);
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
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(sums), Shape::from((self.batch, self.samples))))
        })
    }

    fn bwd(&self, coefficients: &Tensor, _sums: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        with_real!(coefficients.dtype(), T => {
            let weights = with_values([gradient], |[gradient]| Ok(self.backward::<T>(gradient)))?;
            Ok(Some(Tensor::from_vec(weights, coefficients.shape(), &Device::Cpu)?))
        })
    }
}
