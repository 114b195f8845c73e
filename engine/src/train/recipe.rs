//! A recipe: a TOML file with the model's sizes and everything the trainer does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::emphasis::Emphasis;
use super::setting::{Setting, SettingError};
use super::spectrum_critic::SPECTRUM_CRITIC_FRAMES;
use crate::voice::{
    Arithmetic, BottleneckConfig, ConfigError, EncoderConfig, ModelConfig, Sampling, SingerInput,
    tensor_specs,
};

/// Most other pitches of a clip: each takes as much memory as the clip.
const MOST_PITCHES: usize = 8;

/// A training recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the bank's card will say.
    pub card: CardConfig,
    /// Sizes and switches of the networks.
    pub model: ModelConfig,
    /// How the trained decoder draws its samples.
    #[serde(default)]
    pub sampling: Sampling,
    /// What the trained decoder's products are made of, also where phase II and the previews sing with it. What is learnt
    /// is in single precision.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// The loop.
    pub training: TrainingConfig,
    /// What is done to the audio before it is shown to the network.
    pub augment: AugmentConfig,
    /// Phase II, if there is one.
    pub backtranslation: Option<BacktranslationConfig>,
}

/// What the card of a trained bank says beyond its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardConfig {
    /// Name of the bank.
    pub name: String,
    /// Licence of the bank.
    pub licence: String,
    /// Notices that the sources ask to be passed on.
    #[serde(default)]
    pub notices: Vec<String>,
    /// On what consent the singers' voices are used.
    pub consent: String,
    /// What it was trained on, in words.
    pub trained_on: String,
    /// Where a singer is at home, in Hz, if the audio goes far beyond that: the card then gives this in place of the audio's
    /// median F0.
    #[serde(default)]
    pub home_f0_hz: BTreeMap<String, f32>,
}

/// The training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Steps in all.
    pub steps: u64,
    /// Segments of one step.
    pub batch: usize,
    /// Frames of one segment.
    pub segment_frames: usize,
    /// Samples at a segment's start that are not scored, since their past is missing.
    pub unscored_samples: usize,
    /// Peak learning rate of Adam.
    pub learning_rate: f32,
    /// Steps over which the rate rises from zero.
    pub warm_up_steps: u64,
    /// Share of all steps, at the end, over which the rate falls to a fiftieth (half a cosine).
    pub decay_share: f32,
    /// Largest global norm of a step's gradient.
    pub gradient_norm: f32,
    /// Decay of the running average of the weights that the bank is made of; 0 takes the weights as they are.
    pub average_decay: f32,
    /// How far from the mean of all singers each one's embedding is put in the bank, over how far training put it. A
    /// little above 1 sings a little more like the singer than the training audio, which makes up for what still
    /// comes through of the take's own singer.
    pub singer_emphasis: f32,
    /// How far each singer's embedding is then put further away from the mean of the two nearest others, as a share of its
    /// distance from it: 0 to 1. For singers that are taken for one another.
    #[serde(default)]
    pub singer_contrast: f32,
    /// Standard deviation of Gaussian noise on the latent, which keeps faint traces of the singer out of it.
    pub latent_noise: f32,
    /// The singer-confusion strength lambda.
    pub confusion: f32,
    /// The same against what guesses F0 from the latent, whose loss is in square octaves.
    #[serde(default)]
    pub pitch_confusion: f32,
    /// Steps over which the confusions rise to their strength.
    pub confusion_warm_up_steps: u64,
    /// Clips of each singer kept for validation.
    pub validation_clips: usize,
    /// Steps between two validations, with a checkpoint, a chart and a bank each.
    pub validate_every: u64,
    /// The run stops if, at this step, a wrong F0 (a tritone off) costs less than `tritone_bits` more per sample:
    /// a decoder that ignores F0 sings noise, and its loss hides that. 0 switches the test off.
    pub tritone_step: u64,
    /// See `tritone_step`.
    pub tritone_bits: f32,
    /// The spectrum that the frame network is taught beside the samples (mel encoder only).
    pub spectrum: Option<SpectrumConfig>,
    /// Learn those tensors alone whose names begin with one of these; all others stay as they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learn: Vec<String>,
    /// How a codebook is learnt, if the model has one.
    pub codebook: Option<CodebookConfig>,
    /// A critic of converted envelopes, for a model that gives envelopes.
    pub critic: Option<CriticConfig>,
}

impl TrainingConfig {
    /// How much further apart singers are put in the bank.
    pub(crate) fn emphasis(&self) -> Emphasis {
        Emphasis { from_mean: self.singer_emphasis, from_nearest: self.singer_contrast }
    }
}

/// A network that tells converted envelopes from sung ones, which the decoder then learns to deceive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticConfig {
    /// What the critic goes by.
    pub kind: CriticKind,
    /// Weight of what the critic says beside the nats of a frame.
    pub weight: f32,
    /// Share of all steps before there is one.
    pub first_share: f32,
    /// Its learning rate, which stays.
    pub learning_rate: f32,
    /// Its steps before each of the decoder's.
    pub steps: u64,
    /// The same at the start and every `many_every` steps of the decoder from there.
    pub many_steps: u64,
    /// See `many_steps`.
    pub many_every: u64,
}

/// What a critic goes by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CriticKind {
    /// The cross entropy of a sigmoid (Goodfellow et al., "Generative Adversarial Nets", 2014).
    Sigmoid,
    /// The distance between mean scores (Arjovsky et al., "Wasserstein GAN", 2017), whose critic must not be steep.
    Wasserstein {
        /// Its weights are held within this on either side of 0, and distances divided by it, as published; 0 does neither.
        clip: f32,
        /// Weight of the mean square of what the length of its gradient exceeds 1 by, on the way from converted to sung
        /// shapes (Gulrajani et al., "Improved Training of Wasserstein GANs", 2017; one-sided as Petzka et al. 2018). 0 asks
        /// for nothing.
        slope_penalty: f32,
    },
}

/// Learning of a codebook (van den Oord et al. 2017, section 3.2 and appendix A.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodebookConfig {
    /// Weight beta of the commitment loss beside the nats of a sample.
    pub commitment: f32,
    /// Decay gamma of the running means that codes are set to; without, codes follow the gradient of the codebook loss.
    pub decay: Option<f32>,
    /// A code that falls below this share of an even one's use begins anew at a frame of the batch; 0 lets codes die. Needs
    /// `decay`.
    #[serde(default)]
    pub revival_share: f32,
}

/// Teaching of the encoder and the frame network alone: segments of which only the log-mel frames are predicted, from the
/// latent, the singer and what else the frame network is told. They cost next to nothing beside those of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrumConfig {
    /// Weight of the mean absolute error (half nepers of power) beside the nats of a sample.
    pub weight: f32,
    /// Segments of one step, beside those of samples.
    pub segments: usize,
    /// A critic of what is expected where another than the take's singer is to sing.
    pub critic: Option<SpectrumCriticConfig>,
}

/// A network that tells what is expected of a singer who takes over another's phrase from what is expected of the singer's
/// own phrases; the encoder and the frame network learn to deceive it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpectrumCriticConfig {
    /// Weight of what the critic says beside the nats of a sample.
    pub weight: f32,
    /// Its learning rate, which stays.
    pub learning_rate: f32,
    /// Steps over which its weight rises, from the first.
    pub warm_up_steps: u64,
}

/// What is done to the audio before it is shown to the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Probability of a time-reversed segment (with `invert`, the paper's four-fold scheme).
    pub reverse: f32,
    /// Probability of a sign-inverted segment.
    pub invert: f32,
    /// A piece of what a waveform encoder hears, a quarter to a half of the segment, is shifted in pitch by up to so many
    /// semitones up or down (Mor et al., "A Universal Music Translation Network", 2018, section 3.2).
    #[serde(default)]
    pub pitch_jitter_semitones: f32,
    /// Each training clip is also sung so many semitones higher (or lower, below 0), in the same voice, by overlap-add of its
    /// periods; a segment is cut from each of them as often as from the clip itself. For singers who were recorded in a
    /// narrow range. Each value takes the memory and the reading time of the corpus once more.
    #[serde(default)]
    pub pitch_semitones: Vec<f32>,
    /// Largest change of the decoder's past codes, uniform in both directions, where a segment's own limit is drawn from
    /// 0 up to this: it meets its own errors when it sings.
    pub code_noise: i32,
    /// Lapses a second in the decoder's past: a few milliseconds that are too soft and too late. They teach it to
    /// take the F0 phase's word over that of its own mistakes.
    pub lapses_per_second: f32,
    /// Rough lapses a second in the voiced past: up to 160 ms of scrambled, noisy sound. They teach it to leave noise
    /// that it fell into.
    pub rough_lapses_per_second: f32,
    /// A segment is played at a level drawn from this range.
    pub gain_db: [f32; 2],
    /// Other views of each clip for the encoder alone (mel encoder only): the frequency axis stretched, noise and a
    /// tilt added, so that the latent keeps the words and loses the vocal tract and the room.
    pub views: usize,
    /// Stretch of the frequency axis in a view, drawn once per clip and view.
    pub view_warp: [f32; 2],
    /// Signal-to-noise ratio of a view.
    pub view_noise_db: [f32; 2],
    /// Linear spectral tilt of a view over the band, in dB.
    pub view_tilt_db: [f32; 2],
}

/// Phase II of Nachmani & Wolf (2019): the singer of a clip gives way to a blend of himself and another singer, and the
/// network learns to give back the original from that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BacktranslationConfig {
    /// The first step that sees such clips.
    pub first_step: u64,
    /// Steps between two rounds: in each the bank as it then stands sings other clips.
    pub every_steps: u64,
    /// Clips of each singer that are sung in a round.
    pub clips: usize,
    /// Farthest that a clip is transposed when it is sung, in semitones up or down: what is heard and the F0 that the
    /// decoder is told are then out of step, as in a transposed take, so the latent learns to be silent about F0.
    pub transpose_semitones: f32,
    /// Share of a step's segments that are taken from them.
    pub share: f32,
}

/// Why a recipe was refused.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The file could not be read.
    #[error("cannot read recipe {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not a recipe.
    #[error("recipe {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause, with line and column.
        source: Box<toml::de::Error>,
    },
    /// No bank can have the card that it asks for.
    #[error("the recipe asks for a card that no bank can have: {reason}")]
    Card {
        /// What would be wrong with the card.
        reason: String,
    },
    /// A value cannot be set.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No model can be built from it.
    #[error("recipe {path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ConfigError,
    },
}

impl Recipe {
    /// Reads and checks a recipe.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        Self::load_with(path, &[])
    }

    /// The same with other values for some of its keys.
    pub fn load_with(path: &Path, settings: &[Setting]) -> Result<Self, RecipeError> {
        let parse = |source| RecipeError::Parse { path: path.into(), source: Box::new(source) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.into(), source })?;
        let recipe: Self = if settings.is_empty() {
            // From the text itself, so that an error has its line.
            toml::from_str(&text).map_err(parse)?
        } else {
            let mut table: toml::Table = toml::from_str(&text).map_err(parse)?;
            for setting in settings {
                setting.apply(&mut table)?;
            }
            table.try_into().map_err(parse)?
        };
        recipe.check().map_err(|source| RecipeError::Config { path: path.into(), source })?;
        Ok(recipe)
    }

    /// The rate of a step: linear warm-up, flat, then half a cosine down to a fiftieth.
    pub(crate) fn learning_rate(&self, step: u64) -> f32 {
        let training = &self.training;
        let warm_up = (step + 1) as f32 / training.warm_up_steps.max(1) as f32;
        let decay_steps = (training.decay_share * training.steps as f32).max(1.0);
        let into_decay = 1.0 - (training.steps - step.min(training.steps)) as f32 / decay_steps;
        let cosine = 0.5 * (1.0 + (std::f32::consts::PI * into_decay.clamp(0.0, 1.0)).cos());
        training.learning_rate * warm_up.min(1.0) * (0.02 + 0.98 * cosine)
    }

    /// What does not go together where the model is one of the paper's relatives.
    fn check_relatives(&self) -> Result<(), ConfigError> {
        let (model, training) = (&self.model, &self.training);
        let refuse = |what: &str| Err(ConfigError(what.to_string()));
        let has_codebook = matches!(model.bottleneck, Some(BottleneckConfig::VectorQuantized { .. }));
        if has_codebook != training.codebook.is_some() {
            return refuse("a vector-quantized bottleneck and training.codebook need each other");
        }
        if let Some(codebook) = &training.codebook {
            let decays = codebook.decay.is_none_or(|decay| (0.0..1.0).contains(&decay));
            let shares = (0.0..1.0).contains(&codebook.revival_share);
            if !(0.0..=1_000.0).contains(&codebook.commitment) || !decays || !shares {
                return refuse(
                    "training.codebook.commitment must be 0 to 1000, decay and revival_share in [0, 1)",
                );
            }
            if codebook.decay.is_none() && codebook.revival_share > 0.0 {
                return refuse("training.codebook.revival_share needs decay");
            }
        }
        let of_latent =
            training.confusion > 0.0 || training.pitch_confusion > 0.0 || training.latent_noise > 0.0;
        if model.encoder == EncoderConfig::None && of_latent {
            return refuse("training.confusion, pitch_confusion and latent_noise need an encoder");
        }
        if training.pitch_confusion > 0.0 && !model.condition.f0 {
            return refuse(
                "training.pitch_confusion needs model.condition.f0: else nobody tells the decoder F0",
            );
        }
        let of_samples = of_latent || training.spectrum.is_some();
        if model.envelope.is_some() && (of_samples || self.backtranslation.is_some()) {
            return refuse(
                "training.confusion, pitch_confusion, latent_noise, spectrum and backtranslation need a model that gives samples",
            );
        }
        if let Some(critic) = &training.critic {
            if model.envelope.is_none() || matches!(model.singers, SingerInput::None | SingerInput::Decoders)
            {
                return refuse("training.critic needs a model that gives envelopes and is told the singer");
            }
            let finite =
                [critic.weight, critic.learning_rate].iter().all(|value| (0.0..=1e4).contains(value));
            if !finite || critic.steps == 0 || critic.many_steps == 0 || critic.many_every == 0 {
                return refuse(
                    "training.critic's steps must be at least 1, weight and learning_rate 0 to 10000, first_share 0 to 1",
                );
            }
        }
        let embeds = model.singers == SingerInput::Embedding;
        if !embeds && training.emphasis() != Emphasis::NONE {
            return refuse(
                "training.singer_emphasis must be 1, singer_contrast 0 where singers have no learnt embeddings",
            );
        }
        if !embeds && self.backtranslation.is_some() {
            return refuse(
                "backtranslation needs singers that can be blended: model.singers = \"embedding\"",
            );
        }
        let jitter = self.augment.pitch_jitter_semitones;
        let reads_wave =
            matches!(model.encoder, EncoderConfig::Dilated { .. } | EncoderConfig::Strided { .. });
        if !(0.0..=12.0).contains(&jitter) || (jitter > 0.0 && !reads_wave) {
            return refuse("augment.pitch_jitter_semitones must be 0 to 12 and needs a waveform encoder");
        }
        let shifts = &self.augment.pitch_semitones;
        if shifts.len() > MOST_PITCHES
            || shifts.iter().any(|shift| *shift == 0.0 || !(-12.0..=12.0).contains(shift))
        {
            return refuse(&format!(
                "augment.pitch_semitones must be up to {MOST_PITCHES} values of -12 to 12, none of them 0"
            ));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.model.check()?;
        let training = &self.training;
        let refuse = |what: &str| Err(ConfigError(what.to_string()));
        if training.batch == 0 || training.segment_frames == 0 || training.steps == 0 {
            return refuse("training.batch, segment_frames and steps must be at least 1");
        }
        if training.unscored_samples >= training.segment_frames * self.model.hop_samples {
            return refuse("training.unscored_samples leaves nothing of a segment to score");
        }
        if training.validate_every == 0 || training.validation_clips == 0 {
            return refuse("training.validate_every and validation_clips must be at least 1");
        }
        let finite = [
            training.learning_rate,
            training.gradient_norm,
            training.confusion,
            training.pitch_confusion,
            training.decay_share,
            training.latent_noise,
            training.singer_emphasis,
        ];
        if finite.iter().any(|value| !value.is_finite() || *value < 0.0)
            || !(0.0..1.0).contains(&training.average_decay)
        {
            return refuse("training rates must be finite and not negative, average_decay in [0, 1)");
        }
        if !(0.0..=1.0).contains(&training.singer_contrast) {
            return refuse("training.singer_contrast must be 0 to 1");
        }
        let lapses = [self.augment.lapses_per_second, self.augment.rough_lapses_per_second];
        if !(0..=128).contains(&self.augment.code_noise)
            || lapses.iter().any(|lapses| !(0.0..=100.0).contains(lapses))
        {
            return refuse("augment.code_noise must be 0 to 128, the lapses per second 0 to 100");
        }
        if let Some(critic) = training.spectrum.as_ref().and_then(|spectrum| spectrum.critic.as_ref()) {
            if ![critic.weight, critic.learning_rate].iter().all(|value| (0.0..=1e4).contains(value)) {
                return refuse("training.spectrum.critic's weight and learning_rate must be 0 to 10000");
            }
            if training.segment_frames < SPECTRUM_CRITIC_FRAMES {
                return refuse(&format!(
                    "training.spectrum.critic hears {SPECTRUM_CRITIC_FRAMES} frames: training.segment_frames must be as many"
                ));
            }
            if self.model.singers != SingerInput::Embedding || !self.model.condition.f0 {
                return refuse(
                    "training.spectrum.critic needs a model that is told F0 and the singer, as an embedding",
                );
            }
        }
        if let Some(spectrum) = &training.spectrum {
            if !self.model.condition.spectrum {
                return refuse("training.spectrum needs model.condition.spectrum");
            }
            if spectrum.segments == 0 || !(0.0..=1_000.0).contains(&spectrum.weight) {
                return refuse("training.spectrum.segments must be at least 1, weight 0 to 1000");
            }
        }
        if self.sampling.spectrum > 0.0 && training.spectrum.is_none() {
            return refuse(
                "sampling.spectrum needs training.spectrum: nobody teaches the bank what to expect",
            );
        }
        if self.sampling.timbre > 0.0 && !self.model.condition.timbre {
            return refuse("sampling.timbre needs model.condition.timbre: the bank keeps what it leads to");
        }
        let specs = tensor_specs(&self.model, 1);
        if let Some(start) = training
            .learn
            .iter()
            .find(|start| start.is_empty() || !specs.iter().any(|spec| spec.name.starts_with(start.as_str())))
        {
            return Err(ConfigError(format!(
                "training.learn: the model has no tensor whose name begins with `{start}`"
            )));
        }
        self.check_relatives()?;
        if let Some(rounds) = &self.backtranslation
            && (rounds.every_steps == 0
                || rounds.clips == 0
                || !(0.0..=24.0).contains(&rounds.transpose_semitones)
                || !(0.0..=1.0).contains(&rounds.share))
        {
            return refuse(
                "backtranslation.every_steps and clips must be at least 1, transpose_semitones 0 to 24, share 0 to 1",
            );
        }
        let ranges = [
            self.augment.gain_db,
            self.augment.view_warp,
            self.augment.view_noise_db,
            self.augment.view_tilt_db,
        ];
        if ranges.iter().any(|[low, high]| low > high) {
            return refuse("an augment range must be [low, high]");
        }
        Ok(())
    }
}
