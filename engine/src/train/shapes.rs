//! Spectral shapes of the corpus's frames, measured when they are first drawn and kept as far as memory is meant for them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::backtranslation::SungByBlends;
use super::batch::{Batcher, Cut};
use super::corpus::{Clip, Corpus};
use crate::model::Parameters;
use crate::model::random::Generator;
use crate::signal::shape::shape_of;
use crate::signal::world::{WorldAnalyzer, WorldFrame};
use crate::voice::{ENVELOPE_LOWEST_F0_HZ, LOG_F0, ModelConfig};

/// Frames of each singer that mean and scale are taken from.
const SURVEYED_FRAMES: usize = 400;

/// Most values that are kept, a gigabyte: 80 minutes of singing at 16 kHz in hops of 10 ms.
const MOST_KEPT: usize = 1 << 28;

/// N frames.
pub(crate) struct ShapeBatch {
    /// Normalised shapes, `(N, bins)`.
    pub(crate) shapes: Tensor,
    /// Who sings each, `[N]`.
    pub(crate) singers: Vec<u32>,
}

/// Measures and normalises.
pub(crate) struct Shapes {
    sample_rate_hz: u32,
    hop_samples: usize,
    mean: Vec<f32>,
    scale: f32,
    /// Values that clips keep.
    kept: AtomicUsize,
    /// Where batches go.
    device: Device,
}

/// Measures frames on one thread.
struct Ruler {
    world: WorldAnalyzer,
    window: Vec<f32>,
    envelope: Box<[f32]>,
    hop_samples: usize,
}

impl Ruler {
    fn new(sample_rate_hz: u32, hop_samples: usize) -> Self {
        let world = WorldAnalyzer::new(sample_rate_hz, ENVELOPE_LOWEST_F0_HZ);
        let window = vec![0.0; world.window_samples()];
        let envelope = WorldFrame::new(sample_rate_hz, ENVELOPE_LOWEST_F0_HZ).envelope;
        Self { world, window, envelope, hop_samples }
    }

    /// The shape of a clip's frame.
    fn measure(&mut self, clip: &Clip, index: usize, shape: &mut [f32]) {
        let frame = &clip.frames[index];
        let centre = index * self.hop_samples + self.hop_samples / 2;
        for (at, sample) in self.window.iter_mut().enumerate() {
            let place = (centre + at).checked_sub(self.world.window_samples() / 2);
            *sample = place.and_then(|place| clip.waveform.get(place)).copied().unwrap_or(0.0);
        }
        self.world.analyze_envelope(&self.window, frame.f0_hz, frame.voiced, &mut self.envelope);
        shape_of(&self.envelope, shape);
    }
}

impl Shapes {
    /// Surveys the corpus: mean shape and scale, and each singer's mean and spread of `ln F0`, go into `parameters`, where
    /// nothing learns them.
    pub(crate) fn survey(
        model: &ModelConfig,
        corpus: &Corpus,
        seed: u64,
        parameters: &Parameters,
    ) -> Result<Self> {
        let bins = model.envelope_bins();
        let (sample_rate_hz, hop_samples) = (model.sample_rate_hz, model.hop_samples);
        let mut survey = Self {
            sample_rate_hz,
            hop_samples,
            mean: vec![0.0; bins],
            scale: 1.0,
            kept: AtomicUsize::new(0),
            device: parameters.device().clone(),
        };
        let mut cuts = Vec::new();
        for singer in 0..corpus.singers.len() {
            let mut random = Generator::new(seed ^ SURVEY_SEED, singer as u64);
            for _ in 0..SURVEYED_FRAMES {
                let clip = corpus.draw_training_clip(singer, 1, &mut random);
                cuts.push(Cut::plain(clip, random.below(clip.frames.len())));
            }
        }
        let measured = survey.measure(&cuts, 1);
        let frames = cuts.len() as f64;
        let mean_of =
            |bin: usize| measured.iter().skip(bin).step_by(bins).map(|x| f64::from(*x)).sum::<f64>() / frames;
        survey.mean = (0..bins).map(|bin| mean_of(bin) as f32).collect();
        let squares = measured.iter().zip(survey.mean.iter().cycle());
        let variance =
            squares.map(|(x, mean)| f64::from(x - mean).powi(2)).sum::<f64>() / measured.len() as f64;
        survey.scale = variance.sqrt().max(1e-3) as f32;
        parameters.set("envelope.mean", &survey.mean)?;
        parameters.set("envelope.scale", &[survey.scale])?;
        if model.envelope.as_ref().is_some_and(|envelope| envelope.maps_f0) {
            let moments: Vec<f32> = corpus.training.iter().flat_map(|clips| log_f0(clips)).collect();
            parameters.set(LOG_F0, &moments)?;
        }
        Ok(survey)
    }

    /// The frames of some segments.
    pub(crate) fn batch(&self, cuts: &[Cut], frames: usize) -> Result<ShapeBatch> {
        let bins = self.mean.len();
        let shapes = Tensor::from_vec(self.measure(cuts, frames), (cuts.len() * frames, bins), &self.device)?;
        let singers = cuts.iter().flat_map(|cut| std::iter::repeat_n(cut.singer as u32, frames)).collect();
        Ok(ShapeBatch { shapes, singers })
    }

    /// Normalised shapes `[cuts][frames][bins]`.
    fn measure(&self, cuts: &[Cut], frames: usize) -> Vec<f32> {
        let bins = self.mean.len();
        let ruler = || Ruler::new(self.sample_rate_hz, self.hop_samples);
        let mut shapes = vec![0.0; cuts.len() * frames * bins];
        let rows = shapes.par_chunks_mut(bins).enumerate();
        rows.for_each_init(ruler, |ruler, (row, shape)| {
            let cut = &cuts[row / frames];
            let index = cut.start_frame + row % frames;
            match cut.clip.shapes.get() {
                Some(kept) => shape.copy_from_slice(&kept[index * bins..][..bins]),
                None => ruler.measure(cut.clip, index, shape),
            }
            shape.iter_mut().zip(&self.mean).for_each(|(shape, mean)| *shape = (*shape - mean) / self.scale);
        });
        shapes
    }

    /// Measures the whole clips of the cuts, as far as there is room to keep them.
    fn keep(&self, cuts: &[Cut]) {
        let bins = self.mean.len();
        let ruler = || Ruler::new(self.sample_rate_hz, self.hop_samples);
        cuts.par_iter().for_each_init(ruler, |ruler, cut| {
            let values = cut.clip.frames.len() * bins;
            if self.kept.load(Relaxed) + values > MOST_KEPT {
                return;
            }
            cut.clip.shapes.get_or_init(|| {
                self.kept.fetch_add(values, Relaxed);
                let mut shapes = vec![0.0; values];
                for (index, shape) in shapes.chunks_exact_mut(bins).enumerate() {
                    ruler.measure(cut.clip, index, shape);
                }
                shapes
            });
        });
    }
}

/// Keeps the survey's draws apart from those of the batches.
const SURVEY_SEED: u64 = 0x5E7F;

/// Mean and standard deviation of `ln F0` over voiced frames; an octave around 220 Hz where there are none.
fn log_f0(clips: &[super::corpus::Clip]) -> [f32; 2] {
    let voiced = clips.iter().flat_map(|clip| &clip.frames).filter(|frame| frame.voiced);
    let (mut count, mut sum, mut squares) = (0f64, 0f64, 0f64);
    for log in voiced.map(|frame| f64::from(frame.f0_hz).ln()) {
        (count, sum, squares) = (count + 1.0, sum + log, squares + log * log);
    }
    if count == 0.0 {
        return [220f32.ln(), 0.35];
    }
    let mean = sum / count;
    [mean as f32, (squares / count - mean * mean).max(0.0).sqrt() as f32]
}

impl Batcher<'_> {
    /// Frames of segments drawn as those of samples are, others for each seed.
    pub(crate) fn shapes(&self, seed: u64, step: u64, shapes: &Shapes) -> Result<ShapeBatch> {
        let training = &self.recipe.training;
        let nobody = SungByBlends::default();
        let cuts = self.draw(seed, step, training.batch, &nobody);
        shapes.keep(&cuts);
        shapes.batch(&cuts, training.segment_frames)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::train::corpus::Frame;

    const HOP: usize = 160;

    fn clip(hops: usize, f0_hz: f32) -> Clip {
        let sample = |n: usize| 0.3 * ((n as f32 * f0_hz / 16_000.0).fract() - 0.5);
        let frame = |index: usize| Frame { f0_hz, voiced: index % 7 != 3, loudness: 0.0, mean_square: 0.01 };
        let waveform: Vec<f32> = (0..hops * HOP).map(sample).collect();
        Clip {
            singer: 1,
            emphasised: waveform.clone(),
            waveform,
            phase: Vec::new(),
            frames: (0..hops).map(frame).collect(),
            views: Vec::new(),
            spectrum: Vec::new(),
            shapes: OnceLock::new(),
            reversed: None,
            repitched: Vec::new(),
        }
    }

    #[test]
    fn what_is_kept_is_what_would_be_measured_and_there_is_an_end_to_it() {
        let bins = WorldFrame::new(16_000, ENVELOPE_LOWEST_F0_HZ).envelope.len();
        let shapes = |kept| Shapes {
            sample_rate_hz: 16_000,
            hop_samples: HOP,
            mean: (0..bins).map(|bin| bin as f32 * 1e-3).collect(),
            scale: 0.7,
            kept: AtomicUsize::new(kept),
            device: Device::Cpu,
        };
        let clips = [clip(30, 150.0), clip(20, 310.0)];
        let cuts =
            [(0, 3), (1, 11), (0, 25)].map(|(at, start): (usize, usize)| Cut::plain(&clips[at], start));
        let full = shapes(MOST_KEPT);
        full.keep(&cuts);
        assert!(clips.iter().all(|clip| clip.shapes.get().is_none()));
        let measured = full.measure(&cuts, 5);
        assert!(measured[..bins] != measured[bins..2 * bins], "every frame is the same");

        let roomy = shapes(0);
        roomy.keep(&cuts);
        assert_eq!(roomy.kept.load(Relaxed), 50 * bins);
        assert_eq!(
            clips.each_ref().map(|clip| clip.shapes.get().map(Vec::len)),
            [Some(30 * bins), Some(20 * bins)]
        );
        assert!(roomy.measure(&cuts, 5) == measured);
        // What is kept is what is read: a mark on it shows.
        let marked = clip(30, 150.0);
        marked.shapes.set(vec![0.7; 30 * bins]).unwrap();
        assert_eq!(roomy.measure(&[Cut::plain(&marked, 0)], 1)[0], 1.0);
    }
}
