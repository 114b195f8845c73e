//! A small shift in pitch of a piece of sound.

use std::ops::Range;

/// Samples over which the piece fades in and out, over the rate: 10 ms.
const FADE_SECONDS: f32 = 0.01;

/// Plays a piece of the sound `ratio` times as fast around its own middle, in place: its pitch is `ratio` times what it was,
/// and its ends come early or late by `ratio - 1` of half its length, a few milliseconds for a semitone's part. Beyond
/// the ends of the sound its last samples are held.
pub(crate) fn shift_pitch(sound: &mut [f32], rate_hz: u32, piece: Range<usize>, ratio: f32) {
    let fade = (FADE_SECONDS * rate_hz as f32).max(1.0);
    let middle = (piece.start + piece.end) as f32 / 2.0;
    let original = sound.to_vec();
    for index in piece.clone() {
        let from_end = (index - piece.start + 1).min(piece.end - index) as f32;
        let share = (from_end / fade).min(1.0);
        let shifted = read(&original, middle + ratio * (index as f32 - middle));
        sound[index] += share * (shifted - original[index]);
    }
}

/// Between two samples.
fn read(sound: &[f32], place: f32) -> f32 {
    let place = place.clamp(0.0, (sound.len() - 1) as f32);
    let near = place as usize;
    let far = (near + 1).min(sound.len() - 1);
    sound[near] + (place - near as f32) * (sound[far] - sound[near])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean distance of upward zero crossings, in samples.
    fn period(sound: &[f32]) -> f32 {
        let crossings: Vec<f32> = (1..sound.len())
            .filter(|&n| sound[n - 1] < 0.0 && sound[n] >= 0.0)
            .map(|n| n as f32 - sound[n] / (sound[n] - sound[n - 1]))
            .collect();
        (crossings[crossings.len() - 1] - crossings[0]) / (crossings.len() - 1) as f32
    }

    #[test]
    fn the_pitch_of_the_piece_moves_and_the_rest_stays() {
        let sine: Vec<f32> =
            (0..16_000).map(|n| (std::f32::consts::TAU * 400.0 * n as f32 / 16_000.0).sin()).collect();
        for ratio in [2f32.powf(-0.5 / 12.0), 2f32.powf(0.5 / 12.0)] {
            let mut shifted = sine.clone();
            shift_pitch(&mut shifted, 16_000, 4_000..10_000, ratio);
            assert_eq!(shifted[..4_000], sine[..4_000]);
            assert_eq!(shifted[10_000..], sine[10_000..]);
            let pitch = 40.0 / period(&shifted[4_200..9_800]);
            assert!((pitch / ratio - 1.0).abs() < 1e-3, "{pitch} for {ratio}");
        }
    }
}
