//! The dilated gated layer.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::host::{check_length, hop_runs, hop_samples, sum_in_order, values, with_real, with_values};
use super::matrix::{Put, View, ViewMut, multiply};
use super::real::{Real, add_sum, gate, gate_gradient, offset_copy};

/// Samples that are taken through the whole layer at a time, so that what lies between its products stays in the
/// core's own cache.
const TILE: usize = 256;

/// One gated layer of the decoder on a whole segment: `state (B, R+S, T)` holds the residual path in its first `R`
/// channels and the sum of skips in the other `S`; `condition (B, F, 2R)` holds the gate's biases in each hop
/// (`T = F * hop`); `pack` is `previous (2R, R)`, `current (2R, R)`, `residual.weight (R, R)`, `residual.bias (R)`,
/// `skip.weight (S, R)` one after the other. Returns the next state. What lies before the segment is zero.
///
/// # Errors
/// Shapes that do not fit each other, or tensors that are not f32 or f64 on the CPU.
pub fn gated_layer(state: &Tensor, condition: &Tensor, pack: &Tensor, dilation: usize) -> Result<Tensor> {
    let tracked = state.track_op() || condition.track_op() || pack.track_op();
    let op = GatedLayer { dilation, tracked, gates: OnceLock::new() };
    state.contiguous()?.apply_op3(&condition.contiguous()?, &pack.contiguous()?, op)
}

struct GatedLayer {
    dilation: usize,
    /// Whether a backward pass may follow.
    tracked: bool,
    /// Both halves of the gate, `(B, 2R, T)`, kept from the forward pass: less memory traffic than the products
    /// that it would take to compute them again.
    gates: OnceLock<CpuStorage>,
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    residual: usize,
    channels: usize,
    samples: usize,
    frames: usize,
    hop: usize,
}

impl Sizes {
    fn of(state: &Shape, condition: &Shape, pack: &Shape) -> Result<Self> {
        let (batch, channels, samples) = state.dims3()?;
        let (condition_batch, frames, gates) = condition.dims3()?;
        let residual = gates / 2;
        if condition_batch != batch || gates % 2 != 0 || residual == 0 || residual >= channels {
            candle_core::bail!(
                "gated layer: state {state:?} and condition {condition:?} do not fit each other"
            )
        }
        let sizes = Self {
            batch,
            residual,
            channels,
            samples,
            frames,
            hop: hop_samples("gated layer", samples, frames)?,
        };
        check_length("gated layer", "the pack of weights", pack.elem_count(), sizes.pack())?;
        Ok(sizes)
    }

    fn taps(self) -> usize {
        2 * self.residual * self.residual
    }

    fn pack(self) -> usize {
        2 * self.taps() + self.channels * self.residual + self.residual
    }
}

/// The pack as the products want it: `out` is the residual's matrix on top of the skip's.
struct Weights<'a, T> {
    previous: &'a [T],
    current: &'a [T],
    out: Vec<T>,
    residual_bias: &'a [T],
}

impl<'a, T: Real> Weights<'a, T> {
    fn of(sizes: Sizes, pack: &'a [T]) -> Self {
        let (previous, rest) = pack.split_at(sizes.taps());
        let (current, rest) = rest.split_at(sizes.taps());
        let (residual, rest) = rest.split_at(sizes.residual * sizes.residual);
        let (residual_bias, skip) = rest.split_at(sizes.residual);
        Self { previous, current, out: [residual, skip].concat(), residual_bias }
    }
}

impl GatedLayer {
    fn forward<T: Real>(
        &self,
        sizes: Sizes,
        state: &[T],
        condition: &[T],
        pack: &[T],
    ) -> (Vec<T>, Option<Vec<T>>) {
        let weights = Weights::of(sizes, pack);
        let item = sizes.channels * sizes.samples;
        let mut next = vec![T::zero(); sizes.batch * item];
        let inputs = state
            .par_chunks_exact(item)
            .zip(condition.par_chunks_exact(2 * sizes.residual * sizes.frames))
            .zip(next.par_chunks_exact_mut(item));
        if self.tracked {
            let kept = 2 * sizes.residual * sizes.samples;
            let mut gates = vec![T::zero(); sizes.batch * kept];
            inputs.zip(gates.par_chunks_exact_mut(kept)).for_each(|(((state, condition), next), gates)| {
                self.forward_item(sizes, state, condition, &weights, next, Some(gates));
            });
            (next, Some(gates))
        } else {
            inputs.for_each(|((state, condition), next)| {
                self.forward_item(sizes, state, condition, &weights, next, None);
            });
            (next, None)
        }
    }

    fn forward_item<T: Real>(
        &self,
        sizes: Sizes,
        state: &[T],
        condition: &[T],
        weights: &Weights<'_, T>,
        next: &mut [T],
        mut gates: Option<&mut [T]>,
    ) {
        let Sizes { residual, channels, samples, hop, .. } = sizes;
        let mut gate_tile = vec![T::zero(); 2 * residual * TILE];
        let mut gated_tile = vec![T::zero(); residual * TILE];
        for start in (0..samples).step_by(TILE) {
            let length = TILE.min(samples - start);
            let end = start + length;
            let gate_tile = &mut gate_tile[..2 * residual * length];
            let gated = &mut gated_tile[..residual * length];
            for (frame, first, last) in hop_runs(start, end, hop) {
                let biases = &condition[2 * residual * frame..][..2 * residual];
                for (row, &bias) in gate_tile.chunks_exact_mut(length).zip(biases) {
                    row[first - start..last - start].fill(bias);
                }
            }
            multiply(
                (2 * residual, residual, length),
                ViewMut::rows(gate_tile, length),
                Put::Add,
                View::rows(weights.current, residual),
                View::rows(&state[start..], samples),
            );
            // The first samples of the segment have nothing before them.
            let without = self.dilation.saturating_sub(start).min(length);
            if without < length {
                multiply(
                    (2 * residual, residual, length - without),
                    ViewMut::rows(&mut gate_tile[without..], length),
                    Put::Add,
                    View::rows(weights.previous, residual),
                    View::rows(&state[start + without - self.dilation..], samples),
                );
            }
            let (tanh, sigmoid) = gate_tile.split_at_mut(residual * length);
            gate(tanh, sigmoid, gated);
            for channel in 0..channels {
                let bias = weights.residual_bias.get(channel).copied().unwrap_or(T::zero());
                let at = channel * samples + start..channel * samples + end;
                offset_copy(&mut next[at.clone()], &state[at], bias);
            }
            multiply(
                (channels, residual, length),
                ViewMut::rows(&mut next[start..], samples),
                Put::Add,
                View::rows(&weights.out, residual),
                View::rows(gated, length),
            );
            if let Some(gates) = gates.as_deref_mut() {
                for (kept, row) in gates.chunks_exact_mut(samples).zip(gate_tile.chunks_exact(length)) {
                    kept[start..end].copy_from_slice(row);
                }
            }
        }
    }

    /// The gradients of state, condition and pack.
    fn backward<T: Real>(
        &self,
        sizes: Sizes,
        state: &[T],
        pack: &[T],
        gates: &[T],
        gradient: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let weights = Weights::of(sizes, pack);
        let item = sizes.channels * sizes.samples;
        let mut state_gradient = vec![T::zero(); sizes.batch * item];
        let mut condition_gradient = vec![T::zero(); sizes.batch * 2 * sizes.residual * sizes.frames];
        let mut partials = vec![T::zero(); sizes.batch * sizes.pack()];
        state
            .par_chunks_exact(item)
            .zip(gates.par_chunks_exact(2 * sizes.residual * sizes.samples))
            .zip(gradient.par_chunks_exact(item))
            .zip(state_gradient.par_chunks_exact_mut(item))
            .zip(condition_gradient.par_chunks_exact_mut(2 * sizes.residual * sizes.frames))
            .zip(partials.par_chunks_exact_mut(sizes.pack()))
            .for_each(
                |(((((state, gates), gradient), state_gradient), condition_gradient), pack_gradient)| {
                    self.backward_item(
                        sizes,
                        (state, gates, &weights, gradient),
                        (state_gradient, condition_gradient, pack_gradient),
                    );
                },
            );
        // The items' sums keep the two output matrices together; the pack has the residual's bias between them.
        let sum = sum_in_order(&partials, sizes.pack());
        let (taps, rest) = sum.split_at(2 * sizes.taps());
        let (out, bias) = rest.split_at(sizes.channels * sizes.residual);
        let (residual, skip) = out.split_at(sizes.residual * sizes.residual);
        (state_gradient, condition_gradient, [taps, residual, bias, skip].concat())
    }

    fn backward_item<T: Real>(
        &self,
        sizes: Sizes,
        (state, gates, weights, gradient): (&[T], &[T], &Weights<'_, T>, &[T]),
        (state_gradient, condition_gradient, pack_gradient): (&mut [T], &mut [T], &mut [T]),
    ) {
        let Sizes { residual, channels, samples, hop, .. } = sizes;
        let (previous_gradient, rest) = pack_gradient.split_at_mut(sizes.taps());
        let (current_gradient, rest) = rest.split_at_mut(sizes.taps());
        let (out_gradient, bias_gradient) = rest.split_at_mut(channels * residual);
        let mut gated_gradient_tile = vec![T::zero(); residual * TILE];
        let mut gated_tile = vec![T::zero(); residual * TILE];
        let mut gate_gradient_tile = vec![T::zero(); 2 * residual * TILE];
        for start in (0..samples).step_by(TILE) {
            let length = TILE.min(samples - start);
            let end = start + length;
            let gated_gradient = &mut gated_gradient_tile[..residual * length];
            let gated = &mut gated_tile[..residual * length];
            let gate_gradients = &mut gate_gradient_tile[..2 * residual * length];

            multiply(
                (residual, channels, length),
                ViewMut::rows(gated_gradient, length),
                Put::Set,
                View::rows(&weights.out, residual).transposed(),
                View::rows(&gradient[start..], samples),
            );
            let (tanh_gradients, sigmoid_gradients) = gate_gradients.split_at_mut(residual * length);
            for channel in 0..residual {
                let tile = channel * length..(channel + 1) * length;
                gate_gradient(
                    &gates[channel * samples + start..][..length],
                    &gates[(residual + channel) * samples + start..][..length],
                    &gated_gradient[tile.clone()],
                    &mut tanh_gradients[tile.clone()],
                    &mut sigmoid_gradients[tile.clone()],
                    &mut gated[tile],
                );
            }
            let gate_gradients = &*gate_gradients;

            multiply(
                (channels, length, residual),
                ViewMut::rows(out_gradient, residual),
                Put::Add,
                View::rows(&gradient[start..], samples),
                View::rows(gated, length).transposed(),
            );
            for (channel, bias_gradient) in bias_gradient.iter_mut().enumerate() {
                add_sum(bias_gradient, &gradient[channel * samples + start..][..length]);
            }
            for (frame, first, last) in hop_runs(start, end, hop) {
                let biases = &mut condition_gradient[2 * residual * frame..][..2 * residual];
                for (row, bias) in gate_gradients.chunks_exact(length).zip(biases) {
                    add_sum(bias, &row[first - start..last - start]);
                }
            }
            multiply(
                (2 * residual, length, residual),
                ViewMut::rows(current_gradient, residual),
                Put::Add,
                View::rows(gate_gradients, length),
                View::rows(&state[start..], samples).transposed(),
            );

            for channel in 0..channels {
                let at = channel * samples + start..channel * samples + end;
                state_gradient[at.clone()].copy_from_slice(&gradient[at]);
            }
            multiply(
                (residual, 2 * residual, length),
                ViewMut::rows(&mut state_gradient[start..], samples),
                Put::Add,
                View::rows(weights.current, residual).transposed(),
                View::rows(gate_gradients, length),
            );
            let without = self.dilation.saturating_sub(start).min(length);
            if without < length {
                let earlier = start + without - self.dilation;
                multiply(
                    (2 * residual, length - without, residual),
                    ViewMut::rows(previous_gradient, residual),
                    Put::Add,
                    View::rows(&gate_gradients[without..], length),
                    View::rows(&state[earlier..], samples).transposed(),
                );
                // What this reaches back to has been written: tiles go forward in time.
                multiply(
                    (residual, 2 * residual, length - without),
                    ViewMut::rows(&mut state_gradient[earlier..], samples),
                    Put::Add,
                    View::rows(weights.previous, residual).transposed(),
                    View::rows(&gate_gradients[without..], length),
                );
            }
        }
    }
}

impl CustomOp3 for GatedLayer {
    fn name(&self) -> &'static str {
        "gated-layer"
    }

    fn cpu_fwd(
        &self,
        state: &CpuStorage,
        state_layout: &Layout,
        condition: &CpuStorage,
        condition_layout: &Layout,
        pack: &CpuStorage,
        pack_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(state_layout.shape(), condition_layout.shape(), pack_layout.shape())?;
        let dtype = candle_core::backend::BackendStorage::dtype(state);
        with_real!(dtype, T => {
            let (next, gates) = self.forward::<T>(
                sizes,
                values(state, state_layout)?,
                values(condition, condition_layout)?,
                values(pack, pack_layout)?,
            );
            if let Some(gates) = gates {
                // A second forward pass of the same operation would compute the same.
                let _ = self.gates.set(<T as candle_core::WithDType>::to_cpu_storage_owned(gates));
            }
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(next), state_layout.shape().clone()))
        })
    }

    fn bwd(
        &self,
        state: &Tensor,
        condition: &Tensor,
        pack: &Tensor,
        _next: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(state.shape(), condition.shape(), pack.shape())?;
        let Some(gates) = self.gates.get() else {
            candle_core::bail!("gated layer: backward before forward");
        };
        with_real!(state.dtype(), T => {
            let gates = gates.as_slice::<T>()?;
            let (state_gradient, condition_gradient, pack_gradient) =
                with_values([state, pack, gradient], |[state, pack, gradient]| {
                    Ok(self.backward::<T>(sizes, state, pack, gates, gradient))
                })?;
            Ok((
                Some(Tensor::from_vec(state_gradient, state.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(condition_gradient, condition.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(pack_gradient, pack.shape(), &Device::Cpu)?),
            ))
        })
    }
}
