//! A conversion is as loud as its take, however softly that was recorded.

use std::path::Path;

use falsetto_tests::command::{read_wav, write_wav};

use crate::common::{command, singers};

/// Level of a sound in dB of full scale, by its root mean square.
fn level_db(sound: &[f32]) -> f64 {
    let power: f64 = sound.iter().map(|x| f64::from(*x).powi(2)).sum();
    10.0 * (power / sound.len() as f64).log10()
}

#[test]
fn a_soft_take_is_sung_and_not_whispered() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo/man_auld_lang_syne.wav");
    let (rate_hz, recorded) = read_wav(&demo).expect("a demo take");
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("soft.wav"), folder.path().join("sung.wav"));
    for softer_db in [0.0, 30.0] {
        let gain = 10f32.powf(-softer_db / 20.0);
        let take: Vec<f32> = recorded[0].iter().map(|x| gain * x).collect();
        write_wav(&input, rate_hz, std::slice::from_ref(&take)).expect("the take is written");
        for singer in singers() {
            let fit = ["--transpose", "octave"];
            let answer = command().convert_with(&input, &singer, &fit, &output).expect("the command starts");
            assert!(answer.success, "{}", answer.stderr);
            let (_, sung) = read_wav(&output).expect("the command wrote a WAV file");
            let louder_db = level_db(&sung[0]) - level_db(&take);
            assert!(louder_db.abs() < 4.0, "{singer}, a take {softer_db} dB softer: {louder_db:+.1} dB");
        }
    }
}
