//! One filter of the equalizer.

use std::f64::consts::PI;

use crate::signal::dot;
use crate::signal::gliding_filter::GlidingFilter;
use crate::signal::mel::MelBank;

/// Mean square of a window that counts for half of a loud one (-50 dB): in a rest there is nothing to lead.
const QUIET_SQUARE: f32 = 1e-5;
/// What is never there counts for so much of a loud window: after a rest the filter opens from flat.
const FLAT_WEIGHT: f32 = 0.05;
/// Largest gain of a band, up or down: 22 dB, in nepers of power.
const MOST_NEPERS: f32 = 5.0;
/// Taps of the filter at 16 kHz; as many milliseconds at other rates. The gains are as smooth as mel bands are wide, and a
/// filter of least phase has its energy at its start.
const TAPS_SECONDS: f64 = 0.006;
/// Bands beside each other share their gains by a binomial of order four.
const SMOOTHING: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

/// A filter of least phase whose response is the difference between a log-mel frame that should be and the one that is
/// heard, smoothed over bands and some hops. It keeps the level, delays nothing, and glides over a hop from one response
/// to the next.
///
/// The taps follow from the cepstrum of the gains without a transform: with `c` the cepstrum of their logarithm of amplitude,
/// folded to its causal half, `h[0] = exp(c[0])` and `n h[n] = sum over k from 1 to n of k c[k] h[n - k]`
/// (Oppenheim and Schafer, "Discrete-Time Signal Processing", chapter 13).
pub(super) struct Stage {
    bank: MelBank,
    /// What the mean of what is missing keeps from hop to hop.
    keep: f32,
    /// The last window of input, oldest sample first, its frame and its mean square.
    heard: Vec<f32>,
    frame: Vec<f32>,
    square: f32,
    /// Weighted sum of what was missing, and of the weights.
    missing: Vec<f32>,
    weight: f32,
    gains: Vec<f32>,
    /// Share of each band in the power of a flat spectrum.
    widths: Vec<f32>,
    /// `[taps][bands]`: what gains add to `cepstrum`.
    cepstrum_of: Vec<Vec<f32>>,
    /// `c[0]`, then `n c[n]`.
    cepstrum: Vec<f32>,
    filter: GlidingFilter,
}

impl Stage {
    /// A filter at the start of a stream, flat, for frames of `bands` bands.
    pub fn new(sample_rate_hz: u32, hop_samples: usize, bands: usize, memory_hops: f32) -> Self {
        let bank = MelBank::new(sample_rate_hz, bands, 1.0);
        let taps = ((TAPS_SECONDS * f64::from(sample_rate_hz)).round() as usize).max(8);
        let centres_hz = bank.centres_hz();
        let widths = (0..bands)
            .map(|band| {
                let (low, high) = (band.saturating_sub(1), (band + 1).min(bands - 1));
                (centres_hz[high] - centres_hz[low]) / (high - low).max(1) as f32
            })
            .collect();
        Self {
            keep: libm::expf(-1.0 / memory_hops),
            cepstrum_of: folded_cepstrum(sample_rate_hz, centres_hz, taps),
            widths,
            heard: vec![0.0; bank.window_samples()],
            bank,
            frame: vec![0.0; bands],
            square: 0.0,
            missing: vec![0.0; bands],
            weight: 0.0,
            gains: vec![0.0; bands],
            cepstrum: vec![0.0; taps],
            filter: GlidingFilter::new(taps, hop_samples),
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.heard.fill(0.0);
        self.missing.fill(0.0);
        self.weight = 0.0;
        self.filter.reset();
    }

    /// Hears the next hop.
    pub fn hear(&mut self, hop: &[f32]) {
        let rest = self.heard.len().saturating_sub(hop.len());
        let kept = self.heard.len() - rest;
        self.heard.copy_within(kept.., 0);
        self.heard[rest..].copy_from_slice(&hop[hop.len() - kept..]);
        self.bank.frame(&self.heard, &mut self.frame);
        self.square = crate::signal::loudness::mean_square(&self.heard);
    }

    /// The bank of its frames.
    pub fn bank(&self) -> &MelBank {
        &self.bank
    }

    /// The log-mel frame of the window that ends with the hop last heard, `[bands]`.
    pub fn frame(&self) -> &[f32] {
        &self.frame
    }

    /// The mean square of that window.
    pub fn square(&self) -> f32 {
        self.square
    }

    /// Filters the hop that was heard, in place, towards a frame that the window should have, `[bands]`, all finite.
    pub fn lead(&mut self, hop: &mut [f32], target: &[f32]) {
        let share = (1.0 - self.keep) * self.square / (self.square + QUIET_SQUARE);
        self.weight = self.keep * self.weight + share;
        for ((missing, heard), target) in self.missing.iter_mut().zip(&self.frame).zip(target) {
            *missing = self.keep * *missing + share * (target - heard);
        }
        self.set_gains();
        self.set_response();
        self.filter.process(hop);
    }

    /// The bands' gains in nepers of power: smooth, within bounds, and such that the sound heard keeps its power.
    fn set_gains(&mut self) {
        let last = self.missing.len() - 1;
        let scale = 1.0 / (self.weight + FLAT_WEIGHT);
        for (band, gain) in self.gains.iter_mut().enumerate() {
            let beside = |offset: usize| (band + offset).saturating_sub(SMOOTHING.len() / 2).min(last);
            let missing =
                SMOOTHING.iter().enumerate().map(|(offset, share)| share * self.missing[beside(offset)]);
            *gain = (scale * missing.sum::<f32>()).clamp(-MOST_NEPERS, MOST_NEPERS);
        }
        let (mut power_before, mut power_now) = (0.0f32, 0.0f32);
        for ((width, frame), gain) in self.widths.iter().zip(&self.frame).zip(&self.gains) {
            power_before += width * libm::expf(*frame);
            power_now += width * libm::expf(frame + gain);
        }
        let more = libm::logf(power_now / power_before);
        self.gains.iter_mut().for_each(|gain| *gain -= more);
    }

    /// The taps of least phase that have the gains.
    fn set_response(&mut self) {
        for (value, of) in self.cepstrum.iter_mut().zip(&self.cepstrum_of) {
            *value = dot(of, &self.gains);
        }
        let response = self.filter.next_response();
        let taps = response.len();
        // Newest tap last: `h[n]` stands at `taps - 1 - n`, so `h[n - 1]` to `h[0]` follow it.
        response[taps - 1] = libm::expf(self.cepstrum[0]);
        for n in 1..taps {
            let (rest, known) = response.split_at_mut(taps - n);
            rest[taps - 1 - n] = dot(&self.cepstrum[1..=n], known) / n as f32;
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
                row[band] += fold * measure * share * libm::cos(angle * n as f64);
            }
        }
    }
    cepstrum.into_iter().map(|row| row.into_iter().map(|value| value as f32).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 16_000;
    const HOP: usize = 160;
    const BANDS: usize = 40;

    fn power(taps: &[f32]) -> f32 {
        taps.iter().map(|x| x * x).sum()
    }

    /// The recursion's filter against the definition: its amplitude on a fine grid is the drawn gain, and it is of least phase
    /// (its energy is at the start).
    #[test]
    fn the_taps_have_the_gains_and_the_least_phase() {
        let mut stage = Stage::new(RATE_HZ, HOP, BANDS, 3.0);
        for (band, gain) in stage.gains.iter_mut().enumerate() {
            *gain = 1.5 * (band as f32 / 5.0).sin();
        }
        stage.set_response();
        let centres_hz = stage.bank.centres_hz().to_vec();
        for (band, &centre_hz) in centres_hz.iter().enumerate().take(BANDS - 1).skip(10) {
            let angle = std::f64::consts::TAU * f64::from(centre_hz) / f64::from(RATE_HZ);
            let (mut re, mut im) = (0.0, 0.0);
            for (n, tap) in stage.filter.response().iter().rev().enumerate() {
                re += f64::from(*tap) * (angle * n as f64).cos();
                im += f64::from(*tap) * (angle * n as f64).sin();
            }
            let (found, wanted) = ((re * re + im * im).ln(), f64::from(stage.gains[band]));
            assert!((found - wanted).abs() < 0.1, "band {band}: {found} for {wanted}");
        }
        let response = stage.filter.response();
        let start = power(&response[response.len() - 16..]);
        assert!(start > 0.98 * power(response), "{start}");
    }
}
