//! The names and shapes of a bank's tensors, derived from its configuration. The trainer writes exactly these, the
//! loader accepts exactly these.

use super::config::{
    BottleneckConfig, ENVELOPE_STRIDE, ENVELOPE_TAPS, EncoderConfig, MU_LAW_CODES, ModelConfig, SingerInput,
    envelope_widths,
};
use super::timbre::{REGISTERS, TIMBRE};

/// The singers' embeddings, one row each.
pub(crate) const EMBEDDING: &str = "singers.embedding";
/// Mean and standard deviation of each singer's `ln F0`.
pub(crate) const LOG_F0: &str = "singers.log_f0";
/// The frames that a quantised latent may be, one row each.
pub(crate) const CODEBOOK: &str = "bottleneck.codebook";

/// A tensor that a bank of a given configuration must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, which mirrors the module path of the graph.
    pub name: String,
    /// Its shape; matrices are `[outputs, inputs]`, convolutions `[outputs, inputs, taps]` with the oldest tap first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of values.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// All tensors of a bank with `singers` singers, in file order.
pub fn tensor_specs(config: &ModelConfig, singers: usize) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize]| specs.push(TensorSpec { name, shape: shape.to_vec() });

    match &config.encoder {
        EncoderConfig::None => {}
        EncoderConfig::Mel { mels, channels, layers, .. } => {
            // One more input than mel bands: the frame's loudness.
            let mut inputs = mels + 1;
            // What is subtracted from the level-free log-mel frame before a singer's own mean is known.
            add("encoder.mel_mean".into(), &[*mels]);
            for layer in 0..*layers {
                add(format!("encoder.layers.{layer}.weight"), &[*channels, inputs, 3]);
                add(format!("encoder.layers.{layer}.bias"), &[*channels]);
                inputs = *channels;
            }
            add("encoder.latent.weight".into(), &[config.latent_size, *channels, 2]);
            add("encoder.latent.bias".into(), &[config.latent_size]);
        }
        EncoderConfig::Dilated { blocks, layers_per_block, channels, .. } => {
            add("encoder.start.weight".into(), &[*channels, 1, 3]);
            add("encoder.start.bias".into(), &[*channels]);
            for layer in 0..blocks * layers_per_block {
                add(format!("encoder.layers.{layer}.conv.weight"), &[*channels, *channels, 3]);
                add(format!("encoder.layers.{layer}.conv.bias"), &[*channels]);
                add(format!("encoder.layers.{layer}.point.weight"), &[*channels, *channels, 1]);
                add(format!("encoder.layers.{layer}.point.bias"), &[*channels]);
            }
            add("encoder.latent.weight".into(), &[config.latent_size, *channels, 1]);
            add("encoder.latent.bias".into(), &[config.latent_size]);
        }
        EncoderConfig::Strided { strides, channels } => {
            let mut inputs = 1;
            for (layer, stride) in strides.iter().enumerate() {
                add(format!("encoder.layers.{layer}.weight"), &[*channels, inputs, 2 * stride]);
                add(format!("encoder.layers.{layer}.bias"), &[*channels]);
                inputs = *channels;
            }
            add("encoder.latent.weight".into(), &[config.latent_size, *channels, 1]);
            add("encoder.latent.bias".into(), &[config.latent_size]);
        }
        EncoderConfig::Envelope { channels } => {
            let bins = config.envelope_bins();
            // What is subtracted from the logarithm of an envelope without its level, and what the rest is divided by.
            add("envelope.mean".into(), &[bins]);
            add("envelope.scale".into(), &[1]);
            let mut inputs = 1;
            for (layer, &channels) in channels.iter().enumerate() {
                add(format!("encoder.layers.{layer}.weight"), &[channels, inputs, ENVELOPE_TAPS]);
                add(format!("encoder.layers.{layer}.bias"), &[channels]);
                inputs = channels;
            }
            let left = envelope_widths(bins, channels.len())[channels.len()];
            add("encoder.latent.weight".into(), &[config.encoded_size(), inputs * left]);
            add("encoder.latent.bias".into(), &[config.encoded_size()]);
        }
    }

    if config.envelope.as_ref().is_some_and(|envelope| envelope.maps_f0) {
        // Mean and standard deviation of each singer's `ln F0`.
        add(LOG_F0.into(), &[singers, 2]);
    }
    if let Some(BottleneckConfig::VectorQuantized { codes }) = config.bottleneck {
        add(CODEBOOK.into(), &[codes, config.latent_size]);
    }
    if config.singer_embedding_size > 0 {
        add(EMBEDDING.into(), &[singers, config.singer_embedding_size]);
    }
    if config.condition.timbre {
        // Level-free log-mel frames of the singers' voiced frames.
        add(TIMBRE.into(), &[singers, REGISTERS, config.spectrum_bands()]);
    }
    if config.singers == SingerInput::Decoders {
        for singer in 0..singers {
            let own = |spec: TensorSpec| TensorSpec {
                name: decoder_tensor_name(config, singer, &spec.name),
                ..spec
            };
            specs.extend(decoder_specs(config).into_iter().map(own));
        }
    } else {
        specs.extend(decoder_specs(config));
    }
    specs
}

/// Name in the bank of the tensor that a singer's decoder calls `name`.
pub(crate) fn decoder_tensor_name(config: &ModelConfig, singer: usize, name: &str) -> String {
    match config.singers {
        SingerInput::Decoders => format!("singers.{singer}.{name}"),
        _ => name.into(),
    }
}

/// The other way round: what a tensor of the bank is called within its decoder, or the same name if it is of none.
pub(crate) fn name_in_decoder(name: &str) -> &str {
    let own = name.strip_prefix("singers.").and_then(|rest| rest.split_once('.'));
    own.map_or(name, |(_, name)| name)
}

/// The tensors of one decoder and of its frame network.
fn decoder_specs(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize]| specs.push(TensorSpec { name, shape: shape.to_vec() });
    if let Some(envelope) = &config.envelope {
        let layers = envelope.channels.len();
        let first = envelope.channels[0] * config.envelope_bins() / ENVELOPE_STRIDE.pow(layers as u32);
        add("envelope.merge.weight".into(), &[first, config.latent_size + config.singer_embedding_size]);
        add("envelope.merge.bias".into(), &[first]);
        for (layer, &inputs) in envelope.channels.iter().enumerate() {
            let outputs = envelope.channels.get(layer + 1).copied().unwrap_or(1);
            add(format!("envelope.layers.{layer}.weight"), &[outputs, inputs, ENVELOPE_TAPS]);
            add(format!("envelope.layers.{layer}.bias"), &[outputs]);
        }
        return specs;
    }
    let frame_channels = config.condition.frame_channels;
    if config.frame_input_size() > 0 {
        add("frame.weight".into(), &[frame_channels, config.frame_input_size()]);
    }
    add("frame.bias".into(), &[frame_channels]);
    for layer in 1..config.condition.frame_layers {
        add(format!("frame.layers.{layer}.weight"), &[frame_channels, frame_channels]);
        add(format!("frame.layers.{layer}.bias"), &[frame_channels]);
    }
    if config.condition.spectrum {
        let bands = config.spectrum_bands();
        add("spectrum.weight".into(), &[bands, frame_channels]);
        add("spectrum.bias".into(), &[bands]);
    }
    add("condition.weight".into(), &[config.condition_size(), frame_channels]);
    add("condition.bias".into(), &[config.condition_size()]);

    let decoder = &config.decoder;
    let (residual, skip, head) = (decoder.residual_channels, decoder.skip_channels, decoder.head_channels);
    add("decoder.input.current".into(), &[MU_LAW_CODES, residual]);
    add("decoder.input.previous".into(), &[MU_LAW_CODES, residual]);
    let excitation = config.condition.excitation_size();
    if excitation > 0 {
        add("decoder.excitation.weight".into(), &[residual, excitation]);
    }
    for layer in 0..decoder.layers() {
        // Rows 0..R give the tanh half, rows R..2R the sigmoid half of the gate; its bias is the condition's.
        add(format!("decoder.layers.{layer}.previous"), &[2 * residual, residual]);
        add(format!("decoder.layers.{layer}.current"), &[2 * residual, residual]);
        add(format!("decoder.layers.{layer}.residual.weight"), &[residual, residual]);
        add(format!("decoder.layers.{layer}.residual.bias"), &[residual]);
        add(format!("decoder.layers.{layer}.skip.weight"), &[skip, residual]);
    }
    add("decoder.skip_bias".into(), &[skip]);
    add("decoder.head.hidden.weight".into(), &[head, skip]);
    add("decoder.head.output.weight".into(), &[MU_LAW_CODES, head]);
    add("decoder.head.output.bias".into(), &[MU_LAW_CODES]);
    if decoder.pairs {
        // What the first sample's code adds to the skips that the second head reads.
        add("decoder.second.code".into(), &[MU_LAW_CODES, skip]);
        add("decoder.second.hidden.weight".into(), &[head, skip]);
        add("decoder.second.output.weight".into(), &[MU_LAW_CODES, head]);
        add("decoder.second.output.bias".into(), &[MU_LAW_CODES]);
    }
    if decoder.prior.is_some() {
        add("prior.weight".into(), &[config.prior_size(), frame_channels]);
        add("prior.bias".into(), &[config.prior_size()]);
    }
    specs
}
