//! Whole takes at once.

use std::sync::Arc;

use super::converter::Progress;
use super::encoder::{EncodeTask, encode_hops};
use super::{Converter, HOST_RATES_HZ, Settings, StreamError};
use crate::decode::{Gpu, GpuError, HopTask, MOST_TOGETHER, MOST_TOGETHER_ON_GPU, decode_hops};
use crate::signal::analysis::Analyzer;
use crate::signal::range::PitchRange;
use crate::signal::resample::resampled;
use crate::voice::VoiceBank;

/// Samples given to the converter at a time; any other number gives the same result.
const BLOCK_SAMPLES: usize = 4_096;

/// Converts a whole mono take at `rate_hz`: as many samples out as in, the latency taken off.
///
/// # Errors
/// [`StreamError`] where the rate or a setting is out of range.
pub fn convert(
    bank: &Arc<VoiceBank>,
    rate_hz: u32,
    settings: Settings,
    take: &[f32],
) -> Result<Vec<f32>, StreamError> {
    let mut batch = Batch::default();
    batch.push((), Conversion::new(bank, rate_hz, settings, take.to_vec())?);
    Ok(batch.finish_one().map(|((), sung)| sung).unwrap_or_default())
}

/// A whole take on its way.
pub struct Conversion {
    converter: Converter,
    /// What was sung up to `begun`, then the take, then silence as long as the latency.
    sound: Vec<f32>,
    begun: usize,
    /// The take's part of the block that is being sung, how many samples it has, and how far it has come.
    input: Box<[f32; BLOCK_SAMPLES]>,
    block: usize,
    progress: Progress,
    is_due: bool,
}

impl Conversion {
    /// A conversion of a mono take at `rate_hz`.
    ///
    /// # Errors
    /// [`StreamError`] where the rate or a setting is out of range.
    pub fn new(
        bank: &Arc<VoiceBank>,
        rate_hz: u32,
        settings: Settings,
        take: Vec<f32>,
    ) -> Result<Self, StreamError> {
        let converter = Converter::new(bank, rate_hz, settings)?;
        let mut sound = take;
        sound.resize(sound.len() + converter.latency_samples(), 0.0);
        let input = Box::new([0.0; BLOCK_SAMPLES]);
        Ok(Self { converter, sound, begun: 0, input, block: 0, progress: Progress::default(), is_due: false })
    }

    /// Lets a GPU decode.
    ///
    /// # Errors
    /// [`GpuError`] where the GPU cannot sing with this bank.
    pub fn on_gpu(mut self, gpu: &Arc<Gpu>) -> Result<Self, GpuError> {
        self.converter.sing_on(gpu)?;
        Ok(self)
    }

    /// Goes on until a hop is due; false at the end.
    fn advance(&mut self) -> bool {
        while !self.is_due {
            if self.block == 0 {
                let rest = &self.sound[self.begun..];
                self.block = rest.len().min(BLOCK_SAMPLES);
                if self.block == 0 {
                    return false;
                }
                self.input[..self.block].copy_from_slice(&rest[..self.block]);
                self.progress = Progress::default();
            }
            let (input, output) = (&self.input[..self.block], &mut self.sound[self.begun..][..self.block]);
            self.is_due = self.converter.advance(input, output, &mut self.progress);
            if !self.is_due {
                self.begun += self.block;
                self.block = 0;
            }
        }
        true
    }

    fn sung(mut self) -> Vec<f32> {
        self.sound.drain(..self.converter.latency_samples());
        self.sound
    }
}

/// Whole takes that are converted side by side: those of one bank share passes over its weights, which takes less time than
/// one after another and gives the same.
pub struct Batch<K> {
    conversions: Vec<(K, Conversion)>,
}

impl<K> Default for Batch<K> {
    fn default() -> Self {
        Self { conversions: Vec::new() }
    }
}

impl<K> Batch<K> {
    /// Conversions side by side beyond which nothing is gained.
    pub const MOST: usize = MOST_TOGETHER;

    /// The same where a GPU decodes.
    pub const MOST_ON_GPU: usize = MOST_TOGETHER_ON_GPU;

    /// How many conversions are on their way.
    pub fn len(&self) -> usize {
        self.conversions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.conversions.is_empty()
    }

    /// Takes one more; `key` tells it from the others.
    pub fn push(&mut self, key: K, conversion: Conversion) {
        self.conversions.push((key, conversion));
    }

    /// Converts until one is done and gives it, as many samples as its take has; none where there is no more.
    pub fn finish_one(&mut self) -> Option<(K, Vec<f32>)> {
        while !self.conversions.is_empty() {
            let at_end = self.conversions.iter_mut().position(|(_, conversion)| !conversion.advance());
            if let Some(index) = at_end {
                let (key, conversion) = self.conversions.swap_remove(index);
                return Some((key, conversion.sung()));
            }
            let converters = self.conversions.iter_mut().map(|(_, conversion)| &mut conversion.converter);
            let mut tasks: Vec<EncodeTask> = converters.filter_map(Converter::encoding).collect();
            encode_hops(&mut tasks);
            let converters = self.conversions.iter_mut().map(|(_, conversion)| &mut conversion.converter);
            let mut hops: Vec<HopTask> = converters.filter_map(Converter::decoding).collect();
            decode_hops(&mut hops);
            for (_, conversion) in &mut self.conversions {
                conversion.converter.sing();
                conversion.is_due = false;
            }
        }
        None
    }
}

/// Median F0 of a whole mono take at `rate_hz`, in Hz, as the bank's own analysis hears it; none where nothing is voiced or
/// the model does not ask for F0.
///
/// # Errors
/// [`StreamError`] where the rate is out of range.
pub fn median_f0_hz(bank: &VoiceBank, rate_hz: u32, take: &[f32]) -> Result<Option<f32>, StreamError> {
    if !HOST_RATES_HZ.contains(&rate_hz) {
        return Err(StreamError::HostRate { rate_hz });
    }
    let model = &bank.card().model;
    let mut analyzer = Analyzer::new(model, None);
    let mut range = PitchRange::default();
    for hop in resampled(take, rate_hz, model.sample_rate_hz).chunks(model.hop_samples) {
        if let Some(frame) = analyzer.push(hop)
            && frame.voiced
        {
            range.add(frame.f0_hz);
        }
    }
    Ok(range.median_f0_hz())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::uniform;

    /// Lengths from nothing on, rates above and below the model's, another bank among them: side by side, each gives what
    /// its converter gives alone in blocks of another size.
    #[test]
    fn takes_side_by_side_give_what_each_gives_alone() {
        let bank = VoiceBank::default_bank().unwrap();
        let mut model = bank.card().model.clone();
        model.decoder.residual_channels = 20;
        let other = Arc::new(VoiceBank::random(model, 2, 5).unwrap());
        let takes = [
            (&bank, 48_000, 20_000, 0),
            (&bank, 44_100, 9_001, 1),
            (&other, 48_000, 3_000, 1),
            (&bank, 8_000, 1, 2),
            (&bank, 96_000, 0, 0),
            (&bank, 48_000, 14_000, 5),
            (&bank, 16_000, 4_097, 3),
        ];
        let mut batch = Batch::default();
        let mut alone = Vec::new();
        for (key, (bank, rate_hz, length, singer)) in takes.into_iter().enumerate() {
            let settings = Settings { singer, seed: key as u64, ..Settings::default() };
            let sample = |n: usize| {
                let time = n as f64 / f64::from(rate_hz);
                let voice = (time * 150.0 * (key + 1) as f64).fract() as f32 - 0.5;
                0.3 * voice + 0.01 * uniform(3, n as u64)
            };
            let take: Vec<f32> = (0..length).map(sample).collect();
            let mut converter = Converter::new(bank, rate_hz, settings).unwrap();
            let latency = converter.latency_samples();
            let padded: Vec<f32> = take.iter().copied().chain(std::iter::repeat_n(0.0, latency)).collect();
            let mut sung = vec![0.0; padded.len()];
            for (input, output) in padded.chunks(333).zip(sung.chunks_mut(333)) {
                converter.process(input, output);
            }
            sung.drain(..latency);
            alone.push(sung);
            batch.push(key, Conversion::new(bank, rate_hz, settings, take).unwrap());
        }
        assert_eq!(batch.len(), takes.len());
        let mut finished = Vec::new();
        while let Some((key, sung)) = batch.finish_one() {
            assert!(sung == alone[key], "take {key}");
            finished.push(key);
        }
        assert!(batch.is_empty());
        // Short takes do not wait for long ones.
        assert_eq!(finished.len(), takes.len());
        assert_eq!(finished.last(), Some(&0));
    }
}
