//! Leads sound to the spectrum that it should have, hop by hop.

mod stage;

use stage::Stage;

/// What each stage's mean of what is missing reaches back, in hops. The first follows what is sung; the second finds what
/// the first one's smoothing over bands and hops leaves.
const MEMORY_HOPS: [f32; 2] = [3.0, 6.0];
/// Seconds of voice after which half of what was missing in the long run is believed, and how long it is remembered.
const DOUBT_SECONDS: f32 = 0.5;
const MEMORY_SECONDS: f32 = 30.0;
/// The same where a voice has changed: what the one before it was missing is soon forgotten.
const CHANGED_SECONDS: f32 = 0.5;
/// Mean square of a window of which a voice is known (-40 dB).
const VOICE_SQUARE: f32 = 1e-4;
/// Below this recordings have rumble, which is no voice's.
const TIMBRE_FROM_HZ: f32 = 150.0;
/// Largest difference that is believed, in nepers of power.
const MOST_MISSING: f32 = 20.0;

/// Two filters of least phase, one after the other, that lead what is heard to a spectrum that is expected, both as log-mel
/// frames of the [`MelBank`](super::mel::MelBank): the second leads what the first one gives to the same frame. They keep
/// the level and delay nothing.
///
/// What is expected may be wrong in the same way for a whole take, where the take's singer is unlike all that the networks
/// know. So the equalizer also knows what the voice sounds like on average at each F0, and what it finds missing from that
/// over seconds, it adds.
pub struct Equalizer {
    strength: f32,
    timbre: f32,
    expected_before: Vec<f32>,
    /// Share of the expectation before the last in the one at the window's centre.
    before_share: f32,
    /// The frame to which all is led.
    target: Vec<f32>,
    /// Mean of what was missing from the voice, and of how many hops of it.
    missing_timbre: Vec<f32>,
    voice_hops: f32,
    hops_per_second: f32,
    /// The first band that is of the voice.
    timbre_from: usize,
    stages: [Stage; MEMORY_HOPS.len()],
}

impl Equalizer {
    /// An equalizer at the start of a stream, flat, for frames of `bands` bands; `strength` is its share of the difference
    /// from what is expected, `timbre` that of the difference from the voice's average, both 0 to 1.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, bands: usize, strength: f32, timbre: f32) -> Self {
        let stages = MEMORY_HOPS.map(|hops| Stage::new(sample_rate_hz, hop_samples, bands, hops));
        let bank = stages[0].bank();
        // The window ends with the hop, so its centre is earlier than the hop's.
        let back = (bank.window_samples() as f32 - hop_samples as f32) / 2.0;
        Self {
            strength,
            timbre,
            expected_before: vec![0.0; bands],
            before_share: (back / hop_samples as f32).clamp(0.0, 1.0),
            target: vec![0.0; bands],
            missing_timbre: vec![0.0; bands],
            voice_hops: 0.0,
            hops_per_second: sample_rate_hz as f32 / hop_samples as f32,
            timbre_from: bank.centres_hz().partition_point(|centre| *centre < TIMBRE_FROM_HZ),
            stages,
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.expected_before.fill(0.0);
        self.missing_timbre.fill(0.0);
        self.voice_hops = 0.0;
        self.stages.iter_mut().for_each(Stage::reset);
    }

    /// Another voice sings from here on. While one glides into another hop by hop, no more than the last moments count.
    pub fn change_voice(&mut self) {
        self.voice_hops = self.voice_hops.min(CHANGED_SECONDS * self.hops_per_second);
    }

    /// Filters a hop in place. `expected`, `[bands]`, is its log-mel frame as it should be, without level; `average` the
    /// voice's average one at the hop's F0, where it has one.
    ///
    /// # Panics
    /// If a length is not as was said.
    pub fn process(&mut self, hop: &mut [f32], expected: &[f32], average: Option<&[f32]>) {
        self.stages[0].hear(hop);
        self.lead_to(expected);
        if let Some(average) = average.filter(|_| self.stages[0].square() > VOICE_SQUARE) {
            self.learn_timbre(average);
        }
        for (target, missing) in self.target.iter_mut().zip(&self.missing_timbre) {
            *target += self.timbre * missing;
        }
        let [first, second] = &mut self.stages;
        first.lead(hop, &self.target);
        second.hear(hop);
        second.lead(hop, &self.target);
    }

    /// Sets the target between what is heard and what is expected at the window's centre.
    fn lead_to(&mut self, expected: &[f32]) {
        let bands =
            self.target.iter_mut().zip(self.stages[0].frame()).zip(expected).zip(&mut self.expected_before);
        for (((target, heard), &expected), before) in bands {
            let at_centre = expected + self.before_share * (*before - expected);
            *target = heard + self.strength * believable(at_centre - heard);
            *before = expected;
        }
    }

    /// Takes in what the target is missing from the voice's average.
    fn learn_timbre(&mut self, average: &[f32]) {
        self.voice_hops = (self.voice_hops + 1.0).min(MEMORY_SECONDS * self.hops_per_second);
        let share = 1.0 / (self.voice_hops + DOUBT_SECONDS * self.hops_per_second);
        let bands = self.missing_timbre.iter_mut().zip(&self.target).zip(average);
        for ((missing, target), &average) in bands.skip(self.timbre_from) {
            *missing += share * (believable(average - target) - *missing);
        }
    }
}

/// A bank may expect what is no number; that must not stay in a mean for ever.
fn believable(difference: f32) -> f32 {
    if difference.is_finite() { difference.clamp(-MOST_MISSING, MOST_MISSING) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::uniform;
    use crate::signal::mel;

    const RATE_HZ: u32 = 16_000;
    const HOP: usize = 160;
    const BANDS: usize = 40;

    fn noise(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.2 * (2.0 * uniform(5, n as u64) - 1.0)).collect()
    }

    fn mean_frame(sound: &[f32]) -> Vec<f32> {
        mel::mean_frame(sound, RATE_HZ, BANDS, HOP)
    }

    fn power(sound: &[f32]) -> f32 {
        sound.iter().map(|x| x * x).sum()
    }

    /// White noise, and what comes of it where a peak is expected that adds so much to each band.
    fn led_to(peak: impl Fn(usize) -> f32) -> (Vec<f32>, Vec<f32>) {
        let input = noise(HOP * 400);
        let expected: Vec<f32> =
            mean_frame(&input).iter().enumerate().map(|(band, flat)| flat + peak(band)).collect();
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 1.0, 0.0);
        let mut output = input.clone();
        output.chunks_mut(HOP).for_each(|hop| equalizer.process(hop, &expected, None));
        (input, output)
    }

    /// A broad peak of 9 dB: the mean frame gets it, the level stays.
    #[test]
    fn what_is_heard_comes_to_be_what_is_expected_at_its_own_level() {
        let peak = |band: usize| 2.0 * (-((band as f32 - 15.0) / 6.0).powi(2)).exp();
        let (input, output) = led_to(peak);
        let (flat, found) = (mean_frame(&input), mean_frame(&output[HOP * 20..]));
        let mean: f32 = (0..BANDS).map(peak).sum::<f32>() / BANDS as f32;
        for band in 2..BANDS - 2 {
            let (got, wanted) = (found[band] - flat[band], peak(band) - mean);
            assert!((got - wanted).abs() < 0.25, "band {band}: {got} for {wanted}");
        }
        let change = power(&output) / power(&input);
        assert!((0.8..1.25).contains(&change), "{change}");
    }

    /// A peak a few bands wide, less than a filter smooths: one alone comes to 1.3 of 2.
    #[test]
    fn what_one_filter_smooths_away_the_second_finds() {
        let (input, output) = led_to(|band| 2.0 * (-((band as f32 - 15.0) / 1.5).powi(2)).exp());
        let (flat, found) = (mean_frame(&input), mean_frame(&output[HOP * 20..]));
        let change = |band: usize| found[band] - flat[band];
        // At one level: that of a band far from the peak.
        let got = change(15) - change(30);
        assert!((1.4..2.2).contains(&got), "{got} for 2");
    }

    /// A bank may expect nonsense for a while; what comes after it is not touched by it.
    #[test]
    fn what_is_no_number_is_not_remembered() {
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 1.0, 0.0);
        for (index, hop) in noise(HOP * 40).chunks(HOP).enumerate() {
            let mut output = hop.to_vec();
            let expected = if index < 9 { [f32::INFINITY, f32::NAN][index % 2] } else { 0.0 };
            equalizer.process(&mut output, &[expected; BANDS], Some(&[expected; BANDS]));
            assert!(output.iter().all(|x| x.is_finite()), "hop {index}");
        }
    }

    /// Half a minute in which the networks always expect what is heard, and the voice has a broad peak of 9 dB that is not
    /// there: it comes, and not below where a voice begins. Where there is no voice, nothing comes.
    #[test]
    fn what_is_missing_from_a_voice_in_the_long_run_is_added() {
        let input = noise(HOP * 3_000);
        let flat = mean_frame(&input);
        let peak = |band: usize| {
            let rumble = if band == 0 { 3.0 } else { 0.0 };
            2.0 * (-((band as f32 - 15.0) / 6.0).powi(2)).exp() + rumble
        };
        let average: Vec<f32> = (0..BANDS).map(|band| flat[band] + peak(band)).collect();
        let sung = |timbre: f32, average: Option<&[f32]>| {
            let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 0.7, timbre);
            let mut output = input.clone();
            output.chunks_mut(HOP).for_each(|hop| equalizer.process(hop, &flat, average));
            mean_frame(&output[HOP * 1_000..])
        };
        let without = sung(1.0, None);
        for timbre in [1.0, 0.5] {
            let with = sung(timbre, Some(&average));
            // At one level: that of a band where nothing is to be changed.
            let change = |band: usize| (with[band] - with[38]) - (without[band] - without[38]);
            for band in [8, 15, 22, 30] {
                let wanted = timbre * (peak(band) - peak(38));
                assert!((change(band) - wanted).abs() < 0.25, "band {band}: {} for {wanted}", change(band));
            }
            assert!(change(0) < 0.5, "{}", change(0));
        }
        // Where there is no voice nothing was added: white noise is as flat as it was.
        for band in [8, 15, 22, 30] {
            let change = (without[band] - without[38]) - (flat[band] - flat[38]);
            assert!(change.abs() < 0.1, "band {band}: {change}");
        }
    }

    /// What is too soft to be a voice teaches nothing, and another voice soon has its own.
    #[test]
    fn a_timbre_is_of_what_sings_now() {
        let quiet: Vec<f32> = noise(HOP * 300).iter().map(|x| x * 0.01).collect();
        let flat = mean_frame(&noise(HOP * 300));
        let bright: Vec<f32> =
            (0..BANDS).map(|band| flat[band] + if band > 20 { 2.0 } else { 0.0 }).collect();
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 0.0, 1.0);
        quiet.clone().chunks_mut(HOP).for_each(|hop| equalizer.process(hop, &flat, Some(&bright)));
        assert_eq!(equalizer.missing_timbre, [0.0; BANDS]);

        let learn = |average: &[f32], hops: usize, equalizer: &mut Equalizer| {
            noise(HOP * hops).chunks_mut(HOP).for_each(|hop| equalizer.process(hop, &flat, Some(average)));
            equalizer.missing_timbre[30] - equalizer.missing_timbre[10]
        };
        assert!((learn(&bright, 1_000, &mut equalizer) - 2.0).abs() < 0.2);
        let mut changed = Equalizer::new(RATE_HZ, HOP, BANDS, 0.0, 1.0);
        learn(&bright, 1_000, &mut changed);
        changed.change_voice();
        // Two seconds later most of the old voice is forgotten; without a change little is.
        assert!(learn(&flat, 200, &mut changed) < 0.8);
        assert!(learn(&flat, 200, &mut equalizer) > 1.5);
    }

    #[test]
    fn what_is_silent_stays_as_it_is_and_so_does_all_at_strength_0() {
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 1.0, 0.0);
        for hop in noise(HOP * 50).chunks(HOP) {
            let quiet: Vec<f32> = hop.iter().map(|x| x * 1e-4).collect();
            let mut output = quiet.clone();
            equalizer.process(&mut output, &[0.0; BANDS], None);
            let moved: Vec<f32> = output.iter().zip(&quiet).map(|(a, b)| a - b).collect();
            assert!(power(&moved) < 1e-2 * power(&quiet));
        }
        let mut off = Equalizer::new(RATE_HZ, HOP, BANDS, 0.0, 0.0);
        for hop in noise(HOP * 20).chunks(HOP) {
            let mut output = hop.to_vec();
            off.process(&mut output, &[3.0; BANDS], Some(&[1.0; BANDS]));
            assert!(output.iter().zip(hop).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn a_reset_filter_is_a_new_one() {
        let mut used = Equalizer::new(RATE_HZ, HOP, BANDS, 0.7, 0.5);
        noise(HOP * 9).chunks_mut(HOP).for_each(|hop| used.process(hop, &[1.0; BANDS], Some(&[2.0; BANDS])));
        used.reset();
        let mut fresh = Equalizer::new(RATE_HZ, HOP, BANDS, 0.7, 0.5);
        for hop in noise(HOP * 5).chunks(HOP) {
            let (mut again, mut once) = (hop.to_vec(), hop.to_vec());
            let expected: Vec<f32> = (0..BANDS).map(|band| band as f32 * 0.1).collect();
            used.process(&mut again, &expected, Some(&expected));
            fresh.process(&mut once, &expected, Some(&expected));
            assert_eq!(again, once);
        }
    }
}
