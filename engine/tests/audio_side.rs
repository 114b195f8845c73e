//! The audio thread's end of a stream never touches the allocator: not in time, not late, not at a reset, not after a panic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use falsetto_engine::stream::{Hub, Settings, StreamConfig, Worker};

const PLAIN: Settings = Settings { air: 0.0, ..Settings::FIRST_SINGER };

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the calls of each thread.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; the counter is a
// constant-initialised thread-local without a destructor, so it allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the pointer came from `alloc` above, so from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls_during(run: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    run();
    CALLS.get() - before
}

/// Passes sound on; panics at a given sample.
struct Through {
    count: u64,
    panic_at: u64,
}

impl Worker for Through {
    fn process(&mut self, input: &[f32], output: &mut [f32]) {
        output.copy_from_slice(input);
        self.count += input.len() as u64;
        assert!(self.count < self.panic_at, "on purpose");
    }
    fn reset(&mut self) {}
    fn set(&mut self, _: Settings) {}
    fn latency_samples(&self) -> usize {
        0
    }
}

#[test]
fn the_allocator_is_seen_at_work() {
    assert_eq!(calls_during(|| drop(std::hint::black_box(vec![1u8; 100]))), 2);
}

#[test]
fn the_audio_side_never_allocates() {
    let hub = Hub::shared();
    let config = StreamConfig { host_rate_hz: 48_000, max_block_samples: 512, settings: PLAIN };
    for offline in [true, false] {
        let worker = Through { count: 0, panic_at: 200_000 };
        let mut stream = Arc::clone(&hub).open(Box::new(worker), config).expect("a stream");
        stream.set_offline(offline);
        let input = vec![0.5; 4096];
        let (mut wet, mut dry_share) = (vec![0.0; 4096], vec![0.0; 4096]);
        let calls = calls_during(|| {
            for call in 0..1500 {
                let count = [512, 1, 100, 511, 4096][call % 5];
                if call % 7 == 0 {
                    stream.set(Settings { singer: call, ..PLAIN });
                }
                if call % 400 == 399 {
                    stream.reset();
                }
                stream.process(&input[..count], &mut wet[..count], &mut dry_share[..count]);
            }
        });
        assert_eq!(calls, 0, "offline {offline}");
        assert!(stream.meters().report().failure.is_some(), "the run went through a panic");
    }
}
