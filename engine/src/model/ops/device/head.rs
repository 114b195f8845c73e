//! The decoder's head. Logits of all samples are there at once, `(columns, 256)`, but the gradient takes their place.

use candle_core::Result;

use super::sums::{parts, parts_of_rows, product_over_columns, sum_parts};
use super::{Argument, Machine, Matrices, Span, number};
use crate::model::ops::head::{CODES, HeadOptions, Sizes};
use crate::model::ops::matrix::Put;
use crate::voice::MU_LAW_CODES;

/// What does not change between forward and backward.
pub(crate) struct Constants<Memory> {
    targets: Memory,
    /// Values of the codes, then the logarithms of their widths.
    tables: Memory,
}

impl<Memory> Constants<Memory> {
    pub(crate) fn new<M: Machine<Memory = Memory>>(machine: &M, targets: &[u8]) -> Result<Self> {
        let values = CODES.iter().map(|(value, _)| *value as f32);
        let tables: Vec<f32> = values.chain(CODES.iter().map(|(_, log_width)| *log_width as f32)).collect();
        Ok(Self { targets: machine.upload_bytes(targets)?, tables: machine.upload(&tables)? })
    }
}

/// The head's side inputs and weights, split up.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    /// `(hops, A)`
    biases: Span<'a>,
    /// Mean `(columns)` and log-scale `(hops)`.
    prior: Option<(Span<'a>, Span<'a>)>,
    hidden_weight: Span<'a>,
    output_weight: Span<'a>,
    output_bias: Span<'a>,
}

/// Everything between state and loss.
struct Activations<Memory> {
    /// `(S, columns)`
    relu: Memory,
    /// `(A, columns)`
    hidden: Memory,
    /// `(columns, 256)`, without their bias.
    logits: Memory,
}

impl Sizes {
    fn columns(self) -> usize {
        self.batch * self.samples
    }

    fn hops(self) -> usize {
        self.batch * self.options.frames
    }

    fn spans<'a>(self, side: Span<'a>, pack: Span<'a>) -> Inputs<'a> {
        let (hidden_end, output_end) = self.ends();
        let prior = side.from(self.hops() * self.options.hidden);
        Inputs {
            biases: side,
            prior: self.options.with_prior.then(|| (prior, prior.from(self.columns()))),
            hidden_weight: pack,
            output_weight: pack.from(hidden_end),
            output_bias: pack.from(output_end),
        }
    }

    fn activations<M: Machine>(
        self,
        machine: &M,
        state: Span<'_>,
        inputs: Inputs<'_>,
    ) -> Result<Activations<M::Memory>> {
        let HeadOptions { skip, hidden: width, .. } = self.options;
        let columns = self.columns();
        let relu = machine.allocate(skip * columns)?;
        let hidden = machine.allocate(width * columns)?;
        let logits = machine.allocate(columns * MU_LAW_CODES)?;
        let (relu_span, hidden_span) = (machine.span(&relu), machine.span(&hidden));
        let arguments = [
            Argument::Array(state, self.channels * columns),
            Argument::Array(relu_span, skip * columns),
            number(self.batch),
            number(self.channels),
            number(skip),
            number(self.samples),
        ];
        machine.launch("falsetto_skip_relu", skip * columns, &arguments)?;
        machine.multiply(
            (width, skip, columns),
            Matrices::rows(hidden_span, columns),
            Put::Set,
            Matrices::rows(inputs.hidden_weight, skip),
            Matrices::rows(relu_span, columns),
        )?;
        let arguments = [
            Argument::Array(hidden_span, width * columns),
            Argument::Array(inputs.biases, self.hops() * width),
            number(width),
            number(columns),
            number(self.hop),
        ];
        machine.launch("falsetto_hidden", width * columns, &arguments)?;
        machine.multiply(
            (columns, width, MU_LAW_CODES),
            Matrices::rows(machine.span(&logits), MU_LAW_CODES),
            Put::Set,
            Matrices::rows(hidden_span, columns).transposed(),
            Matrices::rows(inputs.output_weight, width).transposed(),
        )?;
        Ok(Activations { relu, hidden, logits })
    }

    /// What both kernels on logits are told first.
    fn of_logits<'a, M: Machine>(
        self,
        machine: &M,
        logits: Span<'a>,
        inputs: Inputs<'a>,
        constants: &'a Constants<M::Memory>,
    ) -> [Argument<'a>; 7] {
        let (mean, log_scale) = match inputs.prior {
            Some((mean, log_scale)) => {
                (Argument::Array(mean, self.columns()), Argument::Array(log_scale, self.hops()))
            }
            None => (Argument::NOTHING, Argument::NOTHING),
        };
        [
            Argument::Array(logits, self.columns() * MU_LAW_CODES),
            Argument::Array(inputs.output_bias, MU_LAW_CODES),
            Argument::Array(machine.span(&constants.tables), 2 * MU_LAW_CODES),
            number(usize::from(inputs.prior.is_some())),
            mean,
            log_scale,
            Argument::Array(machine.span(&constants.targets), self.columns().div_ceil(4)),
        ]
    }

    fn of_samples(self) -> [Argument<'static>; 4] {
        [
            number(self.columns()),
            number(self.samples),
            number(self.hop),
            number(self.options.first_scored.min(self.samples)),
        ]
    }
}

/// Negative log-likelihoods `(B, T)`. Shapes as of [`head_nll`](crate::model::ops::head_nll).
pub(crate) fn forward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    constants: &Constants<M::Memory>,
    (state, side, pack): (Span<'_>, Span<'_>, Span<'_>),
) -> Result<M::Memory> {
    let inputs = sizes.spans(side, pack);
    let activations = sizes.activations(machine, state, inputs)?;
    let nll = machine.allocate(sizes.columns())?;
    let mut arguments =
        sizes.of_logits(machine, machine.span(&activations.logits), inputs, constants).to_vec();
    arguments.push(Argument::Array(machine.span(&nll), sizes.columns()));
    arguments.extend(sizes.of_samples());
    machine.launch_warps("falsetto_nll", sizes.columns(), &arguments)?;
    Ok(nll)
}

/// The gradients of state, side pack and pack.
pub(crate) fn backward<M: Machine>(
    machine: &M,
    sizes: Sizes,
    constants: &Constants<M::Memory>,
    (state, side, pack): (Span<'_>, Span<'_>, Span<'_>),
    gradient: Span<'_>,
) -> Result<[M::Memory; 3]> {
    let HeadOptions { skip, hidden: width, .. } = sizes.options;
    let (columns, hops) = (sizes.columns(), sizes.hops());
    let inputs = sizes.spans(side, pack);
    let activations = sizes.activations(machine, state, inputs)?;
    let (relu, hidden) = (machine.span(&activations.relu), machine.span(&activations.hidden));
    let logits = machine.span(&activations.logits);
    let side_gradient = machine.allocate(side.values())?;
    let pack_gradient = machine.allocate(sizes.pack())?;
    let side_span = sizes.spans(machine.span(&side_gradient), machine.span(&pack_gradient));

    let log_scales = machine.allocate(columns)?;
    let log_scales = machine.span(&log_scales);
    let mut arguments = sizes.of_logits(machine, logits, inputs, constants).to_vec();
    arguments.push(Argument::Array(gradient, columns));
    match side_span.prior {
        Some((mean, _)) => {
            arguments.extend([Argument::Array(mean, columns), Argument::Array(log_scales, columns)]);
        }
        None => arguments.extend([Argument::NOTHING; 2]),
    }
    arguments.extend(sizes.of_samples());
    machine.launch_warps("falsetto_nll_gradient", columns, &arguments)?;
    if let Some((_, log_scale)) = side_span.prior {
        // One row, whose parts are the hops.
        parts_of_rows(machine, log_scales, 1, columns, sizes.hop, log_scale)?;
    }

    let logits_rows = Matrices::rows(logits, MU_LAW_CODES);
    product_over_columns(
        machine,
        (MU_LAW_CODES, columns, width),
        side_span.output_weight,
        logits_rows.transposed(),
        Matrices::rows(hidden, columns).transposed(),
    )?;
    let bias_parts = parts(columns);
    let bias_partials = machine.allocate(bias_parts * MU_LAW_CODES)?;
    let arguments = [
        Argument::Array(logits, columns * MU_LAW_CODES),
        Argument::Array(machine.span(&bias_partials), bias_parts * MU_LAW_CODES),
        number(columns),
        number(MU_LAW_CODES),
        number(super::sums::part_columns(columns)),
    ];
    machine.launch("falsetto_column_sums", bias_parts * MU_LAW_CODES, &arguments)?;
    sum_parts(machine, machine.span(&bias_partials), bias_parts, MU_LAW_CODES, side_span.output_bias)?;

    let hidden_gradient = machine.allocate(width * columns)?;
    let hidden_gradient = machine.span(&hidden_gradient);
    machine.multiply(
        (width, MU_LAW_CODES, columns),
        Matrices::rows(hidden_gradient, columns),
        Put::Set,
        Matrices::rows(inputs.output_weight, width).transposed(),
        logits_rows.transposed(),
    )?;
    let arguments = [
        Argument::Array(hidden_gradient, width * columns),
        Argument::Array(hidden, width * columns),
        Argument::Array(side_span.biases, hops * width),
        number(width),
        number(columns),
        number(sizes.hop),
    ];
    machine.launch_warps("falsetto_hidden_gradient", width * hops, &arguments)?;
    product_over_columns(
        machine,
        (width, columns, skip),
        side_span.hidden_weight,
        Matrices::rows(hidden_gradient, columns),
        Matrices::rows(relu, columns).transposed(),
    )?;
    let skip_gradient = machine.allocate(skip * columns)?;
    let skip_gradient = machine.span(&skip_gradient);
    machine.multiply(
        (skip, width, columns),
        Matrices::rows(skip_gradient, columns),
        Put::Set,
        Matrices::rows(inputs.hidden_weight, skip).transposed(),
        Matrices::rows(hidden_gradient, columns),
    )?;
    let state_gradient = machine.allocate(sizes.channels * columns)?;
    let arguments = [
        Argument::Array(relu, skip * columns),
        Argument::Array(skip_gradient, skip * columns),
        Argument::Array(machine.span(&state_gradient), sizes.channels * columns),
        number(sizes.batch),
        number(sizes.channels),
        number(skip),
        number(sizes.samples),
    ];
    machine.launch("falsetto_skip_gradient", sizes.channels * columns, &arguments)?;
    Ok([state_gradient, side_gradient, pack_gradient])
}
