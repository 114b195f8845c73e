//! The latency that is reported is the latency that is measured, to the sample. The wet sound's is measured by the
//! bounces that equal the command's file; here it is the dry sound's.

use falsetto_tests::built;
use falsetto_tests::play::{Pace, Plan};
use falsetto_tests::python_hosts::{Bounce, Setting};

use crate::common::{assert_same, clap, python, take, vst3};

const MIX: &str = "Mix";

/// What a plugin gives that only delays: silence, then the take.
fn delayed(take: &[f32], latency_samples: usize) -> Vec<f32> {
    std::iter::repeat_n(0.0, latency_samples).chain(take.iter().copied()).take(take.len()).collect()
}

/// Two channels that differ.
fn stereo_take(rate: u32) -> [Vec<f32>; 2] {
    let left = take(rate);
    let right = left.iter().rev().copied().collect();
    [left, right]
}

#[test]
fn dry_sound_in_clap_is_late_by_what_is_reported() {
    for (rate, block) in [(48_000, 64), (48_000, 1024), (44_100, 480), (96_000, 4096)] {
        for pace in [Pace::Offline, Pace::UntoldFast] {
            let take = stereo_take(rate);
            let mut instance = clap().instance().expect("an instance");
            let mix = instance.parameter(MIX).expect("a mix").id;
            instance.set(mix, 0.0).expect("a dry mix");
            let plan = Plan::offline(f64::from(rate), block).at_pace(pace);
            let played = instance.play(&take, &plan).expect("sound");
            assert!(played.latency_samples > 0, "no latency is reported");
            for (channel, take) in take.iter().enumerate() {
                let wanted = delayed(take, played.latency_samples);
                assert_same(&format!("{rate} Hz, {block}, {pace:?}"), &played.sound[channel], &wanted);
            }
        }
    }
}

#[test]
fn bypass_is_the_take_at_the_same_latency() {
    let (rate, take) = (48_000, stereo_take(48_000));
    let mut instance = clap().instance().expect("an instance");
    let bypass = instance.parameter("Bypass").expect("a bypass").id;
    let plan = Plan::offline(f64::from(rate), 512);
    let wet = instance.play(&take, &plan).expect("sound");
    instance.set(bypass, 1.0).expect("bypass");
    let played = instance.play(&take, &plan).expect("sound");
    assert_eq!(played.latency_samples, wet.latency_samples);
    assert_same("left", &played.sound[0], &delayed(&take[0], played.latency_samples));
    assert_same("right", &played.sound[1], &delayed(&take[1], played.latency_samples));
}

#[test]
fn dry_sound_in_vst3_is_late_by_what_is_reported() {
    for (rate, block) in [(48_000, 64), (44_100, 1024)] {
        let take = stereo_take(rate);
        let mut instance = vst3().instance().expect("an instance");
        instance.set(instance.parameter(MIX).expect("a mix").id, 0.0).expect("a dry mix");
        let played = instance.play(&take, &Plan::offline(f64::from(rate), block)).expect("sound");
        for (channel, take) in take.iter().enumerate() {
            let wanted = delayed(take, played.latency_samples);
            assert_same(&format!("{rate} Hz, {block}"), &played.sound[channel], &wanted);
        }
    }
}

#[test]
fn clap_and_vst3_report_the_same() {
    let plan = Plan::offline(48_000.0, 512);
    let silence = [vec![0.0; 1024]];
    let clap = clap().instance().expect("an instance").play(&silence, &plan).expect("sound");
    let vst3 = vst3().instance().expect("an instance").play(&silence, &plan).expect("sound");
    assert_eq!(clap.latency_samples, vst3.latency_samples);
}

#[test]
fn python_hosts_measure_what_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let take = take(48_000);
    let bounce = Bounce {
        plugin: &built::vst3(),
        folder: folder.path(),
        take: &take,
        sample_rate_hz: 48_000,
        block_samples: 512,
        settings: &[Setting::normalised(MIX, 0.0)],
    };
    let compensated = python().pedalboard(&bounce).expect("a bounce");
    assert_same("pedalboard", &compensated.sound[0], &take);
    let late = python().dawdreamer(&bounce).expect("a bounce");
    assert_eq!(late.latency_samples, compensated.latency_samples);
    assert_same("DawDreamer", &late.sound[0], &delayed(&take, late.latency_samples));
}
