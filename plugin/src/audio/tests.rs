use std::sync::Arc;

use falsetto_engine::stream::{Hub, LatencyParts, Settings, Stream, StreamConfig, Worker};
use rtrb::RingBuffer;

use super::*;

const RATE_HZ: u32 = 48_000;
const MAX_BLOCK: usize = 512;
const DELAY: usize = 300;

/// Gives the take back negated and times the singer's number plus one, so that wet is never mistaken for dry.
struct Negate {
    line: Vec<f32>,
    index: usize,
    settings: Settings,
}

impl Worker for Negate {
    fn process(&mut self, input: &[f32], output: &mut [f32]) {
        for (input, output) in input.iter().zip(output) {
            *output = self.line[self.index];
            self.line[self.index] = -input * (self.settings.singer + 1) as f32;
            self.index = (self.index + 1) % self.line.len();
        }
    }
    fn reset(&mut self) {
        self.line.fill(0.0);
        self.index = 0;
    }
    fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }
    fn latency_samples(&self) -> usize {
        self.line.len()
    }
}

const FULL: Controls = Controls { settings: Settings::FIRST_SINGER, mix: 1.0, gain_db: 0.0, bypass: false };

fn stream() -> Stream {
    let worker = Negate { line: vec![0.0; DELAY], index: 0, settings: FULL.settings };
    let config =
        StreamConfig { host_rate_hz: RATE_HZ, max_block_samples: MAX_BLOCK, settings: FULL.settings };
    Arc::new(Hub::default()).open(Box::new(worker), config).unwrap()
}

/// An offline path and its latency; without a stream there is dry sound.
fn path(stream: Option<Stream>) -> (AudioPath, usize) {
    let latency = LatencyParts::new(DELAY, RATE_HZ, MAX_BLOCK).total_samples();
    let ((_, incoming), (outgoing, _)) = (RingBuffer::new(1), RingBuffer::new(1));
    let exchange = StreamExchange { incoming, outgoing };
    let mut path = AudioPath::new(stream, exchange, latency, RATE_HZ, MAX_BLOCK);
    path.set_offline(true);
    (path, latency)
}

fn left(index: usize) -> f32 {
    0.1 + ((index * 7919) % 997) as f32 / 2000.0
}

fn right(index: usize) -> f32 {
    -0.2 - ((index * 104_729) % 991) as f32 / 3000.0
}

/// Plays stereo in blocks of these sizes, with the controls that `at` gives; a block ends where they change, as the
/// framework cuts it.
fn play(
    path: &mut AudioPath,
    total: usize,
    sizes: &[usize],
    at: impl Fn(usize) -> Controls,
) -> [Vec<f32>; 2] {
    let board = Board::default();
    let (mut out_left, mut out_right) = (Vec::new(), Vec::new());
    let mut position = 0;
    let mut call = 0;
    while position < total {
        let controls = at(position);
        let mut count = sizes[call % sizes.len()].min(total - position);
        call += 1;
        if let Some(change) = (1..count).find(|ahead| at(position + ahead) != controls) {
            count = change;
        }
        let mut a: Vec<f32> = (position..position + count).map(left).collect();
        let mut b: Vec<f32> = (position..position + count).map(right).collect();
        path.process(&mut [&mut a, &mut b], 2, controls, &board);
        out_left.append(&mut a);
        out_right.append(&mut b);
        position += count;
    }
    [out_left, out_right]
}

#[test]
fn full_mix_is_the_wet_sound_bit_for_bit_on_both_channels() {
    let (mut path, latency) = path(Some(stream()));
    let [a, b] = play(&mut path, 20_000, &[512, 1, 77], |_| FULL);
    assert_eq!(a, b);
    for (position, &sample) in a.iter().enumerate() {
        let right = if position < latency {
            0.0
        } else {
            -(0.5 * (left(position - latency) + right(position - latency)))
        };
        assert_eq!(sample, right, "at {position}");
    }
}

#[test]
fn bypass_and_a_missing_voice_are_the_take_of_each_channel_bit_for_bit() {
    let bypass = Controls { bypass: true, gain_db: 6.0, mix: 0.3, ..FULL };
    for (voice, controls) in [(Some(stream()), bypass), (None, FULL)] {
        let (mut path, latency) = path(voice);
        let [a, b] = play(&mut path, 10_000, &[100, 512], |_| controls);
        for position in latency..a.len() {
            assert_eq!((a[position], b[position]), (left(position - latency), right(position - latency)));
        }
        assert!(a[..latency].iter().all(|&sample| sample == 0.0));
    }
}

#[test]
fn changes_belong_to_the_sound_they_were_set_for_however_blocks_are_cut() {
    let at = |position: usize| Controls {
        settings: Settings { singer: usize::from(position >= 3_333), ..FULL.settings },
        mix: if position >= 5_001 { 0.25 } else { 1.0 },
        gain_db: if (7_000..9_000).contains(&position) { -6.0 } else { 0.0 },
        bypass: position >= 11_111,
    };
    let (mut first, latency) = path(Some(stream()));
    let one = play(&mut first, 20_000, &[512], at);
    let (mut second, _) = path(Some(stream()));
    let other = play(&mut second, 20_000, &[1, 333, 64, 511], at);
    assert_eq!(one, other);
    let mono = |position: usize| 0.5 * (left(position) + right(position));
    // The last sample before each change, and the first of the new singer.
    assert_eq!(one[0][3_332 + latency], -mono(3_332));
    assert_eq!(one[0][3_333 + latency], -2.0 * mono(3_333));
    assert_eq!(one[0][5_000 + latency], -2.0 * mono(5_000));
    assert_ne!(one[0][5_001 + latency], -2.0 * mono(5_001));
    // A ramp later the new values hold.
    let settled = 5_001 + 480;
    let mixed = 0.25 * (-2.0 * mono(settled)) + 0.75 * left(settled);
    assert!((one[0][settled + latency] - mixed).abs() < 1e-6);
    assert_eq!(one[1][11_111 + 480 + latency], right(11_111 + 480));
}

#[test]
fn a_reset_starts_as_fresh() {
    let controls = Controls { mix: 0.5, gain_db: -3.0, ..FULL };
    let (mut used, _) = path(Some(stream()));
    play(&mut used, 7_000, &[300], |position| Controls { mix: (position / 300) as f32 / 24.0, ..FULL });
    used.reset();
    let (mut fresh, _) = path(Some(stream()));
    assert_eq!(play(&mut used, 9_000, &[512], |_| controls), play(&mut fresh, 9_000, &[512], |_| controls));
}

#[test]
fn what_is_no_number_does_not_stay() {
    let (mut path, latency) = path(Some(stream()));
    let board = Board::default();
    for call in 0..20 {
        let mut a = vec![if call == 3 { f32::NAN } else { 0.25 }; MAX_BLOCK];
        let mut b = vec![if call == 5 { f32::INFINITY } else { 0.25 }; MAX_BLOCK];
        path.process(&mut [&mut a, &mut b], 2, Controls { mix: 0.5, ..FULL }, &board);
        assert!(a.iter().chain(&b).all(|sample| sample.is_finite()));
        if call * MAX_BLOCK > latency + 8 * MAX_BLOCK {
            assert_eq!(a[0], 0.0, "half of 0.25 and half of its negative");
        }
    }
}

#[test]
fn mono_goes_to_all_channels() {
    let (mut path, latency) = path(Some(stream()));
    let board = Board::default();
    let mut out = Vec::new();
    for call in 0..20 {
        let mut a: Vec<f32> = (call * 500..(call + 1) * 500).map(left).collect();
        let mut b = vec![9.0; 500];
        path.process(&mut [&mut a, &mut b], 1, FULL, &board);
        assert_eq!(a, b);
        out.append(&mut a);
    }
    assert_eq!(out[latency + 1234], -left(1234));
    assert!(board.take_peaks().0 > 0.5 && board.take_peaks() == (0.0, 0.0));
}
