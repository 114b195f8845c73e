//! The middle of the chain where the model gives samples: a hop of the take in, a hop of the singer's voice out.

use std::sync::Arc;

use super::Settings;
use super::chain::Middle;
use super::delay::Delay;
use super::level::{Glide, LOUD_FLOOR, Restraint, ToldLoudness, square_of};
use super::trust::{GpuUse, Trust};
use crate::decode::{Decoder, DecoderWeights, FrameInput, Gpu, GpuError, HopTask};
use crate::signal::analysis::{Analyzer, HOP_PARTS};
use crate::signal::comb::Comb;
use crate::signal::emphasis::DeEmphasis;
use crate::signal::equalizer::Equalizer;
use crate::signal::high_cut::HighCut;
use crate::signal::loudness::mean_square;
use crate::signal::low_cut::LowCut;
use crate::signal::range::PitchRange;
use crate::signal::world::FormantShift;
use crate::stream::{EncodeTask, Encoder};
use crate::voice::{EncoderConfig, VoiceBank, mean_frame};

/// Analysis, encoder and decoder. All read the same hops but know about them at different times, so what is early waits.
pub(super) struct Networks {
    bank: Arc<VoiceBank>,
    analyzer: Analyzer,
    encoder: Encoder,
    reads_mel: bool,
    decoder: Decoder,
    /// In the GPU that decodes, if one does.
    trust: Option<Trust>,
    /// The decoder's part of the due hop, before de-emphasis.
    sung: Box<[f32]>,
    de_emphasis: DeEmphasis,
    /// None where the decoder is not told F0, so that nobody knows what it sings at.
    low_cut: Option<LowCut>,
    high_cut: HighCut,
    comb: Option<Comb>,
    equalizer: Option<Equalizer>,
    /// What the singer sounds like on average, in all registers and at the due hop's F0; empty where nobody asks.
    timbre: Box<[f32]>,
    average: Box<[f32]>,
    formants: FormantShift,
    settings: Settings,
    /// See [`DecoderWeights::of`]; the one of the singer sings.
    weights: Arc<[Arc<DecoderWeights>]>,
    singing: usize,
    /// The singer's embedding as it was last set.
    embedding: Box<[f32]>,
    /// Of the take.
    range: PitchRange,
    pitch_factor: f32,
    /// What the encoder hears of the last hop: its mel frame, with the loudness that the networks are told, or its samples.
    heard: Box<[f32]>,
    told_loudness: ToldLoudness,
    /// What the take is louder than the networks are told, or softer.
    excess: Glide,
    /// What the decoder gives louder than the take, rests among it: the equalizer has a past, and would spread it.
    decoder_restraint: Restraint,
    /// What is sung louder than the take.
    restraint: Restraint,
    /// Whether what is sung is as loud as the take; not where the decoder sings what it likes.
    follows_level: bool,
    squeal: SquealGuard,
    stages: Vec<(&'static str, usize)>,
    hops: usize,
    features: Delay<Features>,
    latents: Delay<Box<[f32]>>,
}

#[derive(Clone, Default)]
struct Features {
    f0_hz: f32,
    voiced: bool,
    loudness: f32,
    told_loudness: f32,
    part_squares: [f32; HOP_PARTS],
}

impl Networks {
    pub fn new(bank: &Arc<VoiceBank>, settings: Settings) -> Self {
        let card = bank.card();
        let model = &card.model;
        let reads_mel = matches!(model.encoder, EncoderConfig::Mel { .. });
        let mel_mean = reads_mel.then(|| bank.tensor("encoder.mel_mean"));
        let analyzer = Analyzer::new(model, mel_mean);
        let encoder = Encoder::of(bank);
        let encoder_input = encoder.input_size();
        let weights = DecoderWeights::of(bank);
        let decoder = Decoder::new(Arc::clone(&weights[0]), card.sampling);

        // Mel frames are analysed, then encoded; waveform encoders work beside the analysis.
        let analysis_hops = analyzer.look_ahead_hops();
        let latent_hops = encoder.look_ahead_hops() + if reads_mel { analysis_hops } else { 0 };
        let look_ahead_hops = latent_hops.max(analysis_hops);
        let latent = vec![0.0; model.latent_size].into_boxed_slice();
        let comb = card.sampling.comb;
        let bands = model.spectrum_bands();
        let (lead, timbre) = (card.sampling.spectrum, card.sampling.timbre);
        // Empty where nobody is led to it.
        let averages = if timbre > 0.0 { bank.timbre(0).len() } else { 0 };
        let mut networks = Self {
            bank: Arc::clone(bank),
            analyzer,
            encoder,
            reads_mel,
            decoder,
            trust: None,
            sung: vec![0.0; model.hop_samples].into(),
            de_emphasis: DeEmphasis::new(model.pre_emphasis),
            low_cut: model.condition.f0.then(|| LowCut::new(model.sample_rate_hz)),
            high_cut: HighCut::default(),
            comb: (model.condition.f0 && comb > 0.0)
                .then(|| Comb::new(model.sample_rate_hz, model.hop_samples, comb)),
            equalizer: (bands > 0 && (lead > 0.0 || averages > 0))
                .then(|| Equalizer::new(model.sample_rate_hz, model.hop_samples, bands, lead, timbre)),
            timbre: vec![0.0; averages].into(),
            average: vec![0.0; bands].into(),
            formants: FormantShift::new(model.sample_rate_hz, model.hop_samples),
            settings,
            weights,
            singing: 0,
            embedding: vec![0.0; model.singer_embedding_size].into(),
            range: PitchRange::default(),
            pitch_factor: 1.0,
            heard: vec![0.0; encoder_input].into(),
            told_loudness: ToldLoudness::new(card.loudest, model.condition.loudness),
            excess: Glide::default(),
            decoder_restraint: Restraint::default(),
            restraint: Restraint::default(),
            follows_level: model.encoder != EncoderConfig::None,
            squeal: SquealGuard::default(),
            stages: vec![
                ("look-ahead of the analysis", analysis_hops),
                ("look-ahead of the encoder", look_ahead_hops - analysis_hops),
            ],
            hops: 0,
            features: Delay::new(look_ahead_hops - analysis_hops, Features::default()),
            latents: Delay::new(look_ahead_hops - latent_hops, latent),
        };
        networks.apply(settings);
        networks
    }

    fn apply(&mut self, settings: Settings) {
        if self.weights.len() > 1 && settings.sole_singer() != self.singing {
            self.singing = settings.sole_singer();
            self.decoder.set_weights(&self.weights[self.singing]);
        }
        self.settings = settings;
        self.pitch_factor = libm::exp2(f64::from(settings.transpose_semitones) / 12.0) as f32;
        let (first, second) = (settings.singer, settings.second_singer);
        self.bank.blended_embedding(first, second, settings.blend, &mut self.embedding);
        self.decoder.set_singer(&self.embedding);
        let changed = self.bank.blended_timbre(first, second, settings.blend, &mut self.timbre);
        if let (true, Some(equalizer)) = (changed, &mut self.equalizer) {
            equalizer.change_voice();
        }
    }
}

impl Middle for Networks {
    fn sing_on(&mut self, gpu: &Arc<Gpu>) -> Result<(), GpuError> {
        self.decoder.sing_on(gpu)?;
        let model = &self.bank.card().model;
        let hop_s = model.hop_samples as f64 / f64::from(model.sample_rate_hz);
        self.trust = Some(Trust::new(gpu, hop_s));
        Ok(())
    }

    fn late(&mut self) {
        if let Some(trust) = &mut self.trust {
            trust.late(&mut self.decoder);
        }
    }

    fn gpu_use(&self) -> Option<GpuUse> {
        self.trust.as_ref().map(|trust| trust.report(&self.decoder))
    }

    fn company(&self) -> usize {
        self.decoder.company()
    }

    fn take_median_f0_hz(&self) -> Option<f32> {
        self.range.median_f0_hz()
    }

    fn stages(&self) -> &[(&'static str, usize)] {
        &self.stages
    }

    fn reset(&mut self) {
        self.analyzer.reset();
        self.encoder.reset();
        self.decoder.reset();
        self.range.reset();
        self.de_emphasis.reset();
        if let Some(low_cut) = &mut self.low_cut {
            low_cut.reset();
        }
        self.high_cut.reset();
        if let Some(comb) = &mut self.comb {
            comb.reset();
        }
        if let Some(equalizer) = &mut self.equalizer {
            equalizer.reset();
        }
        self.formants.reset();
        self.told_loudness.reset();
        self.excess = Glide::default();
        self.decoder_restraint = Restraint::default();
        self.restraint = Restraint::default();
        self.squeal = SquealGuard::default();
        self.hops = 0;
    }

    fn hear(&mut self, hop: &[f32], settings: Settings) -> bool {
        let frame = self.analyzer.push(hop);
        let told_loudness = frame.map(|frame| self.told_loudness.of(frame.loudness, frame.voiced));
        if let (Some(frame), Some(told_loudness)) = (frame, told_loudness) {
            if frame.voiced {
                self.range.add(frame.f0_hz);
            }
            *self.features.next() = Features {
                f0_hz: frame.f0_hz,
                voiced: frame.voiced,
                loudness: frame.loudness,
                told_loudness,
                part_squares: frame.part_squares,
            };
        }
        let heard = if self.reads_mel { frame.map(|frame| &*frame.mel) } else { Some(hop) };
        if let Some(heard) = heard {
            self.heard.copy_from_slice(heard);
        }
        if let (true, Some(told), Some(loudness)) = (self.reads_mel, told_loudness, self.heard.last_mut()) {
            *loudness = told;
        }
        let is_heard = heard.is_some();
        if self.hops < self.look_ahead_hops() {
            self.hops += 1;
            if is_heard && let Some(latent) = self.encoder.push(&self.heard) {
                self.latents.next().copy_from_slice(latent);
            }
            return false;
        }
        if settings != self.settings {
            self.apply(settings);
        }
        true
    }

    fn encoding(&mut self) -> Option<EncodeTask<'_>> {
        // Once a hop is due, every look-ahead is over: each hop is heard and gives a latent.
        Some(EncodeTask { encoder: &mut self.encoder, input: &self.heard, latent: self.latents.next() })
    }

    fn decoding(&mut self) -> Option<HopTask<'_>> {
        if let Some(trust) = &mut self.trust {
            trust.hop(&mut self.decoder, self.features.oldest().loudness);
        }
        Some(HopTask {
            frame: frame_input(&self.features, &self.latents, self.pitch_factor),
            decoder: &mut self.decoder,
            seed: self.settings.seed,
            output: &mut self.sung,
        })
    }

    fn sing(&mut self, output: &mut [f32]) {
        output.copy_from_slice(&self.sung);
        let frame = frame_input(&self.features, &self.latents, self.pitch_factor);
        let features = self.features.oldest();
        // A loudness is two thirds of the logarithm of an amplitude.
        let excess = libm::expf(1.5 * (features.loudness - frame.loudness));
        let emphasised_square = mean_square(output);
        self.de_emphasis.process(output);
        let square = mean_square(output);
        if self.follows_level && self.squeal.hears(emphasised_square, square, &frame) {
            self.decoder.forget();
        }
        if let Some(low_cut) = &mut self.low_cut {
            low_cut.process(output, frame.f0_hz, frame.voiced);
        }
        if let Some(comb) = &mut self.comb {
            comb.process(output, frame.f0_hz, frame.voiced);
        }
        if let Some(equalizer) = &mut self.equalizer {
            if self.follows_level {
                self.decoder_restraint.apply(output, frame.loudness, excess, &features.part_squares);
            }
            let average = (frame.voiced && !self.timbre.is_empty()).then(|| {
                mean_frame(&self.timbre, frame.f0_hz, &mut self.average);
                &*self.average
            });
            equalizer.process(output, self.decoder.spectrum(), average);
        }
        self.formants.process(output, frame.f0_hz, frame.voiced, self.settings.formant_semitones);
        self.high_cut.process(output);
        if self.follows_level {
            self.restraint.apply(output, frame.loudness, excess, &features.part_squares);
        }
        self.excess.turn(output, excess);
    }
}

/// What the decoder is told of the due hop.
fn frame_input<'a>(
    features: &Delay<Features>,
    latents: &'a Delay<Box<[f32]>>,
    pitch_factor: f32,
) -> FrameInput<'a> {
    let features = features.oldest();
    FrameInput {
        latent: latents.oldest(),
        f0_hz: features.f0_hz * pitch_factor,
        voiced: features.voiced,
        loudness: features.told_loudness,
    }
}

/// Hops in a row after which sound that is far too loud is taken for a squeal.
const LOUD_HOPS: u32 = 3;
/// Mean square of the sound over the one that was asked for (6 dB).
const LOUD_RATIO: f32 = 4.0;
/// Voiced hops in a row after which rough sound is taken for noise that feeds itself.
const ROUGH_HOPS: u32 = 8;
/// Pre-emphasised over plain mean square of a hop. A sung vowel has 0.03 to 0.2, white noise 1.7.
const ROUGH_RATIO: f32 = 0.5;
/// Hops after a remedy in which rough sound is let pass: some voices have vowels as bright as that.
const PATIENCE_HOPS: u32 = 50;

/// Notices when the decoder's output feeds itself instead of following what it is told: an autoregressive network can
/// fall into a cycle of full-scale codes, or go on with noise under a vowel. Its past must then be forgotten.
#[derive(Default)]
struct SquealGuard {
    loud_hops: u32,
    rough_hops: u32,
    patience_hops: u32,
}

impl SquealGuard {
    /// Whether to forget now. Takes the mean squares of the hop before and after de-emphasis and what was asked for.
    fn hears(&mut self, emphasised_square: f32, square: f32, asked: &FrameInput) -> bool {
        let loud = square > LOUD_RATIO * square_of(asked.loudness) + LOUD_FLOOR;
        self.loud_hops = if loud { self.loud_hops + 1 } else { 0 };
        let rough = asked.voiced && square > LOUD_FLOOR && emphasised_square > ROUGH_RATIO * square;
        self.patience_hops = self.patience_hops.saturating_sub(1);
        self.rough_hops = if rough && self.patience_hops == 0 { self.rough_hops + 1 } else { 0 };
        let squeals = self.loud_hops >= LOUD_HOPS || self.rough_hops >= ROUGH_HOPS;
        if squeals {
            *self = Self { patience_hops: PATIENCE_HOPS, ..Self::default() };
        }
        squeals
    }
}
