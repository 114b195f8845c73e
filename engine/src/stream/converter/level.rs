//! How loud the networks are told to sing, and how loud what is sung may be: nothing holds an autoregressive network to what
//! it is told.

use crate::signal::analysis::HOP_PARTS;
use crate::signal::loudness::{LOUDNESS_FLOOR, mean_square};

/// The softest voice that the networks are asked for (-38 dB). Singing is mostly recorded louder, so what they learnt of voices
/// below is little, and they take them for rests.
const SOFTEST_VOICE: f32 = -0.9;
/// What is left of a lift from hop to hop once the voice is over: the end of a soft note is soft as well.
const LIFT_KEPT: f32 = 0.7;
/// Mean square of what is sung in a rest over the take's, at most.
const REST_SHARE: f32 = 0.5;
/// Mean square of what is sung elsewhere over the one that was asked for, at most (5 dB).
const BURST_RATIO: f32 = 3.0;
/// What is below -40 dB is no burst, whatever was asked for.
pub(super) const LOUD_FLOOR: f32 = 1e-4;
/// Part of a hop in which what is too loud is turned down.
const FALL_SHARE: usize = 10;
/// Stands in for the mean square of digital silence where it divides.
const SMALLEST_SQUARE: f32 = 1e-20;

/// Loudness as the networks are told it: a voice no louder than the bank knows, and no softer than it can sing.
pub(super) struct ToldLoudness {
    softest_voice: f32,
    loudest: f32,
    lift: f32,
}

impl ToldLoudness {
    /// At the start of a stream; `loudest` is the bank's. Where the decoder `is_told` no loudness, nothing is lifted.
    pub fn new(loudest: f32, is_told: bool) -> Self {
        let softest_voice = if is_told { SOFTEST_VOICE } else { LOUDNESS_FLOOR };
        Self { softest_voice, loudest, lift: 0.0 }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.lift = 0.0;
    }

    /// What is told of the next hop, which is this loud.
    pub fn of(&mut self, loudness: f32, voiced: bool) -> f32 {
        let missing = (self.softest_voice - loudness).max(0.0);
        self.lift = if voiced { missing } else { (LIFT_KEPT * self.lift).min(missing) };
        (loudness + self.lift).min(self.loudest)
    }
}

/// The mean square that a loudness stands for.
pub(super) fn square_of(loudness: f32) -> f32 {
    libm::expf(3.0 * loudness - 6.0)
}

/// A gain that changes without a step.
pub(super) struct Glide {
    gain: f32,
}

impl Default for Glide {
    fn default() -> Self {
        Self { gain: 1.0 }
    }
}

impl Glide {
    /// Multiplies by a gain that goes in so many samples from the last one to this one.
    fn apply(&mut self, output: &mut [f32], gain: f32, samples: usize) {
        if self.gain != 1.0 || gain != 1.0 {
            let step = (gain - self.gain) / samples.max(1) as f32;
            for (index, sample) in output.iter_mut().enumerate() {
                *sample *= if index < samples { self.gain + step * (index + 1) as f32 } else { gain };
            }
        }
        self.gain = gain;
    }

    /// Multiplies by a gain that is reached at the end of `output`, or soon where it falls by more than half: what was lifted
    /// after a rest would else begin loud.
    pub fn turn(&mut self, output: &mut [f32], gain: f32) {
        let samples = if gain < 0.5 * self.gain { output.len() / FALL_SHARE } else { output.len() };
        self.apply(output, gain, samples);
    }

    /// Keeps the mean square of `output` at `most`: down in `fall` samples, up again over all of `output`.
    fn hold(&mut self, output: &mut [f32], most: f32, fall: usize) {
        let gain = (most / mean_square(output).max(SMALLEST_SQUARE)).sqrt().min(1.0);
        let samples = if gain < self.gain { fall } else { output.len() };
        self.apply(output, gain, samples);
    }
}

/// Keeps what is sung near the take. Where it sounds that is within bounds, hop by hop: a burst is over before the guard of
/// squeals hears it. Where the take is softer than a loudness can say, the take itself says how soft, in parts of a hop: a rest
/// is no place to hear the decoder breathe, and it begins and ends within a hop.
#[derive(Default)]
pub(super) struct Restraint {
    burst: Glide,
    rest: Glide,
}

impl Restraint {
    /// Holds a hop that was asked for at a loudness and will be multiplied by a gain, while the take's own has these mean
    /// squares.
    pub fn apply(
        &mut self,
        output: &mut [f32],
        asked_loudness: f32,
        gain: f32,
        take_squares: &[f32; HOP_PARTS],
    ) {
        let fall = output.len() / FALL_SHARE;
        self.burst.hold(output, BURST_RATIO * square_of(asked_loudness) + LOUD_FLOOR, fall);
        let part_samples = output.len().div_ceil(HOP_PARTS);
        let rest = square_of(LOUDNESS_FLOOR);
        for (part, &take) in output.chunks_mut(part_samples).zip(take_squares) {
            // Above a rest's level the bound opens three times as fast as the take rises, in dB.
            let over = (take / rest).max(1.0);
            self.rest.hold(part, REST_SHARE * take * over * over / (gain * gain), fall);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOP: usize = 160;
    const PART: usize = HOP / HOP_PARTS;

    fn buzz() -> Vec<f32> {
        (0..HOP).map(|n| if n % 2 == 0 { 0.1 } else { -0.1 }).collect()
    }

    /// A voice that fades to -60 dB is lifted all the way, and its lift is gone soon after its end; what is louder than the
    /// bank knows is turned down, and no more.
    #[test]
    fn a_soft_voice_is_lifted_and_a_rest_is_not() {
        let mut told = ToldLoudness::new(0.5, true);
        for soft in [-0.95, -1.5, LOUDNESS_FLOOR] {
            assert!((told.of(soft, true) - SOFTEST_VOICE).abs() < 1e-6);
        }
        let after: Vec<f32> = (0..12).map(|_| told.of(LOUDNESS_FLOOR, false)).collect();
        assert!(after[0] < SOFTEST_VOICE - 0.3 && after.is_sorted_by(|a, b| a > b), "{after:?}");
        assert!(after[11] < LOUDNESS_FLOOR + 0.05, "{after:?}");
        assert_eq!(told.of(0.2, true), 0.2);
        assert_eq!(told.of(0.9, true), 0.5);
        assert_eq!(told.of(LOUDNESS_FLOOR, false), LOUDNESS_FLOOR);

        let mut untold = ToldLoudness::new(0.5, false);
        assert_eq!([untold.of(-1.5, true), untold.of(0.9, true)], [-1.5, 0.5]);
    }

    #[test]
    fn a_gain_falls_soon_and_else_glides() {
        let mut glide = Glide::default();
        let mut turned = |gain: f32| {
            let mut output = [1.0; HOP];
            glide.turn(&mut output, gain);
            output
        };
        let fallen = turned(0.1);
        assert!(fallen[HOP / FALL_SHARE..].iter().all(|x| (x - 0.1).abs() < 1e-6), "{fallen:?}");
        for gain in [0.06, 1.0] {
            let from = turned(0.1)[HOP - 1];
            let glided = turned(gain);
            assert!((glided[HOP / 2 - 1] - (from + gain) / 2.0).abs() < 1e-3, "to {gain}: {glided:?}");
        }
    }

    /// A take that falls silent for half a hop: the rest is held 3 dB under the take there, and nothing is held elsewhere.
    #[test]
    fn a_rest_within_a_hop_is_held_under_the_take() {
        let mut restraint = Restraint::default();
        let (loud, rest) = (1e-2, 1e-8);
        let loudness = crate::signal::loudness::loudness(loud);
        let mut output = buzz();
        restraint.apply(&mut output, loudness, 1.0, &[loud, rest, rest, loud]);
        assert_eq!(output[..PART], buzz()[..PART]);
        let fall = HOP / FALL_SHARE;
        assert!(mean_square(&output[PART + fall..3 * PART]) <= REST_SHARE * rest * 1.001);
        // Up again, without a step.
        assert!(output[3 * PART].abs() < 0.01 && output[HOP - 1].abs() > 0.0999);
    }

    /// What the take has at -57 dB may be sung, but not at -30.
    #[test]
    fn just_above_a_rest_the_bound_is_near() {
        let mut restraint = Restraint::default();
        let take = 2e-6;
        let asked = crate::signal::loudness::loudness(take);
        // As it is, and lifted.
        for (asked, gain) in [(asked, 1.0), (SOFTEST_VOICE, 0.1)] {
            restraint.apply(&mut buzz(), asked, gain, &[take; HOP_PARTS]);
            let mut output = buzz();
            restraint.apply(&mut output, asked, gain, &[take; HOP_PARTS]);
            let sung = gain * gain * mean_square(&output);
            assert!(sung < 2.0 * take && sung > REST_SHARE * take, "{sung} where the take is {take}");
        }
    }
}
