//! The stack of dilated gated layers.

use std::any::Any;
use std::sync::OnceLock;

#[cfg(feature = "train-cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "train-cuda")]
use super::device::{
    card::{Card, Memory, with_spans},
    layers as on_card,
};
use super::host::{check_length, hop_runs, hop_samples, sum_in_order, values, with_real, with_values};
use super::matrix::{Put, View, ViewMut, multiply, transpose};
use super::real::{Real, Scratch, add_sum, gate, gate_gradient, offset_copy};

/// Samples that are taken through a whole layer at a time, so that what lies between its products stays in the
/// core's own cache.
const TILE: usize = 256;

/// One gated layer of the decoder: [`gated_stack`] of a single dilation.
///
/// # Errors
/// As [`gated_stack`].
pub fn gated_layer(state: &Tensor, condition: &Tensor, pack: &Tensor, dilation: usize) -> Result<Tensor> {
    gated_stack(state, condition, pack, &[dilation])
}

/// The `L` gated layers of the decoder on whole segments, one for each dilation. `state (B, R+S, T)` holds the
/// residual path in its first `R` channels and the sum of skips in the other `S`; `condition (B, F, 2RL)` holds the
/// layers' gate biases in each hop, one layer after the other (`T = F * hop`); `pack` holds, for one layer after the
/// other, `previous (2R, R)`, `current (2R, R)`, `residual.weight (R, R)`, `residual.bias (R)`,
/// `skip.weight (S, R)`. Returns the state after the last layer. What lies before a segment is zero.
///
/// One operation for all layers because candle's own bookkeeping between two operations (clear a gradient, add to it)
/// costs about a quarter of a layer.
///
/// # Errors
/// Shapes that do not fit each other, or tensors that are not f32 or f64 on the CPU.
pub fn gated_stack(state: &Tensor, condition: &Tensor, pack: &Tensor, dilations: &[usize]) -> Result<Tensor> {
    let tracked = state.track_op() || condition.track_op() || pack.track_op();
    let op = GatedStack { dilations: dilations.to_vec(), tracked, kept: OnceLock::new() };
    state.contiguous()?.apply_op3(&condition.contiguous()?, &pack.contiguous()?, op)
}

struct GatedStack {
    dilations: Vec<usize>,
    /// Whether a backward pass may follow.
    tracked: bool,
    /// A [`Scratch`] with, for each item, the inputs `(R, T)` of all layers but the first and both halves `(2R, T)` of
    /// all gates, kept from the forward pass: less memory traffic than it takes to compute them again. On a card it is what the
    /// operation keeps there.
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) layers: usize,
    pub(super) residual: usize,
    pub(super) skip: usize,
    pub(super) samples: usize,
    pub(super) frames: usize,
    pub(super) hop: usize,
}

impl Sizes {
    pub(super) fn of(layers: usize, state: &Shape, condition: &Shape, pack: &Shape) -> Result<Self> {
        let (batch, channels, samples) = state.dims3()?;
        let (condition_batch, frames, biases) = condition.dims3()?;
        let residual = biases / (2 * layers).max(1);
        if condition_batch != batch
            || residual * 2 * layers != biases
            || residual == 0
            || residual >= channels
        {
            candle_core::bail!(
                "gated layers: state {state:?} and condition {condition:?} do not fit {layers} layers"
            )
        }
        let hop = hop_samples("gated layers", samples, frames)?;
        let sizes = Self { batch, layers, residual, skip: channels - residual, samples, frames, hop };
        check_length("gated layers", "the pack of weights", pack.elem_count(), layers * sizes.pack())?;
        Ok(sizes)
    }

    /// Values of one item's state.
    fn state(self) -> usize {
        (self.residual + self.skip) * self.samples
    }

    /// Values of one item's residual path.
    fn path(self) -> usize {
        self.residual * self.samples
    }

    /// Values of one item's condition.
    fn condition(self) -> usize {
        2 * self.residual * self.layers * self.frames
    }

    /// Values of one item's kept inputs and gates; without gates where no backward pass follows.
    fn kept(self, with_gates: bool) -> usize {
        (self.layers - 1) * self.path() + if with_gates { 2 * self.layers * self.path() } else { 0 }
    }

    /// Values of one layer's pack.
    pub(super) fn pack(self) -> usize {
        self.residual * (5 * self.residual + 1 + self.skip)
    }

    /// Where a layer's biases of one hop start in an item's condition.
    fn biases(self, layer: usize, frame: usize) -> usize {
        2 * self.residual * (frame * self.layers + layer)
    }
}

/// One layer's pack, split up.
struct Weights<'a, T> {
    previous: &'a [T],
    current: &'a [T],
    residual: &'a [T],
    residual_bias: &'a [T],
    skip: &'a [T],
}

impl<'a, T> Weights<'a, T> {
    fn of(sizes: Sizes, pack: &'a [T], layer: usize) -> Self {
        let square = sizes.residual * sizes.residual;
        let (previous, rest) = pack[layer * sizes.pack()..][..sizes.pack()].split_at(2 * square);
        let (current, rest) = rest.split_at(2 * square);
        let (residual, rest) = rest.split_at(square);
        let (residual_bias, skip) = rest.split_at(sizes.residual);
        Self { previous, current, residual, residual_bias, skip }
    }
}

/// One layer's share of the gradient of the pack, split up.
struct WeightGradients<'a, T> {
    previous: &'a mut [T],
    current: &'a mut [T],
    residual: &'a mut [T],
    residual_bias: &'a mut [T],
    skip: &'a mut [T],
}

impl<'a, T> WeightGradients<'a, T> {
    fn of(sizes: Sizes, pack: &'a mut [T], layer: usize) -> Self {
        let square = sizes.residual * sizes.residual;
        let (previous, rest) = pack[layer * sizes.pack()..][..sizes.pack()].split_at_mut(2 * square);
        let (current, rest) = rest.split_at_mut(2 * square);
        let (residual, rest) = rest.split_at_mut(square);
        let (residual_bias, skip) = rest.split_at_mut(sizes.residual);
        Self { previous, current, residual, residual_bias, skip }
    }
}

/// A stretch of time that is taken through a layer at once.
#[derive(Clone, Copy)]
struct Tile {
    start: usize,
    length: usize,
    /// How many of its samples have no sample one dilation earlier in the segment.
    without: usize,
    /// Where the others' earlier samples start.
    earlier: usize,
}

impl Tile {
    fn all(samples: usize, dilation: usize) -> impl Iterator<Item = Self> {
        (0..samples).step_by(TILE).map(move |start| {
            let length = TILE.min(samples - start);
            let without = dilation.saturating_sub(start).min(length);
            Self { start, length, without, earlier: (start + without).saturating_sub(dilation) }
        })
    }

    fn end(self) -> usize {
        self.start + self.length
    }

    /// How many of its samples have an earlier one.
    fn with(self) -> usize {
        self.length - self.without
    }
}

impl GatedStack {
    /// The next state, and what a backward pass needs.
    fn forward<T: Real>(
        &self,
        sizes: Sizes,
        state: &[T],
        condition: &[T],
        pack: &[T],
    ) -> (Vec<T>, Scratch<T>) {
        let mut next = state.to_vec();
        let mut kept = Scratch::take(sizes.batch * sizes.kept(self.tracked));
        // A single layer without gates keeps nothing: then every item takes an empty part.
        let part = sizes.kept(self.tracked);
        let mut parts: Vec<&mut [T]> = if part == 0 {
            (0..sizes.batch).map(|_| &mut [][..]).collect()
        } else {
            kept.values_mut().chunks_exact_mut(part).collect()
        };
        state
            .par_chunks_exact(sizes.state())
            .zip(condition.par_chunks_exact(sizes.condition()))
            .zip(next.par_chunks_exact_mut(sizes.state()))
            .zip(&mut parts)
            .for_each(|(((state, condition), next), kept)| {
                self.forward_item(sizes, (state, condition, pack), next, kept);
            });
        (next, kept)
    }

    fn forward_item<T: Real>(
        &self,
        sizes: Sizes,
        (state, condition, pack): (&[T], &[T], &[T]),
        next: &mut [T],
        kept: &mut [T],
    ) {
        let (path, skip) = next.split_at_mut(sizes.path());
        let (inputs, mut gates) = kept.split_at_mut((sizes.layers - 1) * sizes.path());
        let mut scratch = vec![T::zero(); 3 * sizes.residual * TILE];
        for (layer, &dilation) in self.dilations.iter().enumerate() {
            let weights = Weights::of(sizes, pack, layer);
            // Layer 0 reads the state, the last one writes the result, the others go through what is kept.
            let (before, after) = inputs.split_at_mut(layer * sizes.path());
            let input = if layer == 0 { state } else { &before[(layer - 1) * sizes.path()..] };
            let output = if layer + 1 == sizes.layers { &mut *path } else { &mut after[..sizes.path()] };
            let kept_gates = if self.tracked {
                let (these, rest) = gates.split_at_mut(2 * sizes.path());
                gates = rest;
                Some(these)
            } else {
                None
            };
            let biases = |frame| &condition[sizes.biases(layer, frame)..][..2 * sizes.residual];
            forward_layer(
                sizes,
                dilation,
                (&input[..sizes.path()], biases, &weights),
                (output, skip, kept_gates),
                &mut scratch,
            );
        }
    }

    /// The gradients of state, condition and pack.
    fn backward<T: Real>(
        &self,
        sizes: Sizes,
        state: &[T],
        pack: &[T],
        kept: &[T],
        gradient: &[T],
    ) -> (Vec<T>, Vec<T>, Vec<T>) {
        let mut state_gradient = gradient.to_vec();
        let mut condition_gradient = vec![T::zero(); sizes.batch * sizes.condition()];
        let pack_length = sizes.layers * sizes.pack();
        let mut partials = vec![T::zero(); sizes.batch * pack_length];
        state
            .par_chunks_exact(sizes.state())
            .zip(kept.par_chunks_exact(sizes.kept(true)))
            .zip(state_gradient.par_chunks_exact_mut(sizes.state()))
            .zip(condition_gradient.par_chunks_exact_mut(sizes.condition()))
            .zip(partials.par_chunks_exact_mut(pack_length))
            .for_each(|((((state, kept), gradient), condition_gradient), pack_gradient)| {
                self.backward_item(sizes, (state, kept, pack), gradient, condition_gradient, pack_gradient);
            });
        (state_gradient, condition_gradient, sum_in_order(&partials, pack_length))
    }

    fn backward_item<T: Real>(
        &self,
        sizes: Sizes,
        (state, kept, pack): (&[T], &[T], &[T]),
        gradient: &mut [T],
        condition_gradient: &mut [T],
        pack_gradient: &mut [T],
    ) {
        let (path, skip) = gradient.split_at_mut(sizes.path());
        let (inputs, gates) = kept.split_at((sizes.layers - 1) * sizes.path());
        let mut scratch = vec![T::zero(); 5 * sizes.residual * TILE + sizes.path()];
        for (layer, &dilation) in self.dilations.iter().enumerate().rev() {
            let input = if layer == 0 { state } else { &inputs[(layer - 1) * sizes.path()..] };
            let layer_gates = &gates[2 * layer * sizes.path()..][..2 * sizes.path()];
            let weights = Weights::of(sizes, pack, layer);
            let mut weight_gradients = WeightGradients::of(sizes, pack_gradient, layer);
            let bias_gradients = |frame: usize, row: usize, values: &[T]| {
                add_sum(&mut condition_gradient[sizes.biases(layer, frame) + row], values);
            };
            backward_layer(
                sizes,
                dilation,
                (&input[..sizes.path()], layer_gates, &weights, skip),
                (path, bias_gradients, &mut weight_gradients),
                &mut scratch,
            );
        }
    }
}

/// One layer of one item: `output` becomes the residual path behind it, `skip` grows by its part.
fn forward_layer<'a, T: Real>(
    sizes: Sizes,
    dilation: usize,
    (input, biases, weights): (&[T], impl Fn(usize) -> &'a [T], &Weights<'_, T>),
    (output, skip, mut kept_gates): (&mut [T], &mut [T], Option<&mut [T]>),
    scratch: &mut [T],
) {
    let Sizes { residual, samples, .. } = sizes;
    for tile in Tile::all(samples, dilation) {
        let Tile { start, length, without, earlier } = tile;
        let (gates, gated) = scratch[..3 * residual * length].split_at_mut(2 * residual * length);
        for (frame, first, last) in hop_runs(start, tile.end(), sizes.hop) {
            for (row, &bias) in gates.chunks_exact_mut(length).zip(biases(frame)) {
                row[first - start..last - start].fill(bias);
            }
        }
        multiply(
            (2 * residual, residual, length),
            ViewMut::rows(gates, length),
            Put::Add,
            View::rows(weights.current, residual),
            View::rows(&input[start..], samples),
        );
        if tile.with() > 0 {
            multiply(
                (2 * residual, residual, tile.with()),
                ViewMut::rows(&mut gates[without..], length),
                Put::Add,
                View::rows(weights.previous, residual),
                View::rows(&input[earlier..], samples),
            );
        }
        let (tanh, sigmoid) = gates.split_at_mut(residual * length);
        gate(tanh, sigmoid, gated);
        for (channel, &bias) in weights.residual_bias.iter().enumerate() {
            let at = channel * samples + start..channel * samples + tile.end();
            offset_copy(&mut output[at.clone()], &input[at], bias);
        }
        for (rows, weight, target) in
            [(residual, weights.residual, &mut *output), (sizes.skip, weights.skip, &mut *skip)]
        {
            multiply(
                (rows, residual, length),
                ViewMut::rows(&mut target[start..], samples),
                Put::Add,
                View::rows(weight, residual),
                View::rows(gated, length),
            );
        }
        if let Some(kept_gates) = kept_gates.as_deref_mut() {
            for (kept, row) in kept_gates.chunks_exact_mut(samples).zip(gates.chunks_exact(length)) {
                kept[start..tile.end()].copy_from_slice(row);
            }
        }
    }
}

/// Gradients of one layer of one item: `path` holds the gradient of the residual path behind the layer and becomes
/// the one before it; `add_to_bias(hop, row, values)` takes the gradients that add up to a bias's.
fn backward_layer<T: Real>(
    sizes: Sizes,
    dilation: usize,
    (input, gates, weights, skip): (&[T], &[T], &Weights<'_, T>, &[T]),
    (path, mut add_to_bias, gradients): (
        &mut [T],
        impl FnMut(usize, usize, &[T]),
        &mut WeightGradients<'_, T>,
    ),
    scratch: &mut [T],
) {
    let Sizes { residual, samples, .. } = sizes;
    // The layer's input with time first, filled tile by tile.
    let (input_by_time, scratch) = scratch.split_at_mut(sizes.path());
    for tile in Tile::all(samples, dilation) {
        let Tile { start, length, without, earlier } = tile;
        let (gate_gradients, rest) = scratch.split_at_mut(2 * residual * length);
        let (gated_gradient, rest) = rest.split_at_mut(residual * length);
        let (gated, rest) = rest.split_at_mut(residual * length);
        let gated_by_time = &mut rest[..residual * length];

        multiply(
            (residual, residual, length),
            ViewMut::rows(gated_gradient, length),
            Put::Set,
            View::rows(weights.residual, residual).transposed(),
            View::rows(&path[start..], samples),
        );
        multiply(
            (residual, sizes.skip, length),
            ViewMut::rows(gated_gradient, length),
            Put::Add,
            View::rows(weights.skip, residual).transposed(),
            View::rows(&skip[start..], samples),
        );
        let (tanh_gradients, sigmoid_gradients) = gate_gradients.split_at_mut(residual * length);
        for channel in 0..residual {
            let at = channel * length..(channel + 1) * length;
            gate_gradient(
                &gates[channel * samples + start..][..length],
                &gates[(residual + channel) * samples + start..][..length],
                &gated_gradient[at.clone()],
                &mut tanh_gradients[at.clone()],
                &mut sigmoid_gradients[at.clone()],
                &mut gated[at],
            );
        }
        let gate_gradients = &*gate_gradients;

        transpose(gated, length, (residual, length), gated_by_time);
        for (rows, source, target) in
            [(residual, &*path, &mut *gradients.residual), (sizes.skip, skip, &mut *gradients.skip)]
        {
            multiply(
                (rows, length, residual),
                ViewMut::rows(target, residual),
                Put::Add,
                View::rows(&source[start..], samples),
                View::rows(gated_by_time, residual),
            );
        }
        for (bias, row) in gradients.residual_bias.iter_mut().zip(path.chunks_exact(samples)) {
            add_sum(bias, &row[start..tile.end()]);
        }
        for (frame, first, last) in hop_runs(start, tile.end(), sizes.hop) {
            for (row, values) in gate_gradients.chunks_exact(length).enumerate() {
                add_to_bias(frame, row, &values[first - start..last - start]);
            }
        }
        transpose(
            &input[start..],
            samples,
            (residual, length),
            &mut input_by_time[start * residual..tile.end() * residual],
        );
        multiply(
            (2 * residual, length, residual),
            ViewMut::rows(gradients.current, residual),
            Put::Add,
            View::rows(gate_gradients, length),
            View::rows(&input_by_time[start * residual..], residual),
        );
        // The path's gradient behind this tile is used up: from here on it is the one before the layer. What a tile
        // reaches back to lies in itself or in tiles before it.
        multiply(
            (residual, 2 * residual, length),
            ViewMut::rows(&mut path[start..], samples),
            Put::Add,
            View::rows(weights.current, residual).transposed(),
            View::rows(gate_gradients, length),
        );
        if tile.with() > 0 {
            multiply(
                (2 * residual, tile.with(), residual),
                ViewMut::rows(gradients.previous, residual),
                Put::Add,
                View::rows(&gate_gradients[without..], length),
                View::rows(&input_by_time[earlier * residual..], residual),
            );
            multiply(
                (residual, 2 * residual, tile.with()),
                ViewMut::rows(&mut path[earlier..], samples),
                Put::Add,
                View::rows(weights.previous, residual).transposed(),
                View::rows(&gate_gradients[without..], length),
            );
        }
    }
}

impl CustomOp3 for GatedStack {
    fn name(&self) -> &'static str {
        "gated-stack"
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
        let layers = self.dilations.len();
        let sizes = Sizes::of(layers, state_layout.shape(), condition_layout.shape(), pack_layout.shape())?;
        let dtype = candle_core::backend::BackendStorage::dtype(state);
        with_real!(dtype, T => {
            let (next, kept) = self.forward::<T>(
                sizes,
                values(state, state_layout)?,
                values(condition, condition_layout)?,
                values(pack, pack_layout)?,
            );
            if self.tracked {
                // A second forward pass of the same operation would compute the same.
                let _ = self.kept.set(Box::new(kept));
            }
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(next), state_layout.shape().clone()))
        })
    }

    #[cfg(feature = "train-cuda")]
    fn cuda_fwd(
        &self,
        state: &CudaStorage,
        state_layout: &Layout,
        condition: &CudaStorage,
        condition_layout: &Layout,
        pack: &CudaStorage,
        pack_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let layers = self.dilations.len();
        let sizes = Sizes::of(layers, state_layout.shape(), condition_layout.shape(), pack_layout.shape())?;
        let card = Card::of(state);
        let inputs = (
            card.values(state, state_layout)?,
            card.values(condition, condition_layout)?,
            card.values(pack, pack_layout)?,
        );
        let (next, kept) = on_card::forward(&card, sizes, &self.dilations, inputs, self.tracked)?;
        if let Some(kept) = kept {
            let _ = self.kept.set(Box::new(kept));
        }
        Ok((card.storage(next), state_layout.shape().clone()))
    }

    fn bwd(
        &self,
        state: &Tensor,
        condition: &Tensor,
        pack: &Tensor,
        _next: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(self.dilations.len(), state.shape(), condition.shape(), pack.shape())?;
        #[cfg(feature = "train-cuda")]
        if state.device().is_cuda() {
            let Some(kept) = self.kept.get().and_then(|kept| kept.downcast_ref::<on_card::Kept<Memory>>())
            else {
                candle_core::bail!("gated layers: backward before forward");
            };
            return with_spans([gradient], |card, [gradient]| {
                let [of_state, of_condition, of_pack] =
                    on_card::backward(card, sizes, &self.dilations, kept, gradient)?;
                Ok((
                    Some(card.tensor(of_state, state.shape())),
                    Some(card.tensor(of_condition, condition.shape())),
                    Some(card.tensor(of_pack, pack.shape())),
                ))
            });
        }
        with_real!(state.dtype(), T => {
            let Some(kept) = self.kept.get().and_then(|kept| kept.downcast_ref::<Scratch<T>>()) else {
                candle_core::bail!("gated layers: backward before forward");
            };
            let (state_gradient, condition_gradient, pack_gradient) =
                with_values([state, pack, gradient], |[state, pack, gradient]| {
                    Ok(self.backward::<T>(sizes, state, pack, kept.values(), gradient))
                })?;
            Ok((
                Some(Tensor::from_vec(state_gradient, state.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(condition_gradient, condition.shape(), &Device::Cpu)?),
                Some(Tensor::from_vec(pack_gradient, pack.shape(), &Device::Cpu)?),
            ))
        })
    }
}
