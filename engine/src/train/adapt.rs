//! A new singer in a bank that is there: the network stays as it is, the singer's embedding is found.
//!
//! What the other singers sound like cannot change: not a bit of what they are made of is touched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;

use super::backtranslation::SungByBlends;
use super::batch::{Batcher, Cut};
use super::corpus::Corpus;
use super::device::Device;
use super::error::TrainError;
use super::optimizer::Adam;
use super::recipe::{AugmentConfig, CardConfig, Recipe, TrainingConfig};
use super::score::{mean_bits, scored_samples, validation_cuts};
use super::trainer::Progress;
use crate::model::{Decoder, Parameters, encode, narrow};
use crate::voice::{Card, EMBEDDING, Singer, SingerInput, TIMBRE, VoiceBank};

/// Who comes into the bank.
#[derive(Clone, Debug)]
pub struct NewSinger {
    /// The singer's name, which the bank must not have yet.
    pub name: String,
    /// On what consent the voice is used, in words, for the card.
    pub consent: String,
}

impl NewSinger {
    /// Whether a bank can take the singer in, before anything is learnt.
    pub fn check(&self, bank: &VoiceBank) -> Result<(), TrainError> {
        if bank.card().model.singers != SingerInput::Embedding {
            let reason =
                "its singers have no learnt embeddings, so there is nothing to find for another".into();
            return Err(TrainError::NewSinger { reason });
        }
        if bank.card().model.envelope.is_some() {
            let reason = "it gives spectral envelopes; singers come into banks that give samples".into();
            return Err(TrainError::NewSinger { reason });
        }
        self.card(bank.card(), 1.0, 220.0).check().map_err(|reason| TrainError::NewSinger { reason })
    }

    fn card(&self, old: &Card, minutes: f32, median_f0_hz: f32) -> Card {
        let mut card = Card {
            name: format!("{}+{}", old.name, self.name),
            trained_on: format!("{}; {} from {minutes:.1} minutes", old.trained_on, self.name),
            consent: format!("{} {}: {}", old.consent, self.name, self.consent),
            ..old.clone()
        };
        card.singers.push(Singer { name: self.name.clone(), median_f0_hz });
        card
    }
}

/// What came of it.
pub struct Adapted {
    /// The bank with the new singer at its end.
    pub bank: VoiceBank,
    /// Bits per sample of the recordings kept for validation when the new singer sings them.
    pub bits: f32,
    /// The same for the nearest of the singers that the bank had.
    pub nearest: (String, f32),
    /// Steps that were made.
    pub steps: u64,
}

/// The recipe that recordings are read and learnt by for a bank. Steps are a matter of patience.
pub fn recipe(bank: &VoiceBank, steps: u64) -> Recipe {
    let card = bank.card();
    Recipe {
        card: CardConfig {
            name: card.name.clone(),
            licence: card.licence.clone(),
            notices: card.notices.clone(),
            consent: card.consent.clone(),
            trained_on: card.trained_on.clone(),
            home_f0_hz: BTreeMap::new(),
        },
        model: card.model.clone(),
        sampling: card.sampling,
        arithmetic: card.arithmetic,
        training: TrainingConfig {
            seed: 1,
            steps,
            batch: 6,
            segment_frames: 25,
            unscored_samples: 2 * card.model.hop_samples,
            learning_rate: 0.03,
            warm_up_steps: 5,
            decay_share: 0.7,
            gradient_norm: 1.0,
            average_decay: 0.95,
            singer_emphasis: 1.0,
            singer_contrast: 0.0,
            latent_noise: 0.0,
            confusion: 0.0,
            pitch_confusion: 0.0,
            confusion_warm_up_steps: 0,
            validation_clips: 1,
            validate_every: steps.max(1),
            tritone_step: 0,
            tritone_bits: 0.0,
            spectrum: None,
            learn: Vec::new(),
            // The bank's codebook stays as it is.
            codebook: None,
            critic: None,
        },
        // The past that the decoder is shown is as flawed as when it learnt; the encoder hears the recordings as they are.
        augment: AugmentConfig {
            reverse: 0.0,
            invert: 0.0,
            pitch_jitter_semitones: 0.0,
            pitch_semitones: Vec::new(),
            code_noise: 3,
            lapses_per_second: 8.0,
            rough_lapses_per_second: 2.0,
            gain_db: [-9.0, 3.0],
            views: 2,
            view_warp: [0.85, 1.18],
            view_noise_db: [20.0, 45.0],
            view_tilt_db: [-6.0, 6.0],
        },
        backtranslation: None,
    }
}

/// [`adapt_on`] the processor.
pub fn adapt(
    bank: &VoiceBank,
    singer: &NewSinger,
    recipe: &Recipe,
    corpus: &Corpus,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Adapted, TrainError> {
    adapt_on(&Device::CPU, bank, singer, recipe, corpus, stop, progress)
}

/// Finds the embedding under which the bank predicts the recordings best, by the gradient alone. `corpus` holds the one
/// new singer, read by [`Corpus::load_singer`]; `recipe` is [`recipe`]'s. Stops early, with what it has, when `stop` is set.
pub fn adapt_on(
    device: &Device,
    bank: &VoiceBank,
    singer: &NewSinger,
    recipe: &Recipe,
    corpus: &Corpus,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Adapted, TrainError> {
    let card = bank.card();
    let (old, width) = (card.singers.len(), card.model.singer_embedding_size);
    let parameters = Parameters::new(&card.model, old + 1, 0)?;
    for (name, _) in parameters.iter().filter(|(name, _)| ![EMBEDDING, TIMBRE].contains(name)) {
        parameters.set(name, bank.tensor(name))?;
    }
    if card.model.condition.timbre {
        parameters.set(TIMBRE, &[bank.tensor(TIMBRE), &corpus.timbre].concat())?;
    }
    let mut embeddings = bank.tensor(EMBEDDING).to_vec();
    embeddings.extend(vec![0.0; width]);
    parameters.set(EMBEDDING, &embeddings)?;

    let parameters = parameters.on(&device.place)?;

    let batcher = Batcher::new(recipe, corpus, device);
    let cuts = validation_cuts(recipe, corpus);
    let bits_as = |singer: usize| {
        let cuts: Vec<Cut> = cuts.iter().map(|cut| Cut { singer, ..*cut }).collect();
        mean_bits(recipe, &batcher, &parameters, &cuts)
    };
    let known: Vec<f32> = (0..old).map(bits_as).collect::<Result<_, _>>()?;
    let nearest = (0..old).min_by(|a, b| known[*a].total_cmp(&known[*b])).unwrap_or(0);

    // From the nearest singer it is not far.
    embeddings.copy_within(nearest * width..(nearest + 1) * width, old * width);
    parameters.set(EMBEDDING, &embeddings)?;
    let trained = parameters.only(&[EMBEDDING]);
    let mut adam = Adam::default();
    let mut average = embeddings[old * width..].to_vec();
    let nobody = SungByBlends::default();
    let training = &recipe.training;
    let mut steps = 0;
    for step in 0..training.steps {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let batch = batcher.training(step, &nobody)?;
        let latent = encode(&recipe.model, &parameters, &batch.encoder_input)?;
        let latent = narrow(&recipe.model, &parameters, &latent)?.latent.detach();
        let decoder = Decoder::new(&recipe.model, &parameters);
        let nll = decoder.nll(&latent, &batch.decoder_input, training.unscored_samples)?;
        let nats: Tensor = (nll.sum_all()? / scored_samples(recipe) as f64)?;
        let bits = nats.to_scalar::<f32>()? / std::f32::consts::LN_2;
        if !bits.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        adam.step(&trained, &nats.backward()?, recipe.learning_rate(step), training.gradient_norm)?;
        let values: Vec<f32> = parameters.get(EMBEDDING)?.flatten_all()?.to_vec1()?;
        for (mean, value) in average.iter_mut().zip(&values[old * width..]) {
            *mean += (1.0 - training.average_decay) * (value - *mean);
        }
        steps = step + 1;
        progress(Progress {
            step: steps,
            steps: training.steps,
            bits,
            validation_bits: None,
            tritone_bits: None,
        });
    }
    embeddings[old * width..].copy_from_slice(&average);
    parameters.set(EMBEDDING, &embeddings)?;
    let bits = bits_as(old)?;

    let minutes = corpus.minutes.first().copied().unwrap_or(0.0);
    let median_f0_hz = corpus.median_f0_hz.first().copied().unwrap_or(220.0);
    let card = singer.card(card, minutes, median_f0_hz);
    let mut tensors = parameters.values()?;
    tensors.insert(EMBEDDING.into(), embeddings);
    let nearest = (bank.card().singers[nearest].name.clone(), known[nearest]);
    Ok(Adapted { bank: VoiceBank::new(card, tensors)?, bits, nearest, steps })
}
