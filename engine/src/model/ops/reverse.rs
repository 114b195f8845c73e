//! Gradient reversal.

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

#[cfg(feature = "train-cuda")]
use super::device::card::Card;
use super::host::{values, with_real};

/// The identity, whose gradient is multiplied by `-scale` (Ganin & Lempitsky, "Unsupervised Domain Adaptation by
/// Backpropagation", 2015): what comes before it learns to make what comes after it fail.
///
/// # Errors
/// A tensor that is not f32 or f64 on the CPU.
pub fn reverse_gradient(x: &Tensor, scale: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op1(ReverseGradient { scale })
}

struct ReverseGradient {
    scale: f64,
}

impl CustomOp1 for ReverseGradient {
    fn name(&self) -> &'static str {
        "reverse-gradient"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(x);
        with_real!(dtype, T => {
            let copy = values::<T>(x, layout)?.to_vec();
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(copy), layout.shape().clone()))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((Card::of(x).copy(x, layout)?, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _copy: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.affine(-self.scale, 0.0)?))
    }
}
