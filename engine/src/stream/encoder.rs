//! The encoder, hop by hop: from a take to latent frames.

mod dilated;
mod envelope;
mod mel;
mod strided;

use crate::voice::{BottleneckConfig, CODEBOOK, EncoderConfig, ModelConfig, nearest_code};
use dilated::Dilated;
use envelope::Envelope;
use mel::Mel;
use strided::Strided;

/// The encoder of a bank, with its bottleneck, as a stream: one hop of the take in, one latent frame out, `look_ahead_hops` later.
/// Allocates nothing after it is made.
///
/// What it computes is stated by [`EncoderConfig`]; convolutions over the waveform see zeros before the start, the
/// convolutions over mel frames see endless silence. Without an encoder latents are of no channel.
pub struct Encoder {
    kind: Kind,
    input_size: usize,
    look_ahead_hops: usize,
    /// `[codes, latent_size]`, if the latent is quantised.
    codebook: Option<Box<[f32]>>,
    /// Hops that must still be pushed before the first latent comes.
    missing_hops: usize,
}

enum Kind {
    None,
    Mel(Mel),
    Dilated(Box<Dilated>),
    Strided(Strided),
    Envelope(Envelope),
}

impl Encoder {
    /// An encoder in its starting state. `tensor` gives the tensors of [`tensor_specs`](crate::voice::tensor_specs) by
    /// name; `config` has passed [`ModelConfig::check`].
    pub fn new<'a>(config: &ModelConfig, tensor: impl Fn(&str) -> &'a [f32]) -> Self {
        let (hop, latent_size) = (config.hop_samples, config.latent_size);
        let (kind, input_size, look_ahead_hops) = match &config.encoder {
            EncoderConfig::None => (Kind::None, hop, 0),
            &EncoderConfig::Mel { mels, channels, layers, dilation_base, look_ahead_frames } => {
                let mel = Mel::new(mels, channels, (layers, dilation_base), latent_size, &tensor);
                (Kind::Mel(mel), mels + 1, look_ahead_frames)
            }
            &EncoderConfig::Dilated { blocks, layers_per_block, channels, look_ahead } => {
                let dilations = crate::voice::dilations(blocks, layers_per_block);
                let dilated = Dilated::new(&dilations, channels, look_ahead, hop, latent_size, &tensor);
                let look_ahead_hops = dilated.look_ahead_hops();
                (Kind::Dilated(Box::new(dilated)), hop, look_ahead_hops)
            }
            EncoderConfig::Strided { strides, channels } => {
                (Kind::Strided(Strided::new(strides, *channels, hop, latent_size, &tensor)), hop, 0)
            }
            EncoderConfig::Envelope { channels } => {
                let bins = config.envelope_bins();
                (Kind::Envelope(Envelope::new(bins, channels, latent_size, &tensor)), bins, 0)
            }
        };
        let codebook = match config.bottleneck {
            Some(BottleneckConfig::VectorQuantized { .. }) => Some(tensor(CODEBOOK).into()),
            // Of a Gaussian the mean is sung.
            Some(BottleneckConfig::Gaussian) | None => None,
        };
        Self { kind, input_size, look_ahead_hops, codebook, missing_hops: look_ahead_hops }
    }

    /// Values that go in each hop: the mel bands and the loudness feature of the hop's frame for
    /// [`EncoderConfig::Mel`], the normalised shape of the hop's spectral envelope for [`EncoderConfig::Envelope`], else the
    /// hop's samples (without pre-emphasis).
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// Hops after its own that a latent depends on.
    pub fn look_ahead_hops(&self) -> usize {
        self.look_ahead_hops
    }

    /// Back to the starting state.
    pub fn reset(&mut self) {
        match &mut self.kind {
            Kind::None => {}
            Kind::Mel(mel) => mel.reset(),
            Kind::Dilated(dilated) => dilated.reset(),
            Kind::Strided(strided) => strided.reset(),
            Kind::Envelope(_) => {}
        }
        self.missing_hops = self.look_ahead_hops;
    }

    /// Takes the next hop (`input_size` values); gives the latent (`latent_size` values) of the hop `look_ahead_hops`
    /// before it, or `None` where that lies before the start.
    ///
    /// # Panics
    /// If `input` is not `input_size` long.
    pub fn push(&mut self, input: &[f32]) -> Option<&[f32]> {
        assert_eq!(input.len(), self.input_size, "values of a hop");
        let latent = match &mut self.kind {
            Kind::None => &[],
            Kind::Mel(mel) => mel.push(input),
            Kind::Dilated(dilated) => dilated.push(input),
            Kind::Strided(strided) => strided.push(input),
            Kind::Envelope(envelope) => envelope.push(input),
        };
        if self.missing_hops > 0 {
            self.missing_hops -= 1;
            return None;
        }
        Some(match &self.codebook {
            Some(codebook) => {
                let code = nearest_code(codebook, latent);
                &codebook[code * latent.len()..(code + 1) * latent.len()]
            }
            None => latent,
        })
    }
}

#[cfg(test)]
mod tests;
