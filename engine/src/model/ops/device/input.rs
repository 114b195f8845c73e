//! The decoder's input.

use candle_core::Result;

use super::sums::{part_columns, parts, product_over_columns, row_sums, sum_parts, swap};
use super::{Argument, Machine, Matrices, Span, number};
use crate::model::ops::input::InputSizes;
use crate::model::ops::matrix::Put;
use crate::voice::MU_LAW_CODES;

/// What does not change between forward and backward.
pub(crate) struct Constants<Memory> {
    codes: Memory,
    excitation: Memory,
    samples: usize,
}

impl<Memory> Constants<Memory> {
    pub(crate) fn new<M: Machine<Memory = Memory>>(
        machine: &M,
        codes: &[u8],
        excitation: &[f32],
        samples: usize,
    ) -> Result<Self> {
        Ok(Self { codes: machine.upload_bytes(codes)?, excitation: machine.upload(excitation)?, samples })
    }

    fn codes<'a, M: Machine<Memory = Memory>>(&'a self, machine: &M, sizes: InputSizes) -> Argument<'a> {
        Argument::Array(machine.span(&self.codes), (sizes.batch * (self.samples + 2)).div_ceil(4))
    }
}

/// The state `(B, R+S, T)`. Shapes as of [`decoder_input`](crate::model::ops::decoder_input).
pub(crate) fn forward<M: Machine>(
    machine: &M,
    sizes: InputSizes,
    constants: &Constants<M::Memory>,
    pack: Span<'_>,
) -> Result<M::Memory> {
    let InputSizes { batch, residual, skip, excitation: features } = sizes;
    let (samples, channels) = (constants.samples, residual + skip);
    let state = machine.allocate(batch * channels * samples)?;
    let span = machine.span(&state);
    let arguments = [
        Argument::Array(pack, sizes.pack()),
        constants.codes(machine, sizes),
        Argument::Array(span, batch * channels * samples),
        number(batch),
        number(residual),
        number(skip),
        number(samples),
        number(features),
    ];
    machine.launch("falsetto_input", batch * channels * samples, &arguments)?;
    let (_, previous_end, _) = sizes.ends();
    let excitation = machine.span(&constants.excitation);
    machine.multiply_all(
        batch,
        (residual, features, samples),
        Matrices::rows(span, samples).apart(channels * samples),
        Put::Add,
        Matrices::rows(pack.from(previous_end), features),
        Matrices::rows(excitation, features).transposed().apart(samples * features),
    )?;
    Ok(state)
}

/// The gradient of the pack.
pub(crate) fn backward<M: Machine>(
    machine: &M,
    sizes: InputSizes,
    constants: &Constants<M::Memory>,
    gradient: Span<'_>,
) -> Result<M::Memory> {
    let InputSizes { batch, residual, skip, excitation: features } = sizes;
    let (samples, channels) = (constants.samples, residual + skip);
    let columns = batch * samples;
    let (_, previous_end, excitation_end) = sizes.ends();
    let pack_gradient = machine.allocate(sizes.pack())?;
    let span = machine.span(&pack_gradient);
    let by_channel = machine.allocate(channels * columns)?;
    let by_channel = machine.span(&by_channel);
    swap(machine, gradient, by_channel, (batch, channels, samples))?;

    let tables = machine.allocate(parts(columns) * previous_end)?;
    let tables = machine.span(&tables);
    let arguments = [
        Argument::Array(by_channel, residual * columns),
        constants.codes(machine, sizes),
        Argument::Array(tables, parts(columns) * previous_end),
        number(residual),
        number(columns),
        number(samples),
        number(part_columns(columns)),
    ];
    let items = parts(columns) * residual * MU_LAW_CODES;
    machine.launch("falsetto_input_tables_gradient", items, &arguments)?;
    sum_parts(machine, tables, parts(columns), previous_end, span)?;

    if features > 0 {
        product_over_columns(
            machine,
            (residual, columns, features),
            span.from(previous_end),
            Matrices::rows(by_channel, columns),
            Matrices::rows(machine.span(&constants.excitation), features),
        )?;
    }
    row_sums(machine, by_channel.from(residual * columns), skip, columns, span.from(excitation_end))?;
    Ok(pack_gradient)
}
