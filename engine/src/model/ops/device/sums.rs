//! Sums over all columns, in parts: one product over all of them would keep few of a card's multiprocessors busy.

use candle_core::Result;

use super::{Argument, Machine, Matrices, Span, number};
use crate::model::ops::matrix::Put;

/// Columns of a part: at most so many, and no fewer than half of it where that leaves no rest.
const MOST: usize = 1024;

/// How many columns a part has.
pub(super) fn part_columns(columns: usize) -> usize {
    let without_rest = (MOST / 2..=MOST).rev().find(|&part| columns.is_multiple_of(part));
    without_rest.unwrap_or(MOST).min(columns.max(1))
}

/// How many parts there are.
pub(super) fn parts(columns: usize) -> usize {
    columns.div_ceil(part_columns(columns))
}

/// `partials (parts, rows, others)` of the sum over all columns of `left (rows, columns)` times `right (columns, others)`.
pub(super) fn partial_products<M: Machine>(
    machine: &M,
    (rows, columns, others): (usize, usize, usize),
    partials: Span<'_>,
    left: Matrices<'_>,
    right: Matrices<'_>,
) -> Result<()> {
    let part = part_columns(columns);
    let whole = columns / part;
    let (left, right) = (left.apart(part * left.column), right.apart(part * right.row));
    let target = Matrices::rows(partials, others).apart(rows * others);
    machine.multiply_all(whole, (rows, part, others), target, Put::Set, left, right)?;
    let done = whole * part;
    if done == columns {
        return Ok(());
    }
    machine.multiply(
        (rows, columns - done, others),
        Matrices { span: partials.from(whole * rows * others), ..target },
        Put::Set,
        Matrices { span: left.span.from(done * left.column), ..left },
        Matrices { span: right.span.from(done * right.row), ..right },
    )
}

/// `target (length)`: the sum of `partials (parts, length)`, first to last.
pub(super) fn sum_parts<M: Machine>(
    machine: &M,
    partials: Span<'_>,
    parts: usize,
    length: usize,
    target: Span<'_>,
) -> Result<()> {
    let arguments = [
        Argument::Array(partials, parts * length),
        Argument::Array(target, length),
        number(parts),
        number(length),
    ];
    machine.launch("falsetto_sum_parts", length, &arguments)
}

/// `target (rows, others)`: the product of `left (rows, columns)` and `right (columns, others)` over all columns.
pub(super) fn product_over_columns<M: Machine>(
    machine: &M,
    (rows, columns, others): (usize, usize, usize),
    target: Span<'_>,
    left: Matrices<'_>,
    right: Matrices<'_>,
) -> Result<()> {
    let partials = machine.allocate(parts(columns) * rows * others)?;
    let partials = machine.span(&partials);
    partial_products(machine, (rows, columns, others), partials, left, right)?;
    sum_parts(machine, partials, parts(columns), rows * others, target)
}

/// `target (rows)`: the sums of `source (rows, columns)`.
pub(super) fn row_sums<M: Machine>(
    machine: &M,
    source: Span<'_>,
    rows: usize,
    columns: usize,
    target: Span<'_>,
) -> Result<()> {
    let partials = machine.allocate(parts(columns) * rows)?;
    let partials = machine.span(&partials);
    parts_of_rows(machine, source, rows, columns, part_columns(columns), partials)?;
    sum_parts(machine, partials, parts(columns), rows, target)
}

/// `sums (parts, rows)`: those of each `part` columns of `source (rows, columns)`.
pub(super) fn parts_of_rows<M: Machine>(
    machine: &M,
    source: Span<'_>,
    rows: usize,
    columns: usize,
    part: usize,
    sums: Span<'_>,
) -> Result<()> {
    let parts = columns.div_ceil(part);
    let arguments = [
        Argument::Array(source, rows * columns),
        Argument::Array(sums, parts * rows),
        number(rows),
        number(columns),
        number(part),
    ];
    machine.launch_warps("falsetto_row_sums", rows * parts, &arguments)
}

/// `source (outer, inner, length)` to `target (inner, outer, length)`.
pub(super) fn swap<M: Machine>(
    machine: &M,
    source: Span<'_>,
    target: Span<'_>,
    (outer, inner, length): (usize, usize, usize),
) -> Result<()> {
    let values = outer * inner * length;
    let arguments = [
        Argument::Array(source, values),
        Argument::Array(target, values),
        number(outer),
        number(inner),
        number(length),
    ];
    machine.launch("falsetto_swap", values, &arguments)
}
