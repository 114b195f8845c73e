//! The middle of the chain: a hop of the take in, a hop of the singer's voice out.

use std::sync::Arc;

use super::Settings;
use super::chain::Middle;
use crate::decode::{Decoder, DecoderWeights, FrameInput};
use crate::signal::analysis::Analyzer;
use crate::signal::emphasis::DeEmphasis;
use crate::stream::Encoder;
use crate::voice::{EncoderConfig, VoiceBank};

/// Analysis, encoder and decoder. All read the same hops but know about them at different times, so what is early waits.
pub(super) struct Networks {
    bank: Arc<VoiceBank>,
    analyzer: Analyzer,
    encoder: Encoder,
    reads_mel: bool,
    decoder: Decoder,
    de_emphasis: DeEmphasis,
    settings: Settings,
    pitch_factor: f32,
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
}

/// The last `hops + 1` values, overwritten in place.
struct Delay<T> {
    slots: Box<[T]>,
    newest: usize,
}

impl<T: Clone> Delay<T> {
    fn new(hops: usize, empty: T) -> Self {
        Self { slots: vec![empty; hops + 1].into(), newest: 0 }
    }

    /// The place of the next value, which holds an old one.
    fn next(&mut self) -> &mut T {
        self.newest = (self.newest + 1) % self.slots.len();
        &mut self.slots[self.newest]
    }

    /// The value from `hops` before the newest.
    fn oldest(&self) -> &T {
        &self.slots[(self.newest + 1) % self.slots.len()]
    }
}

impl Networks {
    pub fn new(bank: &Arc<VoiceBank>, settings: Settings) -> Self {
        let card = bank.card();
        let model = &card.model;
        let reads_mel = matches!(model.encoder, EncoderConfig::Mel { .. });
        let mel_mean = reads_mel.then(|| bank.tensor("encoder.mel_mean"));
        let analyzer = Analyzer::new(model, mel_mean);
        let encoder = Encoder::new(model, |name| bank.tensor(name));
        let weights = DecoderWeights::new(model, |name| bank.tensor(name));
        let decoder = Decoder::new(Arc::new(weights), card.sampling);

        // Mel frames are analysed, then encoded; waveform encoders work beside the analysis.
        let analysis_hops = analyzer.look_ahead_hops();
        let latent_hops = encoder.look_ahead_hops() + if reads_mel { analysis_hops } else { 0 };
        let look_ahead_hops = latent_hops.max(analysis_hops);
        let latent = vec![0.0; model.latent_size].into_boxed_slice();
        let mut networks = Self {
            bank: Arc::clone(bank),
            analyzer,
            encoder,
            reads_mel,
            decoder,
            de_emphasis: DeEmphasis::new(model.pre_emphasis),
            settings,
            pitch_factor: 1.0,
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
        self.settings = settings;
        self.pitch_factor = (f64::from(settings.transpose_semitones) / 12.0).exp2() as f32;
        self.decoder.set_singer(self.bank.singer_embedding(settings.singer));
    }
}

impl Middle for Networks {
    fn stages(&self) -> &[(&'static str, usize)] {
        &self.stages
    }

    fn reset(&mut self) {
        self.analyzer.reset();
        self.encoder.reset();
        self.decoder.reset();
        self.de_emphasis.reset();
        self.hops = 0;
    }

    fn push(&mut self, hop: &[f32], settings: Settings, output: &mut [f32]) -> bool {
        let frame = self.analyzer.push(hop);
        if let Some(frame) = frame {
            *self.features.next() =
                Features { f0_hz: frame.f0_hz, voiced: frame.voiced, loudness: frame.loudness };
        }
        let latent = match frame {
            _ if !self.reads_mel => self.encoder.push(hop),
            Some(frame) => self.encoder.push(&frame.mel),
            None => None,
        };
        if let Some(latent) = latent {
            self.latents.next().copy_from_slice(latent);
        }
        let look_ahead_hops = self.look_ahead_hops();
        if self.hops < look_ahead_hops {
            self.hops += 1;
            return false;
        }
        if settings != self.settings {
            self.apply(settings);
        }
        let features = self.features.oldest();
        let frame = FrameInput {
            latent: self.latents.oldest(),
            f0_hz: features.f0_hz * self.pitch_factor,
            voiced: features.voiced,
            loudness: features.loudness,
        };
        self.decoder.decode_hop(&frame, self.settings.seed, output);
        self.de_emphasis.process(output);
        true
    }
}
