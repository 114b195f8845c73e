//! Convolution as one product: what each output reads is laid out in a column first.

use candle_core::Result;

use super::sums::{product_over_columns, row_sums, swap};
use super::{Argument, Machine, Matrices, Span, number};
use crate::model::ops::conv::{Sizes, Wanted};
use crate::model::ops::matrix::Put;

/// The gradient of the input, and those of weight and bias.
pub(crate) struct Gradients<Memory> {
    pub(crate) input: Option<Memory>,
    pub(crate) parameters: Option<(Memory, Memory)>,
}

impl Sizes {
    /// Outputs of all items.
    fn columns(self) -> usize {
        self.batch * self.output_samples
    }

    fn of_windows(self) -> [Argument<'static>; 8] {
        [
            number(self.batch),
            number(self.inputs),
            number(self.input_samples),
            number(self.taps),
            number(self.output_samples),
            number(self.geometry.dilation),
            number(self.geometry.stride),
            number(self.geometry.left),
        ]
    }

    /// `(I K, B T')`
    fn all_windows<M: Machine>(self, machine: &M, x: Span<'_>) -> Result<M::Memory> {
        let values = self.inputs * self.taps * self.columns();
        let windows = machine.allocate(values)?;
        let mut arguments = vec![
            Argument::Array(x, self.batch * self.inputs * self.input_samples),
            Argument::Array(machine.span(&windows), values),
        ];
        arguments.extend(self.of_windows());
        machine.launch("falsetto_windows", values, &arguments)?;
        Ok(windows)
    }
}

/// `(B, O, T')`. Shapes as of [`conv1d`](crate::model::ops::conv1d).
pub(crate) fn forward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    (x, weight, bias): (Span<'_>, Span<'_>, Span<'_>),
) -> Result<M::Memory> {
    let Sizes { batch, outputs, output_samples, .. } = sizes;
    let (columns, window) = (sizes.columns(), sizes.inputs * sizes.taps);
    let windows = sizes.all_windows(machine, x)?;
    let sums = machine.allocate(outputs * columns)?;
    machine.multiply(
        (outputs, window, columns),
        Matrices::rows(machine.span(&sums), columns),
        Put::Set,
        Matrices::rows(weight, window),
        Matrices::rows(machine.span(&windows), columns),
    )?;
    let y = machine.allocate(outputs * columns)?;
    let arguments = [
        Argument::Array(machine.span(&sums), outputs * columns),
        Argument::Array(bias, outputs),
        Argument::Array(machine.span(&y), outputs * columns),
        number(batch),
        number(outputs),
        number(output_samples),
    ];
    machine.launch("falsetto_leave_convolution", outputs * columns, &arguments)?;
    Ok(y)
}

pub(crate) fn backward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    wanted: Wanted,
    (x, weight, gradient): (Span<'_>, Span<'_>, Span<'_>),
) -> Result<Gradients<M::Memory>> {
    let Sizes { batch, outputs, output_samples, .. } = sizes;
    let (columns, window) = (sizes.columns(), sizes.inputs * sizes.taps);
    let by_channel = machine.allocate(outputs * columns)?;
    let by_channel = machine.span(&by_channel);
    swap(machine, gradient, by_channel, (batch, outputs, output_samples))?;
    let mut gradients = Gradients { input: None, parameters: None };
    if wanted.parameters {
        let windows = sizes.all_windows(machine, x)?;
        let of_weight = machine.allocate(outputs * window)?;
        let of_bias = machine.allocate(outputs)?;
        product_over_columns(
            machine,
            (outputs, columns, window),
            machine.span(&of_weight),
            Matrices::rows(by_channel, columns),
            Matrices::rows(machine.span(&windows), columns).transposed(),
        )?;
        row_sums(machine, by_channel, outputs, columns, machine.span(&of_bias))?;
        gradients.parameters = Some((of_weight, of_bias));
    }
    if wanted.input {
        let windows = machine.allocate(window * columns)?;
        machine.multiply(
            (window, outputs, columns),
            Matrices::rows(machine.span(&windows), columns),
            Put::Set,
            Matrices::rows(weight, window).transposed(),
            Matrices::rows(by_channel, columns),
        )?;
        let values = batch * sizes.inputs * sizes.input_samples;
        let x_gradient = machine.allocate(values)?;
        let mut arguments = vec![
            Argument::Array(machine.span(&windows), window * columns),
            Argument::Array(machine.span(&x_gradient), values),
        ];
        arguments.extend(sizes.of_windows());
        machine.launch("falsetto_windows_gradient", values, &arguments)?;
        gradients.input = Some(x_gradient);
    }
    Ok(gradients)
}
