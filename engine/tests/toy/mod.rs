//! Two singers whom a network learns in seconds.

use std::path::Path;

use falsetto_engine::files::{Encoding, Sound};

/// A pulse train through one resonance; the singer is the resonance.
pub fn sing(f0_hz: f32, resonance_hz: f32, seconds: f32) -> Vec<f32> {
    let rate = 16_000.0;
    let (radius, angle) = (0.97f32, std::f32::consts::TAU * resonance_hz / rate);
    let (mut phase, mut past, mut before) = (0.0f32, 0.0f32, 0.0f32);
    (0..(seconds * rate) as usize)
        .map(|n| {
            let vibrato = 1.0 + 0.02 * (std::f32::consts::TAU * 5.5 * n as f32 / rate).sin();
            phase += f0_hz * vibrato / rate;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= phase.floor();
            let sample = pulse + 2.0 * radius * angle.cos() * past - radius * radius * before;
            (before, past) = (past, sample);
            0.1 * sample
        })
        .collect()
}

/// A folder for each singer, four clips each.
pub fn make_corpus(folder: &Path) {
    for (singer, resonance_hz) in [("low", 600.0), ("high", 1_800.0)] {
        std::fs::create_dir_all(folder.join(singer)).unwrap();
        for (clip, f0_hz) in [150.0, 180.0, 210.0, 250.0].into_iter().enumerate() {
            let channels = vec![sing(f0_hz, resonance_hz, 1.2)];
            let sound = Sound { rate_hz: 16_000, channels, encoding: Encoding::Integer(16) };
            sound.write_wav(&folder.join(singer).join(format!("{clip}.wav"))).unwrap();
        }
    }
}
