//! The audio thread's end of a stream. Nothing here allocates, locks, wakes or makes a system call, except while it waits
//! for the engine, which it does only where the host allows it.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer};

use super::pace::Pace;
use super::presence::Presence;
use super::shared::{Event, Mark, Shared};
use super::{Hub, LatencyParts, Settings, StreamMeters};

/// Offline, so long without any result the engine is taken for dead.
const WATCHDOG: Duration = Duration::from_secs(20);

/// How long a call may wait for the engine.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    Never,
    Until(Instant),
    /// As long as results keep coming.
    Offline,
}

pub(super) struct Rings {
    pub input: Producer<f32>,
    pub events: Producer<Event>,
    pub output: Consumer<f32>,
    pub marks: Consumer<Mark>,
}

/// The audio thread's end of a stream. Dropping it closes the stream; not for the audio thread.
pub struct Stream {
    latency: LatencyParts,
    shared: Arc<Shared>,
    rings: Rings,
    /// The hub to sign off from and the thread to wake while waiting offline; none in single-threaded tests.
    attached: Option<(Thread, Arc<Hub>)>,

    settings: Settings,
    generation: u32,
    /// The next input sample needs an event before it.
    announce: bool,
    /// Samples that have gone into the input ring.
    pushed: u64,
    /// Stream position of the next input sample.
    position: u64,
    /// Position of the last reset.
    base: u64,

    /// Samples taken out of the output ring, and the position that the next one belongs to.
    taken: u64,
    run_position: u64,

    pace: Pace,
    presence: Presence,
    offline: bool,
    /// The watchdog ran out; do not wait again before something comes.
    given_up: bool,
}

/// What the output ring has for a position.
enum Supply {
    /// So many samples were written.
    Samples(usize),
    /// So many will never come.
    Gap(usize),
    /// Nothing yet.
    Nothing,
}

impl Stream {
    pub(super) fn new(
        latency: LatencyParts,
        host_rate_hz: u32,
        settings: Settings,
        shared: Arc<Shared>,
        rings: Rings,
    ) -> Self {
        Self {
            latency,
            shared,
            rings,
            attached: None,
            settings,
            generation: 0,
            announce: false,
            pushed: 0,
            position: 0,
            base: 0,
            taken: 0,
            run_position: 0,
            pace: Pace::new(host_rate_hz),
            presence: Presence::new(host_rate_hz),
            offline: false,
            given_up: false,
        }
    }

    pub(super) fn attach(&mut self, engine: Thread, hub: Arc<Hub>) {
        self.attached = Some((engine, hub));
    }

    /// The latency and what it is made of.
    pub fn latency(&self) -> LatencyParts {
        self.latency
    }

    /// Counters to be shown elsewhere.
    pub fn meters(&self) -> Arc<StreamMeters> {
        Arc::clone(&self.shared.meters)
    }

    /// Samples handed over since the stream was opened.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The host waits for results (a bounce): nothing is ever late.
    pub fn set_offline(&mut self, offline: bool) {
        self.offline = offline;
        self.given_up = false;
        self.shared.offline.store(offline, Release);
    }

    /// The next sample handed to [`process`](Self::process) is the first under these settings.
    pub fn set(&mut self, settings: Settings) {
        if settings != self.settings {
            self.settings = settings;
            self.announce = true;
        }
    }

    /// The next sample is the first of a take; all that is under way is forgotten. Never waits.
    pub fn reset(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.shared.generation.store(self.generation, Release);
        self.base = self.position;
        self.announce = true;
        self.given_up = false;
        self.pace.reset();
        self.presence.reset();
    }

    /// Hands over `input` and fills `wet` and `dry_share`, all of the same length.
    ///
    /// `wet[i]` belongs to the input [`LatencyParts::total_samples`] earlier and is to be used as it is; the signal to
    /// be heard is `wet[i] + dry_share[i] * dry[i]`, where `dry` is the input delayed by as much. As long as results
    /// are in time `dry_share` is exactly zero.
    pub fn process(&mut self, input: &[f32], wet: &mut [f32], dry_share: &mut [f32]) {
        let length = input.len().min(wet.len()).min(dry_share.len());
        let now = Instant::now();
        let budget = self.pace.begin(now, length);
        let patience = if self.offline {
            Patience::Offline
        } else if budget > Duration::ZERO {
            Patience::Until(now + budget)
        } else {
            Patience::Never
        };
        self.transfer(&input[..length], &mut wet[..length], &mut dry_share[..length], patience);
    }

    /// `process` with the patience given. A host that breaks its promise about block sizes is served in pieces.
    pub(super) fn transfer(
        &mut self,
        input: &[f32],
        wet: &mut [f32],
        dry_share: &mut [f32],
        patience: Patience,
    ) {
        let piece = self.latency.block_samples;
        let (mut late, mut waited) = (0, false);
        for ((input, wet), dry_share) in
            input.chunks(piece).zip(wet.chunks_mut(piece)).zip(dry_share.chunks_mut(piece))
        {
            let mut wait = Wait::new(patience, self);
            self.push(input, &mut wait);
            late += self.pull(wet, dry_share, &mut wait);
            waited |= wait.tries > 0;
            self.given_up |= wait.watchdog_ran_out;
        }
        self.shared.given.store(self.position, Release);
        let meters = &self.shared.meters;
        if waited {
            self.shared.waiting.store(false, Relaxed);
            meters.waits.fetch_add(1, Relaxed);
        }
        if late > 0 && !meters.failed.load(Relaxed) {
            meters.late_samples.fetch_add(late as u64, Relaxed);
            meters.late_blocks.fetch_add(1, Relaxed);
        }
    }

    /// Hands the input over, whole or not at all. What finds no room is a hole in the stream that the next event states.
    fn push(&mut self, input: &[f32], wait: &mut Wait) {
        let fits = loop {
            let room = self.rings.input.slots() >= input.len();
            if room && (!self.announce || self.announce_run()) {
                break self.rings.input.push_entire_slice(input).is_ok();
            }
            // What stands in the way may be results that nobody has taken.
            self.discard_stale();
            if !wait.pause(self) {
                break false;
            }
        };
        if fits {
            self.pushed += input.len() as u64;
        } else {
            self.announce = true;
            if !self.shared.meters.failed.load(Relaxed) {
                self.shared.meters.lost_input_samples.fetch_add(input.len() as u64, Relaxed);
            }
        }
        self.position += input.len() as u64;
    }

    /// States what the next input sample is. False if there is no room for the statement.
    fn announce_run(&mut self) -> bool {
        let event = Event {
            at: self.pushed,
            position: self.position,
            settings: self.settings,
            generation: self.generation,
        };
        self.announce = self.rings.events.push(event).is_err();
        !self.announce
    }

    /// Gives out the results for the samples that were just handed over. Returns how many were late.
    fn pull(&mut self, wet: &mut [f32], dry_share: &mut [f32], wait: &mut Wait) -> usize {
        let length = wet.len();
        // Unshifted position of the first sample to give; positions before the last reset are silence.
        let first = (self.position - length as u64) as i64 - self.latency.hand_off_samples() as i64;
        let mut done = 0;
        let mut late = 0;
        while done < length {
            let wanted = first + done as i64;
            let rest = length - done;
            let before_start = usize::try_from(self.base as i64 - wanted).unwrap_or(0).min(rest);
            let (count, present) = if before_start > 0 {
                wet[done..done + before_start].fill(0.0);
                (before_start, true)
            } else {
                match self.supply(wanted as u64, rest) {
                    Supply::Samples(count) => {
                        let (slot, _) = wet[done..].split_at_mut(count);
                        // The ring was just seen to hold them; if not, they are late like any others.
                        let present = self.rings.output.pop_entire_slice(slot).is_ok();
                        if present {
                            self.taken += count as u64;
                            self.run_position += count as u64;
                            self.given_up = false;
                            wait.progress();
                        }
                        (count, present)
                    }
                    Supply::Gap(count) => (count, false),
                    Supply::Nothing if wait.pause(self) => continue,
                    Supply::Nothing => (rest, false),
                }
            };
            let (wet, dry_share) = (&mut wet[done..done + count], &mut dry_share[done..done + count]);
            if present {
                self.presence.present(wet, dry_share);
            } else {
                self.presence.absent(wet, dry_share);
                late += count;
            }
            done += count;
        }
        late
    }

    /// Looks for position `wanted` in the output ring, throwing away what came too late.
    fn supply(&mut self, wanted: u64, most: usize) -> Supply {
        loop {
            // Slots before marks: a mark is written before its samples.
            let slots = self.rings.output.slots();
            let until_mark = self.next_run();
            let run = usize::try_from(until_mark).unwrap_or(usize::MAX).min(slots);
            if run == 0 {
                return Supply::Nothing;
            }
            if self.run_position < wanted {
                let stale = usize::try_from(wanted - self.run_position).unwrap_or(usize::MAX).min(run);
                self.discard(stale);
            } else if self.run_position > wanted {
                let gap = usize::try_from(self.run_position - wanted).unwrap_or(usize::MAX);
                return Supply::Gap(gap.min(most));
            } else {
                return Supply::Samples(run.min(most));
            }
        }
    }

    /// Enters the runs whose first sample is next; gives the samples until the run after.
    fn next_run(&mut self) -> u64 {
        while let Ok(&mark) = self.rings.marks.peek() {
            if mark.at > self.taken {
                return mark.at - self.taken;
            }
            self.run_position = mark.position;
            let _ = self.rings.marks.pop();
        }
        u64::MAX
    }

    fn discard(&mut self, count: usize) {
        if let Ok(chunk) = self.rings.output.read_chunk(count) {
            chunk.commit_all();
            self.taken += count as u64;
            self.run_position += count as u64;
        }
    }

    /// Makes room in the output ring before anything can be pulled.
    fn discard_stale(&mut self) {
        let wanted = self.position.saturating_sub(self.latency.hand_off_samples() as u64).max(self.base);
        let _ = self.supply(wanted, 1);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.closed.store(true, Release);
        if let Some((_, hub)) = self.attached.take() {
            hub.release();
        }
    }
}

/// One call's waiting.
struct Wait {
    patience: Patience,
    tries: u32,
    last_progress: Option<Instant>,
    watchdog_ran_out: bool,
}

impl Wait {
    fn new(patience: Patience, stream: &Stream) -> Self {
        let patience = match patience {
            Patience::Offline if stream.given_up => Patience::Never,
            patience => patience,
        };
        Self { patience, tries: 0, last_progress: None, watchdog_ran_out: false }
    }

    fn progress(&mut self) {
        self.last_progress = None;
    }

    /// Lets the engine work for a moment. False once waiting must end.
    fn pause(&mut self, stream: &Stream) -> bool {
        if matches!(self.patience, Patience::Never) || stream.shared.meters.failed.load(Acquire) {
            return false;
        }
        let now = Instant::now();
        let since = *self.last_progress.get_or_insert(now);
        match self.patience {
            Patience::Until(deadline) if now < deadline => {}
            Patience::Offline if now - since < WATCHDOG => {
                if let Some((engine, _)) = &stream.attached {
                    engine.unpark();
                }
            }
            Patience::Offline => {
                self.watchdog_ran_out = true;
                self.patience = Patience::Never;
                return false;
            }
            _ => return false,
        }
        if self.tries == 0 {
            stream.shared.waiting.store(true, Relaxed);
        }
        self.tries = self.tries.saturating_add(1);
        if self.tries < 32 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
        true
    }
}
