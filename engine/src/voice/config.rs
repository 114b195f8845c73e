//! Every size of the WaveNet autoencoder, as data. A recipe states it, a bank carries it, the graph and the
//! streaming engine are both built from it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::signal::world;

/// Codes of the 8-bit mu-law alphabet that the decoder's softmax ranges over.
pub const MU_LAW_CODES: usize = 256;

/// The sizes and switches of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Rate of the waveform the model reads and writes, in Hz.
    pub sample_rate_hz: u32,
    /// Samples of one latent frame.
    pub hop_samples: usize,
    /// Coefficient `a` of the pre-emphasis `y[t] = x[t] - a x[t-1]` around mu-law; 0 switches it off.
    pub pre_emphasis: f32,
    /// Width of one latent frame; 0 where there is no encoder.
    pub latent_size: usize,
    /// Width of a singer's embedding; 0 where the decoder is given none.
    pub singer_embedding_size: usize,
    /// How the decoder is told who sings.
    #[serde(default, skip_serializing_if = "SingerInput::is_embedding")]
    pub singers: SingerInput,
    /// How long the pitch of a hop may wait for the hops after it before it is decided, in milliseconds, rounded to hops.
    /// It is a part of the latency.
    #[serde(default = "default_f0_decision_ms")]
    pub f0_decision_ms: u32,
    /// What the decoder is told besides latent and singer.
    #[serde(default)]
    pub condition: ConditionConfig,
    /// From the take to latent frames.
    pub encoder: EncoderConfig,
    /// What latent frames are narrowed by before the decoder is given them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<BottleneckConfig>,
    /// From latent frames to samples; left out where `envelope` is given.
    #[serde(default, skip_serializing_if = "DecoderConfig::is_none")]
    pub decoder: DecoderConfig,
    /// From latent frames to spectral envelopes that a vocoder sings, in the place of `decoder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeConfig>,
}

/// What banks were trained with before it could be chosen.
fn default_f0_decision_ms() -> u32 {
    20
}

/// The same of [`ConditionConfig::frame_layers`] and of the mel encoder's `dilation_base`.
fn one() -> usize {
    1
}

/// How the decoder is told who sings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SingerInput {
    /// A learnt embedding for each singer; a point between two is a blend of both.
    #[default]
    Embedding,
    /// A vector with a 1 in the singer's place, which is not learnt.
    OneHot,
    /// Each singer has a decoder of his own, which is told nothing.
    Decoders,
    /// The decoder is not told: what is sung is what the latent brings.
    None,
}

impl SingerInput {
    // Banks from before it could be chosen keep their content hash.
    fn is_embedding(&self) -> bool {
        *self == Self::Embedding
    }
}

/// What latent frames are narrowed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BottleneckConfig {
    /// Each frame gives way to the nearest of so many learnt ones (van den Oord et al., "Neural Discrete Representation
    /// Learning", 2017).
    VectorQuantized {
        /// Frames of the codebook.
        codes: usize,
    },
    /// A frame is the mean of a Gaussian; in training it is drawn from it, and a standard Gaussian is what it should be
    /// (Kingma and Welling, "Auto-Encoding Variational Bayes", 2014). Envelopes only.
    Gaussian,
}

/// Extra conditioning of the decoder, each switchable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionConfig {
    /// Give the decoder `log2(f0 / 220 Hz)` and the voiced flag (two channels).
    pub f0: bool,
    /// Give the decoder the loudness feature (one channel).
    pub loudness: bool,
    /// Harmonics of the running F0 phase (sine and cosine each) added to the decoder's input; 0 switches it off.
    pub excitation_harmonics: usize,
    /// Past samples around one F0 period ago, added to the decoder's input and given to the prior; odd, 0 switches it off.
    #[serde(default)]
    pub period_taps: usize,
    /// Width of the frame network between `[latent, f0, loudness, singer]` and the decoder's layers.
    pub frame_channels: usize,
    /// Layers of the frame network (tanh).
    #[serde(default = "one")]
    pub frame_layers: usize,
    /// Read from the frame network which spectrum is to be sung, in the bands of the mel encoder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spectrum: bool,
    /// Keep what each singer sounds like on average, by F0, in the bands of the mel encoder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timbre: bool,
}

/// The encoder: which network turns the take into latent frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// None: the decoder sings what it likes.
    None,
    /// Causal convolutions over level-free log-mel frames.
    Mel {
        /// Mel bands of one frame.
        mels: usize,
        /// Width of the hidden layers.
        channels: usize,
        /// Hidden layers (kernel 3, ReLU); the latent layer (kernel 2, tanh) comes on top.
        layers: usize,
        /// The first hidden layer's taps are adjacent frames; each further one's lie so many times farther apart.
        #[serde(default = "one")]
        dilation_base: usize,
        /// Frames after the current one that the latent may see.
        look_ahead_frames: usize,
    },
    /// The paper's residual stack of dilated convolutions (kernel 3) on the waveform, then average pooling.
    Dilated {
        /// Blocks of dilations 1, 2, 4, ...
        blocks: usize,
        /// Layers of one block.
        layers_per_block: usize,
        /// Width of the residual stack.
        channels: usize,
        /// How far the convolutions may see into the future.
        look_ahead: DilatedLookAhead,
    },
    /// Causal strided convolutions (kernel = 2 x stride) on the waveform, then average pooling over what is left of
    /// the hop.
    Strided {
        /// Strides of the layers; their product must divide `hop_samples`.
        strides: Vec<usize>,
        /// Width of the hidden layers.
        channels: usize,
    },
    /// Strided convolutions over the bins of one frame's spectral envelope ([`ENVELOPE_TAPS`], stride
    /// [`ENVELOPE_STRIDE`]), then one product over all that is left.
    Envelope {
        /// Widths of the layers.
        channels: Vec<usize>,
    },
}

/// Lowest F0 whose envelope is measured in full, in Hz: below the lowest note of a bass, and the lower the later.
pub const ENVELOPE_LOWEST_F0_HZ: f32 = 60.0;
/// Kernel of the convolutions over an envelope's bins.
pub const ENVELOPE_TAPS: usize = 7;
/// What their rectifiers let through of what is negative.
pub const ENVELOPE_LEAK: f32 = 0.1;
/// Stride of them: a layer leaves a third of the bins, or makes three of each.
pub const ENVELOPE_STRIDE: usize = 3;

/// The decoder of spectral envelopes (Hsu et al., "Voice Conversion from Non-parallel Corpora Using Variational
/// Auto-encoder", 2016): one product of latent and singer, then layers that each make three bins of one and convolve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeConfig {
    /// Widths before each layer; the last layer gives the envelope. `bins / 3^layers` bins come first.
    pub channels: Vec<usize>,
    /// Whether F0 is moved from the take's mean and spread of `log F0`, as far as they are known by then, to the singer's.
    pub maps_f0: bool,
}

/// The future that a dilated encoder sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DilatedLookAhead {
    /// Every convolution is centred, as published: half of the receptive field lies ahead.
    Full,
    /// At most so many samples in all; 0 is a causal encoder. Early layers take their share first.
    Samples(usize),
}

/// The WaveNet decoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Blocks of dilations 1, 2, 4, ...
    pub blocks: usize,
    /// Layers of one block.
    pub layers_per_block: usize,
    /// Width of the residual path.
    pub residual_channels: usize,
    /// Width of the skip path.
    pub skip_channels: usize,
    /// Width of the hidden layer between skips and logits.
    pub head_channels: usize,
    /// Pass through the layers once for two samples: a second head gives the second of them from the same skips and the
    /// code that the first was drawn as.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pairs: bool,
    /// The linear prior whose log-density is added to the logits.
    pub prior: Option<PriorConfig>,
}

/// The linear prior: short-term prediction from past samples plus harmonics of F0, predicted once per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorConfig {
    /// Prediction taps on past decoded samples, given by as many reflection coefficients.
    pub taps: usize,
    /// Harmonics of F0, sine and cosine each.
    pub harmonics: usize,
}

/// A configuration that no model can be built from.
#[derive(Debug, Error, PartialEq)]
#[error("model configuration: {0}")]
pub struct ConfigError(pub String);

fn in_range(name: &str, value: usize, low: usize, high: usize) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError(format!("{name} is {value}, must be {low} to {high}")))
    }
}

impl ModelConfig {
    /// Refuses sizes that are zero, absurd or do not fit each other, so that nothing is allocated in proportion to
    /// what a file merely claims.
    pub fn check(&self) -> Result<(), ConfigError> {
        let within = in_range;
        within("sample_rate_hz", self.sample_rate_hz as usize, 8_000, 48_000)?;
        within("hop_samples", self.hop_samples, 16, 4_096)?;
        let least = usize::from(self.encoder != EncoderConfig::None);
        within("latent_size", self.latent_size, least, 1_024 * least)?;
        let least = usize::from(matches!(self.singers, SingerInput::Embedding | SingerInput::OneHot));
        within("singer_embedding_size", self.singer_embedding_size, least, 1_024 * least)?;
        if self.bottleneck.is_some() && self.encoder == EncoderConfig::None {
            return Err(ConfigError("a bottleneck needs an encoder".into()));
        }
        if let Some(BottleneckConfig::VectorQuantized { codes }) = self.bottleneck {
            within("bottleneck.codes", codes, 2, 1 << 16)?;
        }
        within("f0_decision_ms", self.f0_decision_ms as usize, 0, 100)?;
        within("condition.excitation_harmonics", self.condition.excitation_harmonics, 0, 64)?;
        within("condition.period_taps", self.condition.period_taps, 0, 15)?;
        within("condition.frame_channels", self.condition.frame_channels, 1, 2_048)?;
        within("condition.frame_layers", self.condition.frame_layers, 1, 8)?;
        if !(0.0..1.0).contains(&self.pre_emphasis) {
            return Err(ConfigError(format!("pre_emphasis is {}, must be in [0, 1)", self.pre_emphasis)));
        }
        match &self.encoder {
            EncoderConfig::None => {}
            EncoderConfig::Envelope { channels } => {
                within("encoder.channels count", channels.len(), 1, 6)?;
                for channels in channels {
                    within("encoder.channels", *channels, 1, 1_024)?;
                }
            }
            EncoderConfig::Mel { mels, channels, layers, dilation_base, look_ahead_frames } => {
                within("encoder.mels", *mels, 8, 128)?;
                within("encoder.channels", *channels, 1, 1_024)?;
                within("encoder.layers", *layers, 1, 16)?;
                within("encoder.dilation_base", *dilation_base, 1, 4)?;
                let past = mel_past_frames(*layers, *dilation_base);
                within("encoder's frames of the past", past, 1, 500)?;
                // More look-ahead than the stack reads of the past would skip frames.
                within("encoder.look_ahead_frames", *look_ahead_frames, 0, past)?;
            }
            EncoderConfig::Dilated { blocks, layers_per_block, channels, look_ahead } => {
                within("encoder.blocks", *blocks, 1, 8)?;
                within("encoder.layers_per_block", *layers_per_block, 1, 12)?;
                within("encoder.channels", *channels, 1, 1_024)?;
                if let DilatedLookAhead::Samples(samples) = look_ahead {
                    within("encoder.look_ahead samples", *samples, 0, 1 << 16)?;
                }
            }
            EncoderConfig::Strided { strides, channels } => {
                within("encoder.strides count", strides.len(), 1, 12)?;
                for stride in strides {
                    within("encoder stride", *stride, 1, 64)?;
                }
                // Twelve strides of 64 overflow 64 bits; 0 divides no hop and is refused below.
                let product =
                    strides.iter().try_fold(1_usize, |all, stride| all.checked_mul(*stride)).unwrap_or(0);
                if product == 0 || !self.hop_samples.is_multiple_of(product) {
                    return Err(ConfigError(format!(
                        "encoder strides multiply to {product}, which does not divide hop_samples {}",
                        self.hop_samples
                    )));
                }
                within("encoder.channels", *channels, 1, 1_024)?;
            }
        }
        match &self.envelope {
            Some(envelope) => self.check_envelope(envelope),
            None => self.check_decoder(),
        }
    }

    /// The sizes of a model that gives envelopes.
    fn check_envelope(&self, envelope: &EnvelopeConfig) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError(what));
        if !matches!(self.encoder, EncoderConfig::Envelope { .. }) {
            return refuse("envelope needs encoder.kind = \"envelope\"".into());
        }
        if self.decoder != DecoderConfig::default() || self.condition != ConditionConfig::default() {
            return refuse(
                "decoder and condition are of a WaveNet; leave them out where envelope is given".into(),
            );
        }
        if matches!(self.bottleneck, Some(BottleneckConfig::VectorQuantized { .. })) {
            return refuse("a codebook is of a WaveNet; envelope takes a Gaussian bottleneck or none".into());
        }
        let layers = envelope.channels.len();
        if !(1..=6).contains(&layers)
            || envelope.channels.iter().any(|channels| !(1..=1_024).contains(channels))
        {
            return refuse("envelope.channels must be 1 to 6 widths of 1 to 1024".into());
        }
        let bins = self.envelope_bins();
        let factor = ENVELOPE_STRIDE.pow(layers as u32);
        if !bins.is_multiple_of(factor) {
            return refuse(format!(
                "envelope.channels makes {factor} bins of one, which does not divide the {bins} there are"
            ));
        }
        Ok(())
    }

    /// The sizes of a model that gives samples.
    fn check_decoder(&self) -> Result<(), ConfigError> {
        if matches!(self.encoder, EncoderConfig::Envelope { .. })
            || self.bottleneck == Some(BottleneckConfig::Gaussian)
        {
            return Err(ConfigError("an envelope encoder and a Gaussian bottleneck need envelope".into()));
        }
        let decoder = &self.decoder;
        let within = in_range;
        within("decoder.blocks", decoder.blocks, 1, 8)?;
        within("decoder.layers_per_block", decoder.layers_per_block, 1, 14)?;
        within("decoder.residual_channels", decoder.residual_channels, 1, 512)?;
        within("decoder.skip_channels", decoder.skip_channels, 1, 1_024)?;
        within("decoder.head_channels", decoder.head_channels, 1, 1_024)?;
        if let Some(prior) = decoder.prior {
            within("decoder.prior.taps", prior.taps, 1, 64)?;
            within("decoder.prior.harmonics", prior.harmonics, 0, 128)?;
            if prior.harmonics > 0 && !(self.condition.f0 && self.condition.loudness) {
                return Err(ConfigError("a harmonic prior needs condition.f0 and condition.loudness".into()));
            }
        }
        if decoder.pairs && !self.hop_samples.is_multiple_of(2) {
            return Err(ConfigError(format!(
                "decoder.pairs needs an even hop_samples, not {}",
                self.hop_samples
            )));
        }
        if self.condition.excitation_size() > 0 && !self.condition.f0 {
            return Err(ConfigError("excitation_harmonics and period_taps need condition.f0".into()));
        }
        let reads_mel = matches!(self.encoder, EncoderConfig::Mel { .. });
        if self.condition.spectrum && (!reads_mel || self.singers == SingerInput::Decoders) {
            return Err(ConfigError("condition.spectrum needs a mel encoder and one decoder for all".into()));
        }
        if self.condition.timbre && !(self.condition.spectrum && self.condition.f0) {
            return Err(ConfigError("condition.timbre needs condition.spectrum and condition.f0".into()));
        }
        if self.condition.period_taps > 0 && self.condition.period_taps.is_multiple_of(2) {
            return Err(ConfigError(format!("period_taps is {}, must be odd", self.condition.period_taps)));
        }
        Ok(())
    }

    /// Bins of a spectral envelope: half of the vocoder's transform and one, 513 at 16 kHz.
    pub fn envelope_bins(&self) -> usize {
        world::fft_samples(self.sample_rate_hz, ENVELOPE_LOWEST_F0_HZ) / 2 + 1
    }

    /// Width of what the encoder gives: a Gaussian has a mean and a logarithm of a variance for each channel.
    pub fn encoded_size(&self) -> usize {
        let parts = if self.bottleneck == Some(BottleneckConfig::Gaussian) { 2 } else { 1 };
        parts * self.latent_size
    }

    /// Width of the frame network's input: latent, then F0 (log2 ratio, voiced), then loudness, then the singer.
    pub fn frame_input_size(&self) -> usize {
        self.latent_size + self.frame_features() + self.singer_embedding_size
    }

    /// Those of it that are measured: F0 and loudness.
    pub fn frame_features(&self) -> usize {
        let condition = &self.condition;
        2 * usize::from(condition.f0) + usize::from(condition.loudness)
    }

    /// Width of the conditioning vector of one frame: `2 R` gate biases for each layer, then `A` head biases.
    pub fn condition_size(&self) -> usize {
        self.decoder.layers() * 2 * self.decoder.residual_channels + self.decoder.head_channels
    }

    /// Bands of the spectrum that is read from the frame network; 0 if none is.
    pub fn spectrum_bands(&self) -> usize {
        match &self.encoder {
            EncoderConfig::Mel { mels, .. } if self.condition.spectrum => *mels,
            _ => 0,
        }
    }

    /// Width of the prior's frame vector: reflection coefficients, sine weights, cosine weights, log-scale, weights of
    /// the taps one period ago.
    pub fn prior_size(&self) -> usize {
        let period_taps = self.condition.period_taps;
        self.decoder.prior.map_or(0, |prior| prior.taps + 2 * prior.harmonics + 1 + period_taps)
    }
}

impl Default for ConditionConfig {
    /// Nothing but the latent and the singer, through one channel.
    fn default() -> Self {
        Self {
            f0: false,
            loudness: false,
            excitation_harmonics: 0,
            period_taps: 0,
            frame_channels: 1,
            frame_layers: 1,
            spectrum: false,
            timbre: false,
        }
    }
}

impl ConditionConfig {
    /// Width of the excitation: sines, cosines, taps one period ago.
    pub fn excitation_size(&self) -> usize {
        2 * self.excitation_harmonics + self.period_taps
    }
}

impl DecoderConfig {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Samples of one pass through the layers.
    pub fn samples_per_pass(&self) -> usize {
        if self.pairs { 2 } else { 1 }
    }

    /// Dilated layers in all.
    pub fn layers(&self) -> usize {
        self.blocks * self.layers_per_block
    }

    /// Dilation of every layer, first to last.
    pub fn dilations(&self) -> Vec<usize> {
        dilations(self.blocks, self.layers_per_block)
    }
}

/// Dilations 1, 2, 4, ... of each block, one block after the other.
pub fn dilations(blocks: usize, layers_per_block: usize) -> Vec<usize> {
    (0..blocks).flat_map(|_| (0..layers_per_block).map(|layer| 1 << layer)).collect()
}

/// Bins that each layer of an envelope encoder reads and, last, those that are left.
pub(crate) fn envelope_widths(bins: usize, layers: usize) -> Vec<usize> {
    let next = |bins: &usize| Some(bins.div_ceil(ENVELOPE_STRIDE));
    std::iter::successors(Some(bins), next).take(layers + 1).collect()
}

/// Distances between the taps of a mel encoder's hidden layers, first to last.
pub fn mel_dilations(layers: usize, dilation_base: usize) -> impl Iterator<Item = usize> {
    (0..layers).map(move |layer| dilation_base.pow(layer as u32))
}

/// Frames before the newest one that a mel encoder's latent depends on: its kernel-3 layers and the kernel-2 latent layer.
pub fn mel_past_frames(layers: usize, dilation_base: usize) -> usize {
    mel_dilations(layers, dilation_base).map(|dilation| 2 * dilation).sum::<usize>() + 1
}
