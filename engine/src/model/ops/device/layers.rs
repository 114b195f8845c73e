//! The stack of gated layers.
//!
//! A layer is two products in, `taps` by the weights of both taps, and one out, `gated` by those of residual and skip, with a
//! kernel between them and one before.

use candle_core::Result;

use super::sums::{partial_products, parts, swap};
use super::{Argument, Machine, Matrices, Span, number};
use crate::model::ops::layer::Sizes;
use crate::model::ops::matrix::Put;

/// What a backward pass needs.
pub(crate) struct Kept<Memory> {
    weights: Weights<Memory>,
    /// Each layer's taps `(2R, columns)` and halves of gates `(2R, columns)`.
    layers: Vec<(Memory, Memory)>,
}

/// Weights as the products take them.
struct Weights<Memory> {
    /// `(L, 2R, 2R)`, `(L, R+S, R)`, and the sums of the biases before each layer `(L+1, R)`.
    taps: Memory,
    out: Memory,
    biases: Memory,
}

impl<Memory> Weights<Memory> {
    fn of<M: Machine<Memory = Memory>>(machine: &M, sizes: Sizes, pack: Span<'_>) -> Result<Self> {
        let Sizes { layers, residual, skip, .. } = sizes;
        let weights = Self {
            taps: machine.allocate(layers * sizes.taps_weights())?,
            out: machine.allocate(layers * sizes.out_weights())?,
            biases: machine.allocate((layers + 1) * residual)?,
        };
        let arguments = [
            Argument::Array(pack, layers * sizes.pack()),
            Argument::Array(machine.span(&weights.taps), layers * sizes.taps_weights()),
            Argument::Array(machine.span(&weights.out), layers * sizes.out_weights()),
            Argument::Array(machine.span(&weights.biases), (layers + 1) * residual),
            number(layers),
            number(residual),
            number(skip),
        ];
        machine.launch("falsetto_layer_weights", layers * sizes.taps_weights(), &arguments)?;
        Ok(weights)
    }

    /// Those of both taps and of the way out of a layer.
    fn layer<'a, M: Machine<Memory = Memory>>(
        &'a self,
        machine: &M,
        sizes: Sizes,
        layer: usize,
    ) -> (Matrices<'a>, Matrices<'a>) {
        let taps = machine.span(&self.taps).from(layer * sizes.taps_weights());
        let out = machine.span(&self.out).from(layer * sizes.out_weights());
        (Matrices::rows(taps, 2 * sizes.residual), Matrices::rows(out, sizes.residual))
    }
}

impl Sizes {
    /// Samples of all segments.
    fn columns(self) -> usize {
        self.batch * self.samples
    }

    fn hops(self) -> usize {
        self.batch * self.frames
    }

    fn channels(self) -> usize {
        self.residual + self.skip
    }

    fn taps_weights(self) -> usize {
        4 * self.residual * self.residual
    }

    fn out_weights(self) -> usize {
        self.channels() * self.residual
    }

    /// Gate biases of one hop.
    fn width(self) -> usize {
        2 * self.residual * self.layers
    }
}

/// A state, and what a backward pass needs if one may follow.
type Stacked<Memory> = (Memory, Option<Kept<Memory>>);

/// The state after the last layer; a backward pass may follow if it `is_tracked`. Shapes as of
/// [`gated_stack`](crate::model::ops::gated_stack).
pub(crate) fn forward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    dilations: &[usize],
    (state, condition, pack): (Span<'_>, Span<'_>, Span<'_>),
    is_tracked: bool,
) -> Result<Stacked<M::Memory>> {
    let Sizes { batch, residual, samples, hop, .. } = sizes;
    let (columns, channels) = (sizes.columns(), sizes.channels());
    let weights = Weights::of(machine, sizes, pack)?;
    let biases = machine.span(&weights.biases);
    let running = machine.allocate(channels * columns)?;
    let running = machine.span(&running);
    swap(machine, state, running, (batch, channels, samples))?;
    let gated = machine.allocate(residual * columns)?;
    let gated = machine.span(&gated);
    let mut layers = Vec::new();
    for (layer, &dilation) in dilations.iter().enumerate() {
        // Without a backward pass one layer's room does for all.
        let room = if is_tracked { None } else { layers.pop() };
        let (taps_memory, gates_memory) = match room {
            Some(room) => room,
            None => (machine.allocate(2 * residual * columns)?, machine.allocate(2 * residual * columns)?),
        };
        let (taps, gates) = (machine.span(&taps_memory), machine.span(&gates_memory));
        let (taps_weights, out_weights) = weights.layer(machine, sizes, layer);
        let arguments = [
            Argument::Array(running, residual * columns),
            Argument::Array(biases.from(layer * residual), residual),
            Argument::Array(taps, 2 * residual * columns),
            number(residual),
            number(columns),
            number(samples),
            number(dilation.min(samples)),
        ];
        machine.launch("falsetto_taps", residual * columns, &arguments)?;
        machine.multiply(
            (2 * residual, 2 * residual, columns),
            Matrices::rows(gates, columns),
            Put::Set,
            taps_weights,
            Matrices::rows(taps, columns),
        )?;
        let layer_condition = condition.from(2 * residual * layer);
        let arguments = [
            Argument::Array(gates, 2 * residual * columns),
            Argument::Array(layer_condition, (sizes.hops() - 1) * sizes.width() + 2 * residual),
            Argument::Array(gated, residual * columns),
            number(residual),
            number(columns),
            number(hop),
            number(sizes.width()),
        ];
        machine.launch("falsetto_gate", residual * columns, &arguments)?;
        machine.multiply(
            (channels, residual, columns),
            Matrices::rows(running, columns),
            Put::Add,
            out_weights,
            Matrices::rows(gated, columns),
        )?;
        layers.push((taps_memory, gates_memory));
    }
    let next = machine.allocate(channels * columns)?;
    let arguments = [
        Argument::Array(running, channels * columns),
        Argument::Array(biases.from(dilations.len() * residual), residual),
        Argument::Array(machine.span(&next), channels * columns),
        number(batch),
        number(residual),
        number(channels),
        number(samples),
    ];
    machine.launch("falsetto_leave_layers", channels * columns, &arguments)?;
    Ok((next, is_tracked.then_some(Kept { weights, layers })))
}

/// The gradients of state, condition and pack.
pub(crate) fn backward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    dilations: &[usize],
    kept: &Kept<M::Memory>,
    gradient: Span<'_>,
) -> Result<[M::Memory; 3]> {
    let Sizes { batch, layers, residual, skip, samples, hop, .. } = sizes;
    let (columns, channels, hops) = (sizes.columns(), sizes.channels(), sizes.hops());
    let parts = parts(columns);
    let condition_gradient = machine.allocate(hops * sizes.width())?;
    let pack_gradient = machine.allocate(layers * sizes.pack())?;
    // Scratch of all layers.
    let [running, gated_gradient, gate_gradients, gated, taps_gradient] = [
        machine.allocate(channels * columns)?,
        machine.allocate(residual * columns)?,
        machine.allocate(2 * residual * columns)?,
        machine.allocate(residual * columns)?,
        machine.allocate(2 * residual * columns)?,
    ];
    let running = machine.span(&running);
    let (gated_gradient, gated) = (machine.span(&gated_gradient), machine.span(&gated));
    let (gate_gradients, taps_gradient) = (machine.span(&gate_gradients), machine.span(&taps_gradient));
    // Sums that are not finished before the last layer is done.
    let taps_partials = machine.allocate(layers * parts * sizes.taps_weights())?;
    let out_partials = machine.allocate(layers * parts * sizes.out_weights())?;
    let bias_sums = machine.allocate(layers * residual * hops)?;
    let (taps_partials, out_partials) = (machine.span(&taps_partials), machine.span(&out_partials));
    let bias_sums = machine.span(&bias_sums);

    swap(machine, gradient, running, (batch, channels, samples))?;
    for (layer, &dilation) in dilations.iter().enumerate().rev() {
        let (taps, gates) = &kept.layers[layer];
        let (taps, gates) = (machine.span(taps), machine.span(gates));
        let (taps_weights, out_weights) = kept.weights.layer(machine, sizes, layer);
        machine.multiply(
            (residual, channels, columns),
            Matrices::rows(gated_gradient, columns),
            Put::Set,
            out_weights.transposed(),
            Matrices::rows(running, columns),
        )?;
        let bias_gradients = machine.span(&condition_gradient).from(2 * residual * layer);
        let arguments = [
            Argument::Array(gates, 2 * residual * columns),
            Argument::Array(gated_gradient, residual * columns),
            Argument::Array(gate_gradients, 2 * residual * columns),
            Argument::Array(gated, residual * columns),
            Argument::Array(bias_gradients, (hops - 1) * sizes.width() + 2 * residual),
            number(residual),
            number(columns),
            number(hop),
            number(sizes.width()),
        ];
        machine.launch_warps("falsetto_gate_gradient", residual * hops, &arguments)?;
        partial_products(
            machine,
            (channels, columns, residual),
            out_partials.from(layer * parts * sizes.out_weights()),
            Matrices::rows(running, columns),
            Matrices::rows(gated, columns).transposed(),
        )?;
        partial_products(
            machine,
            (2 * residual, columns, 2 * residual),
            taps_partials.from(layer * parts * sizes.taps_weights()),
            Matrices::rows(gate_gradients, columns),
            Matrices::rows(taps, columns).transposed(),
        )?;
        machine.multiply(
            (2 * residual, 2 * residual, columns),
            Matrices::rows(taps_gradient, columns),
            Put::Set,
            taps_weights.transposed(),
            Matrices::rows(gate_gradients, columns),
        )?;
        let arguments = [
            Argument::Array(running, residual * columns),
            Argument::Array(taps_gradient, 2 * residual * columns),
            Argument::Array(bias_sums.from(layer * residual * hops), residual * hops),
            number(residual),
            number(columns),
            number(samples),
            number(hop),
            number(dilation.min(samples)),
        ];
        machine.launch_warps("falsetto_path_gradient", residual * hops, &arguments)?;
    }
    let arguments = [
        Argument::Array(taps_partials, layers * parts * sizes.taps_weights()),
        Argument::Array(out_partials, layers * parts * sizes.out_weights()),
        Argument::Array(bias_sums, layers * residual * hops),
        Argument::Array(machine.span(&pack_gradient), layers * sizes.pack()),
        number(layers),
        number(residual),
        number(skip),
        number(parts),
        number(hops),
    ];
    machine.launch("falsetto_layer_weights_gradient", layers * sizes.pack(), &arguments)?;
    let state_gradient = machine.allocate(channels * columns)?;
    swap(machine, running, machine.span(&state_gradient), (channels, batch, samples))?;
    Ok([state_gradient, condition_gradient, pack_gradient])
}
