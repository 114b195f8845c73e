//! Both ends of a stream in one thread, so that every stall lasts as long as the test says; then real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::audio::Patience;
use super::engine::{Served, Turn};
use super::together::turn_together;
use super::*;

const RATE_HZ: u32 = 48_000;
const DELAY: usize = 700;
/// No late position.
const NONE: [usize; 0] = [];
const PLAIN: Settings = Settings { air: 0.0, ..Settings::FIRST_SINGER };

/// A delay whose gain is the singer's number plus one, and which adds a trace of its own sample count.
struct Delay {
    line: Vec<f32>,
    index: usize,
    count: u64,
    settings: Settings,
    panic_at: Option<u64>,
    dropped: Option<Arc<AtomicUsize>>,
}

impl Delay {
    fn new(delay: usize) -> Self {
        Self { line: vec![0.0; delay], index: 0, count: 0, settings: PLAIN, panic_at: None, dropped: None }
    }
}

fn trace(count: u64) -> f32 {
    (count % 997) as f32 / 8192.0
}

impl Worker for Delay {
    fn process(&mut self, input: &[f32], output: &mut [f32]) {
        for (input, output) in input.iter().zip(output) {
            assert!(self.panic_at != Some(self.count), "on purpose");
            let slot = &mut self.line[self.index];
            *output = *slot + if self.settings.seed == 1 { trace(self.count) } else { 0.0 };
            *slot = input * (self.settings.singer + 1) as f32;
            self.index = (self.index + 1) % self.line.len();
            self.count += 1;
        }
    }

    fn reset(&mut self) {
        self.line.fill(0.0);
        self.index = 0;
        self.count = 0;
    }

    fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn latency_samples(&self) -> usize {
        self.line.len()
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.fetch_add(1, SeqCst);
        }
    }
}

fn config(max_block_samples: usize) -> StreamConfig {
    StreamConfig { host_rate_hz: RATE_HZ, max_block_samples, settings: PLAIN }
}

/// Never zero, so that silence is never mistaken for sound.
fn noise(index: usize) -> f32 {
    let hash = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    0.1 + (hash >> 40) as f32 / (1u64 << 25) as f32
}

/// What a stream gave out so far.
#[derive(Default)]
struct Tape {
    wet: Vec<f32>,
    dry_share: Vec<f32>,
}

impl Tape {
    fn room(&mut self, count: usize) -> (usize, &mut [f32], &mut [f32]) {
        let start = self.wet.len();
        self.wet.resize(start + count, f32::NAN);
        self.dry_share.resize(start + count, f32::NAN);
        (start, &mut self.wet[start..], &mut self.dry_share[start..])
    }

    /// One call with the next `count` samples of noise.
    fn block(&mut self, stream: &mut Stream, count: usize) {
        let (start, wet, dry_share) = self.room(count);
        let input: Vec<f32> = (start..start + count).map(noise).collect();
        stream.process(&input, wet, dry_share);
    }

    fn impatient_block(&mut self, stream: &mut Stream, count: usize) {
        let (start, wet, dry_share) = self.room(count);
        let input: Vec<f32> = (start..start + count).map(noise).collect();
        stream.transfer(&input, wet, dry_share, Patience::Never);
    }

    /// Every sample that is wholly wet is the right one; gives the positions that are not.
    fn late(&self, latency: usize) -> Vec<usize> {
        let mut late = Vec::new();
        for (position, (&wet, &share)) in self.wet.iter().zip(&self.dry_share).enumerate() {
            if share == 0.0 {
                let right = if position < latency { 0.0 } else { noise(position - latency) };
                assert_eq!(wet, right, "misplaced sample at {position}");
            } else {
                assert!(share > 0.0 && share <= 1.0 && wet.is_finite());
                late.push(position);
            }
        }
        late
    }
}

fn turn(served: &mut Served) -> Turn {
    turn_together(std::slice::from_mut(served))
}

fn drain(served: &mut Served) {
    while turn(served) == Turn::Worked {}
}

const ODD: [usize; 11] = [1, 7, 64, 127, 480, 481, 1000, 1021, 3, 512, 999];

#[test]
fn the_latency_is_the_sum_of_its_parts_and_does_not_follow_small_blocks() {
    let small = LatencyParts::new(DELAY, RATE_HZ, 32);
    assert_eq!(small, LatencyParts::new(DELAY, RATE_HZ, 512));
    assert_eq!(small.total_samples(), DELAY + 512 + 96);
    assert_eq!(LatencyParts::new(DELAY, RATE_HZ, 4096).total_samples(), DELAY + 4096 + 96);
    assert_eq!(LatencyParts::new(0, 44_100, 64).hand_off_samples(), 471 + 89);
}

#[test]
fn an_engine_in_time_gives_the_exact_sound_at_any_block_sizes() {
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(1024)).unwrap();
    let mut tape = Tape::default();
    for call in 0..400 {
        tape.impatient_block(&mut stream, ODD[call % ODD.len()]);
        drain(&mut served);
    }
    assert_eq!(tape.late(stream.latency().total_samples()), NONE);
    assert_eq!(stream.meters().report().late_samples, 0);
}

#[test]
fn an_engine_a_whole_hop_behind_is_still_in_time() {
    // Work is done only once a hop is whole and one period after that: blocks of 64, a hop of 480.
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(1024)).unwrap();
    let mut tape = Tape::default();
    for call in 0..1000 {
        tape.impatient_block(&mut stream, 64);
        if call % 15 == 14 {
            drain(&mut served);
        }
    }
    assert_eq!(tape.late(stream.latency().total_samples()), NONE);
}

#[test]
fn a_stall_fades_to_dry_and_returns_one_worker_latency_after_its_end() {
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(512)).unwrap();
    let total = stream.latency().total_samples();
    let mut tape = Tape::default();
    let mut play = |stream: &mut Stream, served: &mut Served, calls: usize, stalled: bool| {
        for _ in 0..calls {
            tape.impatient_block(stream, 256);
            if !stalled {
                drain(served);
            }
        }
        tape.wet.len()
    };
    let stall_begins = play(&mut stream, &mut served, 40, false);
    // Longer than any queue: input is lost as well.
    let stall_ends = play(&mut stream, &mut served, 400, true);
    play(&mut stream, &mut served, 40, false);
    let late = tape.late(total);
    let (first, last) = (late[0], late[late.len() - 1]);
    assert_eq!(late.len(), last - first + 1, "one gap");
    // The engine had had everything before the stall.
    assert_eq!(first, stall_begins + stream.latency().hand_off_samples());
    // The first call after the stall still finds nothing; the fade-in is over 5 ms later.
    let fade = 240;
    assert!(last < stall_ends + 256 + DELAY + stream.latency().hand_off_samples() + fade, "{last}");
    let report = stream.meters().report();
    assert!(report.skips >= 1 && report.lost_input_samples > 0);
    assert!(report.late_samples as usize >= late.len() - fade);
    // In the middle of the stall the sound is all dry.
    assert_eq!((tape.wet[first + 1000], tape.dry_share[first + 1000]), (0.0, 1.0));
}

#[test]
fn a_stall_within_the_age_bound_returns_one_worker_latency_after_its_end() {
    // A worker's latency so long that a skip pays, and no input lost.
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(256)).unwrap();
    let total = stream.latency().total_samples();
    let mut tape = Tape::default();
    for call in 0..400 {
        tape.impatient_block(&mut stream, 256);
        if !(100..180).contains(&call) {
            drain(&mut served);
        }
    }
    let late = tape.late(total);
    assert_eq!(stream.meters().report().lost_input_samples, 0);
    assert_eq!(stream.meters().report().skips, 1);
    // Call 180 is the first that the engine sees again; its results are heard from call 181 on.
    assert!(late[late.len() - 1] < 181 * 256 + DELAY + 240, "{late:?}");
}

#[test]
fn a_short_stall_is_caught_up_without_a_skip() {
    // A skip would cost 20,000 samples, so that even a worker as slow as real time catches up sooner.
    let (mut stream, mut served) = pair(Box::new(Delay::new(20_000)), config(256)).unwrap();
    let mut tape = Tape::default();
    for call in 0..200 {
        tape.impatient_block(&mut stream, 256);
        // Seven blocks are 672 samples more than the hand-off holds.
        if !(50..57).contains(&call) {
            drain(&mut served);
        }
    }
    let late = tape.late(stream.latency().total_samples());
    assert!(!late.is_empty());
    assert_eq!(stream.meters().report().skips, 0);
}

#[test]
fn overload_gives_dry_sound_and_no_misplaced_sample() {
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(256)).unwrap();
    let mut tape = Tape::default();
    for call in 0..2000 {
        tape.impatient_block(&mut stream, 256);
        // One piece of 480 samples for three blocks of 256.
        if call % 3 == 0 {
            turn(&mut served);
        }
    }
    let late = tape.late(stream.latency().total_samples());
    assert!(late.len() > 1000);
}

#[test]
fn settings_change_at_their_sample() {
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(1024)).unwrap();
    let total = stream.latency().total_samples();
    let mut tape = Tape::default();
    let mut changes = Vec::new();
    for call in 0..300 {
        if call % 3 == 0 {
            let singer = call % 5;
            stream.set(Settings { singer, ..PLAIN });
            changes.push((tape.wet.len(), singer));
        }
        tape.impatient_block(&mut stream, ODD[call % ODD.len()]);
        drain(&mut served);
    }
    for position in total..tape.wet.len() {
        let heard = position - total;
        let singer = changes.iter().rev().find(|(at, _)| *at <= heard).map_or(0, |(_, singer)| *singer);
        assert_eq!(tape.wet[position], noise(heard) * (singer + 1) as f32, "at {position}");
    }
}

#[test]
fn a_reset_in_mid_stream_is_exactly_as_fresh() {
    let settings = Settings { singer: 2, seed: 1, ..PLAIN };
    let fresh = {
        let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(512)).unwrap();
        stream.set(settings);
        let mut tape = Tape::default();
        for _ in 0..40 {
            tape.impatient_block(&mut stream, 500);
            drain(&mut served);
        }
        tape
    };
    let (mut stream, mut served) = pair(Box::new(Delay::new(DELAY)), config(512)).unwrap();
    stream.set(settings);
    for calls_before in [0, 1, 17] {
        // The engine has seen a part of it, the rings are not empty, and two resets come at once.
        let mut before = Tape::default();
        for call in 0..calls_before {
            before.impatient_block(&mut stream, 511);
            if call % 4 == 0 {
                turn(&mut served);
            }
        }
        stream.reset();
        stream.reset();
        let mut tape = Tape::default();
        for _ in 0..40 {
            tape.impatient_block(&mut stream, 500);
            drain(&mut served);
        }
        assert_eq!(tape.wet, fresh.wet);
        assert_eq!(tape.dry_share, fresh.dry_share);
    }
}

fn shared_run(offline: bool, sizes: &[usize], max_block: usize) -> (Tape, usize, StreamReport) {
    let hub = Arc::new(Hub::default());
    let mut stream = hub.open(Box::new(Delay::new(DELAY)), config(max_block)).unwrap();
    stream.set_offline(offline);
    let mut tape = Tape::default();
    for call in 0..200 {
        tape.block(&mut stream, sizes[call % sizes.len()]);
    }
    (tape, stream.latency().total_samples(), stream.meters().report())
}

#[test]
fn offline_is_exact_at_odd_block_sizes_even_beyond_the_promised_one() {
    for max_block in [256, 4096] {
        let (tape, latency, report) = shared_run(true, &[ODD.as_slice(), &[4096]].concat(), max_block);
        assert_eq!(tape.late(latency), NONE);
        assert_eq!(report.late_blocks, 0);
    }
}

#[test]
fn a_fast_host_that_does_not_say_so_gets_the_exact_sound() {
    // Blocks of a second, so that what is earned outlasts any pause of a busy machine.
    let (tape, latency, report) = shared_run(false, &[48_000, 47_000, 45_001], 48_000);
    assert_eq!(tape.late(latency), NONE);
    assert_eq!(report.late_blocks, 0);
}

#[test]
fn two_streams_are_independent_and_a_panicking_worker_takes_only_its_own_down() {
    let hub = Arc::new(Hub::default());
    let mut doomed_worker = Delay::new(DELAY);
    doomed_worker.panic_at = Some(20_000);
    let mut doomed = hub.open(Box::new(doomed_worker), config(512)).unwrap();
    let mut other = hub.open(Box::new(Delay::new(DELAY)), config(512)).unwrap();
    doomed.set_offline(true);
    other.set_offline(true);
    let (mut doomed_tape, mut other_tape) = (Tape::default(), Tape::default());
    for _ in 0..200 {
        doomed_tape.block(&mut doomed, 480);
        other_tape.block(&mut other, 480);
    }
    assert_eq!(other_tape.late(other.latency().total_samples()), NONE);
    assert_eq!(other.meters().report().failure, None);
    let late = doomed_tape.late(doomed.latency().total_samples());
    assert!(late[0] <= 20_000 + doomed.latency().hand_off_samples());
    assert_eq!(late.len(), doomed_tape.wet.len() - late[0], "dry to the end");
    assert_eq!(doomed.meters().report().failure.as_deref(), Some("on purpose"));
}

#[test]
fn the_engine_ends_with_the_last_stream_in_any_order_and_starts_again() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let hub = Arc::new(Hub::default());
    let open = || {
        let mut worker = Delay::new(DELAY);
        worker.dropped = Some(Arc::clone(&dropped));
        hub.open(Box::new(worker), config(512)).unwrap()
    };
    let (first, second) = (open(), open());
    drop(first);
    let third = open();
    drop(third);
    drop(second);
    // The last drop joins the thread, so the workers are gone by now.
    assert_eq!(dropped.load(SeqCst), 3);
    assert!(hub.running.lock().engine.is_none());
    drop(open());
    assert_eq!(dropped.load(SeqCst), 4);
}

#[test]
fn absurd_hosts_are_refused_with_words() {
    let broken = StreamConfig { host_rate_hz: 0, ..config(512) };
    assert!(matches!(pair(Box::new(Delay::new(1)), broken), Err(HubError::Config { .. })));
    let huge = StreamConfig { max_block_samples: usize::MAX, ..config(512) };
    assert!(matches!(pair(Box::new(Delay::new(1)), huge), Err(HubError::Config { .. })));
}

/// Streams of two banks and of a delay, in phase and out of it: whoever is served beside a stream, it gives what its
/// converter gives alone.
#[test]
fn streams_that_are_served_together_give_what_each_gives_alone() {
    let bank = crate::voice::VoiceBank::default_bank().unwrap();
    let mut model = bank.card().model.clone();
    model.decoder.residual_channels = 20;
    let other = Arc::new(crate::voice::VoiceBank::random(model, 2, 5).unwrap());
    let banks = [Some(&bank), Some(&bank), Some(&other), None, Some(&bank), Some(&bank), Some(&bank)];
    let total = 12_000;
    let settings = |stream: usize| Settings { singer: stream % 2, seed: stream as u64, ..PLAIN };
    let take = |stream: usize| -> Vec<f32> {
        let period = 200.0 + 30.0 * stream as f32;
        (0..total).map(|index| (index as f32 / period).fract() * 0.4 - 0.2).collect()
    };
    let (mut streams, mut served): (Vec<Stream>, Vec<Served>) = banks
        .iter()
        .enumerate()
        .map(|(stream, bank)| {
            let settings = settings(stream);
            let worker: Box<dyn Worker> = match bank {
                Some(bank) => Box::new(Converter::new(bank, RATE_HZ, settings).unwrap()),
                None => Box::new(Delay::new(DELAY)),
            };
            pair(worker, StreamConfig { settings, ..config(512) }).unwrap()
        })
        .unzip();
    let mut sung = vec![Vec::new(); banks.len()];
    let mut given = vec![0; banks.len()];
    for call in 0..60 {
        for (stream, audio) in streams.iter_mut().enumerate() {
            // Some begin later, in the middle of the others' hops.
            if call < stream / 4 {
                continue;
            }
            let count = if stream == 5 { ODD[call % 4] } else { 333 }.min(total - given[stream]);
            let input = &take(stream)[given[stream]..][..count];
            let (mut wet, mut dry_share) = (vec![0.0; count], vec![0.0; count]);
            audio.transfer(input, &mut wet, &mut dry_share, Patience::Never);
            assert!(dry_share.iter().all(|share| *share == 0.0));
            sung[stream].extend(wet);
            given[stream] += count;
        }
        while turn_together(&mut served) == Turn::Worked {}
    }
    for (stream, bank) in banks.iter().enumerate() {
        let Some(bank) = bank else { continue };
        let mut alone = vec![0.0; given[stream]];
        let mut converter = Converter::new(bank, RATE_HZ, settings(stream)).unwrap();
        converter.process(&take(stream)[..given[stream]], &mut alone);
        let hand_off = streams[stream].latency().hand_off_samples();
        assert!(sung[stream][hand_off..] == alone[..given[stream] - hand_off], "stream {stream}");
        assert!(alone.iter().any(|sample| sample.abs() > 1e-3));
    }
}

/// A whole take with a reset and settings that change, through the converter alone and through the hub.
#[test]
fn the_hub_adds_its_hand_off_to_the_converter_and_nothing_else() {
    let bank = crate::voice::VoiceBank::default_bank().unwrap();
    let changed = Settings { singer: 1, transpose_semitones: -3.5, seed: 7, ..PLAIN };
    let total = 48_000;
    let input: Vec<f32> = (0..total).map(|index| (index as f32 * 0.03).sin() * 0.3).collect();
    let mut alone = vec![0.0; total];
    let mut converter = Converter::new(&bank, RATE_HZ, PLAIN).unwrap();
    converter.process(&input[..10_007], &mut alone[..10_007]);
    converter.set(changed);
    converter.process(&input[10_007..], &mut alone[10_007..]);

    let hub = Arc::new(Hub::default());
    let converter = Converter::new(&bank, RATE_HZ, PLAIN).unwrap();
    let mut stream = hub.open(Box::new(converter), config(1024)).unwrap();
    stream.set_offline(true);
    let (mut wet, mut dry_share) = (vec![0.0; total], vec![0.0; total]);
    for _ in 0..2 {
        // The first time round is only there to be forgotten.
        stream.reset();
        stream.set(PLAIN);
        let mut position = 0;
        for size in ODD.iter().cycle() {
            let end = (position + size).min(if position < 10_007 { 10_007 } else { total });
            let block = position..end;
            stream.process(&input[block.clone()], &mut wet[block.clone()], &mut dry_share[block]);
            position = end;
            if position == 10_007 {
                stream.set(changed);
            } else if position == total {
                break;
            }
        }
    }
    let hand_off = stream.latency().hand_off_samples();
    assert_eq!(wet[..hand_off], vec![0.0; hand_off]);
    assert_eq!(wet[hand_off..], alone[..total - hand_off]);
    assert!(dry_share.iter().all(|&share| share == 0.0));
    assert!(wet.iter().any(|&sample| sample.abs() > 1e-3));
}
