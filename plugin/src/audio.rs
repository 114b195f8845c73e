//! The audio thread: samples to the engine and back, dry sound and parameters aligned to the same latency.
//!
//! Everything that is heard at position `p` belongs to the take at `p - latency`: the wet sound, the dry sound and the
//! values of mix, gain and bypass, which wait in a queue for as long as the sound they were set for is under way. Nothing here
//! allocates, locks or makes a system call once it is built.
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod delay;
mod output;

use falsetto_engine::stream::{Settings, Stream};
use rtrb::{Consumer, Producer};

use crate::board::Board;
use delay::DelayLine;
use output::OutputStage;

/// The parameters' values in one call of `process`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controls {
    /// What the engine follows.
    pub settings: Settings,
    /// Share of the wet sound, 0 to 1.
    pub mix: f32,
    /// Output level in dB.
    pub gain_db: f32,
    /// Pass the take through.
    pub bypass: bool,
}

/// The voice thread's way to change the stream under way.
pub struct StreamExchange {
    /// What to play from now on, at the same latency; nothing means dry sound.
    pub incoming: Consumer<Option<Stream>>,
    /// Streams no longer played, to be dropped elsewhere.
    pub outgoing: Producer<Option<Stream>>,
}

/// What the audio thread needs for one activation.
pub struct AudioPath {
    stream: Option<Stream>,
    exchange: StreamExchange,
    latency_samples: usize,
    /// Output of a stream that came in while playing is silence for one latency; it is dry until then.
    warm_up_samples: usize,
    offline: bool,
    dry: [DelayLine; 2],
    output: OutputStage,
    mono: Box<[f32]>,
    wet: Box<[f32]>,
    dry_share: Box<[f32]>,
}

impl AudioPath {
    /// Everything that will ever be needed. Allocates.
    pub fn new(
        stream: Option<Stream>,
        exchange: StreamExchange,
        latency_samples: usize,
        host_rate_hz: u32,
        max_block_samples: usize,
    ) -> Self {
        let buffer = || std::iter::repeat_n(0.0, max_block_samples.max(1)).collect();
        Self {
            stream,
            exchange,
            latency_samples,
            warm_up_samples: 0,
            offline: false,
            dry: [DelayLine::new(latency_samples), DelayLine::new(latency_samples)],
            output: OutputStage::new(latency_samples, host_rate_hz),
            mono: buffer(),
            wet: buffer(),
            dry_share: buffer(),
        }
    }

    /// What the host is told.
    pub fn latency_samples(&self) -> usize {
        self.latency_samples
    }

    /// The host waits for every result.
    pub fn set_offline(&mut self, offline: bool) {
        self.offline = offline;
        if let Some(stream) = &mut self.stream {
            stream.set_offline(offline);
        }
    }

    /// The next sample is the first.
    pub fn reset(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.reset();
        }
        for line in &mut self.dry {
            line.reset();
        }
        self.output.reset();
        self.warm_up_samples = 0;
    }

    /// One call of the host, in place. The input lies in the first `inputs` channels; mono goes to all channels.
    pub fn process(&mut self, channels: &mut [&mut [f32]], inputs: usize, controls: Controls, board: &Board) {
        self.change_stream();
        if let Some(stream) = &mut self.stream {
            stream.set(controls.settings);
        }
        self.output.set(&controls);
        let length = channels.iter().map(|channel| channel.len()).min().unwrap_or(0);
        let (mut input_peak, mut output_peak) = (0.0f32, 0.0f32);
        let mut start = 0;
        while start < length {
            // One piece, unless the host breaks its promise.
            let end = length.min(start + self.mono.len());
            let count = end - start;
            input_peak = input_peak.max(self.take_in(channels, inputs, start, end));
            self.fill_wet(count);
            let (wet, dry_share) = (&self.wet[..count], &self.dry_share[..count]);
            let peak = match channels {
                [left, right, ..] if inputs >= 2 => {
                    let [dry_left, dry_right] = &mut self.dry;
                    self.output.stereo(
                        wet,
                        dry_share,
                        [&mut left[start..end], &mut right[start..end]],
                        [dry_left, dry_right],
                    )
                }
                [first, others @ ..] => {
                    let peak = self.output.mono(wet, dry_share, &mut first[start..end], &mut self.dry[0]);
                    for other in others {
                        other[start..end].copy_from_slice(&first[start..end]);
                    }
                    peak
                }
                [] => 0.0,
            };
            output_peak = output_peak.max(peak);
            start = end;
        }
        board.note_peaks(input_peak, output_peak);
    }

    /// Mono sum of the input. What is no number is silence, here and in the dry sound, so that it cannot stay.
    fn take_in(&mut self, channels: &mut [&mut [f32]], inputs: usize, start: usize, end: usize) -> f32 {
        let inputs = inputs.clamp(1, 2).min(channels.len());
        for channel in channels.iter_mut().take(inputs) {
            for sample in &mut channel[start..end] {
                if !sample.is_finite() {
                    *sample = 0.0;
                }
            }
        }
        let mono = &mut self.mono[..end - start];
        match channels {
            [left, right, ..] if inputs == 2 => {
                for ((mono, left), right) in mono.iter_mut().zip(&left[start..end]).zip(&right[start..end]) {
                    *mono = 0.5 * (left + right);
                }
            }
            [only, ..] => mono.copy_from_slice(&only[start..end]),
            [] => mono.fill(0.0),
        }
        mono.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
    }

    /// After a fault: the take, aligned, and nothing else.
    pub fn pass_dry(&mut self, channels: &mut [&mut [f32]], inputs: usize) {
        for (channel, line) in channels.iter_mut().zip(&mut self.dry).take(inputs) {
            for sample in channel.iter_mut() {
                let taken = if sample.is_finite() { *sample } else { 0.0 };
                *sample = line.next(taken);
            }
        }
        if let [first, others @ ..] = channels {
            for other in others.iter_mut().skip(inputs.saturating_sub(1)) {
                let count = other.len().min(first.len());
                other[..count].copy_from_slice(&first[..count]);
            }
        }
    }

    fn fill_wet(&mut self, count: usize) {
        let (wet, dry_share) = (&mut self.wet[..count], &mut self.dry_share[..count]);
        match &mut self.stream {
            Some(stream) => {
                stream.process(&self.mono[..count], wet, dry_share);
                let warming = count.min(self.warm_up_samples);
                self.warm_up_samples -= warming;
                wet[..warming].fill(0.0);
                dry_share[..warming].fill(1.0);
            }
            None => {
                wet.fill(0.0);
                dry_share.fill(1.0);
            }
        }
    }

    /// Takes over a stream that the voice thread has opened, and gives the old one back to be dropped there.
    fn change_stream(&mut self) {
        if self.exchange.outgoing.is_full() {
            return;
        }
        let Ok(mut next) = self.exchange.incoming.pop() else { return };
        if let Some(stream) = &mut next {
            stream.set_offline(self.offline);
        }
        self.warm_up_samples = self.latency_samples;
        let old = std::mem::replace(&mut self.stream, next);
        // There is room: this end is the only one that fills the ring, and it was just looked at.
        let _ = self.exchange.outgoing.push(old);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
mod tests;
