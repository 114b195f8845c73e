//! Leads sound to the spectrum that it should have, hop by hop.

use std::f64::consts::PI;

use super::gliding_filter::GlidingFilter;
use super::mel::MelBank;

/// What the mean of what is missing keeps from hop to hop, `exp(-1/3)`: it reaches back three of them.
const KEEP: f32 = 0.716_531_3;
/// Mean square of a window that counts for half of a loud one (-50 dB): in a rest there is nothing to lead.
const QUIET_SQUARE: f32 = 1e-5;
/// What is never there counts for so much of a loud window: after a rest the filter opens from flat.
const FLAT_WEIGHT: f32 = 0.05;
/// Largest gain of a band, up or down: 12 dB, in nepers of power.
const MOST_NEPERS: f32 = 2.763;
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
/// Taps of the filter at 16 kHz; as many milliseconds at other rates. The gains are as smooth as mel bands are wide, and a
/// filter of least phase has its energy at its start.
const TAPS_SECONDS: f64 = 0.006;
/// Bands beside each other share their gains by a binomial of order four.
const SMOOTHING: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

/// A filter of least phase whose response is the difference between a spectrum that is expected and the one that is heard,
/// both as log-mel frames of the [`MelBank`], smoothed over bands and some hops. It keeps the level, delays nothing, and
/// glides over a hop from one response to the next.
///
/// What is expected may be wrong in the same way for a whole take, where the take's singer is unlike all that the networks
/// know. So the filter also knows what the voice sounds like on average at each F0, and what it finds missing from that
/// over seconds, it adds.
///
/// The taps follow from the cepstrum of the gains without a transform: with `c` the cepstrum of their logarithm of amplitude,
/// folded to its causal half, `h[0] = exp(c[0])` and `n h[n] = sum over k from 1 to n of k c[k] h[n - k]`
/// (Oppenheim and Schafer, "Discrete-Time Signal Processing", chapter 13).
pub struct Equalizer {
    bank: MelBank,
    strength: f32,
    timbre: f32,
    /// The last window of input, oldest sample first.
    heard: Vec<f32>,
    frame: Vec<f32>,
    expected_before: Vec<f32>,
    /// Share of the expectation before the last in the one at the window's centre.
    before_share: f32,
    /// Weighted sum of what was missing, and of the weights.
    missing: Vec<f32>,
    weight: f32,
    /// Mean of what was missing from the voice, and of how many hops of it.
    missing_timbre: Vec<f32>,
    voice_hops: f32,
    hops_per_second: f32,
    /// The first band that is of the voice.
    timbre_from: usize,
    gains: Vec<f32>,
    /// Share of each band in the power of a flat spectrum.
    widths: Vec<f32>,
    /// `[taps][bands]`: what gains add to `cepstrum`.
    cepstrum_of: Vec<Vec<f32>>,
    /// `c[0]`, then `n c[n]`.
    cepstrum: Vec<f32>,
    filter: GlidingFilter,
}

impl Equalizer {
    /// A filter at the start of a stream, flat, for frames of `bands` bands; `strength` is its share of the difference from
    /// what is expected, `timbre` that of the difference from the voice's average, both 0 to 1.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, bands: usize, strength: f32, timbre: f32) -> Self {
        let bank = MelBank::new(sample_rate_hz, bands, 1.0);
        let window = bank.window_samples();
        let taps = ((TAPS_SECONDS * f64::from(sample_rate_hz)).round() as usize).max(8);
        // The window ends with the hop, so its centre is earlier than the hop's.
        let back = (window as f32 - hop_samples as f32) / 2.0;
        let centres_hz = bank.centres_hz();
        let widths = (0..bands)
            .map(|band| {
                let (low, high) = (band.saturating_sub(1), (band + 1).min(bands - 1));
                (centres_hz[high] - centres_hz[low]) / (high - low).max(1) as f32
            })
            .collect();
        Self {
            hops_per_second: sample_rate_hz as f32 / hop_samples as f32,
            timbre_from: centres_hz.partition_point(|centre| *centre < TIMBRE_FROM_HZ),
            missing_timbre: vec![0.0; bands],
            voice_hops: 0.0,
            timbre,
            cepstrum_of: folded_cepstrum(sample_rate_hz, centres_hz, taps),
            widths,
            bank,
            strength,
            heard: vec![0.0; window],
            frame: vec![0.0; bands],
            expected_before: vec![0.0; bands],
            before_share: (back / hop_samples as f32).clamp(0.0, 1.0),
            missing: vec![0.0; bands],
            weight: 0.0,
            gains: vec![0.0; bands],
            cepstrum: vec![0.0; taps],
            filter: GlidingFilter::new(taps, hop_samples),
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        let lists = [&mut self.heard, &mut self.expected_before, &mut self.missing, &mut self.missing_timbre];
        lists.into_iter().for_each(|values| values.fill(0.0));
        self.weight = 0.0;
        self.voice_hops = 0.0;
        self.filter.reset();
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
        let rest = self.heard.len().saturating_sub(hop.len());
        let kept = self.heard.len() - rest;
        self.heard.copy_within(kept.., 0);
        self.heard[rest..].copy_from_slice(&hop[hop.len() - kept..]);
        self.bank.frame(&self.heard, &mut self.frame);
        let square = super::loudness::mean_square(&self.heard);
        if let Some(average) = average.filter(|_| square > VOICE_SQUARE) {
            self.learn_timbre(expected, average);
        }
        self.learn(expected, square);
        self.set_gains();
        self.set_response();
        self.filter.process(hop);
    }

    /// Takes in what is missing from the window.
    fn learn(&mut self, expected: &[f32], square: f32) {
        let share = (1.0 - KEEP) * square / (square + QUIET_SQUARE);
        self.weight = KEEP * self.weight + share;
        let bands = self.missing.iter_mut().zip(&self.frame).zip(expected).zip(&mut self.expected_before);
        for (((missing, heard), &expected), before) in bands {
            let at_centre = expected + self.before_share * (*before - expected);
            let difference = at_centre - heard;
            // A bank may expect what is no number; that must not stay in the mean for ever.
            let difference =
                if difference.is_finite() { difference.clamp(-MOST_MISSING, MOST_MISSING) } else { 0.0 };
            *missing = KEEP * *missing + share * difference;
            *before = expected;
        }
    }

    /// Takes in what will be missing from the voice's average when the window has been led to what is expected.
    fn learn_timbre(&mut self, expected: &[f32], average: &[f32]) {
        self.voice_hops = (self.voice_hops + 1.0).min(MEMORY_SECONDS * self.hops_per_second);
        let share = 1.0 / (self.voice_hops + DOUBT_SECONDS * self.hops_per_second);
        let bands = self.missing_timbre.iter_mut().zip(&self.frame).zip(expected).zip(average);
        for (((missing, heard), &expected), &average) in bands.skip(self.timbre_from) {
            let led = heard + self.strength * (expected - heard);
            let difference = average - led;
            if difference.is_finite() {
                *missing += share * (difference.clamp(-MOST_MISSING, MOST_MISSING) - *missing);
            }
        }
    }

    /// The bands' gains in nepers of power: smooth, within bounds, and such that the sound heard keeps its power.
    fn set_gains(&mut self) {
        let last = self.missing.len() - 1;
        let scale = self.strength / (self.weight + FLAT_WEIGHT);
        for (band, gain) in self.gains.iter_mut().enumerate() {
            let beside = |offset: usize| (band + offset).saturating_sub(SMOOTHING.len() / 2).min(last);
            let missing = |band: usize| scale * self.missing[band] + self.timbre * self.missing_timbre[band];
            let sum: f32 =
                SMOOTHING.iter().enumerate().map(|(offset, share)| share * missing(beside(offset))).sum();
            *gain = sum.clamp(-MOST_NEPERS, MOST_NEPERS);
        }
        let (mut power_before, mut power_now) = (0.0f32, 0.0f32);
        for ((width, frame), gain) in self.widths.iter().zip(&self.frame).zip(&self.gains) {
            power_before += width * frame.exp();
            power_now += width * (frame + gain).exp();
        }
        let more = (power_now / power_before).ln();
        self.gains.iter_mut().for_each(|gain| *gain -= more);
    }

    /// The taps of least phase that have the gains.
    fn set_response(&mut self) {
        for (value, of) in self.cepstrum.iter_mut().zip(&self.cepstrum_of) {
            *value = super::dot(of, &self.gains);
        }
        let response = self.filter.next_response();
        let taps = response.len();
        // Newest tap last: `h[n]` stands at `taps - 1 - n`, so `h[n - 1]` to `h[0]` follow it.
        response[taps - 1] = self.cepstrum[0].exp();
        for n in 1..taps {
            let (rest, known) = response.split_at_mut(taps - n);
            rest[taps - 1 - n] = super::dot(&self.cepstrum[1..=n], known) / n as f32;
        }
    }
}

/// `[taps][bands]`: what a band's gain in nepers of power, drawn over the spectrum in straight lines between the bands'
/// centres, adds to each value of the folded cepstrum of the logarithm of amplitude; all but the first times their index.
fn folded_cepstrum(sample_rate_hz: u32, centres_hz: &[f32], taps: usize) -> Vec<Vec<f32>> {
    let bands = centres_hz.len();
    let points = (8 * taps).next_power_of_two();
    let mut cepstrum = vec![vec![0.0f64; bands]; taps];
    for point in 0..=points {
        let angle = PI * point as f64 / points as f64;
        let hz = (0.5 * f64::from(sample_rate_hz) * point as f64 / points as f64) as f32;
        let above = centres_hz.partition_point(|centre| *centre <= hz);
        let ends = if above == 0 {
            [(0, 1.0), (0, 0.0)]
        } else if above == bands {
            [(bands - 1, 1.0), (bands - 1, 0.0)]
        } else {
            let (low, high) = (centres_hz[above - 1], centres_hz[above]);
            let share = f64::from((hz - low) / (high - low));
            [(above - 1, 1.0 - share), (above, share)]
        };
        // Half of the power's logarithm is the amplitude's; the ends of the axis count once, all else for both its sides.
        let measure = 0.5 * if point == 0 || point == points { 0.5 } else { 1.0 } / points as f64;
        for (n, row) in cepstrum.iter_mut().enumerate() {
            let fold = if n == 0 { 1.0 } else { 2.0 * n as f64 };
            for (band, share) in ends {
                row[band] += fold * measure * share * (angle * n as f64).cos();
            }
        }
    }
    cepstrum.into_iter().map(|row| row.into_iter().map(|value| value as f32).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::uniform;

    const RATE_HZ: u32 = 16_000;
    const HOP: usize = 160;
    const BANDS: usize = 40;

    fn noise(samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.2 * (2.0 * uniform(5, n as u64) - 1.0)).collect()
    }

    fn mean_frame(sound: &[f32]) -> Vec<f32> {
        let mut bank = MelBank::new(RATE_HZ, BANDS, 1.0);
        let (mut mean, mut frame, mut count) = (vec![0.0; BANDS], vec![0.0; BANDS], 0.0);
        for window in sound.windows(bank.window_samples()).step_by(HOP) {
            bank.frame(window, &mut frame);
            mean.iter_mut().zip(&frame).for_each(|(mean, value)| *mean += value);
            count += 1.0;
        }
        mean.iter().map(|value| value / count).collect()
    }

    fn power(sound: &[f32]) -> f32 {
        sound.iter().map(|x| x * x).sum()
    }

    /// White noise led to a broad peak of 9 dB: the mean frame gets it, the level stays.
    #[test]
    fn what_is_heard_comes_to_be_what_is_expected_at_its_own_level() {
        let input = noise(HOP * 400);
        let flat = mean_frame(&input);
        let peak = |band: usize| 2.0 * (-((band as f32 - 15.0) / 6.0).powi(2)).exp();
        let expected: Vec<f32> = (0..BANDS).map(|band| flat[band] + peak(band)).collect();
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 1.0, 0.0);
        let mut output = input.clone();
        output.chunks_mut(HOP).for_each(|hop| equalizer.process(hop, &expected, None));
        let found = mean_frame(&output[HOP * 20..]);
        let mean: f32 = (0..BANDS).map(peak).sum::<f32>() / BANDS as f32;
        for band in 2..BANDS - 2 {
            let (got, wanted) = (found[band] - flat[band], peak(band) - mean);
            assert!((got - wanted).abs() < 0.25, "band {band}: {got} for {wanted}");
        }
        let change = power(&output) / power(&input);
        assert!((0.8..1.25).contains(&change), "{change}");
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

    /// The recursion's filter against the definition: its amplitude on a fine grid is the drawn gain, and it is of least phase
    /// (its energy is at the start).
    #[test]
    fn the_taps_have_the_gains_and_the_least_phase() {
        let mut equalizer = Equalizer::new(RATE_HZ, HOP, BANDS, 1.0, 0.0);
        for (band, gain) in equalizer.gains.iter_mut().enumerate() {
            *gain = 1.5 * (band as f32 / 5.0).sin();
        }
        equalizer.set_response();
        let centres_hz = equalizer.bank.centres_hz().to_vec();
        for (band, &centre_hz) in centres_hz.iter().enumerate().take(BANDS - 1).skip(10) {
            let angle = std::f64::consts::TAU * f64::from(centre_hz) / f64::from(RATE_HZ);
            let (mut re, mut im) = (0.0, 0.0);
            for (n, tap) in equalizer.filter.response().iter().rev().enumerate() {
                re += f64::from(*tap) * (angle * n as f64).cos();
                im += f64::from(*tap) * (angle * n as f64).sin();
            }
            let (found, wanted) = ((re * re + im * im).ln(), f64::from(equalizer.gains[band]));
            assert!((found - wanted).abs() < 0.1, "band {band}: {found} for {wanted}");
        }
        let response = equalizer.filter.response();
        let start = power(&response[response.len() - 16..]);
        assert!(start > 0.98 * power(response), "{start}");
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
