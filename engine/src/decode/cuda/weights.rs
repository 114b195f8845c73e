//! A bank's decoder as the kernel reads it: one long row of words.

use std::ops::Range;

use super::layout::{ELSEWHERE, Layer, Model, Share};
use super::plan::{Plan, Sizes};
use crate::decode::arithmetic::{Int8, Single};
use crate::decode::matrix::{Matrix, Rows};
use crate::decode::network::{AnyNetwork, Network};
use crate::decode::phase::PeriodLags;
use crate::decode::weights::{CODES, DecoderWeights, code_slot};
use crate::lanes::{LANES, flat};
use crate::voice::ModelConfig;

/// Threads that make one row of a product.
const QUARTET: usize = 4;

/// Scalars of a hop, in the order of the kernel's enumeration.
pub(super) const SCALARS: usize = 5;

/// Where a stream's part of a launch is written.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) condition: Range<usize>,
    pub(super) taps: Range<usize>,
    pub(super) sines: Range<usize>,
    pub(super) cosines: Range<usize>,
    pub(super) period: Range<usize>,
    pub(super) scalars: Range<usize>,
    pub(super) phases: Range<usize>,
    pub(super) lags: Range<usize>,
    pub(super) randoms: Range<usize>,
    pub(super) words: usize,
}

impl Told {
    fn new(config: &ModelConfig, sizes: &Sizes) -> Self {
        let mut words = 0;
        let mut next = |count: usize| {
            words += count;
            words - count..words
        };
        let padded = |count: usize| count.next_multiple_of(LANES);
        let prior = config.decoder.prior;
        let harmonics = padded(prior.map_or(0, |prior| prior.harmonics));
        let told = Self {
            condition: next(2 * sizes.residual * sizes.layers + sizes.head),
            taps: next(padded(prior.map_or(0, |prior| prior.taps))),
            sines: next(harmonics),
            cosines: next(harmonics),
            period: next(padded(prior.map_or(0, |_| config.condition.period_taps))),
            scalars: next(SCALARS),
            phases: next(config.hop_samples),
            lags: next(config.hop_samples),
            randoms: next(config.hop_samples),
            words: 0,
        };
        Self { words, ..told }
    }
}

/// Everything that is written to the device once, and how streams are laid out for it.
pub(super) struct Packed {
    pub(super) model: Model,
    pub(super) words: Vec<u32>,
    pub(super) told: Told,
    /// Words of a stream's state, and where the layers' past begins in it.
    pub(super) state_words: usize,
    pub(super) first_ring: usize,
}

/// Words that grow; what is added begins at a multiple of four words, as vector reads want it.
#[derive(Default)]
struct Pile(Vec<u32>);

impl Pile {
    fn add(&mut self, words: impl IntoIterator<Item = u32>) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let at = self.0.len() as u32;
        self.0.extend(words);
        at
    }

    fn add_floats(&mut self, values: &[f32]) -> u32 {
        self.add(values.iter().map(|value| value.to_bits()))
    }

    /// Rows of integers of so many cells, cut for quartets, then their scales, then what stands after them.
    fn add_rows(&mut self, rows: &Rows, cells: usize, after: &[f32]) -> u32 {
        let count = rows.scales.len();
        let word = |at: usize| {
            let (lane, row, cell) = (at % QUARTET, at / QUARTET % count, at / (QUARTET * count));
            let cell = cell * QUARTET + lane;
            if cell < rows.depth { rows.words[row * rows.depth + cell] } else { 0 }
        };
        let floats = rows.scales.iter().chain(after).map(|value| value.to_bits());
        self.add((0..cells * count).map(word).chain(floats))
    }

    /// A matrix of `f32`, a row of outputs for each input.
    fn add_single(&mut self, matrix: &Matrix<Single>) -> u32 {
        let columns = matrix.columns();
        self.add_floats(&columns)
    }
}

impl Packed {
    /// A decoder for a plan; none for one that does not multiply bytes.
    pub(super) fn new(weights: &DecoderWeights, sizes: &Sizes, plan: &Plan) -> Option<Self> {
        let AnyNetwork::Int8(network) = &weights.network else { return None };
        let config = &weights.config;
        let mut pile = Pile::default();
        let mut model = Model {
            layers: sizes.layers as u32,
            residual: sizes.residual as u32,
            skip: sizes.skip as u32,
            head: sizes.head as u32,
            hop_samples: config.hop_samples as u32,
            excitation_harmonics: config.condition.excitation_harmonics as u32,
            period_taps: config.condition.period_taps as u32,
            waves: sizes.waves as u32,
            blocks: plan.blocks() as u32,
            most_layers: plan.shares.iter().map(ExactSizeIterator::len).max().unwrap_or(0) as u32,
            scratch: plan.scratch as u32,
            inbox: plan.scratch as u32,
            inbox_streams: plan.inbox_streams as u32,
            ..Model::default()
        };
        let told = Told::new(config, sizes);
        for (of_model, range) in [
            (&mut model.told_taps, &told.taps),
            (&mut model.told_sines, &told.sines),
            (&mut model.told_cosines, &told.cosines),
            (&mut model.told_period, &told.period),
            (&mut model.told_scalars, &told.scalars),
            (&mut model.told_phases, &told.phases),
            (&mut model.told_lags, &told.lags),
            (&mut model.told_randoms, &told.randoms),
        ] {
            *of_model = range.start as u32;
        }
        model.has_prior = u32::from(config.decoder.prior.is_some());
        model.prior_taps = told.taps.len() as u32;
        model.prior_harmonics = told.sines.len() as u32;
        model.prior_period_taps = told.period.len() as u32;

        let (layers, state_words) = lay_out_state(config, sizes, &mut model);
        let first_ring = layers.first().map_or(state_words, |layer| layer.ring as usize);
        let layers = pack_layers(network, sizes.residual / 4, plan, layers, &mut pile);
        model.layer_table = pile.add(layers.iter().flat_map(Layer::words));
        let share =
            |share: &Range<usize>| Share { first: share.start as u32, layers: share.len() as u32 }.words();
        model.block_table = pile.add(plan.shares.iter().flat_map(share));

        model.input_current = pile.add_floats(flat(&weights.input_current));
        model.input_previous = pile.add_floats(flat(&weights.input_previous));
        if let Some([sines, cosines]) = &weights.excitation {
            model.excitation_sines = pile.add_single(sines);
            model.excitation_cosines = pile.add_single(cosines);
        }
        if let Some(period) = &weights.period {
            model.excitation_period = pile.add_single(period);
        }
        model.skip_bias = pile.add_floats(flat(&network.skip_bias));
        model.head_hidden = pile.add_rows(&network.head.hidden.rows(), sizes.skip / 4, &[]);
        [model.chip_head_hidden, model.chip_head_output] = plan.head.map(on_chip);
        let in_order =
            |permuted: &[f32]| (0..CODES).map(|code| permuted[code_slot(code)]).collect::<Vec<_>>();
        model.head_output = pile.add_rows(&unpermuted(network.head.output.rows()), sizes.head / 2, &[]);
        model.head_output_bias = pile.add_floats(&in_order(flat(&network.head.output_bias)));
        model.values = pile.add_floats(&in_order(flat(&weights.values)));
        model.ln_widths = pile.add_floats(&in_order(flat(&weights.ln_widths)));
        Some(Self { model, words: pile.0, told, state_words, first_ring })
    }
}

fn on_chip(at: Option<usize>) -> u32 {
    at.map_or(ELSEWHERE, |at| at as u32)
}

/// Rows in the order of the codes.
fn unpermuted(rows: Rows) -> Rows {
    let depth = rows.depth;
    let of_code = |code: usize| &rows.words[code_slot(code) * depth..][..depth];
    Rows {
        depth,
        words: (0..CODES).flat_map(of_code).copied().collect(),
        scales: (0..CODES).map(|code| rows.scales[code_slot(code)]).collect(),
    }
}

/// Gives each layer's past and the past samples their places in a stream's state; its words.
fn lay_out_state(config: &ModelConfig, sizes: &Sizes, model: &mut Model) -> (Vec<Layer>, usize) {
    let reach = match config.condition.period_taps {
        0 => 0,
        taps => PeriodLags::new(config.sample_rate_hz, taps).history(),
    };
    // One place more than is read, so that the newest sample never takes the place of the oldest that is still read.
    let history = (reach.max(model.prior_taps as usize) + 1).next_power_of_two();
    model.history = history as u32;
    // Before all else the last codes.
    let mut words = 4;
    let mut next = |count: usize| {
        words += count.next_multiple_of(4);
        (words - count.next_multiple_of(4)) as u32
    };
    model.past_values = next(history);
    model.past_codes = next(history);
    let dilations = config.decoder.dilations();
    let layer = |(index, &dilation): (usize, &usize)| Layer {
        dilation: dilation as u32,
        ring: next(dilation * sizes.residual / 4),
        ring_steps: next(dilation),
        is_last: u32::from(index + 1 == dilations.len()),
        ..Layer::default()
    };
    (dilations.iter().enumerate().map(layer).collect(), words)
}

fn pack_layers(
    network: &Network<Int8>,
    cells: usize,
    plan: &Plan,
    mut layers: Vec<Layer>,
    pile: &mut Pile,
) -> Vec<Layer> {
    for ((packed, layer), places) in layers.iter_mut().zip(&network.layers).zip(&plan.layers) {
        packed.previous = pile.add_rows(&layer.previous.rows(), cells, &[]);
        packed.current = pile.add_rows(&layer.current.rows(), cells, &[]);
        packed.out = pile.add_rows(&layer.out.rows(), cells, flat(&layer.residual_bias));
        [packed.chip_previous, packed.chip_current, packed.chip_out] = places.map(on_chip);
    }
    layers
}
