//! Songs cut into phrases at their rests.

use std::ops::Range;

/// Recordings up to this long are phrases already and are taken as they are.
const WHOLE_SECONDS: f32 = 15.0;
/// Silence that parts two phrases.
const REST_SECONDS: f32 = 0.6;
/// Silence that stays on either side of a phrase: what comes before a note and after it belongs to singing.
const MARGIN_SECONDS: f32 = 0.3;
/// A longer phrase is cut into equal parts, each cut moved to the quietest place nearby.
const LONGEST_SECONDS: f32 = 12.0;
/// How near.
const NEARBY_SECONDS: f32 = 1.5;
/// What is softer than the loud parts of its recording by so much is silence...
const SILENCE_DB: f32 = -45.0;
/// ...and so is what is softer than this, of full scale.
const FLOOR_DB: f32 = -60.0;
/// Resolution.
const STEPS_PER_SECOND: usize = 100;

/// The samples of every phrase of a recording, in order.
pub(crate) fn phrases(waveform: &[f32], rate_hz: u32) -> Vec<Range<usize>> {
    let step_samples = (rate_hz as usize / STEPS_PER_SECOND).max(1);
    let steps = |seconds: f32| (seconds * STEPS_PER_SECOND as f32) as usize;
    let squares: Vec<f32> = waveform
        .chunks_exact(step_samples)
        .map(|step| step.iter().map(|sample| sample * sample).sum::<f32>() / step_samples as f32)
        .collect();
    if squares.len() <= steps(WHOLE_SECONDS) {
        return std::iter::once(0..waveform.len()).collect();
    }
    let mut found = Vec::new();
    for sounding in sounding(&squares, steps(REST_SECONDS)) {
        let margin = steps(MARGIN_SECONDS);
        let phrase = sounding.start.saturating_sub(margin)..(sounding.end + margin).min(squares.len());
        let parts = phrase.len().div_ceil(steps(LONGEST_SECONDS));
        let mut start = phrase.start;
        for part in 1..=parts {
            let end = if part == parts {
                phrase.end
            } else {
                quietest(&squares, phrase.start + part * phrase.len() / parts, steps(NEARBY_SECONDS))
            };
            found.push(start * step_samples..end * step_samples);
            start = end;
        }
    }
    found
}

/// Steps with sound, those that are no rest apart taken together.
fn sounding(squares: &[f32], rest: usize) -> Vec<Range<usize>> {
    let mut sorted = squares.to_vec();
    sorted.sort_by(f32::total_cmp);
    let loud = sorted[(sorted.len() - 1) * 95 / 100];
    let silence = (loud * 10f32.powf(SILENCE_DB / 10.0)).max(10f32.powf(FLOOR_DB / 10.0));
    let mut found: Vec<Range<usize>> = Vec::new();
    for (step, _) in squares.iter().enumerate().filter(|(_, square)| **square > silence) {
        match found.last_mut() {
            Some(last) if step - last.end < rest => last.end = step + 1,
            _ => found.push(step..step + 1),
        }
    }
    found
}

fn quietest(squares: &[f32], about: usize, nearby: usize) -> usize {
    let window = about.saturating_sub(nearby)..(about + nearby).min(squares.len());
    window.min_by(|a, b| squares[*a].total_cmp(&squares[*b])).unwrap_or(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 1_000;

    /// Seconds of sound, and of silence after it.
    fn song(parts: &[(f32, f32)]) -> Vec<f32> {
        let samples = |seconds: f32| (seconds * RATE_HZ as f32) as usize;
        let part = |&(sound, silence): &(f32, f32)| {
            let sung = (0..samples(sound)).map(|n| 0.3 * (n as f32 * 0.7).sin());
            sung.chain(std::iter::repeat_n(1e-5, samples(silence))).collect::<Vec<_>>()
        };
        parts.iter().flat_map(part).collect()
    }

    fn seconds(phrases: &[Range<usize>]) -> Vec<(f32, f32)> {
        let at = |sample: usize| sample as f32 / RATE_HZ as f32;
        phrases.iter().map(|phrase| (at(phrase.start), at(phrase.end))).collect()
    }

    #[test]
    fn a_short_recording_stays_whole() {
        let song = song(&[(2.0, 3.0), (4.0, 1.0)]);
        assert_eq!(seconds(&phrases(&song, RATE_HZ)), [(0.0, 10.0)]);
        assert_eq!(seconds(&phrases(&[], RATE_HZ)), [(0.0, 0.0)]);
    }

    #[test]
    fn a_song_is_cut_at_its_rests_and_keeps_a_breath_of_them() {
        let song = song(&[(0.0, 2.0), (5.0, 0.4), (3.0, 4.0), (6.0, 9.0)]);
        let found = seconds(&phrases(&song, RATE_HZ));
        assert_eq!(found.len(), 2, "{found:?}");
        for ((start, end), (wanted_start, wanted_end)) in found.into_iter().zip([(1.7, 10.7), (14.1, 20.7)]) {
            assert!(
                (start - wanted_start).abs() < 0.02 && (end - wanted_end).abs() < 0.02,
                "{start} to {end}"
            );
        }
    }

    #[test]
    fn a_phrase_without_end_is_cut_where_it_is_quietest() {
        let mut song = song(&[(20.0, 1.0)]);
        song[9_500..9_600].fill(0.01);
        let found = seconds(&phrases(&song, RATE_HZ));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!((9.5..9.6).contains(&found[0].1) && found[0].1 == found[1].0, "{found:?}");
    }

    #[test]
    fn silence_has_no_phrases() {
        assert!(phrases(&[0.0; 20_000], RATE_HZ).is_empty());
    }
}
