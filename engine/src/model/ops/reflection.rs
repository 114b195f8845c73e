//! From unbounded numbers to the taps of a stable linear predictor.

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

#[cfg(feature = "train-cuda")]
use super::device::{
    card::{Card, with_spans},
    prior as on_card,
};
use super::host::{values, with_real, with_values};
use super::real::Real;

/// Bound of the reflection coefficients.
const BOUND: f64 = 0.99;

/// `raw (N, P)` to `(N, P)` prediction taps, tap 1 (the newest sample's) first: reflection coefficients
/// `r = 0.99 tanh(raw)`, then the step-up recursion `b[i][j] = b[i-1][j] - r_i b[i-1][i-j]`, `b[i][i] = r_i`
/// (Markel & Gray, "Linear Prediction of Speech", 1976). Coefficients below one in magnitude make
/// `x[t] = sum_j b_j x[t-j] + input` stable whatever the raw numbers are.
///
/// # Errors
/// Another rank than two, or a tensor that is not f32 or f64 on the CPU.
pub fn reflection_to_taps(raw: &Tensor) -> Result<Tensor> {
    let (_, taps) = raw.dims2()?;
    if taps == 0 {
        candle_core::bail!("reflection to taps: there are no coefficients")
    }
    raw.contiguous()?.apply_op1(ReflectionToTaps { taps })
}

struct ReflectionToTaps {
    taps: usize,
}

/// `(tanh raw, reflection coefficient)`.
fn reflection<T: Real>(raw: T) -> (T, T) {
    let tanh = T::from_f64(raw.to_f64().tanh());
    (tanh, T::from_f64(BOUND) * tanh)
}

/// Row `i` holds the taps of order `i + 1` in its first `i + 1` places.
fn step_up<T: Real>(raw: &[T], orders: &mut [T]) {
    let taps = raw.len();
    for (last, &raw) in raw.iter().enumerate() {
        let (_, r) = reflection(raw);
        let (lower, row) = orders.split_at_mut(last * taps);
        row[last] = r;
        if last > 0 {
            let lower = &lower[(last - 1) * taps..][..last];
            for (j, (tap, &before)) in row.iter_mut().zip(lower).enumerate() {
                *tap = before - r * lower[last - 1 - j];
            }
        }
    }
}

fn forward<T: Real>(raw: &[T], taps: usize) -> Vec<T> {
    let mut orders = vec![T::zero(); taps * taps];
    let mut all = Vec::with_capacity(raw.len());
    for raw in raw.chunks_exact(taps) {
        step_up(raw, &mut orders);
        all.extend_from_slice(&orders[(taps - 1) * taps..]);
    }
    all
}

fn backward<T: Real>(raw: &[T], gradient: &[T], taps: usize) -> Vec<T> {
    let mut orders = vec![T::zero(); taps * taps];
    let mut all = vec![T::zero(); raw.len()];
    let mut upper = vec![T::zero(); taps];
    let items = raw.chunks_exact(taps).zip(gradient.chunks_exact(taps)).zip(all.chunks_exact_mut(taps));
    for ((raw, gradient), raw_gradient) in items {
        step_up(raw, &mut orders);
        let mut row_gradient = gradient.to_vec();
        for last in (0..taps).rev() {
            let (tanh, r) = reflection(raw[last]);
            let mut r_gradient = row_gradient[last];
            if last > 0 {
                let lower = &orders[(last - 1) * taps..][..last];
                upper[..last].copy_from_slice(&row_gradient[..last]);
                for j in 0..last {
                    r_gradient -= upper[j] * lower[last - 1 - j];
                    row_gradient[j] = upper[j] - r * upper[last - 1 - j];
                }
            }
            raw_gradient[last] = r_gradient * T::from_f64(BOUND) * (T::one() - tanh * tanh);
        }
    }
    all
}

impl CustomOp1 for ReflectionToTaps {
    fn name(&self) -> &'static str {
        "reflection-to-taps"
    }

    fn cpu_fwd(&self, raw: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(raw);
        with_real!(dtype, T => {
            let taps = forward::<T>(values(raw, layout)?, self.taps);
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(taps), layout.shape().clone()))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(&self, raw: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let card = Card::of(raw);
        let taps = on_card::reflection(&card, layout.shape().dims2()?, card.values(raw, layout)?)?;
        Ok((card.storage(taps), layout.shape().clone()))
    }

    fn bwd(&self, raw: &Tensor, _taps: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "train-cuda")]
        if raw.device().is_cuda() {
            return with_spans([raw, gradient], |card, [values, gradient]| {
                let raw_gradient = on_card::reflection_gradient(card, raw.dims2()?, values, gradient)?;
                Ok(Some(card.tensor(raw_gradient, raw.shape())))
            });
        }
        with_real!(raw.dtype(), T => {
            let raw_gradient = with_values([raw, gradient], |[values, gradient]| {
                Ok(backward::<T>(values, gradient, self.taps))
            })?;
            Ok(Some(Tensor::from_vec(raw_gradient, raw.shape(), &Device::Cpu)?))
        })
    }
}
