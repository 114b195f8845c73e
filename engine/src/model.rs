//! The networks as candle graphs: used to train and as the reference that the streaming decoder is held against.
//!
//! ```text
//! ops         fused layers with hand-written gradients (candle's own convolution gradients are not used)
//! parameters  every trainable tensor by its name in the bank
//! encoder     the take -> latent frames: mel, dilated or strided
//! bottleneck  latent frames -> what the decoder is given of them
//! decoder     latent, F0, loudness, singer and past samples -> bits per sample
//! envelope    spectral envelopes -> latent -> spectral envelopes
//! random      numbers for weights, batches and augmentation, a stream for each purpose
//! confusion   the classifier that must not find the singer in the latent
//! spectrum    the log-mel frame that the frame network must know
//! ```

mod bottleneck;
mod confusion;
mod decoder;
mod encoder;
mod envelope;
pub mod ops;
mod parameters;
pub(crate) mod random;
mod spectrum;

pub use bottleneck::{Codes, Narrowed, narrow};
pub use confusion::Confusion;
pub use decoder::{Decoder, DecoderInput};
pub use encoder::{EncoderContext, encode, encoder_context};
pub use envelope::{decode_shapes, draw_latent, encode_shapes};
pub use parameters::Parameters;
pub use spectrum::{read_spectrum, spectrum_distance};

#[cfg(test)]
mod tests;
