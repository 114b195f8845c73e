//! Segments drawn from clips, augmented, as the graph takes them. A batch is a function of (seed, step) alone.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::backtranslation::SungByBlends;
use super::corpus::{Clip, Corpus};
use super::device::Device;
use super::jitter::shift_pitch;
use super::past::{Flaws, Past};
use super::recipe::Recipe;
use crate::decode::{F0Phase, PeriodLags, harmonic_waves, period_taps};
use crate::model::random::Generator;
use crate::model::{DecoderInput, EncoderContext, encoder_context};
use crate::signal::loudness::{LOUDNESS_CEILING, LOUDNESS_FLOOR, level};
use crate::signal::mu_law;
use crate::voice::{EncoderConfig, ModelConfig, SingerInput};

/// B segments.
pub(crate) struct Batch {
    /// Mel frames `(B, mels + 1, F + context)` or the waveform `(B, 1, T)`.
    pub(crate) encoder_input: Tensor,
    /// Everything else.
    pub(crate) decoder_input: DecoderInput,
}

/// Segments of which only the spectrum is predicted.
pub(crate) struct FrameBatch {
    /// As in [`Batch`].
    pub(crate) encoder_input: Tensor,
    /// As in [`DecoderInput`].
    pub(crate) singers: Vec<u32>,
    pub(crate) features: Tensor,
    /// What is sung, `(B F, mels)`.
    pub(crate) spectrum: Vec<f32>,
}

/// Keeps the draws of spectra apart from those of samples.
pub(crate) const SPECTRUM_SEED: u64 = 0x59EC;

/// One segment to be cut: where from, and how it is changed.
#[derive(Clone, Copy)]
pub(crate) struct Cut<'a> {
    pub(crate) clip: &'a Clip,
    pub(crate) start_frame: usize,
    pub(crate) singer: usize,
    /// What the encoder hears, `clip.frames` long: mel frames `[frames][mels + 1]` or a waveform.
    pub(crate) heard: &'a [f32],
    pub(crate) gain: f32,
    pub(crate) invert: bool,
    /// A piece that the encoder hears in another pitch.
    pub(crate) jitter: Option<Jitter>,
    /// What is wrong with the past that the decoder is shown.
    pub(crate) flaws: Option<Flaws>,
    /// F0 as the decoder is told it, over the F0 that was sung (1 in training).
    pub(crate) f0_ratio: f32,
}

impl<'a> Cut<'a> {
    /// The segment as it is.
    pub(crate) fn plain(clip: &'a Clip, start_frame: usize) -> Self {
        Self {
            clip,
            start_frame,
            singer: clip.singer,
            heard: clip.heard(0),
            gain: 1.0,
            invert: false,
            jitter: None,
            flaws: None,
            f0_ratio: 1.0,
        }
    }
}

/// A piece of a segment, as shares of its length, and how much higher it is heard.
#[derive(Clone, Copy)]
pub(crate) struct Jitter {
    start: f32,
    length: f32,
    ratio: f32,
}

impl Jitter {
    fn draw(semitones: f32, random: &mut Generator) -> Self {
        let length = random.between(0.25, 0.5);
        let start = random.between(0.0, 1.0 - length);
        Self { start, length, ratio: (random.between(-semitones, semitones) / 12.0).exp2() }
    }
}

/// One item of a batch; shapes as in [`DecoderInput`], without the batch.
#[derive(Default)]
struct Segment {
    codes: Vec<u8>,
    targets: Vec<u8>,
    features: Vec<f32>,
    log_level: Vec<f32>,
    excitation: Vec<f32>,
    prior_basis: Vec<f32>,
    encoder_input: Vec<f32>,
}

/// Draws and builds batches.
pub(crate) struct Batcher<'a> {
    pub(crate) recipe: &'a Recipe,
    corpus: &'a Corpus,
    context: EncoderContext,
    /// Where batches go, and this rank's share of them.
    device: Device,
}

impl<'a> Batcher<'a> {
    pub(crate) fn new(recipe: &'a Recipe, corpus: &'a Corpus, device: &Device) -> Self {
        Self { recipe, corpus, context: encoder_context(&recipe.model), device: device.clone() }
    }

    /// Where a tensor of so many values goes: a card has no memory of no length.
    fn place(&self, values: usize) -> &candle_core::Device {
        if values == 0 { &Device::CPU.place } else { &self.device.place }
    }

    /// The training batch of a step: singers in turn, clips by their length, augmented as the recipe says. Where there
    /// are clips `sung` by blends, a share of the segments is taken from those. Of several ranks each has its part.
    pub(crate) fn training(&self, step: u64, sung: &SungByBlends) -> Result<Batch> {
        let training = &self.recipe.training;
        let cuts = self.draw(training.seed, step, training.batch, sung);
        self.build(&cuts[self.device.share.part(cuts.len())])
    }

    /// The batch of spectra of a step, drawn in the same way, `segments` of them.
    pub(crate) fn spectra(&self, step: u64, segments: usize, sung: &SungByBlends) -> Result<FrameBatch> {
        let frames = self.recipe.training.segment_frames;
        let cuts = self.draw(self.recipe.training.seed ^ SPECTRUM_SEED, step, segments, sung);
        let cuts = &cuts[self.device.share.part(segments)];
        let segments = cuts.len();
        let (mut input, mut features, mut spectrum) = (Vec::new(), Vec::new(), Vec::new());
        for cut in cuts {
            self.encoder_segment(cut, frames, &mut input);
            self.frame_features(cut, frames, &mut features, &mut Vec::new());
            let mels = cut.clip.spectrum.len() / cut.clip.frames.len();
            let range = cut.start_frame * mels..(cut.start_frame + frames) * mels;
            spectrum.extend_from_slice(&cut.clip.spectrum[range]);
        }
        let channels = features.len() / (segments * frames);
        let place = self.place(features.len());
        Ok(FrameBatch {
            encoder_input: self.encoder_tensor(input, segments)?,
            singers: cuts.iter().map(|cut| cut.singer as u32).collect(),
            features: Tensor::from_vec(features, (segments, frames, channels), place)?,
            spectrum,
        })
    }

    /// Cuts of a step's segments, others for each seed.
    pub(crate) fn draw<'b>(
        &'b self,
        seed: u64,
        step: u64,
        segments: usize,
        sung: &'b SungByBlends,
    ) -> Vec<Cut<'b>> {
        let training = &self.recipe.training;
        let augment = &self.recipe.augment;
        (0..segments)
            .map(|item| {
                let draw = step * segments as u64 + item as u64;
                let mut random = Generator::new(seed, draw);
                // A decoder that is one singer's own learns from a whole batch at a time.
                let turn = if self.recipe.model.singers == SingerInput::Decoders { step } else { draw };
                let singer = (turn % self.corpus.singers.len() as u64) as usize;
                let (clip, heard) = match sung.draw(self.recipe, singer, &mut random) {
                    Some((place, heard)) => (&self.corpus.training[singer][place], heard),
                    None => self.plain_source(singer, &mut random),
                };
                let [low, high] = augment.gain_db;
                Cut {
                    start_frame: random.below(clip.frames.len() - training.segment_frames + 1),
                    heard,
                    gain: 10f32.powf(random.between(low, high) / 20.0),
                    invert: random.chance(augment.invert),
                    jitter: (augment.pitch_jitter_semitones > 0.0)
                        .then(|| Jitter::draw(augment.pitch_jitter_semitones, &mut random)),
                    flaws: Some(Flaws {
                        code_noise: augment.code_noise,
                        lapses_per_second: augment.lapses_per_second,
                        rough_lapses_per_second: augment.rough_lapses_per_second,
                        seed: random.next(),
                    }),
                    ..Cut::plain(clip, 0)
                }
            })
            .collect()
    }

    /// A clip of the singer, perhaps played backwards or at another pitch, and one of its views.
    fn plain_source(&self, singer: usize, random: &mut Generator) -> (&'a Clip, &'a [f32]) {
        let clip = self.corpus.draw_training_clip(singer, self.recipe.training.segment_frames, random);
        let clip = match &clip.reversed {
            Some(reversed) if random.chance(self.recipe.augment.reverse) => reversed,
            _ => clip,
        };
        let clip = match clip.repitched.len() {
            0 => clip,
            others => random.below(1 + others).checked_sub(1).map_or(clip, |other| &clip.repitched[other]),
        };
        (clip, clip.heard(random.below(clip.views.len().max(1))))
    }

    /// The graph's input for any list of segments.
    pub(crate) fn build(&self, cuts: &[Cut]) -> Result<Batch> {
        let frames = self.recipe.training.segment_frames;
        let batch = cuts.len();
        let segments: Vec<Segment> = cuts.par_iter().map(|cut| self.segment(cut)).collect();
        fn join<T: Copy>(segments: &[Segment], part: fn(&Segment) -> &Vec<T>) -> Vec<T> {
            segments.iter().flat_map(|segment| part(segment).iter().copied()).collect()
        }

        let encoder_input = join(&segments, |segment| &segment.encoder_input);
        let encoder_input = self.encoder_tensor(encoder_input, batch)?;
        let features = join(&segments, |segment| &segment.features);
        let channels = features.len() / (batch * frames);
        let place = self.place(features.len());
        let log_level = join(&segments, |segment| &segment.log_level);
        Ok(Batch {
            encoder_input,
            decoder_input: DecoderInput {
                singers: cuts.iter().map(|cut| cut.singer as u32).collect(),
                features: Tensor::from_vec(features, (batch, frames, channels), place)?,
                codes: join(&segments, |segment| &segment.codes).into(),
                excitation: join(&segments, |segment| &segment.excitation).into(),
                prior_basis: join(&segments, |segment| &segment.prior_basis).into(),
                log_level: Tensor::from_vec(log_level, (batch, frames), &self.device.place)?,
                targets: join(&segments, |segment| &segment.targets).into(),
            },
        })
    }

    /// What [`Batcher::encoder_segment`] wrote for each segment, one after the other.
    fn encoder_tensor(&self, input: Vec<f32>, batch: usize) -> Result<Tensor> {
        let device = &self.device.place;
        match self.recipe.model.encoder {
            EncoderConfig::Mel { mels, .. } => {
                let width = input.len() / (batch * (mels + 1));
                Tensor::from_vec(input, (batch, width, mels + 1), device)?.transpose(1, 2)?.contiguous()
            }
            _ => {
                let samples = input.len() / batch;
                Tensor::from_vec(input, (batch, 1, samples), device)
            }
        }
    }

    fn segment(&self, cut: &Cut) -> Segment {
        let model = &self.recipe.model;
        let frames = self.recipe.training.segment_frames;
        let history = history(model);
        let past = Past { cut, first: cut.start_frame * model.hop_samples, history };
        let clean: Vec<u8> =
            (0..history + frames * model.hop_samples).map(|index| past.code(index)).collect();
        let noisy = match cut.flaws {
            Some(flaws) => past.flawed(&clean, flaws, model),
            None => clean.clone(),
        };
        let mut segment = Segment {
            codes: noisy[history - 2..].to_vec(),
            targets: clean[history..].to_vec(),
            ..Segment::default()
        };
        self.frame_features(cut, frames, &mut segment.features, &mut segment.log_level);
        self.harmonics(cut, frames, &noisy, &mut segment.excitation, &mut segment.prior_basis);
        self.encoder_segment(cut, frames, &mut segment.encoder_input);
        segment
    }

    fn frame_features(&self, cut: &Cut, frames: usize, features: &mut Vec<f32>, log_level: &mut Vec<f32>) {
        let condition = &self.recipe.model.condition;
        for frame in &cut.clip.frames[cut.start_frame..cut.start_frame + frames] {
            let loudness = shift_loudness(frame.loudness, cut.gain);
            if condition.f0 {
                features.push(if frame.voiced { (frame.f0_hz * cut.f0_ratio / 220.0).log2() } else { 0.0 });
                features.push(f32::from(u8::from(frame.voiced)));
            }
            if condition.loudness {
                features.push(loudness);
            }
            log_level.push((level(loudness) + 0.001).ln());
        }
    }

    /// The decoder's excitation and the prior's regressors, sample by sample.
    fn harmonics(
        &self,
        cut: &Cut,
        frames: usize,
        noisy: &[u8],
        excitation: &mut Vec<f32>,
        prior_basis: &mut Vec<f32>,
    ) {
        let model = &self.recipe.model;
        let hop = model.hop_samples;
        let (taps, prior_harmonics) =
            model.decoder.prior.map_or((0, 0), |prior| (prior.taps, prior.harmonics));
        let history = history(model);
        let excited = model.condition.excitation_harmonics;
        let count = excited.max(prior_harmonics);
        let phases = segment_phases(cut, model, frames);
        let mut sines = vec![0.0; phases.len() * count];
        let mut cosines = sines.clone();
        harmonic_waves(&phases, count, &mut sines, &mut cosines);
        let lags = segment_lags(cut, model, frames);
        let period = model.condition.period_taps;
        let mut read = vec![0.0; period];
        let values = mu_law::values();
        let highest_hz = 0.475 * model.sample_rate_hz as f32;
        for index in 0..frames {
            let frame = &cut.clip.frames[cut.start_frame + index];
            let f0_hz = frame.f0_hz * cut.f0_ratio;
            let voiced = if frame.voiced { 1.0 } else { 0.0 };
            let scale = voiced * level(shift_loudness(frame.loudness, cut.gain));
            let audible = ((highest_hz / f0_hz).ceil() as usize - 1).min(prior_harmonics);
            for sample in index * hop..(index + 1) * hop {
                let sines = &sines[sample * count..(sample + 1) * count];
                let cosines = &cosines[sample * count..(sample + 1) * count];
                excitation.extend(sines[..excited].iter().map(|value| value * voiced));
                excitation.extend(cosines[..excited].iter().map(|value| value * voiced));
                let code = |back: usize| f32::from(noisy[history + sample - back]);
                if period > 0 {
                    period_taps(lags[sample], &mut read, |back| (code(back) + 0.5) / 128.0 - 1.0);
                    excitation.extend(read.iter().map(|value| value * voiced));
                }
                // Sample t's own code stands at `history + t`; tap j reads the code j before it.
                prior_basis.extend((1..=taps).map(|tap| values[usize::from(noisy[history + sample - tap])]));
                for waves in [sines, cosines] {
                    prior_basis.extend(waves[..audible].iter().map(|value| value * scale));
                    prior_basis.extend(std::iter::repeat_n(0.0, prior_harmonics - audible));
                }
                if period > 0 {
                    period_taps(lags[sample], &mut read, |back| values[code(back) as usize]);
                    prior_basis.extend(read.iter().map(|value| value * voiced));
                }
            }
        }
    }

    fn encoder_segment(&self, cut: &Cut, frames: usize, input: &mut Vec<f32>) {
        let model = &self.recipe.model;
        let EncoderConfig::Mel { mels, .. } = model.encoder else {
            let first = cut.start_frame * model.hop_samples;
            let scale = if cut.invert { -cut.gain } else { cut.gain };
            let begin = input.len();
            input.extend(cut.heard[first..first + frames * model.hop_samples].iter().map(|x| x * scale));
            if let Some(Jitter { start, length, ratio }) = cut.jitter {
                let segment = &mut input[begin..];
                let samples = |share: f32| (share * segment.len() as f32) as usize;
                let piece = samples(start)..samples(start + length);
                shift_pitch(segment, model.sample_rate_hz, piece, ratio);
            }
            return;
        };
        let width = mels + 1;
        let last = cut.heard.len() / width;
        for index in 0..frames + self.context.past_frames + self.context.future_frames {
            let position = cut.start_frame + index;
            // Before the clip there is silence, as after a reset of the streaming encoder; beyond its end as well.
            if position < self.context.past_frames || position - self.context.past_frames >= last {
                input.extend(std::iter::repeat_n(0.0, mels));
                input.push(LOUDNESS_FLOOR);
            } else {
                let frame = &cut.heard[(position - self.context.past_frames) * width..][..width];
                input.extend_from_slice(&frame[..mels]);
                input.push(shift_loudness(frame[mels], cut.gain));
            }
        }
    }
}

/// Samples before a segment that its first sample needs.
fn history(model: &ModelConfig) -> usize {
    let taps = model.decoder.prior.map_or(0, |prior| prior.taps).max(2);
    match model.condition.period_taps {
        0 => taps,
        period_taps => PeriodLags::new(model.sample_rate_hz, period_taps).history().max(taps),
    }
}

/// How long ago the F0 period before each sample was.
fn segment_lags(cut: &Cut, model: &ModelConfig, frames: usize) -> Vec<f32> {
    let mut lags = vec![0.0; frames * model.hop_samples];
    let mut period = PeriodLags::new(model.sample_rate_hz, model.condition.period_taps);
    let frames = &cut.clip.frames[cut.start_frame..cut.start_frame + frames];
    for (frame, lags) in frames.iter().zip(lags.chunks_exact_mut(model.hop_samples)) {
        period.hop(frame.f0_hz * cut.f0_ratio, frame.voiced, lags);
    }
    lags
}

/// The F0 phase of every sample: as sung, or the running sum of an F0 that was not sung.
fn segment_phases(cut: &Cut, model: &ModelConfig, frames: usize) -> Vec<u32> {
    let hop = model.hop_samples;
    let range = cut.start_frame..cut.start_frame + frames;
    let mut phases = cut.clip.phase[range.start * hop..range.end * hop].to_vec();
    if cut.f0_ratio != 1.0 {
        let mut running = F0Phase::new(model.sample_rate_hz);
        for (frame, phases) in cut.clip.frames[range].iter().zip(phases.chunks_exact_mut(hop)) {
            running.hop(frame.f0_hz * cut.f0_ratio, frame.voiced, phases);
        }
    }
    if cut.invert {
        phases.iter_mut().for_each(|phase| *phase = phase.wrapping_add(1 << 31));
    }
    phases
}

/// The loudness feature of a frame played with another gain.
fn shift_loudness(loudness: f32, gain: f32) -> f32 {
    (loudness + 2.0 * gain.ln() / 3.0).clamp(LOUDNESS_FLOOR, LOUDNESS_CEILING)
}

/// The singer of a conversion in validation: the one after the clip's own.
pub(crate) fn other_singer(singer: usize, singers: usize) -> usize {
    (singer + 1) % singers
}

/// Samples of one training step, scored or not.
pub(crate) fn samples_per_step(recipe: &Recipe) -> usize {
    recipe.training.batch * recipe.training.segment_frames * recipe.model.hop_samples
}
