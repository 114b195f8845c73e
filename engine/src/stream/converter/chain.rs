//! Everything around the middle: rates, hops, settings in time, and the queue that makes the latency constant.

use super::queue::Queue;
use super::timeline::Timeline;
use super::{Settings, StageDelay};
use crate::signal::resample::Resampler;

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

    fn reset(&mut self);

    /// Takes a hop; gives the hop of `look_ahead_hops` before, made with `settings`, or zeros before the start.
    fn push(&mut self, hop: &[f32], settings: Settings, output: &mut [f32]);
}

pub(super) struct Chain<M> {
    middle: M,
    down: Resampler,
    up: Resampler,
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
    host_hop: Box<[f32]>,
    queue: Queue,
    queue_samples: usize,
}

impl<M: Middle> Chain<M> {
    pub fn new(middle: M, model_rate_hz: u32, hop_samples: usize, host_rate_hz: u32, settings: Settings) -> Self {
        let down = Resampler::new(host_rate_hz, model_rate_hz);
        let up = Resampler::new(model_rate_hz, host_rate_hz);
        let host_per_model = f64::from(host_rate_hz) / f64::from(model_rate_hz);

        // A hop comes out when its last sample is in. Before that, as many samples of the host as it lasts have gone
        // by, and both resamplers may owe the fraction of a sample that they do not give yet.
        let queue_samples = ((hop_samples + 1) as f64 * host_per_model).ceil() as usize + 2;
        let hop_clock = HopClock {
            host_rate_hz: host_rate_hz.into(),
            model_rate_hz: model_rate_hz.into(),
            hop_samples: hop_samples as u128,
            // In units of 1 / (host rate x model rate) seconds, as positions are compared.
            delay: (down.delay_samples() * f64::from(host_rate_hz)).round() as u128,
        };
        let stages = stages(&middle, &down, &up, hop_samples, host_per_model, queue_samples);

        let host_piece = vec![0.0; PIECE_SAMPLES].into_boxed_slice();
        let model_piece = vec![0.0; down.max_output(PIECE_SAMPLES)].into_boxed_slice();
        let host_hop = vec![0.0; up.max_output(hop_samples)].into_boxed_slice();
        let hops_per_piece = model_piece.len() / hop_samples + 1;
        let ahead = (down.delay_samples() / hop_samples as f64) as usize + middle.look_ahead_hops() + 4;
        let mut chain = Self {
            timeline: Timeline::new(settings, ahead),
            queue: Queue::new(queue_samples + hops_per_piece * host_hop.len() + PIECE_SAMPLES),
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
            host_hop,
            queue_samples,
        };
        chain.reset();
        chain
    }

    pub fn stages(&self) -> &[StageDelay] {
        &self.stages
    }

    pub fn reset(&mut self) {
        self.middle.reset();
        self.down.reset();
        self.up.reset();
        self.timeline.reset();
        self.position = 0;
        self.hops = 0;
        self.hop_filled = 0;
        self.queue.reset(self.queue_samples);
    }

    pub fn set(&mut self, settings: Settings) {
        self.timeline.set(self.hop_clock.first_hop_from(self.position), settings);
    }

    pub fn process(&mut self, input: &[f32], output: &mut [f32]) {
        for (input, output) in input.chunks(PIECE_SAMPLES).zip(output.chunks_mut(PIECE_SAMPLES)) {
            self.process_piece(input);
            self.queue.pop(output);
            output.iter_mut().for_each(|sample| *sample = limit(*sample));
        }
    }

    fn process_piece(&mut self, input: &[f32]) {
        let piece = &mut self.host_piece[..input.len()];
        for (sample, input) in piece.iter_mut().zip(input) {
            *sample = if input.is_finite() { input.clamp(-MAX_INPUT, MAX_INPUT) } else { 0.0 };
        }
        self.position += input.len() as u64;
        let count = self.down.process(piece, &mut self.model_piece);
        let mut begin = 0;
        while begin < count {
            let part = (count - begin).min(self.hop.len() - self.hop_filled);
            self.hop[self.hop_filled..][..part].copy_from_slice(&self.model_piece[begin..][..part]);
            self.hop_filled += part;
            begin += part;
            if self.hop_filled == self.hop.len() {
                self.hop_filled = 0;
                self.process_hop();
            }
        }
    }

    fn process_hop(&mut self) {
        let hop = self.hops.saturating_sub(self.middle.look_ahead_hops() as u64);
        self.middle.push(&self.hop, self.timeline.at(hop), &mut self.hop_out);
        self.hops += 1;
        let count = self.up.process(&self.hop_out, &mut self.host_hop);
        self.queue.push(&self.host_hop[..count]);
    }
}

/// Relates positions of the host to hops of the model, in whole numbers.
struct HopClock {
    host_rate_hz: u128,
    model_rate_hz: u128,
    hop_samples: u128,
    /// How late the model hears the host.
    delay: u128,
}

impl HopClock {
    /// The first hop that starts at or after this sample of the host; the first of all for the first sample.
    fn first_hop_from(&self, position: u64) -> u64 {
        if position == 0 {
            return 0;
        }
        let time = u128::from(position) * self.model_rate_hz + self.delay;
        let hop = time.div_ceil(self.hop_samples * self.host_rate_hz);
        u64::try_from(hop).unwrap_or(u64::MAX)
    }
}

/// The stages' delays, rounded so that they sum to the whole delay, rounded.
fn stages(
    middle: &impl Middle,
    down: &Resampler,
    up: &Resampler,
    host_per_model: f64,
    queue_samples: usize,
) -> Vec<StageDelay> {
    let mut exact = vec![("resampling to the model's rate", down.delay_samples() * host_per_model)];
    let hop = hop_samples as f64 * host_per_model;
    exact.extend(middle.stages().iter().map(|(name, hops)| (*name, *hops as f64 * hop)));
    exact.push(("waiting for a whole hop", queue_samples as f64));
    exact.push(("resampling to the host's rate", up.delay_samples()));
    let (mut sum, mut rounded) = (0.0, 0);
    let stage = |(name, delay)| {
        sum += delay;
        let before = std::mem::replace(&mut rounded, sum.round() as usize);
        StageDelay { name, samples: rounded - before }
    };
    exact.into_iter().map(stage).collect()
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
