//! The audio thread allocates nothing. The plugin of this test aborts when it does, and this program with it.

use falsetto_tests::clap_host::Module;
use falsetto_tests::play::{Blocks, Change, Pace, Plan};
use falsetto_tests::{built, take};

const RATE_HZ: u32 = 48_000;

#[test]
fn no_allocation_in_process() {
    let module = Module::open(&built::checked_clap()).expect("the .clap with the allocation guard");
    let take = [take::sung(RATE_HZ, 2.0, 4)];
    for pace in [Pace::Offline, Pace::UntoldFast] {
        let mut instance = module.instance().expect("an instance");
        let parameters = instance.parameters().expect("parameters");
        let changes = (0..200).map(|i| {
            let parameter = &parameters[i % parameters.len()];
            let share = (i % 7) as f64 / 6.0;
            let value = (parameter.min + share * (parameter.max - parameter.min)).round();
            Change { at_sample: 100 + i * 401, parameter_id: parameter.id, value }
        });
        let plan = Plan { reset_at_sample: Some(50_000), ..Plan::offline(f64::from(RATE_HZ), 512) }
            .in_blocks(Blocks::random(5, 89, 2048))
            .at_pace(pace)
            .with_changes(changes.collect());
        let played = instance.play(&take, &plan).expect("sound");
        assert_eq!(played.sound[0].len(), take[0].len());
    }
}
