//! The output is a function of the take, the voice, the seed and the changes at their positions; of nothing else.

use falsetto_tests::clap_host::Instance;
use falsetto_tests::play::{Blocks, Change, Plan};

use crate::common::{SINGER, assert_same, clap, clap_singing, singers, take};

const RATE_HZ: u32 = 48_000;
/// Positions of the changes: inside blocks and hops, not at their edges.
const SINGER_AT: usize = 40_133;
const TRANSPOSE_AT: usize = 70_001;
const MIX_AT: usize = 100_007;

fn changes(instance: &mut Instance) -> Vec<Change> {
    let singers = singers();
    let singer = instance.parameter(SINGER).expect("a singer");
    let value = instance.value_of_text(&singer, &singers[1]).expect("a second singer");
    let mut change = |name: &str, at_sample, value| {
        let parameter_id = instance.parameter(name).expect("the parameter").id;
        Change { at_sample, parameter_id, value }
    };
    vec![
        change(SINGER, SINGER_AT, value),
        change("Transpose", TRANSPOSE_AT, 0.75),
        change("Mix", MIX_AT, 0.5),
    ]
}

fn play_with_changes(blocks: Blocks) -> Vec<f32> {
    let mut instance = clap_singing(&singers()[0]);
    let changes = changes(&mut instance);
    let plan = Plan::offline(f64::from(RATE_HZ), 1).in_blocks(blocks).with_changes(changes);
    instance.bounce(&[take(RATE_HZ)], &plan).expect("a bounce").sound.remove(0)
}

#[test]
fn changes_land_on_the_same_sample_in_every_run_and_at_every_block_size() {
    let wanted = play_with_changes(Blocks::Of(512));
    for blocks in [Blocks::Of(512), Blocks::Of(64), Blocks::Of(4096), Blocks::random(4, 97, 3000)] {
        assert_same(&format!("{blocks:?}"), &play_with_changes(blocks), &wanted);
    }
}

#[test]
fn a_change_is_heard_from_its_sample_on_and_not_before() {
    let plan = Plan::offline(f64::from(RATE_HZ), 512);
    let unchanged = clap_singing(&singers()[0]).bounce(&[take(RATE_HZ)], &plan).expect("a bounce");
    let changed = play_with_changes(Blocks::Of(512));
    let first = (0..changed.len()).find(|i| changed[*i] != unchanged.sound[0][*i]);
    let first = first.expect("the changes are heard");
    // A tenth of a second covers the hop in which the change falls and the way of the decoder to another sample.
    assert!((SINGER_AT..SINGER_AT + RATE_HZ as usize / 10).contains(&first), "first heard at {first}");
}

#[test]
fn instances_at_the_same_time_do_not_hear_each_other() {
    let singers = singers();
    let both = [singers[0].clone(), singers[1].clone()];
    let bounce = |singer: &str| {
        let plan = Plan::offline(f64::from(RATE_HZ), 512);
        clap_singing(singer).bounce(&[take(RATE_HZ)], &plan).expect("a bounce").sound.remove(0)
    };
    let alone = both.clone().map(|singer| bounce(&singer));
    let together = std::thread::scope(|scope| {
        let threads = both.each_ref().map(|singer| scope.spawn(|| bounce(singer)));
        threads.map(|thread| thread.join().expect("it plays"))
    });
    for ((singer, alone), together) in both.iter().zip(&alone).zip(&together) {
        assert_same(singer, together, alone);
    }
    assert_ne!(alone[0], alone[1], "two singers sound alike to the bit");
}

#[test]
fn after_a_reset_the_plugin_is_as_fresh_as_a_new_one() {
    let (block, reset_at) = (512, 96 * 512);
    let take = take(RATE_HZ);
    let plan = Plan::offline(f64::from(RATE_HZ), block);
    let fresh = clap().instance().expect("an instance").play(&[take[reset_at..].to_vec()], &plan);
    let fresh = fresh.expect("sound").sound.remove(0);
    let plan = Plan { reset_at_sample: Some(reset_at), ..plan };
    let played = clap().instance().expect("an instance").play(&[take], &plan).expect("sound");
    assert_same("after the reset", &played.sound[0][reset_at..], &fresh);
}
