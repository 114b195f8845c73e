//! Everything around the middle: rates, hops, settings in time, and the queue that makes the latency constant.

use std::ops::Range;
use std::sync::Arc;

use super::air::Air;
use super::queue::Queue;
use super::timeline::Timeline;
use super::trust::GpuUse;
use super::{Settings, StageDelay};
use crate::decode::{Gpu, GpuError, HopTask, decode_hops};
use crate::signal::resample::Resampler;
use crate::stream::{EncodeTask, encode_hops};

/// Samples of the host that are handled in one go.
const PIECE_SAMPLES: usize = 256;

/// Loudest input that is believed: 24 dB over full scale.
const MAX_INPUT: f32 = 16.0;

/// Where the limiter begins, and what it never exceeds.
const LIMIT_BEGIN: f32 = 0.9;
const LIMIT_END: f32 = 0.999;

/// What is done to hops at the model's rate. Tests put a plain delay in its place.
pub(super) trait Middle {
    /// What the look-ahead is made of: names and hops.
    fn stages(&self) -> &[(&'static str, usize)];

    /// Hops after its own that an output hop depends on.
    fn look_ahead_hops(&self) -> usize {
        self.stages().iter().map(|(_, hops)| hops).sum()
    }

    /// Median F0 of the take so far, if anything measures it.
    fn take_median_f0_hz(&self) -> Option<f32> {
        None
    }

    /// Lets a GPU decode, where a decoder of samples sings.
    fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        let _ = gpu;
        Ok(())
    }

    /// The due hop comes too late.
    fn late(&mut self) {}

    /// What a GPU does, if one was asked to.
    fn gpu_use(&self) -> Option<GpuUse> {
        None
    }

    /// How many streams gain from being sung together with this one.
    fn company(&self) -> usize {
        1
    }

    fn reset(&mut self);

    /// Takes a hop; the hop of `look_ahead_hops` before, made with `settings`, is then due. False before the start.
    fn hear(&mut self, hop: &[f32], settings: Settings) -> bool;

    /// The encoder's part of the due hop, where it is left to whoever asks.
    fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        None
    }

    /// The decoder's part of the due hop, whose encoder's part is made, where a decoder of samples has one; whoever asks must
    /// have it made.
    fn decoding(&mut self) -> Option<HopTask<'_>> {
        None
    }

    /// Gives the due hop, its encoder's and its decoder's part made.
    fn sing(&mut self, output: &mut [f32]);
}

impl<M: Middle + ?Sized> Middle for Box<M> {
    fn stages(&self) -> &[(&'static str, usize)] {
        (**self).stages()
    }

    fn take_median_f0_hz(&self) -> Option<f32> {
        (**self).take_median_f0_hz()
    }

    fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        (**self).sing_on(gpu)
    }

    fn late(&mut self) {
        (**self).late();
    }

    fn gpu_use(&self) -> Option<GpuUse> {
        (**self).gpu_use()
    }

    fn company(&self) -> usize {
        (**self).company()
    }

    fn reset(&mut self) {
        (**self).reset();
    }

    fn hear(&mut self, hop: &[f32], settings: Settings) -> bool {
        (**self).hear(hop, settings)
    }

    fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        (**self).encoding()
    }

    fn decoding(&mut self) -> Option<HopTask<'_>> {
        (**self).decoding()
    }

    fn sing(&mut self, output: &mut [f32]) {
        (**self).sing(output);
    }
}

/// How far a block has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Samples that are done with, and those after them that were taken in.
    done: usize,
    taken: usize,
}

pub(super) struct Chain<M> {
    middle: M,
    down: Resampler,
    up: Resampler,
    air: Air,
    timeline: Timeline,
    hop_clock: HopClock,
    stages: Vec<StageDelay>,
    /// Samples taken since the reset.
    position: u64,
    /// Hops of the take that were pushed since the reset.
    hops: u64,
    /// `[hop]`, filled so far.
    hop: Box<[f32]>,
    hop_filled: usize,
    hop_out: Box<[f32]>,
    host_piece: Box<[f32]>,
    model_piece: Box<[f32]>,
    /// Of the piece at the model's rate, what no hop has yet.
    unheard: Range<usize>,
    /// The due hop's share of air.
    air_share: f32,
    host_hop: Box<[f32]>,
    queue: Queue,
    latency_samples: usize,
}

impl<M: Middle> Chain<M> {
    pub fn new(
        middle: M,
        model_rate_hz: u32,
        hop_samples: usize,
        host_rate_hz: u32,
        settings: Settings,
    ) -> Self {
        let down = Resampler::new(host_rate_hz, model_rate_hz);
        let up = Resampler::new(model_rate_hz, host_rate_hz);
        let hop_clock = HopClock {
            host_rate_hz: host_rate_hz.into(),
            model_rate_hz: model_rate_hz.into(),
            hop_samples: hop_samples as u128,
        };
        let stages = stages(&middle, &down, &up, &hop_clock);
        let latency_samples: usize = stages.iter().map(|stage| stage.samples).sum();

        let host_piece = vec![0.0; PIECE_SAMPLES].into_boxed_slice();
        let model_piece = vec![0.0; down.most_output(PIECE_SAMPLES)].into_boxed_slice();
        let host_hop = vec![0.0; up.most_output(hop_samples)].into_boxed_slice();
        let hops_per_piece = model_piece.len() / hop_samples + 1;
        // The newest change lies at most so far ahead of the next hop to be given as the model hears late.
        let late_samples =
            down.look_ahead_samples() as u64 * u64::from(model_rate_hz) / u64::from(host_rate_hz);
        let ahead = late_samples as usize / hop_samples + middle.look_ahead_hops() + 4;
        // Before it is taken out, what is in has run ahead by no more than this.
        let most_waiting = latency_samples + hops_per_piece * host_hop.len() + PIECE_SAMPLES;
        let mut chain = Self {
            timeline: Timeline::new(settings, ahead),
            air: Air::new(model_rate_hz, host_rate_hz, hop_samples, middle.look_ahead_hops(), most_waiting),
            queue: Queue::new(most_waiting),
            middle,
            down,
            up,
            hop_clock,
            stages,
            position: 0,
            hops: 0,
            hop: vec![0.0; hop_samples].into(),
            hop_filled: 0,
            hop_out: vec![0.0; hop_samples].into(),
            host_piece,
            model_piece,
            unheard: 0..0,
            air_share: settings.air,
            host_hop,
            latency_samples,
        };
        chain.reset();
        chain
    }

    pub fn stages(&self) -> &[StageDelay] {
        &self.stages
    }

    pub fn middle(&self) -> &M {
        &self.middle
    }

    pub fn reset(&mut self) {
        self.middle.reset();
        self.down.reset();
        self.up.reset();
        self.air.reset();
        self.timeline.reset();
        self.position = 0;
        self.hops = 0;
        self.hop_filled = 0;
        self.unheard = 0..0;
        self.queue.reset(self.latency_samples);
    }

    pub fn set(&mut self, settings: Settings) {
        self.timeline.set(self.hop_clock.first_hop_from(self.position), settings);
    }

    pub fn process(&mut self, input: &[f32], output: &mut [f32]) {
        let mut progress = Progress::default();
        while self.advance(input, output, &mut progress) {
            if let Some(task) = self.middle.encoding() {
                encode_hops(&mut [task]);
            }
            if let Some(hop) = self.middle.decoding() {
                decode_hops(&mut [hop]);
            }
            self.sing();
        }
    }

    /// Goes on with a block until a hop is due, or, with false, to its end. The due hop must be [encoded](Self::encoding),
    /// [decoded](Self::decoding) and [sung](Self::sing) before it goes on.
    pub fn advance(&mut self, input: &[f32], output: &mut [f32], progress: &mut Progress) -> bool {
        loop {
            if progress.taken == 0 {
                let rest = &input[progress.done..];
                if rest.is_empty() {
                    return false;
                }
                progress.taken = rest.len().min(PIECE_SAMPLES);
                self.take(&rest[..progress.taken]);
            }
            while !self.unheard.is_empty() {
                if self.fill_hop() && self.hear() {
                    return true;
                }
            }
            let output = &mut output[progress.done..][..progress.taken];
            self.queue.pop(output);
            output.iter_mut().for_each(|sample| *sample = limit(*sample));
            progress.done += progress.taken;
            progress.taken = 0;
        }
    }

    pub fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        self.middle.encoding()
    }

    pub fn decoding(&mut self) -> Option<HopTask<'_>> {
        self.middle.decoding()
    }

    pub fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        self.middle.sing_on(gpu)
    }

    pub fn late(&mut self) {
        self.middle.late();
    }

    /// Takes a piece in, at the model's rate.
    fn take(&mut self, input: &[f32]) {
        let piece = &mut self.host_piece[..input.len()];
        for (sample, input) in piece.iter_mut().zip(input) {
            *sample = if input.is_finite() { input.clamp(-MAX_INPUT, MAX_INPUT) } else { 0.0 };
        }
        self.position += input.len() as u64;
        self.air.hear(piece);
        let mut count = 0;
        self.down.push(piece, |sample| {
            self.model_piece[count] = sample;
            count += 1;
        });
        self.unheard = 0..count;
    }

    /// Moves what is unheard into the hop; whether it is full.
    fn fill_hop(&mut self) -> bool {
        let part = self.unheard.len().min(self.hop.len() - self.hop_filled);
        self.hop[self.hop_filled..][..part].copy_from_slice(&self.model_piece[self.unheard.start..][..part]);
        self.hop_filled += part;
        self.unheard.start += part;
        self.hop_filled == self.hop.len()
    }

    /// Hears the full hop; whether one is due.
    fn hear(&mut self) -> bool {
        self.hop_filled = 0;
        let hop = self.hops.saturating_sub(self.middle.look_ahead_hops() as u64);
        let settings = self.timeline.at(hop);
        self.air_share = settings.air;
        self.air.hear_hop(&self.hop);
        self.hops += 1;
        self.middle.hear(&self.hop, settings)
    }

    /// Puts the due hop into the queue.
    pub fn sing(&mut self) {
        self.middle.sing(&mut self.hop_out);
        let mut count = 0;
        self.up.push(&self.hop_out, |sample| {
            self.host_hop[count] = sample;
            count += 1;
        });
        let sung = &mut self.host_hop[..count];
        self.air.add(self.air_share, sung);
        self.queue.push(sung);
    }
}

/// Relates positions of the host to hops of the model, in whole numbers: both count from the same instant.
struct HopClock {
    host_rate_hz: u128,
    model_rate_hz: u128,
    hop_samples: u128,
}

impl HopClock {
    /// The first hop that starts at or after this sample of the host.
    fn first_hop_from(&self, position: u64) -> u64 {
        let hop = (u128::from(position) * self.model_rate_hz).div_ceil(self.hop_samples * self.host_rate_hz);
        u64::try_from(hop).unwrap_or(u64::MAX)
    }

    /// So many samples of the model in samples of the host, rounded down.
    fn host_samples(&self, model_samples: u128) -> usize {
        (model_samples * self.host_rate_hz / self.model_rate_hz) as usize
    }
}

/// What the latency is made of.
///
/// The resamplers keep the index of time: sample n of the output is sample n of the input, as soon as it can be there. So
/// the latency is by how much, at worst, the input that is in is ahead of the output that is out. With `r` the ratio of the
/// rates, `D` the look-ahead of the resampler to the model (host samples), `U` that of the resampler to the host, `A` that
/// of the middle (model samples) and `H` a hop, the worst is one sample before hop h of the middle's output comes: at
/// most `floor(((h + 1) H + A - 1) r) + D` samples are in, `ceil((h H - U) r)` are out. Whatever h, the difference is
/// at most `floor((H - 1 + A + U) r) + D`.
fn stages(middle: &impl Middle, down: &Resampler, up: &Resampler, clock: &HopClock) -> Vec<StageDelay> {
    let mut stages =
        vec![StageDelay { name: "resampling to the model's rate", samples: down.look_ahead_samples() }];
    let hop = clock.hop_samples;
    let waiting = ("waiting for a whole hop", hop - 1);
    let look_ahead = middle.stages().iter().map(|(name, hops)| (*name, *hops as u128 * hop));
    let resampling = ("resampling to the host's rate", up.look_ahead_samples() as u128);
    // Each stage is rounded so that they sum to the whole, rounded.
    let mut model_samples = 0;
    for (name, samples) in std::iter::once(waiting).chain(look_ahead).chain([resampling]) {
        let before = clock.host_samples(model_samples);
        model_samples += samples;
        stages.push(StageDelay { name, samples: clock.host_samples(model_samples) - before });
    }
    stages
}

/// Identity up to 0.9, then `0.9 + 0.099 u / (1 + u)`, which has the same slope there and stays below 0.999.
fn limit(x: f32) -> f32 {
    let size = x.abs();
    if size <= LIMIT_BEGIN {
        return x;
    }
    let span = LIMIT_END - LIMIT_BEGIN;
    let over = (size - LIMIT_BEGIN) / span;
    (LIMIT_BEGIN + span * (1.0 - 1.0 / (1.0 + over))).min(LIMIT_END).copysign(x)
}
