//! Between candle's tensors and plain slices.

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor};

use super::real::Real;

/// Runs the body with `$real` as the float type that belongs to the dtype.
macro_rules! with_real {
    ($dtype:expr, $real:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $real = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $real = f64;
                $body
            }
            other => Err(candle_core::Error::Msg(format!(
                "the training operations take f32 or f64, not {other:?}"
            ))),
        }
    };
}
pub(super) use with_real;

/// The values of a contiguous tensor in the memory of the host.
pub(super) fn values<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("the training operations take contiguous tensors; call .contiguous() first")
    };
    let all = storage.as_slice::<T>()?;
    all.get(start..end).ok_or_else(|| Error::Msg("a tensor is longer than its storage".into()))
}

/// Hands the values of several tensors to `body`, made contiguous first.
pub(super) fn with_values<T: Real, R, const N: usize>(
    tensors: [&Tensor; N],
    body: impl FnOnce([&[T]; N]) -> Result<R>,
) -> Result<R> {
    let contiguous = tensors.iter().map(|tensor| tensor.contiguous()).collect::<Result<Vec<_>>>()?;
    let guards: Vec<_> = contiguous.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let mut slices: [&[T]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        *slice = match &**storage {
            Storage::Cpu(storage) => values(storage, layout)?,
            _ => candle_core::bail!("the training operations run on the CPU only; move the tensors there"),
        };
    }
    body(slices)
}

/// Sums the partial results that lie one after the other, first to last, so that the sum does not depend on who
/// computed which.
pub(super) fn sum_in_order<T: Real>(partials: &[T], length: usize) -> Vec<T> {
    let mut total = vec![T::zero(); length];
    for partial in partials.chunks_exact(length.max(1)) {
        for (total, &value) in total.iter_mut().zip(partial) {
            *total += value;
        }
    }
    total
}

/// Runs of equal hop in `start..end`: yields `(hop, first, last + 1)`.
pub(super) fn hop_runs(
    start: usize,
    end: usize,
    hop_samples: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut at = start;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let hop = at / hop_samples;
            let first = at;
            at = ((hop + 1) * hop_samples).min(end);
            (hop, first, at)
        })
    })
}

/// Samples of one hop, given that `frames` hops make up `samples`.
pub(super) fn hop_samples(operation: &str, samples: usize, frames: usize) -> Result<usize> {
    if frames == 0 || samples == 0 || !samples.is_multiple_of(frames) {
        candle_core::bail!("{operation}: {samples} samples are not a whole number of hops in {frames} frames")
    }
    Ok(samples / frames)
}

/// Refuses a vector of another length than the sizes say.
pub(super) fn check_length(operation: &str, what: &str, actual: usize, expected: usize) -> Result<()> {
    if actual != expected {
        candle_core::bail!("{operation}: {what} holds {actual} values, the sizes ask for {expected}")
    }
    Ok(())
}
