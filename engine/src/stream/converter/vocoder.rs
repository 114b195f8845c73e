//! The middle of the chain where the model gives spectral envelopes: a hop of the take in, a hop of the singer's voice out.
//!
//! Pitch and the share of noise are the take's, its level too; the envelope's shape is the singer's.

use std::sync::Arc;

use super::Settings;
use super::chain::Middle;
use super::delay::Delay;
use crate::signal::analysis::Analyzer;
use crate::signal::f0_map::{F0Map, LogF0};
use crate::signal::range::PitchRange;
use crate::signal::shape::{envelope_of, shape_of};
use crate::signal::world::{WorldAnalyzer, WorldFrame, WorldSynthesizer, stretch_envelope};
use crate::stream::Encoder;
use crate::stream::envelope::EnvelopeDecoder;
use crate::voice::{ENVELOPE_LOWEST_F0_HZ, EnvelopeConfig, LOG_F0, SingerInput, VoiceBank};

/// Analysis, encoder, decoder and synthesis.
pub(super) struct Vocoder {
    bank: Arc<VoiceBank>,
    /// Finds the pitch.
    analyzer: Analyzer,
    world: WorldAnalyzer,
    encoder: Encoder,
    /// Each singer's, where singers have their own; else the one of all.
    decoders: Vec<EnvelopeDecoder>,
    synthesizer: WorldSynthesizer,
    settings: Settings,
    range: PitchRange,
    /// None where F0 stays the take's.
    f0_map: Option<F0Map>,
    singer_f0: LogF0,
    pitch_factor: f32,
    formant_ratio: f32,
    /// The singer's envelope where its formants are to be moved.
    unstretched: Box<[f32]>,
    /// Which of `decoders` sings.
    singing: usize,
    embedding: Box<[f32]>,
    stages: Vec<(&'static str, usize)>,
    hops: usize,
    /// The last samples: those of the frame that is next to be measured and what came after.
    history: Box<[f32]>,
    /// F0 and whether it is one.
    pitches: Delay<(f32, bool)>,
    frame: WorldFrame,
    shape: Box<[f32]>,
    /// What shapes are normalised by.
    shape_mean: Box<[f32]>,
    shape_scale: f32,
    /// What the synthesizer is early by, so that what is sung comes out in whole hops.
    waiting: Box<[f32]>,
    /// The due hop.
    sung: Box<[f32]>,
}

impl Vocoder {
    pub fn new(bank: &Arc<VoiceBank>, envelope: &EnvelopeConfig, settings: Settings) -> Self {
        let card = bank.card();
        let model = &card.model;
        let (rate, hop) = (model.sample_rate_hz, model.hop_samples);
        let analyzer = Analyzer::new(model, None);
        let world = WorldAnalyzer::new(rate, ENVELOPE_LOWEST_F0_HZ);
        // Half of the window lies after the hop's centre.
        let window_hops = (world.window_samples() / 2 + 1).saturating_sub(hop - hop / 2).div_ceil(hop);
        let look_ahead_hops = window_hops.max(analyzer.look_ahead_hops());
        let synthesizer = WorldSynthesizer::new(rate, ENVELOPE_LOWEST_F0_HZ, hop, settings.seed);
        let synthesis_hops = synthesizer.delay_samples().div_ceil(hop);
        let decoders = if model.singers == SingerInput::Decoders { card.singers.len() } else { 1 };
        let sizes = (model.latent_size, model.singer_embedding_size);
        let mut vocoder = Self {
            bank: Arc::clone(bank),
            encoder: Encoder::of(bank),
            decoders: (0..decoders)
                .map(|singer| EnvelopeDecoder::new(envelope, sizes, |name| bank.decoder_tensor(singer, name)))
                .collect(),
            settings,
            range: PitchRange::default(),
            f0_map: envelope.maps_f0.then(F0Map::default),
            singer_f0: LogF0 { mean: 0.0, deviation: 0.0 },
            pitch_factor: 1.0,
            formant_ratio: 1.0,
            unstretched: WorldFrame::new(rate, ENVELOPE_LOWEST_F0_HZ).envelope,
            singing: 0,
            embedding: vec![0.0; model.singer_embedding_size].into(),
            stages: vec![
                ("look-ahead of the analysis", look_ahead_hops),
                ("synthesis from frame to frame", synthesis_hops),
            ],
            hops: 0,
            history: vec![0.0; (look_ahead_hops + 1) * hop + world.window_samples()].into(),
            pitches: Delay::new(look_ahead_hops - analyzer.look_ahead_hops(), (0.0, false)),
            frame: WorldFrame::new(rate, ENVELOPE_LOWEST_F0_HZ),
            shape: vec![0.0; model.envelope_bins()].into(),
            shape_mean: bank.tensor("envelope.mean").into(),
            shape_scale: bank.tensor("envelope.scale")[0],
            waiting: vec![0.0; synthesis_hops * hop - synthesizer.delay_samples()].into(),
            sung: vec![0.0; hop].into(),
            analyzer,
            world,
            synthesizer,
        };
        vocoder.apply(settings);
        vocoder
    }

    fn apply(&mut self, settings: Settings) {
        self.settings = settings;
        self.pitch_factor = libm::exp2(f64::from(settings.transpose_semitones) / 12.0) as f32;
        self.formant_ratio = libm::exp2f(settings.formant_semitones / 12.0);
        self.synthesizer.set_seed(settings.seed);
        self.singing = if self.decoders.len() > 1 { settings.sole_singer() } else { 0 };
        let (first, second) = (settings.singer, settings.second_singer);
        self.bank.blended_embedding(first, second, settings.blend, &mut self.embedding);
        self.decoders[self.singing].set_singer(&self.embedding);
        if self.f0_map.is_some() {
            let known = self.bank.tensor(LOG_F0);
            let blended = |at: usize| {
                (1.0 - settings.blend) * known[2 * first + at] + settings.blend * known[2 * second + at]
            };
            self.singer_f0 = LogF0 { mean: blended(0), deviation: blended(1) };
        }
    }

    /// Replaces the shape of the frame's envelope by the singer's.
    fn convert_envelope(&mut self) {
        let mean_power = shape_of(&self.frame.envelope, &mut self.shape);
        let (mean, scale) = (&self.shape_mean, self.shape_scale);
        self.shape.iter_mut().zip(mean).for_each(|(shape, mean)| *shape = (*shape - mean) / scale);
        let Some(latent) = self.encoder.push(&self.shape) else { return };
        let sung = self.decoders[self.singing].decode(latent);
        for ((shape, sung), mean) in self.shape.iter_mut().zip(sung).zip(mean) {
            *shape = sung * scale + mean;
        }
        envelope_of(&self.shape, mean_power, &mut self.frame.envelope);
        if self.formant_ratio != 1.0 {
            self.unstretched.copy_from_slice(&self.frame.envelope);
            stretch_envelope(&self.unstretched, self.formant_ratio, &mut self.frame.envelope);
        }
    }

    /// Sings the frame whose centre lies there in the history.
    fn synthesise(&mut self, centre: usize) {
        let (f0_hz, voiced) = *self.pitches.oldest();
        let window = self.world.window_samples();
        let around = &self.history[centre - window / 2..][..window];
        self.world.analyze(around, f0_hz, voiced, &mut self.frame);
        self.convert_envelope();
        if voiced {
            let transposed = f0_hz * self.pitch_factor;
            self.frame.f0_hz = match &mut self.f0_map {
                Some(map) => map.map(transposed, self.singer_f0),
                None => transposed,
            };
        }
        self.synthesizer.push(&self.frame, &mut self.sung);
        // The rest of a hop waits for the next.
        let kept = self.waiting.len();
        self.sung.rotate_right(kept);
        self.waiting.swap_with_slice(&mut self.sung[..kept]);
    }
}

impl Middle for Vocoder {
    fn stages(&self) -> &[(&'static str, usize)] {
        &self.stages
    }

    fn take_median_f0_hz(&self) -> Option<f32> {
        self.range.median_f0_hz()
    }

    fn reset(&mut self) {
        self.analyzer.reset();
        self.encoder.reset();
        self.synthesizer.reset();
        self.range.reset();
        if let Some(map) = &mut self.f0_map {
            map.reset();
        }
        self.hops = 0;
        self.history.fill(0.0);
        self.waiting.fill(0.0);
    }

    fn hear(&mut self, hop: &[f32], settings: Settings) -> bool {
        self.history.copy_within(hop.len().., 0);
        let newest = self.history.len() - hop.len();
        self.history[newest..].copy_from_slice(hop);
        if let Some(frame) = self.analyzer.push(hop) {
            if frame.voiced {
                self.range.add(frame.f0_hz);
            }
            *self.pitches.next() = (frame.f0_hz, frame.voiced);
        }
        let look_ahead_hops = self.stages[0].1;
        self.hops += 1;
        if self.hops <= look_ahead_hops {
            return false;
        }
        if settings != self.settings {
            self.apply(settings);
        }
        self.synthesise(newest - look_ahead_hops * hop.len() + hop.len() / 2);
        // Before the first whole hop there is nothing.
        self.hops > self.look_ahead_hops()
    }

    fn sing(&mut self, output: &mut [f32]) {
        output.copy_from_slice(&self.sung);
    }
}
