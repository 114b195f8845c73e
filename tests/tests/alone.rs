//! Tests of the audio thread, one at a time: they should have the machine to themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};

use falsetto_tests::clap_host::Module;
use falsetto_tests::play::{Blocks, Change, HostError, Pace, Plan, Played};
use falsetto_tests::syscall_trap::{WITHOUT_TRAP_VARIABLE, may_go_without};
use falsetto_tests::{built, take, vst3_host};

const RATE_HZ: u32 = 48_000;
const SINGER: &str = "Singer";

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fails on the first system call; passes without a trap only where the person who runs the tests agreed to it.
fn assert_no_system_calls(played: Result<Played, HostError>) {
    match played {
        Ok(played) => {
            assert!(played.blocks > 100, "only {} blocks", played.blocks);
            let count = played.system_calls.len();
            let first = played.system_calls.first().map(ToString::to_string).unwrap_or_default();
            assert_eq!(count, 0, "{count} system calls in {} blocks; the first: {first}", played.blocks);
        }
        Err(HostError::Trap(e)) if may_go_without() => {
            println!("NOT PROVEN, as {WITHOUT_TRAP_VARIABLE} allows: {e}");
        }
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn no_system_call_in_clap_process_under_automation() {
    let _alone = alone();
    let mut instance = Module::open(&built::clap()).expect("the .clap").instance().expect("an instance");
    let singers = instance.choices(SINGER).expect("singers").len();
    let id = |name: &str, instance: &mut falsetto_tests::clap_host::Instance| {
        instance.parameter(name).expect("the parameter").id
    };
    let (singer, mix) = (id(SINGER, &mut instance), id("Mix", &mut instance));
    let (transpose, seed) = (id("Transpose", &mut instance), id("Seed", &mut instance));
    let changes = (0..240).map(|i| {
        let (parameter_id, value) = match i % 4 {
            0 => (singer, (i / 4 % singers) as f64),
            1 => (mix, (i % 11) as f64 / 10.0),
            2 => (transpose, 0.5),
            _ => (seed, (i % 13) as f64),
        };
        Change { at_sample: 20_000 + i * 571, parameter_id, value }
    });
    let plan = Plan {
        trap_system_calls: true,
        ..Plan::offline(f64::from(RATE_HZ), 512)
            .in_blocks(Blocks::Cycle(vec![512, 100, 511]))
            .at_pace(Pace::Live)
            .with_changes(changes.collect())
    };
    assert_no_system_calls(instance.play(&[take::sung(RATE_HZ, 4.0, 2)], &plan));
}

/// Without automation: with the editor built in, the shell itself wakes a thread of its own once per change in VST3.
#[test]
fn no_system_call_in_vst3_process() {
    let _alone = alone();
    let module = vst3_host::Module::open(&built::vst3()).expect("the .vst3");
    let mut instance = module.instance().expect("an instance");
    let plan = Plan { trap_system_calls: true, ..Plan::offline(f64::from(RATE_HZ), 480).at_pace(Pace::Live) };
    assert_no_system_calls(instance.play(&[take::sung(RATE_HZ, 3.0, 2)], &plan));
}

#[test]
fn a_live_run_that_is_never_late_equals_the_bounce() {
    equals_the_bounce(Pace::Live, 1024);
}

/// Some hosts render as fast as they can while they say that they play live.
#[test]
fn a_host_that_bounces_without_saying_so_gets_the_bounce() {
    for block_samples in [64, 480, 4096] {
        equals_the_bounce(Pace::UntoldFast, block_samples);
    }
}

/// One run at this pace has the bytes of an offline run.
fn equals_the_bounce(pace: Pace, block_samples: usize) {
    /// A busy machine makes some run late; that is no fault of the plugin.
    const TRIES: usize = 5;

    let _alone = alone();
    let module = Module::open(&built::clap()).expect("the .clap");
    let take = [take::sung(RATE_HZ, 3.0, 3)];
    let offline = Plan::offline(f64::from(RATE_HZ), block_samples);
    let wanted = module.instance().expect("an instance").bounce(&take, &offline).expect("a bounce");
    let plan = offline.at_pace(pace);
    let mut different = Vec::new();
    for _ in 0..TRIES {
        let played = module.instance().expect("an instance").bounce(&take, &plan).expect("a run");
        let (played, wanted) = (&played.sound[0], &wanted.sound[0]);
        let count = played.iter().zip(wanted).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        if count == 0 {
            return;
        }
        different.push(count);
    }
    panic!("each of {TRIES} runs differs from the bounce, in so many samples: {different:?}");
}
