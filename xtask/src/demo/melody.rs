//! The melody of a sound by a method that is not the engine's: what the pictures show is a second opinion.

use pitch_detection::detector::PitchDetector;
use pitch_detection::detector::yin::YINDetector;

pub const HOP_SECONDS: f64 = 0.01;
/// Two periods of the lowest voice.
const FRAME_SECONDS: f64 = 0.04;
/// Root mean square of a frame below which it is silence: -60 dB.
const SILENCE: f32 = 1e-3;
/// How alike neighbouring periods must be, of 1.
const CLARITY: f32 = 0.85;
/// No voice is outside.
const F0_HZ: std::ops::Range<f32> = 50.0..1500.0;

/// F0 in Hz of every hop, none where nothing is voiced, by YIN (de Cheveigné and Kawahara, JASA 2002). The same crate's
/// method of McLeod and Wyvill finds half of the low notes only, which moves the median.
pub fn f0_hz(sample_rate_hz: u32, sound: &[f32]) -> Vec<Option<f64>> {
    let samples = |seconds: f64| (f64::from(sample_rate_hz) * seconds) as usize;
    let (hop, frame) = (samples(HOP_SECONDS).max(1), samples(FRAME_SECONDS).max(1));
    let mut detector = YINDetector::new(frame, frame / 2);
    let mut framed = vec![0.0; frame];
    let hops = sound.len() / hop;
    let of_hop = |index: usize| {
        // The frame lies about the middle of its hop.
        let start = (index * hop + hop / 2) as isize - (frame / 2) as isize;
        for (at, value) in (start..).zip(&mut framed) {
            *value = usize::try_from(at).ok().and_then(|at| sound.get(at)).copied().unwrap_or(0.0);
        }
        let least_power = SILENCE * SILENCE * frame as f32;
        let pitch = detector.get_pitch(&framed, sample_rate_hz as usize, least_power, CLARITY)?;
        F0_HZ.contains(&pitch.frequency).then_some(f64::from(pitch.frequency))
    };
    (0..hops).map(of_hop).collect()
}

/// Median of what is voiced, in Hz.
pub fn median_f0_hz(f0_hz: &[Option<f64>]) -> Option<f64> {
    let mut voiced: Vec<f64> = f0_hz.iter().copied().flatten().collect();
    voiced.sort_by(f64::total_cmp);
    voiced.get(voiced.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use falsetto_tests::take::sung;

    use super::*;

    #[test]
    fn the_notes_of_a_take_are_heard_and_its_rests() {
        // Take 1 begins with B3, C sharp 4, E4 and D4, half a second each; the third note ends in a rest.
        let heard = f0_hz(48_000, &sung(48_000, 2.0, 1));
        assert_eq!(heard.len(), 200);
        for (note_midi, middle) in [(59.0, 25), (61.0, 75), (64.0, 120), (62.0, 175)] {
            let f0_hz = heard[middle].expect("voiced");
            let cents = 1200.0 * (f0_hz / 440.0).log2() - 100.0 * (note_midi - 69.0);
            assert!(cents.abs() < 40.0, "{cents} cents off {note_midi}");
        }
        assert_eq!(heard[145], None);
        let median = median_f0_hz(&heard).expect("voiced");
        assert!((270.0..300.0).contains(&median), "{median}");
    }

    #[test]
    fn silence_has_no_melody() {
        assert_eq!(median_f0_hz(&f0_hz(44_100, &[0.0; 4410])), None);
    }
}
