//! The engine thread that serves any number of streams, and the audio thread's end of each.
//!
//! ```text
//! audio thread (Stream)                                        engine thread (Served)
//!   input f32, events  ──── rtrb ────▶   worker.process   ──── rtrb ────▶  output f32, marks
//!   `given` position   ───  atomic ──▶   skip what is late
//! ```
//!
//! **Positions.** Everything is counted in samples since the stream was opened (`u64`). A *run* is a stretch of a ring
//! whose samples follow each other in the stream; an [`Event`](shared::Event) starts a run of input, a
//! [`Mark`](shared::Mark) starts a run of output, and both name their place by the count of samples that went through
//! the ring before them. So a lost sample never shifts another one: the next run simply says where it belongs.
//!
//! **Latency.** The audio side gives out at position `p` what the worker made for position `p - hand_off`, where
//! `hand_off = block bound + compute allowance` ([`LatencyParts`]). Why that is enough: let the host call once per
//! `b` samples, `b` at most the block bound `B`. At a call the engine has had everything before this call's first
//! sample `p`, the newest `b` samples of it for one period. If it needs less than a period for them, the output up to
//! `p` is there and `b` samples of it are consumed: `hand_off >= b` suffices. If it needs longer, say `d > b`, what had
//! arrived by then is at least `p - d`, so `b + d` suffices. Said at once, a burst of work may take the whole periods that
//! the hand-off covers but for one, `(ceil(hand_off / b) - 1) b`: with a bound of 512 samples at 48 kHz that is never less
//! than 6.3 ms (at `b` of 304 samples; mostly 8 to 12). A burst is one hop times the load, so a bank with hops of 10 ms may
//! load a core to 0.6; one with hops of 50 ms, like the paper's, only to 0.12. Heavier ones are for bouncing. The allowance
//! on top of `B` pays for the engine's polling step and its wake-up. `B` does not follow the host's block size below 512
//! samples at 48 kHz, so that the latency that a project was mixed with does not move with the buffer settings that people
//! sing with.
//!
//! **Late work.** A result is late when the audio side has already given out its position. What is late is thrown away
//! when it comes; the gap is faded to the dry signal (`Presence`). As long as the backlog can be caught up sooner than
//! a skip would cost, the engine simply computes on, and the worker's state stays exact. Otherwise it *skips*:
//! input up to the first position that can still be in time is dropped unheard, the worker is told
//! ([`Worker::skip`]), and the outputs that come out of its pipeline from before the gap, the next `latency_samples` of
//! them, are dropped too. Sound is back exactly one worker latency after the stall's end. Offline nothing is skipped.
//!
//! **Waiting.** See [`pace::Pace`]: the audio side waits only when the host is offline or provably ahead of the clock.

mod audio;
mod engine;
mod pace;
mod presence;
mod shared;
#[cfg(test)]
mod tests;
mod together;

use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Sender};
use parking_lot::Mutex;
use rtrb::RingBuffer;
use thiserror::Error;

pub use audio::Stream;
use engine::Served;
pub use shared::{StreamMeters, StreamReport};

use super::{Converter, EncodeTask, GpuUse, Progress, Settings};
use crate::decode::HopTask;

/// What turns one stream's input into its output, on the engine thread.
///
/// Output sample `n` depends on input samples up to `n` only, however the stream is cut into calls.
pub trait Worker: Send {
    /// Takes `input` and gives as many samples to `output` (equal lengths). What comes out belongs to the input
    /// `latency_samples` earlier.
    fn process(&mut self, input: &[f32], output: &mut [f32]);

    /// [`process`](Worker::process) in parts, so that several streams may be sung together: goes on with a block until a hop
    /// is due, or, with false, to its end. A due hop's [`encoding`](Worker::encoding) and then its
    /// [`decoding`](Worker::decoding), where it has them, must be made and the hop then be [sung](Worker::sing) before it goes
    /// on.
    fn advance(&mut self, input: &[f32], output: &mut [f32], progress: &mut Progress) -> bool {
        let _ = progress;
        self.process(input, output);
        false
    }

    /// The encoder's part of the due hop, asked for once.
    fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        None
    }

    /// The decoder's part of the due hop.
    fn decoding(&mut self) -> Option<HopTask<'_>> {
        None
    }

    /// Goes past the due hop.
    fn sing(&mut self) {}

    /// How many streams gain from being sung together with this one.
    fn company(&self) -> usize {
        1
    }

    /// What a GPU does for this stream, if one was asked to. Asked for about ten times a second of sound.
    fn gpu_use(&self) -> Option<GpuUse> {
        None
    }

    /// Forgets everything heard: the next sample is the first of a stream. The hub calls `set` right after it, and the two
    /// together must leave the worker as if made with these settings.
    fn reset(&mut self);

    /// The next sample of input is the first under these settings.
    fn set(&mut self, settings: Settings);

    /// Delay between input and output in samples of the stream; constant.
    fn latency_samples(&self) -> usize;

    /// Median F0 of the take so far, in Hz, if the worker knows. Asked for about ten times a second of sound.
    fn take_median_f0_hz(&self) -> Option<f32> {
        None
    }

    /// `lost_samples` of input will never come, since the engine was late; the next sample follows after them. The
    /// next `latency_samples` of output are not used, so a worker that starts over here is right; one that can
    /// do better keeps what it has learnt about the take. Settings stay as they are.
    fn skip(&mut self, lost_samples: u64, settings: Settings) {
        let _ = lost_samples;
        self.reset();
        self.set(settings);
    }
}

impl Worker for Converter {
    fn process(&mut self, input: &[f32], output: &mut [f32]) {
        Converter::process(self, input, output);
    }

    fn advance(&mut self, input: &[f32], output: &mut [f32], progress: &mut Progress) -> bool {
        Converter::advance(self, input, output, progress)
    }

    fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        Converter::encoding(self)
    }

    fn decoding(&mut self) -> Option<HopTask<'_>> {
        Converter::decoding(self)
    }

    fn sing(&mut self) {
        Converter::sing(self);
    }

    fn company(&self) -> usize {
        Converter::company(self)
    }

    fn gpu_use(&self) -> Option<GpuUse> {
        Converter::gpu_use(self)
    }

    fn skip(&mut self, _lost_samples: u64, settings: Settings) {
        self.late();
        self.reset();
        Converter::set(self, settings);
    }

    fn reset(&mut self) {
        Converter::reset(self);
    }

    fn set(&mut self, settings: Settings) {
        Converter::set(self, settings);
    }

    fn latency_samples(&self) -> usize {
        Converter::latency_samples(self)
    }

    fn take_median_f0_hz(&self) -> Option<f32> {
        Converter::take_median_f0_hz(self)
    }
}

/// What a stream must know when it is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamConfig {
    /// Rate of the host and of the stream, in Hz.
    pub host_rate_hz: u32,
    /// Most samples that the host hands over at a time.
    pub max_block_samples: usize,
    /// Settings that the worker was made with.
    pub settings: Settings,
}

/// The latency of a stream, as a sum whose parts have names. All in samples at the host's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyParts {
    /// The worker's own: resampling, analysis windows, the hop, look-ahead.
    pub worker_samples: usize,
    /// Largest block that is served in time: the host's largest, at least 512 samples scaled from 48 kHz.
    pub block_samples: usize,
    /// What the engine may be late on top: its polling step and its wake-up, 2 ms.
    pub compute_samples: usize,
}

impl LatencyParts {
    /// Parts for a worker's latency under a host's rate and largest block.
    pub fn new(worker_samples: usize, host_rate_hz: u32, max_block_samples: usize) -> Self {
        let rate = host_rate_hz as usize;
        Self {
            worker_samples,
            block_samples: max_block_samples.max((512 * rate).div_ceil(48_000)),
            compute_samples: (2 * rate).div_ceil(1000),
        }
    }

    /// What the rings and the engine's pace add to the worker's latency.
    pub fn hand_off_samples(&self) -> usize {
        self.block_samples + self.compute_samples
    }

    /// What the host is told.
    pub fn total_samples(&self) -> usize {
        self.worker_samples + self.hand_off_samples()
    }
}

/// Why a stream could not be opened.
#[derive(Debug, Error)]
pub enum HubError {
    /// The operating system gave no thread.
    #[error("cannot start the engine thread: {0}; close other programs and activate the plugin again")]
    Thread(#[from] std::io::Error),
    /// A rate or block size that no stream can have.
    #[error("cannot open a stream at {host_rate_hz} Hz with blocks of {max_block_samples} samples")]
    Config {
        /// The rate asked for.
        host_rate_hz: u32,
        /// The block size asked for.
        max_block_samples: usize,
    },
}

/// The engine thread's owner. The thread starts with the first stream and ends with the last.
#[derive(Default)]
pub struct Hub {
    // Locked where streams are opened and dropped, which is never the audio thread.
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    streams: usize,
    engine: Option<Engine>,
}

struct Engine {
    opened: Sender<Served>,
    thread: JoinHandle<()>,
}

/// Largest sizes that are believed; beyond them a host is broken, and memory is not given.
const MAX_RATE_HZ: u32 = 768_000;
const MAX_BLOCK_SAMPLES: usize = 1 << 20;

impl Hub {
    /// The hub of this process.
    pub fn shared() -> Arc<Hub> {
        static HUB: OnceLock<Arc<Hub>> = OnceLock::new();
        Arc::clone(HUB.get_or_init(Arc::default))
    }

    /// Opens a stream. Allocates, and may start the engine thread: not for the audio thread.
    pub fn open(self: &Arc<Self>, worker: Box<dyn Worker>, config: StreamConfig) -> Result<Stream, HubError> {
        let (mut stream, served) = pair(worker, config)?;
        let mut running = self.running.lock();
        let running = &mut *running;
        if running.engine.is_none() {
            let (opened, inbox) = channel::unbounded();
            let thread =
                thread::Builder::new().name("falsetto-engine".into()).spawn(move || engine::serve(&inbox))?;
            running.engine = Some(Engine { opened, thread });
        }
        if let Some(engine) = &running.engine {
            // Fails only if the engine thread is gone; the stream is then dry and its report says nothing runs.
            let _ = engine.opened.send(served);
            engine.thread.thread().unpark();
            running.streams += 1;
            stream.attach(engine.thread.thread().clone(), Arc::clone(self));
        }
        Ok(stream)
    }

    /// Counts a stream out. With the last one the engine thread is joined, so that a host may unload the library.
    fn release(&self) {
        let mut running = self.running.lock();
        running.streams -= 1;
        if running.streams > 0 {
            if let Some(engine) = &running.engine {
                engine.thread.thread().unpark();
            }
        } else if let Some(Engine { opened, thread }) = running.engine.take() {
            drop(opened);
            thread.thread().unpark();
            // The thread catches its workers' panics, so there is nothing to learn from its result.
            let _ = thread.join();
        }
    }
}

/// Queued input is never older than this beyond the hand-off: what is later is skipped, never replayed.
const MAX_AGE_MS: usize = 250;

/// Both ends of a stream, not yet served by a thread.
fn pair(worker: Box<dyn Worker>, config: StreamConfig) -> Result<(Stream, Served), HubError> {
    let StreamConfig { host_rate_hz, max_block_samples, settings } = config;
    if !(1..=MAX_RATE_HZ).contains(&host_rate_hz) || max_block_samples > MAX_BLOCK_SAMPLES {
        return Err(HubError::Config { host_rate_hz, max_block_samples });
    }
    let latency = LatencyParts::new(worker.latency_samples(), host_rate_hz, max_block_samples);
    let max_age_samples = host_rate_hz as usize * MAX_AGE_MS / 1000;
    let (input_in, input_out) =
        RingBuffer::new(latency.hand_off_samples() + latency.block_samples + 2 * max_age_samples);
    let (output_in, output_out) = RingBuffer::new(2 * (latency.hand_off_samples() + latency.block_samples));
    let (events_in, events_out) = RingBuffer::new(1024);
    let (marks_in, marks_out) = RingBuffer::new(64);
    let shared = Arc::new(shared::Shared::default());
    let stream = Stream::new(
        latency,
        host_rate_hz,
        settings,
        Arc::clone(&shared),
        audio::Rings { input: input_in, events: events_in, output: output_out, marks: marks_out },
    );
    let served = Served::new(
        worker,
        latency,
        host_rate_hz,
        settings,
        max_age_samples,
        shared,
        engine::Rings { input: input_out, events: events_out, output: output_in, marks: marks_in },
    );
    Ok((stream, served))
}
