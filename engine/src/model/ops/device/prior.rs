//! The linear prior: weighted sums of constant signals, and taps of stable predictors.

use candle_core::Result;

use super::{Argument, Machine, Span, number};
use crate::model::ops::basis::Sizes;

/// `(B, T)`. Shapes as of [`frame_basis`](crate::model::ops::frame_basis).
pub(crate) fn frame_basis<M: Machine>(
    machine: &M,
    sizes: Sizes,
    coefficients: Span<'_>,
    basis: Span<'_>,
) -> Result<M::Memory> {
    let Sizes { batch, size, samples, hop } = sizes;
    let columns = batch * samples;
    let sums = machine.allocate(columns)?;
    let arguments = [
        Argument::Array(coefficients, columns / hop * size),
        Argument::Array(basis, columns * size),
        Argument::Array(machine.span(&sums), columns),
        number(columns),
        number(size),
        number(hop),
    ];
    machine.launch_warps("falsetto_frame_basis", columns, &arguments)?;
    Ok(sums)
}

/// The gradient of the coefficients.
pub(crate) fn frame_basis_gradient<M: Machine>(
    machine: &M,
    sizes: Sizes,
    basis: Span<'_>,
    gradient: Span<'_>,
) -> Result<M::Memory> {
    let Sizes { batch, size, samples, hop } = sizes;
    let (columns, hops) = (batch * samples, batch * samples / hop);
    let weights = machine.allocate(hops * size)?;
    let arguments = [
        Argument::Array(gradient, columns),
        Argument::Array(basis, columns * size),
        Argument::Array(machine.span(&weights), hops * size),
        number(hops),
        number(size),
        number(hop),
    ];
    machine.launch("falsetto_frame_basis_gradient", hops * size, &arguments)?;
    Ok(weights)
}

/// Taps `(rows, size)` of `raw` numbers.
pub(crate) fn reflection<M: Machine>(
    machine: &M,
    (rows, size): (usize, usize),
    raw: Span<'_>,
) -> Result<M::Memory> {
    let orders = machine.allocate(size * size * rows)?;
    let taps = machine.allocate(rows * size)?;
    let arguments = [
        Argument::Array(raw, rows * size),
        Argument::Array(machine.span(&orders), size * size * rows),
        Argument::Array(machine.span(&taps), rows * size),
        number(rows),
        number(size),
    ];
    machine.launch("falsetto_reflection", rows, &arguments)?;
    Ok(taps)
}

/// The gradient of the raw numbers.
pub(crate) fn reflection_gradient<M: Machine>(
    machine: &M,
    (rows, size): (usize, usize),
    raw: Span<'_>,
    gradient: Span<'_>,
) -> Result<M::Memory> {
    let orders = machine.allocate(size * size * rows)?;
    let above = machine.allocate(2 * size * rows)?;
    let raw_gradient = machine.allocate(rows * size)?;
    let arguments = [
        Argument::Array(raw, rows * size),
        Argument::Array(machine.span(&orders), size * size * rows),
        Argument::Array(gradient, rows * size),
        Argument::Array(machine.span(&above), 2 * size * rows),
        Argument::Array(machine.span(&raw_gradient), rows * size),
        number(rows),
        number(size),
    ];
    machine.launch("falsetto_reflection_gradient", rows, &arguments)?;
    Ok(raw_gradient)
}
