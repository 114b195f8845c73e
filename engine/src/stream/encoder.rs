//! The encoder, hop by hop: from a take to latent frames. Streams of one bank share its packed weights, and may share passes
//! over them ([`encode_hops`]).

mod dilated;
mod envelope;
mod mel;
mod strided;

use std::sync::Arc;

use crate::together::Together;
use crate::voice::{BottleneckConfig, CODEBOOK, EncoderConfig, ModelConfig, VoiceBank, nearest_code};
use dilated::Dilated;
use envelope::Envelope;
use mel::Mel;
use strided::Strided;

/// The encoder of a bank, with its bottleneck, as a stream: one hop of the take in, one latent frame out, `look_ahead_hops` later.
/// Allocates nothing after it is made. A clone has a state of its own and shares the weights.
///
/// What it computes is stated by [`EncoderConfig`]; convolutions over the waveform see zeros before the start, the
/// convolutions over mel frames see endless silence. Without an encoder latents are of no channel.
#[derive(Clone)]
pub struct Encoder {
    kind: Kind,
    input_size: usize,
    look_ahead_hops: usize,
    /// `[codes, latent_size]`, if the latent is quantised.
    codebook: Option<Arc<[f32]>>,
    /// Hops that must still be pushed before the first latent comes.
    missing_hops: usize,
}

#[derive(Clone)]
enum Kind {
    None,
    Mel(Mel),
    Dilated(Box<Dilated>),
    Strided(Strided),
    Envelope(Envelope),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encoder").field("input_size", &self.input_size).finish_non_exhaustive()
    }
}

impl Encoder {
    /// The encoder of a bank in its starting state; its weights are packed once for all that encode with it.
    pub fn of(bank: &VoiceBank) -> Self {
        let new = || Self::new(&bank.card().model, |name| bank.tensor(name));
        bank.derived.get_or_make(new)
    }

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
        self.check(input);
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
        Some(quantised(self.codebook.as_deref(), latent))
    }

    fn check(&self, input: &[f32]) {
        assert_eq!(input.len(), self.input_size, "values of a hop");
    }

    /// Whether this one gains from being pushed together with the other: both read mel frames by the same weights, and neither
    /// has hops to wait for.
    fn is_like(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Mel(one), Kind::Mel(two)) => {
                one.is_shared_with(two) && self.missing_hops == 0 && other.missing_hops == 0
            }
            _ => false,
        }
    }
}

/// The codebook's nearest vector, if there is a codebook.
fn quantised<'a>(codebook: Option<&'a [f32]>, latent: &'a [f32]) -> &'a [f32] {
    let Some(codebook) = codebook else { return latent };
    let code = nearest_code(codebook, latent);
    &codebook[code * latent.len()..(code + 1) * latent.len()]
}

/// One of several streams' hops.
pub struct EncodeTask<'a> {
    /// The stream.
    pub encoder: &'a mut Encoder,
    /// As in [`Encoder::push`].
    pub input: &'a [f32],
    /// Where the latent goes, if there is one: `[latent_size]`.
    pub latent: &'a mut [f32],
}

/// Pushes one hop to each of several streams, as [`Encoder::push`] would, to the bit. Neighbours of one bank share passes over
/// its weights, where they read mel frames, which takes less time than one after another.
///
/// # Panics
/// As [`Encoder::push`] does.
pub fn encode_hops(tasks: &mut [EncodeTask]) {
    let mut tasks = tasks;
    while let [first, others @ ..] = &*tasks {
        let beside = others.iter().take_while(|task| task.encoder.is_like(first.encoder)).count();
        let (group, rest) = tasks.split_at_mut(1 + beside);
        match group {
            [EncodeTask { encoder, input, latent }] => {
                if let Some(pushed) = encoder.push(input) {
                    latent.copy_from_slice(pushed);
                }
            }
            group => Push::all(group),
        }
        tasks = rest;
    }
}

/// Pushes hops of streams that are alike.
struct Push;

impl<'a> Together<EncodeTask<'a>> for Push {
    fn together<const B: usize>(mut tasks: [&mut EncodeTask<'a>; B]) {
        Mel::push_together(tasks.each_mut().map(|EncodeTask { encoder, input, .. }| {
            encoder.check(input);
            let Kind::Mel(mel) = &mut encoder.kind else { unreachable!("only these are alike") };
            (mel, *input)
        }));
        for EncodeTask { encoder, latent, .. } in tasks {
            let Kind::Mel(mel) = &encoder.kind else { unreachable!("only these are alike") };
            latent.copy_from_slice(quantised(encoder.codebook.as_deref(), mel.latent()));
        }
    }
}

#[cfg(test)]
mod tests;
