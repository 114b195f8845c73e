//! The engine thread: serves the stream whose result is due first, one short piece at a time, and with it those that may
//! decode beside it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError};
use rtrb::{Consumer, Producer};

use super::shared::{Event, Mark, Shared};
use super::{LatencyParts, Settings, Worker, together};
use crate::decode::HopTask;
use crate::stream::{EncodeTask, Progress};

pub(super) struct Rings {
    pub input: Consumer<f32>,
    pub events: Consumer<Event>,
    pub output: Producer<f32>,
    pub marks: Producer<Mark>,
}

/// The engine's end of a stream.
pub(super) struct Served {
    /// None after a panic.
    worker: Option<Box<dyn Worker>>,
    shared: Arc<Shared>,
    rings: Rings,
    latency: LatencyParts,
    host_rate_hz: u32,
    max_age_samples: u64,

    settings: Settings,
    generation: u32,
    /// Samples taken out of the input ring, and the stream position of the next one.
    read: u64,
    position: u64,
    /// Input dropped since the worker's last sample.
    lost: u64,
    /// Drop input up to here.
    skip_to: u64,
    /// Outputs before this position come from before a gap.
    valid_from: u64,
    /// Samples that went into the output ring, and the position that the audio side takes the next one for.
    written: u64,
    marked: u64,

    load: Load,
    last_arrival: Option<(Instant, usize)>,
    piece: Option<Piece>,
    piece_in: Box<[f32]>,
    piece_out: Box<[f32]>,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Worked,
    Idle,
}

/// A piece of input on its way through the worker.
struct Piece {
    samples: usize,
    progress: Progress,
    /// Computing time so far.
    busy: Duration,
    is_hop_due: bool,
    is_done: bool,
}

impl Served {
    pub fn new(
        worker: Box<dyn Worker>,
        latency: LatencyParts,
        host_rate_hz: u32,
        settings: Settings,
        max_age_samples: usize,
        shared: Arc<Shared>,
        rings: Rings,
    ) -> Self {
        // 10 ms: short enough to change over to a stream that is due sooner.
        let piece_samples = (host_rate_hz as usize / 100).max(1);
        Self {
            worker: Some(worker),
            shared,
            rings,
            latency,
            host_rate_hz,
            max_age_samples: max_age_samples as u64,
            settings,
            generation: 0,
            read: 0,
            position: 0,
            lost: 0,
            skip_to: 0,
            valid_from: 0,
            written: 0,
            marked: 0,
            load: Load::new(host_rate_hz),
            last_arrival: None,
            piece: None,
            piece_in: vec![0.0; piece_samples].into(),
            piece_out: vec![0.0; piece_samples].into(),
        }
    }

    fn closed(&self) -> bool {
        self.shared.closed.load(Acquire)
    }

    /// First position that can still be in time.
    fn due(&self) -> u64 {
        self.shared.given.load(Acquire).saturating_sub(self.latency.hand_off_samples() as u64)
    }

    /// How many streams gain from being sung together with this one.
    pub fn company(&self) -> usize {
        self.worker.as_ref().map_or(1, |worker| worker.company())
    }

    /// Time until the next result is late; negative if it is. None if there is nothing to do.
    fn slack_s(&self) -> Option<f64> {
        if self.rings.input.slots() == 0 {
            return None;
        }
        let next = self.position.max(self.valid_from) as f64;
        Some((next - self.due() as f64) / f64::from(self.host_rate_hz))
    }

    /// Takes what is next out of the rings: at most a piece for the worker, which must then be [finished](Self::finish).
    pub fn begin(&mut self) -> Turn {
        // Slots before events: an event is written before its samples.
        let slots = self.rings.input.slots();
        if self.worker.is_none() {
            return self.discard_all(slots);
        }
        let until_event = self.apply_events();
        let available = usize::try_from(until_event).unwrap_or(usize::MAX).min(slots);
        if available == 0 {
            return Turn::Idle;
        }
        if self.generation != self.shared.generation.load(Acquire) {
            // Everything up to the reset is forgotten.
            return self.drop_input(available);
        }
        let latency_samples = self.latency.worker_samples as u64;
        if !self.shared.offline.load(Acquire) {
            let due = self.due();
            let late = due.saturating_sub(self.position.max(self.valid_from));
            if late > self.load.patience_samples(latency_samples).min(self.max_age_samples) {
                self.skip_to = self.skip_to.max(due);
            }
        }
        if self.position < self.skip_to {
            let ahead = usize::try_from(self.skip_to - self.position).unwrap_or(usize::MAX);
            self.lost += ahead.min(available) as u64;
            return self.drop_input(ahead.min(available));
        }
        // A piece may start a run, which needs one mark.
        let room = if self.rings.marks.is_full() { 0 } else { self.rings.output.slots() };
        let count = available.min(room).min(self.piece_in.len());
        if count == 0 {
            return Turn::Idle;
        }
        self.begin_piece(count);
        Turn::Worked
    }

    /// Enters the runs whose first sample is next; gives the samples until the run after.
    fn apply_events(&mut self) -> u64 {
        while let Ok(&event) = self.rings.events.peek() {
            if event.at > self.read {
                return event.at - self.read;
            }
            let _ = self.rings.events.pop();
            let fresh = event.generation != self.generation;
            let settings_changed = event.settings != self.settings;
            self.settings = event.settings;
            if fresh {
                self.generation = event.generation;
                self.lost = 0;
                self.skip_to = 0;
                self.valid_from = event.position;
            } else {
                self.lost += event.position.saturating_sub(self.position);
            }
            self.position = event.position;
            self.guarded(|worker, _, _| {
                if fresh {
                    worker.reset();
                }
                if fresh || settings_changed {
                    worker.set(event.settings);
                }
            });
        }
        u64::MAX
    }

    fn drop_input(&mut self, count: usize) -> Turn {
        if let Ok(chunk) = self.rings.input.read_chunk(count) {
            chunk.commit_all();
            self.read += count as u64;
            self.position += count as u64;
        }
        Turn::Worked
    }

    fn discard_all(&mut self, slots: usize) -> Turn {
        while self.rings.events.pop().is_ok() {}
        if slots == 0 {
            return Turn::Idle;
        }
        self.drop_input(slots)
    }

    fn begin_piece(&mut self, samples: usize) {
        let begun = Instant::now();
        self.last_arrival = Some((begun, samples));
        if self.lost > 0 {
            let (lost, settings) = (self.lost, self.settings);
            self.lost = 0;
            self.valid_from = self.position + self.latency.worker_samples as u64;
            self.shared.meters.skips.fetch_add(1, Relaxed);
            self.guarded(|worker, _, _| worker.skip(lost, settings));
        }
        if self.rings.input.pop_entire_slice(&mut self.piece_in[..samples]).is_err() {
            return;
        }
        self.read += samples as u64;
        let (progress, busy) = (Progress::default(), begun.elapsed());
        self.piece = Some(Piece { samples, progress, busy, is_hop_due: false, is_done: false });
    }

    /// Takes the piece as far as to the next due hop; whether there is one.
    pub fn advance(&mut self) -> bool {
        let Some(mut piece) = self.piece.take_if(|piece| !piece.is_done) else { return false };
        let begun = Instant::now();
        piece.is_hop_due = false;
        self.guarded(|worker, input, output| {
            let (input, output) = (&input[..piece.samples], &mut output[..piece.samples]);
            piece.is_hop_due = worker.advance(input, output, &mut piece.progress);
        });
        piece.busy += begun.elapsed();
        piece.is_done = !piece.is_hop_due;
        let is_hop_due = piece.is_hop_due;
        self.piece = Some(piece);
        is_hop_due
    }

    /// The encoder's part of the due hop, asked for once.
    pub fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        self.piece.as_ref().filter(|piece| piece.is_hop_due)?;
        self.worker.as_mut()?.encoding()
    }

    /// The decoder's part of the due hop.
    pub fn decoding(&mut self) -> Option<HopTask<'_>> {
        self.piece.as_ref().filter(|piece| piece.is_hop_due)?;
        self.worker.as_mut()?.decoding()
    }

    /// Goes past the due hop, whose encoding and decoding took so long.
    pub fn sing(&mut self, made_in: Duration) {
        let Some(mut piece) = self.piece.take_if(|piece| piece.is_hop_due) else { return };
        let begun = Instant::now();
        self.guarded(|worker, _, _| worker.sing());
        piece.busy += begun.elapsed() + made_in;
        self.piece = Some(piece);
    }

    /// Hands on what of the piece is of use.
    pub fn finish(&mut self) {
        let Some(Piece { samples, busy, .. }) = self.piece.take() else { return };
        if self.worker.is_none() {
            return;
        }
        let first = self.position.max(self.valid_from);
        self.position += samples as u64;
        let useful = usize::try_from(self.position.saturating_sub(first)).unwrap_or(0).min(samples);
        if useful > 0 {
            self.hand_on(first, samples - useful..samples);
        }
        if let Some(load) = self.load.add(busy, samples) {
            self.shared.meters.load.store(load.to_bits(), Relaxed);
            let median = self.worker.as_ref().and_then(|worker| worker.take_median_f0_hz());
            self.shared.meters.take_median_f0_hz.store(median.unwrap_or(0.0).to_bits(), Relaxed);
            self.shared.meters.note_gpu(self.worker.as_ref().and_then(|worker| worker.gpu_use()));
        }
    }

    /// Writes a part of the piece whose first sample belongs to position `first`.
    fn hand_on(&mut self, first: u64, part: std::ops::Range<usize>) {
        let count = part.len() as u64;
        if self.marked != first {
            if self.rings.marks.push(Mark { at: self.written, position: first }).is_err() {
                return;
            }
            self.marked = first;
        }
        if self.rings.output.push_entire_slice(&self.piece_out[part]).is_ok() {
            self.written += count;
            self.marked += count;
        }
    }

    /// Runs the worker; a panic takes it out of service and is told.
    fn guarded(&mut self, run: impl FnOnce(&mut dyn Worker, &[f32], &mut [f32])) {
        let Some(worker) = &mut self.worker else { return };
        let (piece_in, piece_out) = (&self.piece_in, &mut self.piece_out);
        // After a panic the worker is never used again, so its broken invariants are seen by nobody.
        let result = catch_unwind(AssertUnwindSafe(|| run(worker.as_mut(), piece_in, piece_out)));
        if let Err(panic) = result {
            self.retire(&*panic);
        }
    }

    /// Takes the worker out of service after a panic, and tells.
    pub fn retire(&mut self, panic: &(dyn Any + Send)) {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        let _ = self.shared.meters.failure.set(said);
        self.shared.meters.failed.store(true, Release);
        let worker = self.worker.take();
        drop_guarded(worker);
    }

    /// How long nothing can be due.
    fn rest(&self, now: Instant) -> Duration {
        const STEP: Duration = Duration::from_micros(500);
        if self.shared.waiting.load(Relaxed) {
            return Duration::from_micros(50);
        }
        let Some((arrival, burst)) = self.last_arrival else { return Duration::from_millis(2) };
        let since = now - arrival;
        // The host has stopped calling: rather a late first block than a processor that never sleeps.
        if since > Duration::from_secs(10) {
            return Duration::from_millis(10);
        }
        if since > Duration::from_millis(500) {
            return Duration::from_millis(2);
        }
        let period = Duration::from_secs_f64(burst as f64 / f64::from(self.host_rate_hz));
        period.saturating_sub(since + 2 * STEP).clamp(STEP, Duration::from_millis(4))
    }
}

/// A destructor may panic too; that must not take other streams along.
fn drop_guarded<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// Smoothed computing time over sounding time.
struct Load {
    host_rate_hz: f64,
    busy_s: f64,
    samples: usize,
    smoothed: Option<f64>,
}

impl Load {
    fn new(host_rate_hz: u32) -> Self {
        Self { host_rate_hz: f64::from(host_rate_hz), busy_s: 0.0, samples: 0, smoothed: None }
    }

    /// Adds one piece; a new smoothed value comes once per 100 ms of sound.
    fn add(&mut self, busy: Duration, samples: usize) -> Option<f32> {
        self.busy_s += busy.as_secs_f64();
        self.samples += samples;
        let sounding_s = self.samples as f64 / self.host_rate_hz;
        if sounding_s < 0.1 {
            return None;
        }
        let load = self.busy_s / sounding_s;
        (self.busy_s, self.samples) = (0.0, 0);
        let smoothed = self.smoothed.map_or(load, |before| before + 0.3 * (load - before));
        self.smoothed = Some(smoothed);
        Some(smoothed as f32)
    }

    /// Lateness below which computing on is back in time sooner than a skip, which costs the worker's latency:
    /// catching up on `late` samples takes `late * load / (1 - load)`.
    fn patience_samples(&self, latency_samples: u64) -> u64 {
        let load = self.smoothed.unwrap_or(0.5).clamp(0.02, 1.0);
        (latency_samples as f64 * (1.0 - load) / load) as u64
    }
}

/// The engine thread. Ends when the hub has let go of it and all streams are closed.
pub(super) fn serve(opened: &Receiver<Served>) {
    let mut streams: Vec<Served> = Vec::new();
    loop {
        let released = loop {
            match opened.try_recv() {
                Ok(stream) => streams.push(stream),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        while let Some(index) = streams.iter().position(Served::closed) {
            drop_guarded(streams.swap_remove(index));
        }
        if streams.is_empty() {
            if released {
                return;
            }
            thread::park_timeout(Duration::from_millis(100));
            continue;
        }
        streams.sort_by_cached_key(|stream| {
            // Whole microseconds, since floats have no total order of their own; nothing to do goes last.
            stream.slack_s().map_or(i64::MAX, |slack_s| (slack_s * 1e6) as i64)
        });
        if together::turn(&mut streams) == Turn::Idle {
            let now = Instant::now();
            let rest = streams.iter().map(|stream| stream.rest(now)).min().unwrap_or_default();
            // Woken early only by a stream that opens, closes or waits offline.
            thread::park_timeout(rest);
        }
    }
}
