//! A bounce is what the command makes, bit for bit, whatever the host and its block sizes.

use std::process::Command;

use falsetto_tests::built;
use falsetto_tests::command::{read_wav, write_wav};
use falsetto_tests::play::{Blocks, Plan};
use falsetto_tests::python_hosts::{Bounce, Setting};

use crate::common::{
    RATES_HZ, SINGER, assert_same, clap_singing, command, converted, last_singer, python, singers, take, vst3,
};

const BLOCKS: [usize; 6] = [1, 17, 64, 480, 1024, 4096];

fn every_kind_of_blocks() -> Vec<Blocks> {
    let fixed = BLOCKS.into_iter().map(Blocks::Of);
    fixed.chain([Blocks::random(1, 97, 4096), Blocks::random(2, 101, 300)]).collect()
}

#[test]
fn clap_bounce_is_the_commands_file_at_every_block_size() {
    let singer = last_singer();
    for rate in RATES_HZ {
        let (take, wanted) = (take(rate), converted(rate, &singer));
        for blocks in every_kind_of_blocks() {
            let plan = Plan::offline(f64::from(rate), 1).in_blocks(blocks.clone());
            let played = clap_singing(&singer).bounce(std::slice::from_ref(&take), &plan).expect("a bounce");
            for (channel, sound) in played.sound.iter().enumerate() {
                assert_same(&format!("{rate} Hz, {blocks:?}, channel {channel}"), sound, &wanted);
            }
        }
    }
}

#[test]
fn clap_bounce_is_the_commands_file_for_every_singer() {
    let rate = RATES_HZ[0];
    for singer in singers() {
        let plan = Plan::offline(f64::from(rate), 512);
        let played = clap_singing(&singer).bounce(&[take(rate)], &plan).expect("a bounce");
        assert_same(&singer, &played.sound[0], &converted(rate, &singer));
    }
}

#[test]
fn clap_bounce_is_the_commands_file_with_every_setting() {
    let (rate, singers) = (RATES_HZ[0], singers());
    let mut instance = clap_singing(&singers[1]);
    instance.set_by_name("Second singer", &singers[0]).expect("a second singer");
    for (name, text) in
        [("Blend", "25 %"), ("Air", "50 %"), ("Transpose", "-3.5 st"), ("Formant", "1.5 st"), ("Seed", "7")]
    {
        instance.set_by_name(name, text).expect("the value");
    }
    let played = instance.bounce(&[take(rate)], &Plan::offline(f64::from(rate), 256)).expect("a bounce");

    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    write_wav(&input, rate, &[take(rate)]).expect("the take is written");
    let blend = format!("{}:0.25", singers[0]);
    let settings =
        ["--blend", &blend, "--formant", "1.5", "--air", "0.5", "--transpose", "-3.5", "--seed", "7"];
    let answer = command().convert_with(&input, &singers[1], &settings, &output).expect("the command starts");
    assert!(answer.success, "{}", answer.stderr);
    let (_, wanted) = read_wav(&output).expect("the command wrote a WAV file");
    assert_same("every setting", &played.sound[0], &wanted[0]);
    assert_ne!(wanted[0], *converted(rate, &singers[1]), "the settings change nothing");
}

/// With a GPU the GPU sings, without one the plugin goes on with the processor: the bounce is the same. In a process of its own,
/// since the plugin asks its environment once.
#[test]
fn clap_bounce_is_the_commands_file_where_a_gpu_is_asked_for() {
    let bounce = "bounce::clap_bounce_is_the_commands_file_for_every_singer";
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([bounce, "--exact"])
        .env("FALSETTO_DEVICE", "cuda")
        .output()
        .expect("this program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn mono_ports_give_the_same() {
    let (rate, singer) = (RATES_HZ[0], last_singer());
    let mut instance = clap_singing(&singer);
    instance.use_channels(1).expect("mono ports");
    let played = instance.bounce(&[take(rate)], &Plan::offline(f64::from(rate), 480)).expect("a bounce");
    assert_eq!(played.sound.len(), 1);
    assert_same("mono", &played.sound[0], &converted(rate, &singer));
}

#[test]
fn an_instance_bounces_the_same_twice() {
    let (rate, singer) = (RATES_HZ[0], last_singer());
    let mut instance = clap_singing(&singer);
    for turn in 1..=2 {
        let played = instance.bounce(&[take(rate)], &Plan::offline(f64::from(rate), 512)).expect("a bounce");
        assert_same(&format!("turn {turn}"), &played.sound[0], &converted(rate, &singer));
    }
}

#[test]
fn vst3_bounce_is_the_commands_file() {
    let singer = last_singer();
    for rate in RATES_HZ {
        for blocks in [Blocks::Of(64), Blocks::Of(1024), Blocks::random(3, 97, 4096)] {
            let mut instance = vst3().instance().expect("an instance");
            instance.set_by_name(SINGER, &singer).expect("the singer is offered");
            let plan = Plan::offline(f64::from(rate), 1).in_blocks(blocks.clone());
            let played = instance.bounce(&[take(rate)], &plan).expect("a bounce");
            let what = format!("{rate} Hz, {blocks:?}");
            assert_same(&what, &played.sound[0], &converted(rate, &singer));
        }
    }
}

#[test]
fn pedalboard_bounce_is_the_commands_file() {
    let singer = last_singer();
    let folder = tempfile::tempdir().expect("a folder");
    for (rate, block_samples) in [(48_000, 512), (48_000, 8192), (44_100, 100)] {
        let bounce = Bounce {
            plugin: &built::vst3(),
            folder: folder.path(),
            take: &take(rate),
            sample_rate_hz: rate,
            block_samples,
            settings: &[Setting::text(SINGER, &singer)],
        };
        let bounced = python().pedalboard(&bounce).expect("a bounce");
        let what = format!("{rate} Hz, blocks of {block_samples}");
        assert_same(&what, &bounced.sound[0], &converted(rate, &singer));
    }
}

#[test]
fn dawdreamer_bounce_is_the_commands_file_later_by_the_latency() {
    let singer = last_singer();
    let folder = tempfile::tempdir().expect("a folder");
    for (rate, block_samples) in [(48_000, 512), (44_100, 1024)] {
        let mut long_take = take(rate);
        let frames = long_take.len();
        // DawDreamer does not compensate: silence for the sound to come out of.
        long_take.extend(std::iter::repeat_n(0.0, rate as usize));
        let bounce = Bounce {
            plugin: &built::vst3(),
            folder: folder.path(),
            take: &long_take,
            sample_rate_hz: rate,
            block_samples,
            settings: &[Setting::text(SINGER, &singer)],
        };
        let bounced = python().dawdreamer(&bounce).expect("a bounce");
        let latency = bounced.latency_samples;
        assert!(latency < rate as usize, "a latency of {latency} samples");
        let what = format!("{rate} Hz, blocks of {block_samples}");
        assert_same(&what, &bounced.sound[0][latency..latency + frames], &converted(rate, &singer));
    }
}
