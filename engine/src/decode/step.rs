//! One sample of the decoder, and the hops made of them.

use super::draw::draw;
use super::frame::{HopCondition, Recent};
use super::math::{ln_logistic, sum_lanes};
use super::matrix::product;
use super::network::{AnyPass, Turn};
use super::phase::{F0Phase, PeriodLags, period_taps, sixteen_waves};
use super::random::uniform;
use super::weights::{CODE_BLOCKS, CODES, DecoderWeights, code_slot};
use super::{FrameInput, Sampling};
use crate::lanes::{Block, Isa, LANES, Lanes, Task, blocks_for, flat, flat_mut};
use crate::voice::ModelConfig;

/// The code that stands before a stream's start.
const SILENCE: u8 = 128;

/// Everything that a stream remembers, and scratch.
pub(super) struct State {
    /// Samples since the last reset.
    pub(super) sample: u64,
    /// The last two codes, newest first.
    last: [u8; 2],
    phase: F0Phase,
    pub(super) hop: HopCondition,
    /// The last values, as far back as the prior's taps and those one period ago reach.
    past: Recent,
    period: Option<Period>,
    pass: AnyPass,
    logits: [Block; CODE_BLOCKS],
    scratch: [Block; CODE_BLOCKS],
    sines: Box<[Block]>,
    cosines: Box<[Block]>,
    /// Of each of the hop's samples, in units of 2^-32 turns.
    pub(super) phases: Box<[u32]>,
    pub(super) codes: Box<[u8]>,
}

/// What was sung one F0 period ago.
struct Period {
    taps: usize,
    lag: PeriodLags,
    /// Of each of the hop's samples.
    lags: Box<[f32]>,
    /// `(code + 0.5) / 128 - 1` of the last codes.
    codes: Recent,
    value_taps: Box<[Block]>,
    code_taps: Box<[Block]>,
}

impl Period {
    fn new(config: &ModelConfig, lag: PeriodLags) -> Self {
        let taps = config.condition.period_taps;
        Self {
            taps,
            lags: vec![0.0; config.hop_samples].into(),
            codes: Recent::new(lag.history()),
            lag,
            value_taps: vec![Block::default(); blocks_for(taps)].into(),
            code_taps: vec![Block::default(); blocks_for(taps)].into(),
        }
    }

    /// Reads the taps of the hop's `index`th sample.
    #[inline(always)]
    fn read(&mut self, index: usize, values: &Recent) {
        for (past, read) in [(values, &mut self.value_taps), (&self.codes, &mut self.code_taps)] {
            let window = past.window();
            let taps = &mut flat_mut(read)[..self.taps];
            period_taps(self.lags[index], taps, |back| window[window.len() - back]);
        }
    }
}

impl State {
    pub(super) fn new(weights: &DecoderWeights, isa: Isa) -> Self {
        let config = &weights.config;
        let zeros = |blocks: usize| -> Box<[Block]> { vec![Block::default(); blocks].into() };
        let prior = config.decoder.prior;
        let harmonics = config.condition.excitation_harmonics.max(prior.map_or(0, |prior| prior.harmonics));
        let lag = period_lags(config);
        let reach = lag.as_ref().map_or(0, PeriodLags::history).max(prior.map_or(0, |prior| prior.taps));
        Self {
            sample: 0,
            last: [SILENCE; 2],
            phase: F0Phase::new(config.sample_rate_hz),
            hop: HopCondition::new(weights),
            past: Recent::new(reach),
            period: lag.map(|lag| Period::new(config, lag)),
            pass: AnyPass::new(&weights.network, config, isa),
            logits: [Block::default(); CODE_BLOCKS],
            scratch: [Block::default(); CODE_BLOCKS],
            sines: zeros(harmonics.div_ceil(LANES)),
            cosines: zeros(harmonics.div_ceil(LANES)),
            phases: vec![0; config.hop_samples].into(),
            codes: vec![SILENCE; config.hop_samples].into(),
        }
    }

    pub(super) fn reset(&mut self, weights: &DecoderWeights, isa: Isa) {
        self.sample = 0;
        self.phase = F0Phase::new(weights.config.sample_rate_hz);
        if let (Some(period), Some(lag)) = (&mut self.period, period_lags(&weights.config)) {
            period.lag = lag;
        }
        self.forget(isa);
        self.codes.fill(SILENCE);
    }

    pub(super) fn forget(&mut self, isa: Isa) {
        self.last = [SILENCE; 2];
        self.past.reset();
        if let Some(period) = &mut self.period {
            period.codes.reset();
        }
        self.pass.forget(isa);
    }

    /// How many samples ago the F0 period before each of the hop's samples was; empty where nobody asks.
    pub(super) fn lags(&self) -> &[f32] {
        self.period.as_ref().map_or(&[], |period| &period.lags)
    }

    /// Empties the queues alone.
    pub(super) fn empty_queues(&mut self, isa: Isa) {
        self.pass.forget(isa);
    }

    /// Feeds the code of the current sample and moves on to the next.
    #[inline(always)]
    fn feed(&mut self, code: u8, value: f32) {
        self.last = [code, self.last[0]];
        self.past.push(value);
        if let Some(period) = &mut self.period {
            period.codes.push(f32::from(code).mul_add(1.0 / 128.0, 0.5 / 128.0 - 1.0));
        }
        self.sample += 1;
    }
}

fn period_lags(config: &ModelConfig) -> Option<PeriodLags> {
    let taps = config.condition.period_taps;
    (taps > 0).then(|| PeriodLags::new(config.sample_rate_hz, taps))
}

/// Draws a hop of each of `B` streams that sing with the same weights and whose hop has begun ([`BeginHop`]).
pub(super) struct DecodeHops<'a, const B: usize> {
    pub(super) weights: &'a DecoderWeights,
    pub(super) streams: [HopOf<'a>; B],
}

/// One stream's part.
pub(super) struct HopOf<'a> {
    pub(super) state: &'a mut State,
    pub(super) sampling: Sampling,
    pub(super) seed: u64,
    pub(super) output: &'a mut [f32],
}

impl HopOf<'_> {
    /// What the logits of this hop are taken times before the draw.
    #[inline(always)]
    pub(super) fn sharpness(&self) -> f32 {
        let Sampling { voiced_sharpness, unvoiced_sharpness, .. } = self.sampling;
        if self.state.hop.voiced { voiced_sharpness } else { unvoiced_sharpness }
    }
}

/// Makes the conditioning of a hop of each of `B` streams that sing with the same weights.
pub(super) struct BeginHops<'a, const B: usize> {
    pub(super) weights: &'a DecoderWeights,
    pub(super) streams: [(&'a mut State, &'a FrameInput<'a>); B],
}

impl<const B: usize> Task for BeginHops<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { weights, streams } = self;
        if const { B <= L::STREAMS } {
            begin_hops(lanes, weights, streams);
        } else {
            for stream in streams {
                lanes.run(BeginHops { weights, streams: [stream] });
            }
        }
    }
}

impl<const B: usize> Task for DecodeHops<'_, B> {
    type Output = ();
    const HAS_INTEGERS: bool = true;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { weights, streams } = self;
        if const { B <= L::STREAMS } {
            decode_hops(lanes, weights, streams);
        } else {
            for stream in streams {
                lanes.run(DecodeHops { weights, streams: [stream] });
            }
        }
    }
}

#[inline(always)]
fn decode_hops<L: Lanes, const B: usize>(lanes: L, weights: &DecoderWeights, mut streams: [HopOf; B]) {
    for index in 0..weights.config.hop_samples {
        step(lanes, weights, streams.each_mut().map(|stream| &mut *stream.state), index);
        for stream in &mut streams {
            lanes.run(Draw { weights, stream, index });
        }
    }
}

/// Draws the hop's `index`th sample and feeds it.
struct Draw<'a, 'b> {
    weights: &'a DecoderWeights,
    stream: &'a mut HopOf<'b>,
    index: usize,
}

impl Task for Draw<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { weights, stream, index } = self;
        let sharpness = stream.sharpness();
        let HopOf { state, sampling, seed, output, .. } = stream;
        let random = uniform(*seed, state.sample);
        let floor = sampling.floor_probability;
        let code = draw(lanes, &state.logits, &mut state.scratch, sharpness, floor, random);
        state.codes[index] = code;
        output[index] = weights.value(code);
        state.feed(code, output[index]);
    }
}

/// Scores a hop of given codes.
pub(super) struct ScoreHop<'a> {
    pub(super) weights: &'a DecoderWeights,
    pub(super) state: &'a mut State,
    pub(super) frame: &'a FrameInput<'a>,
    /// Instead of the running ones.
    pub(super) phases: Option<&'a [u32]>,
    pub(super) codes: &'a [u8],
    pub(super) logits: &'a mut [f32],
}

impl Task for ScoreHop<'_> {
    type Output = ();
    const HAS_INTEGERS: bool = true;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { weights, state, .. } = self;
        lanes.run(BeginHops { weights, streams: [(&mut *state, self.frame)] });
        if let Some(phases) = self.phases {
            state.phases.copy_from_slice(phases);
        }
        let (rows, _) = self.logits.as_chunks_mut::<CODES>();
        for (index, (&code, row)) in self.codes.iter().zip(rows).enumerate() {
            step(lanes, weights, [&mut *state], index);
            let logits = flat(&state.logits);
            for (code, logit) in row.iter_mut().enumerate() {
                *logit = logits[code_slot(code)];
            }
            state.codes[index] = code;
            state.feed(code, weights.value(code));
        }
    }
}

#[inline(always)]
fn begin_hops<L: Lanes, const B: usize>(
    lanes: L,
    weights: &DecoderWeights,
    mut streams: [(&mut State, &FrameInput); B],
) {
    let hops = streams.each_mut().map(|(state, frame)| (&mut state.hop, *frame));
    HopCondition::update(lanes, weights, hops);
    for (State { hop, phase, phases, period, .. }, _) in streams {
        phase.hop(hop.f0_hz, hop.voiced, phases);
        if let Some(period) = period {
            period.lag.hop(hop.f0_hz, hop.voiced, &mut period.lags);
        }
    }
}

/// Computes the logits of each stream's current sample, its hop's `index`th, (permuted, prior included) and puts it into
/// the queues.
#[inline(always)]
fn step<L: Lanes, const B: usize>(
    lanes: L,
    weights: &DecoderWeights,
    mut states: [&mut State; B],
    index: usize,
) {
    let in_pass = weights.config.decoder.samples_per_pass();
    // Hops are of whole passes.
    let is_second = !index.is_multiple_of(in_pass);
    for state in &mut states {
        lanes.run(Enter { weights, state, index, is_second });
    }
    let turns = states.each_mut().map(|state| Turn {
        time: state.sample as usize / in_pass,
        last: state.last[0],
        pass: &mut state.pass,
        condition: &state.hop.condition,
        logits: &mut state.logits,
    });
    weights.network.logits(lanes, turns, is_second);
    if weights.frame.prior.is_some() {
        for state in &mut states {
            lanes.run(AddPrior { weights, state });
        }
    }
}

/// What one stream does before its pass through the network. This and what comes after the pass are tasks, functions of their
/// own, so that they are compiled once for any number of streams.
struct Enter<'a> {
    weights: &'a DecoderWeights,
    state: &'a mut State,
    index: usize,
    is_second: bool,
}

impl Task for Enter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { weights, state, index, is_second } = self;
        recall(lanes, weights, state, index);
        if !is_second {
            enter(lanes, weights, state);
        }
    }
}

/// See [`add_prior`].
struct AddPrior<'a> {
    weights: &'a DecoderWeights,
    state: &'a mut State,
}

impl Task for AddPrior<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        add_prior(lanes, self.weights, self.state);
    }
}

/// What the input layer and the prior read: sines and cosines, and what was sung one period ago.
#[inline(always)]
fn recall<L: Lanes>(lanes: L, weights: &DecoderWeights, state: &mut State, index: usize) {
    let phase = state.phases[index];
    for (group, (sines, cosines)) in state.sines.iter_mut().zip(&mut state.cosines).enumerate() {
        let (sin, cos) = sixteen_waves(lanes, phase, group * LANES);
        lanes.store(sin, &mut sines.0);
        lanes.store(cos, &mut cosines.0);
    }
    if state.hop.voiced
        && weights.period.is_some()
        && let Some(period) = &mut state.period
    {
        period.read(index, &state.past);
    }
}

/// The input layer: from what was sung to what the first dilated layer reads.
#[inline(always)]
fn enter<L: Lanes>(lanes: L, weights: &DecoderWeights, state: &mut State) {
    let path = state.pass.path();
    let residual = path.len();
    let current = usize::from(state.last[0]) * residual;
    let previous = usize::from(state.last[1]) * residual;
    let tables = weights.input_current[current..current + residual]
        .iter()
        .zip(&weights.input_previous[previous..previous + residual]);
    for (block, (current, previous)) in path.iter_mut().zip(tables) {
        lanes.store(lanes.add(lanes.load(&current.0), lanes.load(&previous.0)), &mut block.0);
    }
    if state.hop.voiced
        && let Some([sine_weights, cosine_weights]) = &weights.excitation
    {
        product(lanes, sine_weights, [((&state.sines, ()), path)]);
        product(lanes, cosine_weights, [((&state.cosines, ()), path)]);
    }
    if state.hop.voiced
        && let (Some(matrix), Some(period)) = (&weights.period, &state.period)
    {
        product(lanes, matrix, [((&period.code_taps, ()), path)]);
    }
}

/// Adds the prior's log-density of every code to its logit.
#[inline(always)]
fn add_prior<L: Lanes>(lanes: L, weights: &DecoderWeights, state: &mut State) {
    let hop = &state.hop;
    let mut mean = lanes.splat(0.0);
    let past = state.past.window().as_chunks::<LANES>().0;
    for (tap, past) in hop.taps.iter().zip(&past[past.len() - hop.taps.len()..]) {
        mean = lanes.fma(lanes.load(&tap.0), lanes.load(past), mean);
    }
    let waves = [(&hop.sine_weights, &state.sines), (&hop.cosine_weights, &state.cosines)];
    let period = state.period.as_ref().map(|period| (&hop.period_weights, &period.value_taps));
    for (weights, waves) in waves.into_iter().chain(period) {
        for (weight, wave) in weights.iter().zip(waves) {
            mean = lanes.fma(lanes.load(&weight.0), lanes.load(&wave.0), mean);
        }
    }
    let mean = lanes.splat(sum_lanes(lanes, mean));
    let inverse_scale = lanes.splat(hop.inverse_scale);
    let ln_scale = lanes.splat(hop.ln_scale);
    let tables = weights.values.iter().zip(&weights.ln_widths);
    for (logit, (value, ln_width)) in state.logits.iter_mut().zip(tables) {
        let n = lanes.mul(lanes.sub(lanes.load(&value.0), mean), inverse_scale);
        let density = lanes.add(lanes.sub(lanes.load(&ln_width.0), ln_scale), ln_logistic(lanes, n));
        lanes.store(lanes.add(lanes.load(&logit.0), density), &mut logit.0);
    }
}
