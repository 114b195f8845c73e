//! Log-mel frames that know neither the level of the take nor, through a running mean, its microphone.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Added to every band's power before the logarithm.
const POWER_FLOOR: f32 = 1e-7;
/// Upper edge of the highest band, in Hz.
const TOP_HZ: f64 = 7_600.0;
/// A warped filterbank stretches in proportion up to here, and gently above it where it would leave the spectrum.
const WARP_KNEE_HZ: f64 = 4_800.0;

/// Samples of the window that features are measured in: 25 ms, 400 at 16 kHz.
pub fn window_samples(sample_rate_hz: u32) -> usize {
    (f64::from(sample_rate_hz) * 0.025).round() as usize
}

/// Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
fn mel_of_hz(hz: f64) -> f64 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + libm::log(hz / 1_000.0) * 27.0 / libm::log(6.4) }
}

fn hz_of_mel(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * libm::exp((mel - 15.0) * libm::log(6.4) / 27.0) }
}

/// One triangular band: the first bin it touches and its weights from there.
#[derive(Debug)]
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Windows of sound to level-free log-mel frames: Hann window of 25 ms, the next power of two as FFT length, power,
/// triangles of equal area on Slaney's mel scale up to 7.6 kHz (0.475 of lower rates), `ln(power + 1e-7)`, minus the
/// frame's mean over its bands.
pub struct MelBank {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
    centres_hz: Vec<f32>,
    padded: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl std::fmt::Debug for MelBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MelBank")
            .field("window", &self.window.len())
            .field("bands", &self.bands.len())
            .finish()
    }
}

impl MelBank {
    /// A filterbank of `mels` bands. `warp` multiplies the bands' frequencies: above 1 the frames look like those of a
    /// longer vocal tract, below 1 of a shorter one; 1 is the identity. Where a warped band would pass 0.49 of the
    /// rate, the part above 4.8 kHz is squeezed evenly to stay below it.
    pub fn new(sample_rate_hz: u32, mels: usize, warp: f64) -> Self {
        let rate = f64::from(sample_rate_hz);
        let length = window_samples(sample_rate_hz).max(1);
        let size = length.next_power_of_two();
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(size);
        let (padded, spectrum, scratch) =
            (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
        let window = (0..length)
            .map(|i| (0.5 - 0.5 * libm::cos(std::f64::consts::TAU * (i as f64 + 0.5) / length as f64)) as f32)
            .collect();

        let top = TOP_HZ.min(0.475 * rate);
        let limit = 0.49 * rate;
        let knee = WARP_KNEE_HZ.min(0.3 * rate);
        let warped = |hz: f64| {
            if top * warp <= limit || hz <= knee {
                hz * warp
            } else {
                knee * warp + (hz - knee) * (limit - knee * warp) / (top - knee)
            }
        };
        let top_mel = mel_of_hz(top);
        let edge = |i: usize| warped(hz_of_mel(top_mel * i as f64 / (mels + 1) as f64));
        let centres_hz = (0..mels).map(|band| edge(band + 1) as f32).collect();
        let bin_hz = rate / size as f64;
        let bands = (0..mels)
            .map(|band| {
                let (low, centre, high) = (edge(band), edge(band + 1), edge(band + 2));
                let weight = |bin: usize| {
                    let hz = bin as f64 * bin_hz;
                    let rise = (hz - low) / (centre - low);
                    let fall = (high - hz) / (high - centre);
                    (rise.min(fall).max(0.0) * 2.0 / (high - low)) as f32
                };
                // A band narrower than the spacing of bins may fall between two of them: it then reads the nearest.
                let mut first = (low / bin_hz).ceil() as usize;
                let last = ((high / bin_hz).floor() as usize).min(size / 2);
                let mut weights: Vec<f32> = (first..=last).map(weight).collect();
                if weights.iter().all(|w| *w <= 0.0) {
                    first = ((centre / bin_hz).round() as usize).min(size / 2);
                    weights = vec![(1.0 / bin_hz) as f32];
                }
                Band { first, weights }
            })
            .collect();
        Self { fft, window, bands, centres_hz, padded, power: vec![0.0; spectrum.len()], spectrum, scratch }
    }

    /// Bands of one frame.
    pub fn mels(&self) -> usize {
        self.bands.len()
    }

    /// Where each band is centred, in Hz.
    pub fn centres_hz(&self) -> &[f32] {
        &self.centres_hz
    }

    /// Samples of the window.
    pub fn window_samples(&self) -> usize {
        self.window.len()
    }

    /// Writes the frame of one window: `samples` is `[window_samples]`, `frame` is `[mels]`.
    pub fn frame(&mut self, samples: &[f32], frame: &mut [f32]) {
        self.padded.fill(0.0);
        for ((slot, x), w) in self.padded.iter_mut().zip(samples).zip(&self.window) {
            *slot = x * w;
        }
        // Its only errors are wrong lengths, and all buffers are the plan's own.
        let done = self.fft.process_with_scratch(&mut self.padded, &mut self.spectrum, &mut self.scratch);
        debug_assert!(done.is_ok());
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.re * bin.re + bin.im * bin.im;
        }
        let mut sum = 0.0f32;
        for (value, band) in frame.iter_mut().zip(&self.bands) {
            let energy = super::dot(&band.weights, &self.power[band.first..]);
            *value = libm::logf(energy + POWER_FLOOR);
            sum += *value;
        }
        let mean = sum / self.bands.len() as f32;
        frame.iter_mut().for_each(|value| *value -= mean);
    }
}

/// Frames that the prior mean counts for.
const PRIOR_FRAMES: f32 = 30.0;
/// Frames after which the mean forgets as fast as it learns.
const MEMORY_FRAMES: f32 = 500.0;
/// A frame counts as loud when the logarithm of its mean square is within this of the running maximum.
const LOUD_WITHIN: f32 = 3.5;
/// How fast the running maximum sinks, in units of ln(mean square) a second (0.9 dB/s).
const MAXIMUM_DECAY_PER_SECOND: f32 = 0.2;
/// Where the running maximum starts and below which it never sinks: -50 dB.
const MAXIMUM_FLOOR: f32 = -11.5;

/// The mean of a take's loud voiced frames as it is known so far: what singer, room and microphone have in common over
/// all sounds. It starts at a prior (the bank's `mel_mean`) that counts for 30 frames and remembers 500.
#[derive(Clone, Debug)]
pub struct RunningMean {
    prior: Vec<f32>,
    mean: Vec<f32>,
    count: f32,
    maximum: f32,
    decay: f32,
}

impl RunningMean {
    /// A mean that starts at `prior`, `[mels]`. `hop_seconds` is the time between two frames.
    pub fn new(prior: &[f32], hop_seconds: f64) -> Self {
        Self {
            prior: prior.to_vec(),
            mean: prior.to_vec(),
            count: PRIOR_FRAMES,
            maximum: MAXIMUM_FLOOR,
            decay: MAXIMUM_DECAY_PER_SECOND * hop_seconds as f32,
        }
    }

    /// Takes the next frame of the take into account: `[mels]`, its mean square and whether it is voiced. Call it for
    /// every frame, so that the running maximum keeps time.
    pub fn update(&mut self, frame: &[f32], mean_square: f32, voiced: bool) {
        let loudness = libm::logf(mean_square + 1e-10);
        self.maximum = (self.maximum - self.decay).max(MAXIMUM_FLOOR).max(loudness);
        if !voiced || loudness <= self.maximum - LOUD_WITHIN {
            return;
        }
        self.count = (self.count + 1.0).min(MEMORY_FRAMES);
        let share = 1.0 / self.count;
        for (mean, value) in self.mean.iter_mut().zip(frame) {
            *mean += (value - *mean) * share;
        }
    }

    /// The mean, `[mels]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Back to the prior.
    pub fn reset(&mut self) {
        self.mean.copy_from_slice(&self.prior);
        self.count = PRIOR_FRAMES;
        self.maximum = MAXIMUM_FLOOR;
    }
}

/// The mean of a sound's frames, one every `step` samples: what tests of filters look at.
#[cfg(test)]
pub(crate) fn mean_frame(sound: &[f32], sample_rate_hz: u32, mels: usize, step: usize) -> Vec<f32> {
    let mut bank = MelBank::new(sample_rate_hz, mels, 1.0);
    let (mut mean, mut frame, mut count) = (vec![0.0; mels], vec![0.0; mels], 0.0);
    for window in sound.windows(bank.window_samples()).step_by(step) {
        bank.frame(window, &mut frame);
        mean.iter_mut().zip(&frame).for_each(|(mean, value)| *mean += value);
        count += 1.0;
    }
    mean.iter().map(|value| value / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f32, amplitude: f32) -> Vec<f32> {
        (0..400).map(|t| amplitude * (std::f32::consts::TAU * hz * t as f32 / 16_000.0).sin()).collect()
    }

    fn peak(bank: &mut MelBank, hz: f32) -> usize {
        let mut frame = vec![0.0; bank.mels()];
        bank.frame(&sine(hz, 0.3), &mut frame);
        (0..frame.len()).max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap()
    }

    #[test]
    fn a_sine_lights_its_band() {
        // Centre of band i: mel (i + 1) * 44.497 / 41; band 12 is at 940 Hz, band 30 at 3604 Hz.
        let mut bank = MelBank::new(16_000, 40, 1.0);
        assert_eq!(bank.window_samples(), 400);
        assert_eq!(peak(&mut bank, 940.5), 12);
        assert_eq!(peak(&mut bank, 3_604.0), 30);
        // Stretched by a quarter, band 12 sits at 1176 Hz.
        assert_eq!(peak(&mut MelBank::new(16_000, 40, 1.25), 1_175.7), 12);
        assert_eq!(peak(&mut MelBank::new(16_000, 40, 0.8), 752.4), 12);
    }

    #[test]
    fn frames_are_free_of_level_and_finite_on_silence() {
        let mut bank = MelBank::new(16_000, 40, 1.0);
        let noise: Vec<f32> =
            (0..400u32).map(|t| (t.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0).collect();
        let quiet: Vec<f32> = noise.iter().map(|x| x * 0.1).collect();
        let (mut a, mut b) = (vec![0.0; 40], vec![0.0; 40]);
        bank.frame(&noise, &mut a);
        bank.frame(&quiet, &mut b);
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 0.02);
        }
        assert!(a.iter().sum::<f32>().abs() < 1e-3);
        bank.frame(&[0.0; 400], &mut a);
        assert!(a.iter().all(|v| v.abs() < 1e-4));
    }

    #[test]
    fn every_band_of_every_warp_and_rate_hears_noise() {
        for rate in [8_000, 16_000, 24_000, 48_000] {
            for warp in [0.8, 0.9, 1.0, 1.1, 1.25] {
                for mels in [8, 40, 80, 128] {
                    let bank = MelBank::new(rate, mels, warp);
                    for band in &bank.bands {
                        assert!(band.weights.iter().sum::<f32>() > 0.0);
                        assert!(band.first + band.weights.len() <= bank.power.len());
                    }
                }
            }
        }
    }

    #[test]
    fn the_mean_moves_from_the_prior_to_the_take_and_ignores_what_is_quiet_or_unvoiced() {
        let mut mean = RunningMean::new(&[1.0, -1.0], 0.01);
        mean.update(&[9.0, 9.0], 0.1, false);
        mean.update(&[9.0, 9.0], 0.0005, true);
        assert_eq!(mean.mean(), [1.0, -1.0]);
        for _ in 0..30 {
            mean.update(&[3.0, 1.0], 0.1, true);
        }
        assert!((mean.mean()[0] - 2.0).abs() < 1e-5 && mean.mean()[1].abs() < 1e-5);
        // Far beyond its memory it still follows a change: 1 - (1 - 1/500)^500 of the way.
        for _ in 0..10_000 {
            mean.update(&[3.0, 1.0], 0.1, true);
        }
        for _ in 0..500 {
            mean.update(&[4.0, 1.0], 0.1, true);
        }
        assert!((mean.mean()[0] - 3.632).abs() < 2e-3, "{:?}", mean.mean());
        mean.reset();
        assert_eq!(mean.mean(), [1.0, -1.0]);
    }
}
