//! A throat of another length: formants moved, pitch and level kept.

use super::fft::Fft;
use super::{UNVOICED_F0_HZ, WorldAnalyzer, fft_samples, held};
use crate::signal::gliding_filter::{GlidingFilter, pass_all};

/// Lowest F0 whose harmonics are told from formants, in Hz.
const LOWEST_F0_HZ: f32 = 60.0;
/// Half of CheapTrick's window, in periods.
const REACH_PERIODS: f32 = 1.5;
/// What lies so far below the strongest bin counts as no deeper (-60 dB): nobody hears what is moved there.
const FLOOR: f32 = 1e-6;
/// Largest gain of a bin, up or down: 24 dB, in nepers of power.
const MOST_NEPERS: f32 = 5.526;
/// Length of the filter. Its response is that of formants, which ring no longer.
const TAPS_SECONDS: f64 = 0.012;

/// Stretches the frequency axis of an envelope, powers of evenly spaced bins from 0 Hz on, by `ratio` into `stretched`: what
/// lay at `f` lies at `ratio f`, and beyond the last bin all is as the last. The mean power is kept.
///
/// # Panics
/// If the lengths differ or are 0.
pub fn stretch_envelope(envelope: &[f32], ratio: f32, stretched: &mut [f32]) {
    assert_eq!(envelope.len(), stretched.len(), "bins of both envelopes");
    let last = envelope.len() - 1;
    for (bin, power) in stretched.iter_mut().enumerate() {
        let place = (bin as f32 / ratio).min(last as f32);
        let below = (place as usize).min(last);
        let above = (below + 1).min(last);
        *power = envelope[below] + (place - below as f32) * (envelope[above] - envelope[below]);
    }
    let (before, after) = (envelope.iter().sum::<f32>(), stretched.iter().sum::<f32>());
    if after > 0.0 {
        stretched.iter_mut().for_each(|power| *power *= before / after);
    }
}

/// Moves the formants of a sound whose F0 is known, hop by hop: a filter of least phase whose response is the stretched
/// envelope over the one that is heard, by CheapTrick on the newest window of three periods. It delays nothing, and glides over
/// a hop from one response to the next. Without a shift it passes every bit as it is.
pub struct FormantShift {
    rate_hz: f32,
    analyzer: WorldAnalyzer,
    /// The last samples, as many as the analyzer's window; newest last.
    heard: Vec<f32>,
    envelope: Vec<f32>,
    stretched: Vec<f32>,
    fft: Fft<f32>,
    filter: GlidingFilter,
    /// Whether its response at the end of the last hop changes anything.
    moves: bool,
}

impl FormantShift {
    /// At the start of a stream of sound at `sample_rate_hz`.
    pub fn new(sample_rate_hz: u32, hop_samples: usize) -> Self {
        let analyzer = WorldAnalyzer::new(sample_rate_hz, LOWEST_F0_HZ);
        let size = fft_samples(sample_rate_hz, LOWEST_F0_HZ);
        let taps = ((TAPS_SECONDS * f64::from(sample_rate_hz)) as usize).clamp(1, size / 2);
        Self {
            rate_hz: sample_rate_hz as f32,
            heard: vec![0.0; analyzer.window_samples()],
            analyzer,
            envelope: vec![0.0; size / 2 + 1],
            stretched: vec![0.0; size / 2 + 1],
            fft: Fft::new(size),
            filter: GlidingFilter::new(taps, hop_samples),
            moves: false,
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.heard.fill(0.0);
        self.filter.reset();
        self.moves = false;
    }

    /// Filters a hop in place, which sounds at `f0_hz`, so that its formants lie `semitones` higher.
    ///
    /// # Panics
    /// If the hop is not as long as was said.
    pub fn process(&mut self, hop: &mut [f32], f0_hz: f32, voiced: bool, semitones: f32) {
        let kept = self.heard.len().saturating_sub(hop.len());
        let newest = hop.len().min(self.heard.len());
        self.heard.copy_within(newest.., 0);
        self.heard[kept..].copy_from_slice(&hop[hop.len() - newest..]);

        let moved = self.moves;
        self.moves = semitones != 0.0;
        if self.moves {
            self.measure(f0_hz, voiced, libm::exp2f(semitones / 12.0));
        } else if moved {
            pass_all(self.filter.next_response());
        }
        match moved || self.moves {
            true => self.filter.process(hop),
            false => self.filter.pass(hop),
        }
    }

    /// Sets the response by what was heard last.
    fn measure(&mut self, f0_hz: f32, voiced: bool, ratio: f32) {
        let f0_hz =
            held(if voiced { f0_hz } else { UNVOICED_F0_HZ as f32 }, LOWEST_F0_HZ, 0.25 * self.rate_hz);
        // The window's centre as late as can be: half a window before the newest sample.
        let centre = self.heard.len() / 2;
        let reach = ((REACH_PERIODS * self.rate_hz / f0_hz).ceil() as usize + 1).min(centre);
        let first = self.heard.len() - (centre + 1 + reach);
        self.analyzer.analyze_envelope(&self.heard[first..], f0_hz, voiced, &mut self.envelope);
        stretch_envelope(&self.envelope, ratio, &mut self.stretched);

        let floor = FLOOR * self.envelope.iter().fold(f32::MIN_POSITIVE, |most, power| most.max(*power));
        let (mut power_before, mut power_after) = (0.0, 0.0);
        for ((gain, heard), wanted) in self.fft.bins.iter_mut().zip(&self.envelope).zip(&self.stretched) {
            let nepers = libm::logf((wanted + floor) / (heard + floor)).clamp(-MOST_NEPERS, MOST_NEPERS);
            power_before += heard + floor;
            power_after += (heard + floor) * libm::expf(nepers);
            (gain.re, gain.im) = (0.5 * nepers, 0.0);
        }
        let louder = 0.5 * libm::logf(power_after / power_before);
        self.fft.bins.iter_mut().for_each(|gain| gain.re -= louder);
        self.fft.minimum_phase(0.0);
        self.fft.inverse();
        let scale = (self.fft.time.len() as f32).recip();
        for (tap, response) in self.filter.next_response().iter_mut().rev().zip(&self.fft.time) {
            *tap = scale * response;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const RATE_HZ: u32 = 16_000;
    const HOP: usize = 160;
    const F0_HZ: f64 = 125.0;
    const FORMANTS_HZ: [f64; 4] = [650.0, 1_150.0, 2_500.0, 3_400.0];

    /// A throat's response in dB: bells on a falling line, its frequency axis stretched.
    fn throat_db(hz: f64, ratio: f64) -> f64 {
        let hz = hz / ratio;
        let bell = |formant_hz: f64| 18.0 * (-((hz - formant_hz) / 180.0).powi(2)).exp();
        FORMANTS_HZ.into_iter().map(bell).sum::<f64>() - 4.0 * hz / 1_000.0
    }

    /// A sung vowel: harmonics as loud as the throat lets them be.
    fn vowel(ratio: f64) -> Vec<f32> {
        let harmonics: Vec<(f64, f64)> = (1..)
            .map(|number| f64::from(number) * F0_HZ)
            .take_while(|hz| 2.0 * hz < f64::from(RATE_HZ))
            .map(|hz| (TAU * hz / f64::from(RATE_HZ), 0.01 * 10f64.powf(throat_db(hz, ratio) / 20.0)))
            .collect();
        let sample =
            |n: usize| harmonics.iter().map(|(turn, size)| size * (turn * n as f64).cos()).sum::<f64>();
        (0..HOP * 120).map(|n| sample(n) as f32).collect()
    }

    /// Levels of the harmonics up to 5 kHz in a whole number of periods at the sound's end, in dB, of mean 0.
    fn harmonics_db(sound: &[f32]) -> Vec<f64> {
        let period = (f64::from(RATE_HZ) / F0_HZ) as usize;
        let tail = &sound[sound.len() - 40 * period..];
        let mut levels: Vec<f64> = (1..=(5_000.0 / F0_HZ) as usize)
            .map(|harmonic| {
                let turn = TAU * harmonic as f64 / period as f64;
                let (mut re, mut im) = (0.0, 0.0);
                for (n, x) in tail.iter().enumerate() {
                    re += f64::from(*x) * (turn * n as f64).cos();
                    im += f64::from(*x) * (turn * n as f64).sin();
                }
                10.0 * (re * re + im * im + 1e-12).log10()
            })
            .collect();
        let mean = levels.iter().sum::<f64>() / levels.len() as f64;
        levels.iter_mut().for_each(|level| *level -= mean);
        levels
    }

    fn distance_db(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
    }

    fn shifted(input: &[f32], semitones: f32) -> Vec<f32> {
        let mut shift = FormantShift::new(RATE_HZ, HOP);
        let mut output = input.to_vec();
        output.chunks_mut(HOP).for_each(|hop| shift.process(hop, F0_HZ as f32, true, semitones));
        output
    }

    fn power(sound: &[f32]) -> f32 {
        sound.iter().map(|x| x * x).sum()
    }

    #[test]
    fn a_vowel_gets_the_formants_of_a_throat_of_another_length() {
        let as_sung = vowel(1.0);
        let sung = harmonics_db(&as_sung);
        for semitones in [-4.0, -2.0, 2.0, 4.0] {
            let wanted = harmonics_db(&vowel((f64::from(semitones) / 12.0).exp2()));
            let output = shifted(&as_sung, semitones);
            let found = harmonics_db(&output);
            let (before, after) = (distance_db(&sung, &wanted), distance_db(&found, &wanted));
            assert!(after < 0.2 * before, "{semitones}: {after} dB from what was asked for, {before} before");
            let louder = power(&output[HOP * 20..]) / power(&as_sung[HOP * 20..]);
            assert!((0.7..1.4).contains(&louder), "{semitones}: {louder}");
        }
    }

    #[test]
    fn the_pitch_stays() {
        let output = shifted(&vowel(1.0), 3.0);
        let period = (f64::from(RATE_HZ) / F0_HZ) as usize;
        let tail = &output[HOP * 40..];
        let moved: f32 = tail.windows(period + 1).map(|w| (w[period] - w[0]).powi(2)).sum();
        assert!(moved < 1e-3 * power(tail), "a period later it is another sound");
    }

    #[test]
    fn without_a_shift_every_bit_passes_and_so_it_is_again_afterwards() {
        let input = vowel(1.0);
        assert_eq!(shifted(&input, 0.0), input);
        let mut shift = FormantShift::new(RATE_HZ, HOP);
        let mut output = input.clone();
        for (index, hop) in output.chunks_mut(HOP).enumerate() {
            shift.process(hop, F0_HZ as f32, true, if index == 50 { 5.0 } else { 0.0 });
        }
        assert_eq!(output[..HOP * 50], input[..HOP * 50]);
        assert_ne!(output[HOP * 50..HOP * 52], input[HOP * 50..HOP * 52]);
        assert_eq!(output[HOP * 52..], input[HOP * 52..]);
    }

    #[test]
    fn a_reset_shift_is_a_new_one() {
        let input = vowel(1.0);
        let mut used = FormantShift::new(RATE_HZ, HOP);
        input.chunks(HOP).take(9).for_each(|hop| used.process(&mut hop.to_vec(), 200.0, false, -7.0));
        used.reset();
        let mut fresh = FormantShift::new(RATE_HZ, HOP);
        for hop in input.chunks(HOP).take(9) {
            let (mut again, mut once) = (hop.to_vec(), hop.to_vec());
            used.process(&mut again, 125.0, true, 2.0);
            fresh.process(&mut once, 125.0, true, 2.0);
            assert_eq!(again, once);
        }
    }

    #[test]
    fn silence_stays_silent_and_odd_pitches_do_no_harm() {
        let mut shift = FormantShift::new(RATE_HZ, HOP);
        for (f0_hz, voiced) in [(0.0, true), (f32::NAN, true), (1e9, true), (-3.0, false)] {
            let mut hop = vec![0.0; HOP];
            shift.process(&mut hop, f0_hz, voiced, 12.0);
            assert!(hop.iter().all(|x| *x == 0.0));
            let mut hop: Vec<f32> = (0..HOP).map(|n| (n as f32).sin()).collect();
            shift.process(&mut hop, f0_hz, voiced, -12.0);
            assert!(hop.iter().all(|x| x.is_finite() && x.abs() < 30.0));
            shift.reset();
        }
    }
}
