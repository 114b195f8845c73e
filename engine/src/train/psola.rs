//! The same phrase at another pitch, in the same voice.

use crate::signal::resample::resampled;

/// Grains are laid at so many places a sample, so that rounding does not roughen the pitch.
const PLACES: usize = 4;
/// Distance of grains where nothing has a pitch, in seconds: they come back where they were.
const UNVOICED_SECONDS: f32 = 0.005;
/// Share of a period by which two grains' distance may differ from it.
const SEARCH: f32 = 0.25;

/// One period of the sound: where it is, in samples, and whether it has a pitch.
#[derive(Clone, Copy, Debug)]
struct Grain {
    centre: f32,
    voiced: bool,
}

/// A phrase that can be sung at other pitches, as long as it was, with its formants where they were: time-domain
/// pitch-synchronous overlap-add (Moulines and Charpentier, "Pitch-synchronous waveform processing techniques for
/// text-to-speech synthesis using diphones", 1990).
///
/// Two periods of sound around each period's mark are a grain, under two halves of Hann windows; grains are laid
/// `1 / ratio` periods apart, so some come twice or not at all. Between notes sound stays as it was.
pub(crate) struct Phrase {
    sample_rate_hz: u32,
    samples: usize,
    /// The sound at [`PLACES`] values a sample.
    fine: Vec<f32>,
    grains: Vec<Grain>,
}

impl Phrase {
    /// `hops` are F0 in Hz and voicing of each of the phrase's hops.
    pub(crate) fn new(
        waveform: &[f32],
        hops: &[(f32, bool)],
        sample_rate_hz: u32,
        hop_samples: usize,
    ) -> Self {
        Self {
            sample_rate_hz,
            samples: waveform.len(),
            fine: resampled(waveform, sample_rate_hz, sample_rate_hz * PLACES as u32),
            grains: grains(waveform, hops, sample_rate_hz as f32, hop_samples),
        }
    }

    /// The phrase, `ratio` times as high.
    pub(crate) fn sung_higher(&self, ratio: f32) -> Vec<f32> {
        let fine = lay(&self.fine, &self.grains, ratio);
        let mut sung = resampled(&fine, self.sample_rate_hz * PLACES as u32, self.sample_rate_hz);
        sung.resize(self.samples, 0.0);
        sung
    }
}

/// Marks of the phrase's periods, from its start to its end. In a note each mark lies where the sound is most like it was at
/// the mark before.
fn grains(waveform: &[f32], hops: &[(f32, bool)], rate_hz: f32, hop_samples: usize) -> Vec<Grain> {
    let mut grains = vec![Grain { centre: 0.0, voiced: false }];
    let mut last = grains[0];
    while last.centre < waveform.len() as f32 {
        let hop = (last.centre as usize / hop_samples).min(hops.len() - 1);
        let (f0_hz, voiced) = hops[hop];
        let centre = match (voiced, last.voiced) {
            (false, _) => last.centre + UNVOICED_SECONDS * rate_hz,
            (true, false) => loudest_within(waveform, last.centre, rate_hz / f0_hz),
            (true, true) => likest_after(waveform, last.centre, rate_hz / f0_hz),
        };
        last = Grain { centre, voiced };
        grains.push(last);
    }
    grains
}

/// Where the first period after `from` is loudest, half a period away from it at least.
fn loudest_within(waveform: &[f32], from: f32, period: f32) -> f32 {
    let begin = (from + 0.5 * period) as usize + 1;
    let end = begin + period as usize;
    let amplitude = |n: &usize| waveform.get(*n).map_or(0.0, |x| x.abs());
    (begin..end).max_by(|a, b| amplitude(a).total_cmp(&amplitude(b))).unwrap_or(begin) as f32
}

/// About a period after `from`, where two half periods around resemble those around `from` the most.
fn likest_after(waveform: &[f32], from: f32, period: f32) -> f32 {
    let around = (0.5 * period).ceil() as isize;
    let at = |place: isize| usize::try_from(place).ok().and_then(|n| waveform.get(n)).copied().unwrap_or(0.0);
    let from_sample = from.round() as isize;
    let likeness = |lag: isize| {
        let (mut product, mut square) = (0.0f32, 1e-9f32);
        for offset in -around..=around {
            let here = at(from_sample + lag + offset);
            product += at(from_sample + offset) * here;
            square += here * here;
        }
        product / square.sqrt()
    };
    let nearest = ((1.0 - SEARCH) * period).floor() as isize;
    let farthest = ((1.0 + SEARCH) * period).ceil() as isize;
    let likenesses: Vec<f32> = (nearest - 1..=farthest + 1).map(likeness).collect();
    let inner = 1..likenesses.len() - 1;
    let best = inner.max_by(|&a, &b| likenesses[a].total_cmp(&likenesses[b])).unwrap_or(1);
    // The top of the parabola through it and its neighbours, where there is one.
    let [before, top, after] = [likenesses[best - 1], likenesses[best], likenesses[best + 1]];
    let bend = before - 2.0 * top + after;
    let beyond = if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    from + (nearest - 1 + best as isize) as f32 + beyond
}

/// Lays the grains of a sound that has [`PLACES`] values a sample, voiced ones `1 / ratio` times as far apart as they were.
fn lay(fine: &[f32], grains: &[Grain], ratio: f32) -> Vec<f32> {
    let mut sung = vec![0.0f32; fine.len()];
    let mut weights = vec![0.0f32; fine.len()];
    let places = |samples: f32| (samples * PLACES as f32).round() as isize;
    let (mut index, mut centre) = (0, 0.0);
    while centre < grains[grains.len() - 1].centre {
        while index + 2 < grains.len() && grains[index + 1].centre - centre < centre - grains[index].centre {
            index += 1;
        }
        let (grain, next) = (grains[index], grains[index + 1].centre);
        let after = next - grain.centre;
        let before = if index > 0 { grain.centre - grains[index - 1].centre } else { after };
        let (left, right) = (places(before).max(1), places(after).max(1));
        let (from, to) = (places(grain.centre), places(if grain.voiced { centre } else { grain.centre }));
        for offset in -left..=right {
            let width = if offset < 0 { left } else { right };
            let weight = 0.5 + 0.5 * (std::f32::consts::PI * offset as f32 / width as f32).cos();
            let source = usize::try_from(from + offset).ok().and_then(|n| fine.get(n));
            let target = usize::try_from(to + offset).ok().filter(|n| *n < sung.len());
            if let (Some(value), Some(target)) = (source, target) {
                sung[target] += weight * value;
                weights[target] += weight;
            }
        }
        centre = if grain.voiced { centre + after / ratio } else { next };
    }
    // Where more than one grain's weight lies, their mean; where less, as after a period that was sung lower, the sound fades.
    sung.iter_mut().zip(&weights).for_each(|(value, weight)| *value /= weight.max(1.0));
    sung
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::f0::F0Tracker;
    use crate::signal::mel::mean_frame;

    const RATE_HZ: u32 = 16_000;
    const HOP: usize = 160;
    const HOPS: usize = 100;

    /// A buzz of `f0_hz` through one resonance at 1 kHz.
    fn vowel(f0_hz: f32) -> Vec<f32> {
        let radius = (-std::f32::consts::PI * 120.0 / RATE_HZ as f32).exp();
        let turn = 2.0 * radius * (std::f32::consts::TAU * 1_000.0 / RATE_HZ as f32).cos();
        let (mut phase, mut last, mut before) = (0.0f32, 0.0, 0.0);
        (0..HOPS * HOP)
            .map(|_| {
                // A sum of few harmonics' pulses has no aliases: here 20 cosines, all below 8 kHz.
                phase = (phase + f0_hz / RATE_HZ as f32).fract();
                let pulse: f32 =
                    (1..20).map(|k| (std::f32::consts::TAU * phase * k as f32).cos()).sum::<f32>() * 0.004;
                let next = pulse + turn * last - radius * radius * before;
                (last, before) = (next, last);
                next
            })
            .collect()
    }

    fn sung_at(sound: &[f32], f0_hz: f32, voiced: bool, ratio: f32) -> Vec<f32> {
        Phrase::new(sound, &[(f0_hz, voiced); HOPS], RATE_HZ, HOP).sung_higher(ratio)
    }

    /// Median of what the tracker of takes finds, in Hz.
    fn f0_hz(sound: &[f32]) -> f32 {
        let mut tracker = F0Tracker::new(RATE_HZ, HOP, 20);
        let pitches = sound.chunks_exact(HOP).filter_map(|hop| tracker.push(hop));
        let mut found: Vec<f32> = pitches.filter(|pitch| pitch.voiced).map(|pitch| pitch.f0_hz).collect();
        assert!(found.len() > HOPS / 2);
        found.sort_by(f32::total_cmp);
        found[found.len() / 2]
    }

    fn band_of_formant(sound: &[f32]) -> usize {
        let frame = mean_frame(&sound[3_000..13_000], RATE_HZ, 40, 37);
        (0..frame.len()).max_by(|&a, &b| frame[a].total_cmp(&frame[b])).unwrap()
    }

    #[test]
    fn a_vowel_is_sung_higher_or_lower_with_its_formant_where_it_was() {
        for (sung_hz, semitones) in [(150.0, 3.0), (150.0, -3.0), (210.0, 6.0), (330.0, -6.0)] {
            let vowel = vowel(sung_hz);
            let ratio = (semitones / 12.0f32).exp2();
            let sung = sung_at(&vowel, sung_hz, true, ratio);
            assert_eq!(sung.len(), vowel.len());
            let cents = 1_200.0 * (f0_hz(&sung) / (sung_hz * ratio)).log2();
            assert!(cents.abs() < 5.0, "{sung_hz} Hz by {semitones}: {cents} cents");
            let (then, now) = (band_of_formant(&vowel), band_of_formant(&sung));
            assert!(then.abs_diff(now) <= 2, "{sung_hz} Hz by {semitones}: band {then}, then {now}");
        }
    }

    #[test]
    fn at_its_own_pitch_a_phrase_stays_what_it_was() {
        let vowel = vowel(180.0);
        let sung = sung_at(&vowel, 180.0, true, 1.0);
        let power = |sound: &[f32]| sound[800..15_000].iter().map(|x| x * x).sum::<f32>();
        let change: Vec<f32> = vowel.iter().zip(&sung).map(|(a, b)| a - b).collect();
        assert!(power(&change) < 1e-3 * power(&vowel), "{}", power(&change) / power(&vowel));
    }

    #[test]
    fn what_has_no_pitch_stays_what_it_was() {
        let mut random = crate::model::random::Generator::new(3, 0);
        // Smooth enough for the way to the finer rate and back.
        let noise: Vec<f32> = (0..HOPS * HOP).map(|_| 0.1 * random.normal()).collect();
        let noise: Vec<f32> =
            noise.windows(6).map(|w| w.iter().sum()).chain(std::iter::repeat_n(0.0, 5)).collect();
        let sung = sung_at(&noise, 220.0, false, 1.4);
        let power = |sound: &[f32]| sound[200..15_800].iter().map(|x| x * x).sum::<f32>();
        let change: Vec<f32> = noise.iter().zip(&sung).map(|(a, b)| a - b).collect();
        assert!(power(&change) < 1e-2 * power(&noise), "{}", power(&change) / power(&noise));
    }
}
