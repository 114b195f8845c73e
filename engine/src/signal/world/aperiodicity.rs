//! D4C: how much of each band is noise.

use realfft::num_complex::Complex;

use super::segment::{Segment, Shape, Sound};
use super::smoothing::Smoother;
use super::{BAND_HZ, aperiodicity_bands, held, power_of_two_above};

/// The least aperiodicity there is, and that at 0 Hz, in dB.
const LEAST_DB: f32 = -60.0;
/// A frame counts as voiced if this share of its power from 100 Hz to 7.9 kHz lies below 4 kHz.
const VOICED_SHARE: f64 = 0.85;
/// Codes whose mean lies above stand for noise alone, in dB.
const NOISE_DB: f32 = -0.5;
/// The F0 that fixes the size of the transform, in Hz: WORLD's.
const FFT_F0_HZ: f64 = 47.0;
/// A window whose samples' squares sum to less is silence: -140 dB.
const SILENCE: f64 = 1e-14;
/// Sidelobes of the Nuttall window reach this many bins of its own length.
const NUTTALL_LOBE_BINS: f64 = 8.0;

/// Estimates aperiodicities.
pub struct Aperiodicity {
    segment: Segment,
    smoother: Smoother,
    /// Window over the group delay around a band.
    nuttall: Vec<f64>,
    piece: Vec<f64>,
    first: Vec<Complex<f64>>,
    power: Vec<f64>,
    delay: Vec<f64>,
    smooth_delay: Vec<f64>,
}

impl Aperiodicity {
    pub fn new(sample_rate_hz: u32) -> Self {
        let rate = f64::from(sample_rate_hz);
        let size = power_of_two_above(4.0 * rate / FFT_F0_HZ);
        let segment = Segment::new(size);
        let length = 2 * (BAND_HZ * size as f64 / rate) as usize + 1;
        let nuttall = (0..length).map(|i| {
            let angle = std::f64::consts::TAU * i as f64 / (length - 1) as f64;
            0.355_768 - 0.487_396 * libm::cos(angle) + 0.144_232 * libm::cos(2.0 * angle)
                - 0.012_604 * libm::cos(3.0 * angle)
        });
        let bins = vec![0.0; size / 2 + 1];
        Self {
            nuttall: nuttall.collect(),
            piece: vec![0.0; size],
            first: segment.fft.bins.clone(),
            segment,
            smoother: Smoother::new(bins.len()),
            power: bins.clone(),
            delay: bins.clone(),
            smooth_delay: bins,
        }
    }

    /// Writes the aperiodicity of a voiced sound, `[aperiodicity_bands]`, in dB: 0 where the sound is no voice.
    ///
    /// The group delay of a periodic sound, averaged over two windows half a period apart, is as smooth as its window's;
    /// what noise adds is rough. The share of the rough part around a band is its aperiodicity.
    pub fn estimate(&mut self, sound: &Sound, codes: &mut [f32]) {
        codes.fill(0.0);
        if !self.is_voice(sound) {
            return;
        }
        let size = self.piece.len();
        let f0_bins = size as f64 / sound.period_samples();
        let quarter = 0.25 * sound.period_samples();
        self.delay.fill(0.0);
        for offset in [-quarter, quarter] {
            // A thousandth of a sample decides where rounding is a tie, as in WORLD.
            let offset = (offset + 0.501).floor() as isize;
            if !self.add_centroid(sound, offset) {
                return;
            }
        }
        self.smoother.fill_low(&mut self.delay, f0_bins);
        self.segment.cut(sound, 0, 4.0, Shape::Hann);
        self.segment.power(&mut self.power);
        self.smoother.fill_low(&mut self.power, f0_bins);
        self.smoother.smooth(&mut self.power, f0_bins);
        let floor = self.power.iter().sum::<f64>() / size as f64 * 1e-12 + f64::MIN_POSITIVE;
        self.delay.iter_mut().zip(&self.power).for_each(|(delay, power)| *delay /= power.max(floor));
        self.smoother.smooth(&mut self.delay, 0.5 * f0_bins);
        self.smooth_delay.copy_from_slice(&self.delay);
        self.smoother.smooth(&mut self.smooth_delay, f0_bins);
        self.delay.iter_mut().zip(&self.smooth_delay).for_each(|(delay, smooth)| *delay -= smooth);

        for (band, code) in codes.iter_mut().enumerate() {
            let centre = BAND_HZ * (band + 1) as f64 * size as f64 / sound.rate_hz;
            let share = self.rough_share(centre as usize);
            let db = 10.0 * libm::log10(share) + (sound.f0_hz - 100.0) / 50.0;
            *code = held(db as f32, LEAST_DB, 0.0);
        }
    }

    /// Whether the power lies where a voice has it (the "love train" of WORLD).
    fn is_voice(&mut self, sound: &Sound) -> bool {
        self.segment.cut(sound, 0, 3.0, Shape::Blackman);
        self.segment.power(&mut self.power);
        let last = self.power.len() - 1;
        let bin = |hz: f64| ((hz * self.piece.len() as f64 / sound.rate_hz).ceil() as usize).min(last);
        let (low, middle, high) = (bin(100.0), bin(4_000.0), bin(7_900.0));
        let voice: f64 = self.power[low + 1..=middle].iter().sum();
        let rest: f64 = self.power[middle + 1..=high.max(middle)].iter().sum();
        voice > VOICED_SHARE * (voice + rest)
    }

    /// Adds the energy centroid of the piece at an offset to `delay`: the power spectrum times the group delay. False
    /// in silence.
    fn add_centroid(&mut self, sound: &Sound, offset: isize) -> bool {
        self.segment.cut(sound, offset, 4.0, Shape::Blackman);
        let fft = &mut self.segment.fft;
        self.piece.copy_from_slice(&fft.time);
        let energy: f64 = self.piece.iter().map(|x| x * x).sum();
        if energy < SILENCE {
            return false;
        }
        fft.forward();
        std::mem::swap(&mut self.first, &mut fft.bins);
        for (i, (slot, x)) in fft.time.iter_mut().zip(&self.piece).enumerate() {
            *slot = x * (i + 1) as f64;
        }
        fft.forward();
        for ((slot, a), b) in self.delay.iter_mut().zip(&self.first).zip(&fft.bins) {
            *slot += (a.re * b.re + a.im * b.im) / energy;
        }
        true
    }

    /// The share of the group delay around a bin that is left without its strongest components.
    fn rough_share(&mut self, centre: usize) -> f64 {
        let half = self.nuttall.len() / 2;
        let (piece, rest) = self.segment.fft.time.split_at_mut(self.nuttall.len());
        rest.fill(0.0);
        piece.fill(0.0);
        let around = &self.delay[centre.saturating_sub(half)..];
        for ((slot, delay), weight) in piece.iter_mut().zip(around).zip(&self.nuttall) {
            *slot = delay * weight;
        }
        self.segment.power(&mut self.power);
        let strongest =
            (self.piece.len() as f64 * NUTTALL_LOBE_BINS / self.nuttall.len() as f64).round() as usize + 1;
        let kept = self.power.len().saturating_sub(strongest);
        self.power.select_nth_unstable_by(kept, f64::total_cmp);
        let weak: f64 = self.power[..kept].iter().sum();
        weak / self.power.iter().sum::<f64>()
    }
}

/// Writes the share of noise in the amplitude of every bin, `[fft_samples / 2 + 1]`, that a frame's codes stand for.
pub fn decode(sample_rate_hz: u32, voiced: bool, codes: &[f32], shares: &mut [f32]) {
    let bands = aperiodicity_bands(sample_rate_hz).min(codes.len());
    let codes = &codes[..bands];
    if !voiced || (bands > 0 && codes.iter().sum::<f32>() > NOISE_DB * bands as f32) {
        shares.fill(1.0);
        return;
    }
    let nyquist = 0.5 * sample_rate_hz as f32;
    let spacing = BAND_HZ as f32;
    let last = (shares.len() - 1).max(1) as f32;
    for (bin, share) in shares.iter_mut().enumerate() {
        let hz = nyquist * bin as f32 / last;
        let band = ((hz / spacing) as usize).min(bands);
        let low = if band == 0 { LEAST_DB } else { codes[band - 1] };
        let (high, width) =
            if band == bands { (0.0, nyquist - bands as f32 * spacing) } else { (codes[band], spacing) };
        let db = low + (high - low) * (hz - band as f32 * spacing) / width;
        *share = libm::powf(10.0, held(db, LEAST_DB, 0.0) / 20.0);
    }
}
