//! A synthetic singer: takes for the tests, so that no recording is needed.
//!
//! A glottal pulse train with vibrato goes through three formants; noise bursts stand for consonants, and there are
//! rests. It is not beautiful, but it has what a converter listens to: pitch, voicing, loudness and vowels.

use std::f64::consts::TAU;

/// One second of the song, repeated with another melody note and vowel.
const NOTES_MIDI: [f64; 8] = [57.0, 59.0, 61.0, 64.0, 62.0, 61.0, 57.0, 52.0];
/// First three formants of five vowels, in Hz.
const VOWELS_HZ: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [530.0, 1840.0, 2480.0],
    [270.0, 2290.0, 3010.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
];
const NOTE_SECONDS: f64 = 0.5;

/// A sung take, mono, between -1 and 1; the same for the same arguments.
pub fn sung(sample_rate_hz: u32, seconds: f64, seed: u64) -> Vec<f32> {
    let rate = f64::from(sample_rate_hz);
    let frames = (seconds * rate) as usize;
    let mut formants = [Resonator::default(); 3];
    let mut noise = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D);
    let mut hiss = Resonator::default();
    let (mut phase, mut sound) = (0.0_f64, Vec::with_capacity(frames));
    for i in 0..frames {
        let time = i as f64 / rate;
        let note = (time / NOTE_SECONDS) as usize;
        let within = time / NOTE_SECONDS - note as f64;
        let kind = note + seed as usize;
        let vowel = VOWELS_HZ[kind % VOWELS_HZ.len()];
        let vibrato = 0.3 * (TAU * 5.5 * time).sin() * ((within - 0.3) * 4.0).clamp(0.0, 1.0);
        let midi = NOTES_MIDI[kind % NOTES_MIDI.len()] + vibrato;
        phase += 440.0 * ((midi - 69.0) / 12.0).exp2() / rate;
        phase -= phase.floor();
        // A note is a consonant, a vowel and, now and then, a rest.
        let rest = kind % 4 == 3 && within > 0.7;
        let (voice_gain, hiss_gain) = match within {
            w if w < 0.12 && !kind.is_multiple_of(3) => (0.0, (w / 0.12 * TAU / 2.0).sin()),
            w if w < 0.12 => (w / 0.12, 0.0),
            _ if rest => (((0.75 - within) / 0.05).clamp(0.0, 1.0), 0.0),
            w => (((1.0 - w) / 0.05).clamp(0.0, 1.0), 0.0),
        };
        let pulse = voice_gain * glottal_pulse(phase);
        let mut sample = 0.0;
        for ((formant, hz), gain) in formants.iter_mut().zip(vowel).zip([1.0, 0.6, 0.25]) {
            sample += gain * formant.next(pulse, hz, 60.0 + 0.05 * hz, rate);
        }
        sample += 0.4 * hiss_gain * hiss.next(0.5 * noise.next(), 4500.0, 1500.0, rate);
        let swell = 0.6 + 0.4 * (TAU * time / 3.7).sin();
        sound.push((0.1 * swell * sample + 1e-4 * noise.next()).clamp(-0.99, 0.99) as f32);
    }
    sound
}

/// Flow derivative of one glottal period (`phase` in turns): a rise, a sharp closure, rest.
fn glottal_pulse(phase: f64) -> f64 {
    const OPEN: f64 = 0.6;
    if phase < OPEN {
        let x = phase / OPEN;
        2.0 * x - 3.0 * x * x
    } else {
        0.0
    }
}

/// A two-pole resonator of unit gain at its peak, roughly.
#[derive(Clone, Copy, Default)]
struct Resonator {
    last: f64,
    before: f64,
}

impl Resonator {
    fn next(&mut self, input: f64, hz: f64, bandwidth_hz: f64, rate_hz: f64) -> f64 {
        let radius = (-TAU / 2.0 * bandwidth_hz / rate_hz).exp();
        let turn = 2.0 * radius * (TAU * hz / rate_hz).cos();
        let output = (1.0 - radius) * input * 2.0 + turn * self.last - radius * radius * self.before;
        (self.before, self.last) = (self.last, output);
        output
    }
}

/// A small generator of white noise between -1 and 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::sung;

    #[test]
    fn a_take_is_loud_enough_finite_and_repeats() {
        let take = sung(48_000, 4.0, 1);
        let rms = (take.iter().map(|x| x * x).sum::<f32>() / take.len() as f32).sqrt();
        assert!(take.iter().all(|x| x.is_finite() && x.abs() < 1.0));
        assert!((0.02..0.5).contains(&rms), "{rms}");
        assert_eq!(take, sung(48_000, 4.0, 1));
        assert_ne!(take, sung(48_000, 4.0, 2));
    }
}
