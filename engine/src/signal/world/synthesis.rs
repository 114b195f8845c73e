//! Sound from frames: a minimum-phase response for each pulse, filtered noise beneath.

use realfft::num_complex::Complex;

use super::aperiodicity::decode;
use super::fft::Fft;
use super::{UNVOICED_F0_HZ, WorldFrame, fft_samples, held};
use crate::decode::uniform;

/// Samples before a pulse that its response may ring, where the pulse lies between two samples.
const RING_SAMPLES: usize = 8;
/// Longest piece of noise that one filter shapes, in seconds: WORLD's, where there is no pitch.
const NOISE_SECONDS: f64 = 1.0 / UNVOICED_F0_HZ;
/// F0 that is sung, in Hz; also at most a quarter of the rate.
const SUNG_F0_HZ: std::ops::RangeInclusive<f32> = 40.0..=2_500.0;
/// Powers that are sung.
const LEAST_POWER: f32 = 1e-20;
const MOST_POWER: f32 = 1e6;
/// Least share of a bin's power that a pulse has: a zero would ring through the whole response.
const LEAST_PULSE_SHARE: f32 = 1e-4;
/// Share of noise in the amplitude from which there is no pulse.
const NOISE_ALONE: f32 = 0.9995;
/// Where the logarithm of a low cut has its mean over the bin of 0 Hz: at 1 / 2e bins.
const LOWEST_BIN: f32 = 0.184;
/// Corner of what takes a pulse's DC out, as a share of F0, and its least, in Hz.
const LOW_CUT: f32 = 1.0 / 8.0;
const LEAST_LOW_CUT_HZ: f32 = 20.0;

/// What is sung at a frame's centre.
struct Moment {
    f0_hz: f32,
    voiced: bool,
    /// `[bins]` powers
    envelope: Vec<f32>,
    /// `[bins]` shares of noise in the amplitude
    noise: Vec<f32>,
}

/// Frames in, one a hop; sound out, [`delay_samples`](WorldSynthesizer::delay_samples) later.
///
/// Between the centres of two frames, F0, powers and shares of noise change in straight lines, as in WORLD; where one of
/// the two is unvoiced the change happens half-way, and F0 is that of the voiced one. Two things differ from WORLD,
/// which has the whole song before it sings:
///
/// - Noise comes in pieces of 2 ms at most, always as in what is unvoiced in WORLD (which elsewhere takes a piece from a
///   pulse to the next, and so must know the next). They keep to the hops and not to the pulses: sample `t` of the
///   noise depends on the seed and `t` alone.
/// - A pulse has no DC because its minimum-phase response has a second-order low cut at an eighth of F0, at 20 Hz at
///   least. WORLD takes out a bell of 64 ms around the pulse, half of which lies before it.
pub struct WorldSynthesizer {
    sample_rate_hz: u32,
    hop_samples: usize,
    seed: u64,
    fft: Fft<f32>,
    previous: Moment,
    next: Moment,
    started: bool,
    /// Periods sung since the last pulse.
    phase: f32,
    /// Samples of noise drawn so far.
    noise_samples: u64,
    /// `[bins]`
    log_amplitude: Vec<f32>,
    /// `[bins]`: transform of a piece of noise.
    noise_bins: Vec<Complex<f32>>,
    /// What is to come: from `RING_SAMPLES` before the hop that is sung, with room for a response at its end.
    ring: Vec<f32>,
}

impl WorldSynthesizer {
    /// A synthesizer for frames of the analyzer of the same rate (8 to 48 kHz) and lowest F0, one every `hop_samples`.
    /// Sound depends on the frames since the last reset and the seed alone.
    pub fn new(sample_rate_hz: u32, lowest_f0_hz: f32, hop_samples: usize, seed: u64) -> Self {
        let size = fft_samples(sample_rate_hz, lowest_f0_hz);
        let fft = Fft::new(size);
        let bins = fft.bins.len();
        let hop_samples = hop_samples.max(1);
        let moment = || Moment {
            f0_hz: *SUNG_F0_HZ.start(),
            voiced: false,
            envelope: vec![LEAST_POWER; bins],
            noise: vec![1.0; bins],
        };
        Self {
            sample_rate_hz,
            hop_samples,
            seed,
            previous: moment(),
            next: moment(),
            started: false,
            phase: 1.0,
            noise_samples: 0,
            log_amplitude: vec![0.0; bins],
            noise_bins: fft.bins.clone(),
            ring: vec![0.0; RING_SAMPLES + hop_samples + size],
            fft,
        }
    }

    /// Samples from the centre of a frame's hop (sample `hop_samples / 2` of it) in the input to its sound in the output,
    /// counted from the start of either stream: half a hop, until the next frame is known, and 8. 88 for hops of 160.
    /// Nothing of a pulse but the ringing between samples comes before its time.
    pub fn delay_samples(&self) -> usize {
        self.hop_samples - self.hop_samples / 2 + RING_SAMPLES
    }

    /// Another performance from the next hop on.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Back to the state before the first frame.
    pub fn reset(&mut self) {
        self.started = false;
        self.phase = 1.0;
        self.noise_samples = 0;
        self.ring.fill(0.0);
    }

    /// Takes the next frame and writes one hop of sound, `[hop_samples]`, from the previous frame's centre to this one's;
    /// before the first frame's centre it is the first frame's sound. A frame with fewer bins than the synthesizer's
    /// counts as silent in the others; a shorter output gets the start of the hop.
    pub fn push(&mut self, frame: &WorldFrame, output: &mut [f32]) {
        std::mem::swap(&mut self.previous, &mut self.next);
        self.take(frame);
        if !self.started {
            self.started = true;
            self.previous.f0_hz = self.next.f0_hz;
            self.previous.voiced = self.next.voiced;
            self.previous.envelope.copy_from_slice(&self.next.envelope);
            self.previous.noise.copy_from_slice(&self.next.noise);
        }
        self.sing_pulses();
        self.sing_noise();
        output.iter_mut().zip(&self.ring[..self.hop_samples]).for_each(|(slot, x)| *slot = *x);
        self.ring.copy_within(self.hop_samples.., 0);
        let kept = self.ring.len() - self.hop_samples;
        self.ring[kept..].fill(0.0);
    }

    fn take(&mut self, frame: &WorldFrame) {
        let next = &mut self.next;
        next.voiced = frame.voiced && frame.f0_hz.is_finite();
        next.f0_hz = if next.voiced { frame.f0_hz } else { 0.0 }
            .clamp(*SUNG_F0_HZ.start(), SUNG_F0_HZ.end().min(0.25 * self.sample_rate_hz as f32));
        let powers = frame.envelope.iter().chain(std::iter::repeat(&0.0));
        for (slot, power) in next.envelope.iter_mut().zip(powers) {
            *slot = held(*power, LEAST_POWER, MOST_POWER);
        }
        decode(self.sample_rate_hz, next.voiced, &frame.aperiodicity, &mut next.noise);
    }

    /// Whether there is a pitch at `position` (0 to 1) between the two frames.
    fn voiced_at(&self, position: f32) -> bool {
        if position < 0.5 { self.previous.voiced } else { self.next.voiced }
    }

    /// F0 at a position where there is a pitch.
    fn f0_at(&self, position: f32) -> f32 {
        match (self.previous.voiced, self.next.voiced) {
            (true, false) => self.previous.f0_hz,
            (false, _) => self.next.f0_hz,
            (true, true) => mix(self.previous.f0_hz, self.next.f0_hz, position),
        }
    }

    fn sing_pulses(&mut self) {
        let rate = self.sample_rate_hz as f32;
        for sample in 0..self.hop_samples {
            let position = sample as f32 / self.hop_samples as f32;
            if !self.voiced_at(position) {
                // A voice begins with a pulse.
                self.phase = 1.0;
                continue;
            }
            let f0 = self.f0_at(position);
            let step = f0 / rate;
            self.phase += step;
            if self.phase >= 1.0 {
                self.phase -= 1.0;
                self.pulse(sample, (self.phase / step).min(1.0), position, f0);
            }
        }
    }

    /// Adds the response to a pulse `early` samples (0 to 1) before a sample of the hop.
    fn pulse(&mut self, sample: usize, early: f32, position: f32, f0_hz: f32) {
        // The lowest bin is noise only where all are.
        if mix(self.previous.noise[0], self.next.noise[0], position) > NOISE_ALONE {
            return;
        }
        let size = self.fft.time.len();
        let corner_hz = (LOW_CUT * f0_hz).max(LEAST_LOW_CUT_HZ);
        let corner = corner_hz * size as f32 / self.sample_rate_hz as f32;
        for (bin, log) in self.log_amplitude.iter_mut().enumerate() {
            let noise = mix(self.previous.noise[bin], self.next.noise[bin], position);
            let share = (1.0 - noise * noise).max(LEAST_PULSE_SHARE);
            let power = mix(self.previous.envelope[bin], self.next.envelope[bin], position) * share;
            let ratio = corner / (bin as f32).max(LOWEST_BIN);
            let cut = if ratio > 0.1 { 1.0 + ratio.powi(4) } else { 1.0 };
            *log = 0.5 * libm::logf(power / cut);
        }
        self.minimum_phase(early);
        self.fft.inverse();
        // As much power as the envelope says: one pulse stands for a period of samples.
        let scale = (self.sample_rate_hz as f32 / f0_hz).sqrt() / size as f32;
        let start = sample + RING_SAMPLES;
        let (after, before) = self.fft.time.split_at(size - RING_SAMPLES);
        let response = before.iter().chain(after);
        for (slot, x) in self.ring[start - RING_SAMPLES..].iter_mut().zip(response) {
            *slot += scale * x;
        }
    }

    fn sing_noise(&mut self) {
        let size = self.fft.time.len();
        let longest = ((NOISE_SECONDS * f64::from(self.sample_rate_hz)) as usize).clamp(1, size / 4);
        let pieces = self.hop_samples.div_ceil(longest);
        for piece in 0..pieces {
            let (start, end) = (piece * self.hop_samples / pieces, (piece + 1) * self.hop_samples / pieces);
            let position = 0.5 * (start + end) as f32 / self.hop_samples as f32;
            let voiced = self.voiced_at(position);
            for (bin, log) in self.log_amplitude.iter_mut().enumerate() {
                let noise =
                    if voiced { mix(self.previous.noise[bin], self.next.noise[bin], position) } else { 1.0 };
                let power = mix(self.previous.envelope[bin], self.next.envelope[bin], position);
                *log = 0.5 * libm::logf(power * noise * noise);
            }
            self.draw_noise(end - start);
            self.minimum_phase(0.0);
            self.fft.bins.iter_mut().zip(&self.noise_bins).for_each(|(bin, noise)| *bin *= noise);
            self.fft.inverse();
            let scale = (size as f32).recip();
            for (slot, x) in self.ring[start + RING_SAMPLES..].iter_mut().zip(&self.fft.time) {
                *slot += scale * x;
            }
        }
    }

    /// Writes the transform of the next samples of noise to `noise_bins`: mean square 1 and mean 0, which takes out what
    /// CheapTrick puts in below the 500 Hz of what is unvoiced.
    fn draw_noise(&mut self, samples: usize) {
        let (piece, rest) = self.fft.time.split_at_mut(samples);
        rest.fill(0.0);
        for x in piece.iter_mut() {
            *x = (uniform(self.seed, self.noise_samples) - 0.5) * 12.0f32.sqrt();
            self.noise_samples += 1;
        }
        let mean = piece.iter().sum::<f32>() / samples as f32;
        piece.iter_mut().for_each(|x| *x -= mean);
        self.fft.forward();
        std::mem::swap(&mut self.noise_bins, &mut self.fft.bins);
    }

    /// Writes the minimum-phase spectrum of `log_amplitude`, `early` samples before its time, to `fft.bins`.
    fn minimum_phase(&mut self, early: f32) {
        for (bin, log) in self.fft.bins.iter_mut().zip(&self.log_amplitude) {
            *bin = Complex::new(*log, 0.0);
        }
        self.fft.minimum_phase(early);
    }
}

fn mix(a: f32, b: f32, position: f32) -> f32 {
    a + (b - a) * position
}
