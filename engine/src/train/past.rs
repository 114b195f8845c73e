//! The past that the decoder is shown in training, and what is wrong with it.

use super::batch::Cut;
use crate::model::random::Generator;
use crate::signal::mu_law;
use crate::voice::ModelConfig;

/// Flaws of the past that the decoder is shown, such as its own mistakes will be when it sings.
#[derive(Clone, Copy)]
pub(crate) struct Flaws {
    pub(crate) code_noise: i32,
    pub(crate) lapses_per_second: f32,
    pub(crate) rough_lapses_per_second: f32,
    pub(crate) seed: u64,
}

/// The codes of a segment and of `history` samples before it.
pub(super) struct Past<'a> {
    pub(super) cut: &'a Cut<'a>,
    pub(super) first: usize,
    pub(super) history: usize,
}

impl Past<'_> {
    /// What was sung `delay` samples before `index`; 0 before the clip's start.
    pub(super) fn value(&self, index: usize, delay: usize) -> f32 {
        let scale = if self.cut.invert { -self.cut.gain } else { self.cut.gain };
        let position = (self.first + index).checked_sub(self.history + delay);
        position.map_or(0.0, |position| scale * self.cut.clip.emphasised[position])
    }

    pub(super) fn code(&self, index: usize) -> u8 {
        mu_law::encode(self.value(index, 0))
    }

    /// Codes with lapses, rough lapses and noise.
    ///
    /// A decoder that only ever saw a flawless past learns to continue it and to ignore the F0 that it is told; when
    /// it sings, one pulse too soft then becomes every second pulse, an octave down, and a rough vowel stays rough.
    /// After a lapse only the F0 phase tells where the next pulse belongs.
    pub(super) fn flawed(&self, clean: &[u8], flaws: Flaws, model: &ModelConfig) -> Vec<u8> {
        let mut random = Generator::new(flaws.seed, 0);
        let mut codes = clean.to_vec();
        let rate_hz = model.sample_rate_hz as f32;
        let seconds = clean.len() as f32 / rate_hz;
        for _ in 0..random.count(flaws.lapses_per_second * seconds) {
            let start = random.below(clean.len());
            self.lapse(&mut codes, start, rate_hz, &mut random);
        }
        for _ in 0..random.count(flaws.rough_lapses_per_second * seconds) {
            let start = random.below(clean.len());
            if self.is_voiced(start, model.hop_samples) {
                self.rough_lapse(&mut codes, start, rate_hz, &mut random);
            }
        }
        add_code_noise(&mut codes, flaws.code_noise, &mut random);
        codes
    }

    fn is_voiced(&self, index: usize, hop_samples: usize) -> bool {
        let position = (self.first + index).saturating_sub(self.history);
        self.cut.clip.frames[position / hop_samples].voiced
    }

    /// 3 to 15 ms that are too soft and up to 12 ms late.
    fn lapse(&self, codes: &mut [u8], start: usize, rate_hz: f32, random: &mut Generator) {
        let length = (random.between(0.003, 0.015) * rate_hz) as usize;
        let delay = (random.between(0.0, 0.012) * rate_hz) as usize;
        let gain = random.uniform();
        for (index, code) in codes.iter_mut().enumerate().skip(start).take(length) {
            *code = mu_law::encode(gain * self.value(index, delay));
        }
    }

    /// 10 to 160 ms of what the decoder sings when it has lost the voice: grains of 1 to 5 ms from anywhere in the
    /// last 25 ms, in either sign, which keep the vowel's colour but no period, with noise over them.
    fn rough_lapse(&self, codes: &mut [u8], start: usize, rate_hz: f32, random: &mut Generator) {
        let end = codes.len().min(start + (0.01 * 16f32.powf(random.uniform()) * rate_hz) as usize);
        let square: f32 = (start..end).map(|index| self.value(index, 0).powi(2)).sum();
        let noise = 0.7 * random.uniform() * (square / (end - start).max(1) as f32).sqrt();
        let mut at = start;
        while at < end {
            let grain_end = end.min(at + (random.between(0.001, 0.005) * rate_hz) as usize);
            let delay = (random.between(0.0, 0.025) * rate_hz) as usize;
            let gain = random.between(0.3, 1.3) * if random.chance(0.5) { -1.0 } else { 1.0 };
            for (index, code) in codes.iter_mut().enumerate().take(grain_end).skip(at) {
                *code = mu_law::encode(gain * self.value(index, delay) + noise * random.normal());
            }
            at = grain_end;
        }
    }
}

/// Moves codes in both directions by up to a limit of their own, drawn from 0 to `most`: a decoder learns not to continue
/// what lies below a noise that is always there, such as the upper formants.
fn add_code_noise(codes: &mut [u8], most: i32, random: &mut Generator) {
    let limit = random.below(most as usize + 1) as i32;
    for code in codes {
        let moved = i32::from(*code) + random.below(2 * limit as usize + 1) as i32 - limit;
        *code = moved.clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_in_four_has_a_past_without_noise_and_none_has_more_than_the_limit() {
        let mut segments_by_limit = [0; 4];
        for seed in 0..400 {
            let mut codes = [100; 200];
            add_code_noise(&mut codes, 3, &mut Generator::new(seed, 0));
            let largest = codes.iter().map(|code| code.abs_diff(100)).max();
            segments_by_limit[usize::from(largest.unwrap_or(0))] += 1;
        }
        assert!(segments_by_limit.iter().all(|count| (70..130).contains(count)), "{segments_by_limit:?}");
    }

    #[test]
    fn noise_stays_among_the_codes() {
        for code in [0u8, 255] {
            let mut codes = [code; 200];
            add_code_noise(&mut codes, 128, &mut Generator::new(5, 0));
            assert!(codes.iter().any(|moved| *moved != code) && codes.contains(&code));
        }
    }
}
