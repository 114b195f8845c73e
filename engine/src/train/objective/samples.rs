//! Learning from samples: how well the decoder predicts each from those before it, and what the encoder must keep and lose
//! for that.

use candle_core::Tensor;

use super::Objective;
use crate::model::random::Generator;
use crate::model::{Confusion, Decoder, Parameters, encode, narrow, read_spectrum, spectrum_distance};
use crate::train::backtranslation::SungByBlends;
use crate::train::batch::{Batch, Batcher, Cut, FrameBatch, SPECTRUM_SEED, other_singer};
use crate::train::checkpoint::Checkpoint;
use crate::train::codebook::{RunningCodebook, perplexity};
use crate::train::corpus::Corpus;
use crate::train::curve::{Losses, Point};
use crate::train::device::Device;
use crate::train::error::TrainError;
use crate::train::optimizer::Adam;
use crate::train::ranks::Share;
use crate::train::recipe::Recipe;
use crate::train::score::{mean_bits, scored_samples, validation_cuts};
use crate::train::spectrum_critic::{NamedFrames, SpectrumCritic, Verdict};
use crate::voice::CODEBOOK;

/// The networks that are learnt beside the bank's.
pub(super) struct Samples<'a> {
    recipe: &'a Recipe,
    corpus: &'a Corpus,
    batcher: Batcher<'a>,
    /// The singers' classifier, where the encoder is trained against it.
    confusion: Option<(Confusion, Adam)>,
    /// The same of F0.
    pitch_confusion: Option<(Confusion, Adam)>,
    /// The spectra's critic.
    critic: Option<SpectrumCritic>,
    codebook: Option<RunningCodebook>,
    share: Share,
    /// What the next step learns from, where it is made while a card is busy with this one.
    works_ahead: bool,
    next: Option<Lesson>,
}

/// What a step learns from.
struct Lesson {
    step: u64,
    /// The round of phase II whose clips are among it.
    round: Option<u64>,
    batch: Batch,
    spectra: Option<FrameBatch>,
}

impl<'a> Samples<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        corpus: &'a Corpus,
        parameters: &Parameters,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let codebook = &recipe.training.codebook;
        let confusion =
            |strength, outputs, seed| confusion_of(recipe, strength, outputs, seed, &device.place);
        let model = &recipe.model;
        let sizes = (model.spectrum_bands(), model.frame_features(), corpus.singers.len());
        let seed = recipe.training.seed ^ CRITIC_SEED;
        let critic = recipe.training.spectrum.as_ref().and_then(|spectrum| spectrum.critic.as_ref());
        // Of one singer alone nobody takes over a phrase.
        let critic = critic.filter(|_| corpus.singers.len() > 1);
        let critic = critic.map(|config| SpectrumCritic::new(sizes, config.clone(), seed, &device.place));
        Ok(Self {
            recipe,
            corpus,
            critic: critic.transpose()?,
            batcher: Batcher::new(recipe, corpus, device),
            share: device.share.clone(),
            works_ahead: device.works_ahead,
            next: None,
            confusion: confusion(recipe.training.confusion, corpus.singers.len(), 0xC0F)?,
            pitch_confusion: confusion(recipe.training.pitch_confusion, 1, 0xF0C)?,
            codebook: codebook.as_ref().map(|config| RunningCodebook::new(parameters, config)).transpose()?,
        })
    }

    fn lesson(&self, step: u64, sung: &SungByBlends) -> Result<Lesson, TrainError> {
        let spectra = self.recipe.training.spectrum.as_ref();
        Ok(Lesson {
            step,
            round: sung.round,
            batch: self.batcher.training(step, sung)?,
            spectra: spectra.map(|config| self.batcher.spectra(step, config.segments, sung)).transpose()?,
        })
    }

    /// The latent with the recipe's noise, another for each purpose.
    fn noisy(&self, step: u64, latent: &Tensor, purpose: u64) -> Result<Tensor, TrainError> {
        let deviation = self.recipe.training.latent_noise;
        if deviation == 0.0 {
            return Ok(latent.clone());
        }
        let mut random = Generator::new(self.recipe.training.seed ^ LATENT_SEED ^ purpose, step);
        // Drawn for all ranks' segments, so that each has the same whoever it belongs to.
        let all: Vec<f32> =
            (0..latent.elem_count() * self.share.count()).map(|_| deviation * random.normal()).collect();
        let noise = &all[self.share.part(all.len())];
        Ok((latent + Tensor::from_slice(noise, latent.shape(), latent.device())?)?)
    }

    /// Gives the batch's phrases to other singers, and asks the critic.
    fn consult(
        &self,
        critic: &SpectrumCritic,
        step: u64,
        (parameters, decoder): (&Parameters, &Decoder),
        (latent, expected, batch): (&Tensor, &Tensor, &FrameBatch),
    ) -> Result<Verdict, TrainError> {
        let (segments, frames, _) = batch.features.dims3()?;
        let mut random = Generator::new(self.recipe.training.seed ^ CRITIC_SEED, step);
        // Drawn for all ranks' segments, as the noise is.
        let count = segments * self.share.count();
        let mine = self.share.part(count);
        let mut others = || -> Vec<u32> {
            let place = |at: usize| batch.singers[at % segments] as usize;
            let singers = self.corpus.singers.len();
            let draws = (0..count).map(|at| (place(at) + 1 + random.below(singers - 1)) % singers);
            draws.map(|singer| singer as u32).collect::<Vec<_>>()[mine.clone()].to_vec()
        };
        let (takers, misnamed) = (others(), others());
        let octaves: Vec<f32> = (0..count).map(|_| random.normal()).collect();
        let medians = &self.corpus.median_f0_hz;
        let shift = |(at, taker): (usize, &u32)| {
            let away = (medians[*taker as usize] / medians[batch.singers[at] as usize]).log2();
            let draw = octaves[mine.start + at];
            // By octaves, as takes are transposed, or anywhere near the taker's range.
            if draw > 0.0 {
                away.round()
            } else {
                away + FREE_OCTAVES * octaves[(mine.start + at + 1) % count]
            }
        };
        let shifts: Vec<f32> = takers.iter().enumerate().map(shift).collect();
        let shifts = Tensor::from_vec(shifts, (segments, 1, 1), batch.features.device())?;
        let (pitch, voiced) = (batch.features.narrow(2, 0, 1)?, batch.features.narrow(2, 1, 1)?);
        let rest = batch.features.narrow(2, 1, batch.features.dim(2)? - 1)?;
        let shifted = Tensor::cat(&[(pitch + voiced.broadcast_mul(&shifts)?)?, rest], 2)?;

        let bands = expected.dim(1)?;
        let by_segment = |rows: &Tensor| rows.reshape((segments, frames, bands));
        let taken = read_spectrum(parameters, &decoder.frame_network(latent, &takers, &shifted)?)?;
        let (own, taken) = (by_segment(expected)?, by_segment(&taken)?);
        let sung = Tensor::from_slice(&batch.spectrum, own.shape(), own.device())?;
        Ok(critic.judge(
            step,
            &NamedFrames { spectra: &own, features: &batch.features, singers: &batch.singers },
            &NamedFrames { spectra: &taken, features: &shifted, singers: &takers },
            &NamedFrames { spectra: &sung, features: &batch.features, singers: &misnamed },
            &mut random,
        )?)
    }
}

impl Objective for Samples<'_> {
    /// One step: reconstruction, what the bottleneck asks for, the spectrum, and the classifiers against the encoder.
    fn step(
        &mut self,
        parameters: &Parameters,
        adam: &mut Adam,
        step: u64,
        sung: &SungByBlends,
    ) -> Result<Losses, TrainError> {
        let training = &self.recipe.training;
        let next = self.next.take().filter(|next| (next.step, next.round) == (step, sung.round));
        let Lesson { batch, spectra, .. } = next.map_or_else(|| self.lesson(step, sung), Ok)?;
        let model = &self.recipe.model;
        let narrowed = narrow(model, parameters, &encode(model, parameters, &batch.encoder_input)?)?;
        let latent = self.noisy(step, &narrowed.latent, 0)?;
        let own = parameters.of_decoder(model, batch.decoder_input.singers[0] as usize);
        let decoder = Decoder::new(model, &own);
        let nll = decoder.nll(&latent, &batch.decoder_input, training.unscored_samples)?;
        let scored = scored_samples(self.recipe) / self.share.count();
        let nats = (nll.sum_all()? / scored as f64)?;
        let mut loss = nats.clone();
        let mut losses = Losses::default();

        if let (Some(codes), Some(config)) = (&narrowed.codes, &training.codebook) {
            loss = (loss + (&codes.commitment_loss * f64::from(config.commitment))?)?;
            if config.decay.is_none() {
                loss = (loss + &codes.codebook_loss)?;
            }
            losses.perplexity = perplexity(&codes.chosen);
        }
        // What the classifiers hear: the many segments of spectra where there are such.
        let (mut latent, mut singers) = (latent, batch.decoder_input.singers);
        let mut features = batch.decoder_input.features;
        // Losses are read when all that is to be done with them has been asked for: who reads waits for the card.
        let (mut distance, mut accuracy, mut pitch_error, mut critic_loss) = (None, None, None, None);
        if let (Some(config), Some(batch)) = (&training.spectrum, spectra) {
            let heard = encode(model, parameters, &batch.encoder_input)?;
            latent = self.noisy(step, &narrow(model, parameters, &heard)?.latent, SPECTRUM_SEED)?;
            let frames = decoder.frame_network(&latent, &batch.singers, &batch.features)?;
            let expected = read_spectrum(parameters, &frames)?;
            let off = spectrum_distance(&expected, &batch.spectrum)?;
            loss = (loss + (&off * f64::from(config.weight))?)?;
            distance = Some(off);
            if let Some(critic) = &self.critic {
                let Verdict { price, loss: own } =
                    self.consult(critic, step, (parameters, &decoder), (&latent, &expected, &batch))?;
                loss = ((loss + price)? + &own)?;
                critic_loss = Some(own);
            }
            (singers, features) = (batch.singers, batch.features);
        }
        let warm_up = (step as f64 / training.confusion_warm_up_steps.max(1) as f64).min(1.0);
        if let Some((confusion, _)) = &self.confusion {
            let logits = confusion.logits(&latent, f64::from(training.confusion) * warm_up)?;
            let singers = Tensor::new(singers.as_slice(), logits.device())?;
            let right = logits.argmax(1)?.eq(&singers)?.to_dtype(candle_core::DType::F32)?;
            accuracy = Some(right.mean_all()?);
            loss = (loss + candle_nn::loss::cross_entropy(&logits, &singers)?)?;
        }
        if let Some((confusion, _)) = &self.pitch_confusion {
            // Octaves and the flag are the first two of what frames are told.
            let feature = |place| features.narrow(2, place, 1)?.squeeze(2)?.contiguous();
            let strength = f64::from(training.pitch_confusion) * warm_up;
            let error = confusion.pitch_error(&latent, &feature(0)?, &feature(1)?, strength)?;
            loss = (loss + &error)?;
            pitch_error = Some(error);
        }

        let mut gradients = loss.backward()?;
        if self.works_ahead && step + 1 < training.steps {
            self.next = Some(self.lesson(step + 1, sung)?);
        }
        let read = |loss: Option<Tensor>| loss.map_or(Ok(0.0), |loss| loss.to_scalar::<f32>());
        losses.spectrum_distance = read(distance)?;
        losses.confusion_accuracy = read(accuracy)?;
        losses.pitch_error = read(pitch_error)?;
        losses.critic = read(critic_loss)?;
        losses.bits = nats.to_scalar::<f32>()? / std::f32::consts::LN_2;
        losses = Losses::from_values(self.share.average(losses.values(), parameters.device())?);
        if !losses.bits.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let confusions = self.confusion.iter().chain(&self.pitch_confusion);
        let critic = self.critic.as_ref().map(|critic| &critic.parameters);
        let beside = confusions.map(|(confusion, _)| &confusion.parameters).chain(critic);
        for learnt in beside.chain([parameters]) {
            self.share.average_gradients(&mut gradients, learnt)?;
        }
        let rate = self.recipe.learning_rate(step);
        let norm = training.gradient_norm;
        adam.step(parameters, &gradients, rate, norm)?;
        for (confusion, adam) in self.confusion.iter_mut().chain(&mut self.pitch_confusion) {
            adam.step(&confusion.parameters, &gradients, CONFUSION_RATE, norm)?;
        }
        if let Some(critic) = &mut self.critic {
            let rate = critic.learning_rate();
            critic.adam.step(&critic.parameters, &gradients, rate, norm)?;
        }
        if let (Some(running), Some(codes), Some(config)) =
            (&mut self.codebook, &narrowed.codes, &training.codebook)
            && adam.learns(CODEBOOK)
        {
            let mut random = Generator::new(training.seed ^ CODEBOOK_SEED, step);
            running.follow(parameters, codes, config, &mut random)?;
        }
        Ok(losses)
    }

    /// Bits per sample on held-out clips with the averaged weights: as sung, with F0 a tritone off, with another
    /// singer's embedding.
    fn validate(&self, averaged: &Parameters) -> Result<Point, TrainError> {
        let plain = validation_cuts(self.recipe, self.corpus);
        let tritone: Vec<Cut> =
            plain.iter().map(|cut| Cut { f0_ratio: std::f32::consts::SQRT_2, ..*cut }).collect();
        let singers = self.corpus.singers.len();
        let wrong: Vec<Cut> =
            plain.iter().map(|cut| Cut { singer: other_singer(cut.singer, singers), ..*cut }).collect();
        let bits = mean_bits(self.recipe, &self.batcher, averaged, &plain)?;
        Ok(Point {
            validation_bits: bits,
            tritone_bits: mean_bits(self.recipe, &self.batcher, averaged, &tritone)? - bits,
            wrong_singer_bits: mean_bits(self.recipe, &self.batcher, averaged, &wrong)? - bits,
            ..Point::default()
        })
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> candle_core::Result<()> {
        if let Some((confusion, adam)) = &self.confusion {
            checkpoint.put("confusion", &confusion.parameters, adam)?;
        }
        if let Some((confusion, adam)) = &self.pitch_confusion {
            checkpoint.put("pitch_confusion", &confusion.parameters, adam)?;
        }
        if let Some(critic) = &self.critic {
            checkpoint.put("spectrum_critic", &critic.parameters, &critic.adam)?;
        }
        if let Some(codebook) = &self.codebook {
            checkpoint.put("codebook", &codebook.state, &Adam::default())?;
        }
        Ok(())
    }

    fn resume(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        if let Some((confusion, adam)) = &mut self.confusion {
            checkpoint.take("confusion", &confusion.parameters, adam)?;
        }
        if let Some((confusion, adam)) = &mut self.pitch_confusion {
            checkpoint.take("pitch_confusion", &confusion.parameters, adam)?;
        }
        if let Some(critic) = &mut self.critic {
            checkpoint.take("spectrum_critic", &critic.parameters, &mut critic.adam)?;
        }
        if let Some(codebook) = &self.codebook {
            checkpoint.take("codebook", &codebook.state, &mut Adam::default())?;
        }
        Ok(())
    }
}

/// Keeps the latent's noise apart from the draws of the batches.
const LATENT_SEED: u64 = 0x1A7E;

/// Keeps the revival of codes apart from the draws of the batches.
const CODEBOOK_SEED: u64 = 0xC0DE;

/// Keeps the critic's draws apart from those of the batches.
const CRITIC_SEED: u64 = 0xC217;

/// Standard deviation of how far from the taker's middle a phrase is put, in octaves.
const FREE_OCTAVES: f32 = 0.2;

/// Learning rate of the classifier, which is far smaller than the model and must keep up with it.
const CONFUSION_RATE: f32 = 1e-3;

/// A classifier of `outputs` on a device, if the recipe asks for its strength.
fn confusion_of(
    recipe: &Recipe,
    strength: f32,
    outputs: usize,
    seed: u64,
    device: &candle_core::Device,
) -> Result<Option<(Confusion, Adam)>, TrainError> {
    if strength == 0.0 {
        return Ok(None);
    }
    let confusion = Confusion::new(recipe.model.latent_size, outputs, recipe.training.seed ^ seed)?;
    Ok(Some((confusion.on(device)?, Adam::default())))
}
