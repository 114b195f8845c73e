//! The engine of Falsetto: from a take and a voice bank to the same take in another singer's voice.
//!
//! ```text
//! voice    a voice bank file: safetensors and a card; load, check, save
//! signal   what is done to sound: mu-law, emphasis, resampling, F0, loudness, mel frames
//! decode   the cached-activation decoder and the frame networks around it, one numeric specification
//! lanes    sixteen values at a time, on several instruction sets with the same bits
//! together streams that share passes over weights
//! stream   sound in, sound out, one hop at a time: Converter (pure) and Hub (the engine thread)
//! judge    what a conversion is worth: measures and a report                        (feature `judge`)
//! page     what the pages of judge and training share
//! model    the networks as candle graphs: used to train and as the reference        (feature `train`)
//! train    corpus, augmentation, recipes, the training loop, checkpoints            (feature `train`)
//! ```
//!
//! Words: a *take* is the input, a *hop* is the samples of one latent frame, *look-ahead* is how far into the future
//! a stage reads, a *bank* holds several *singers*, a *blend* is a convex combination of singer embeddings.
#![warn(missing_docs)]

#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod decode;
#[cfg(test)]
mod emulation;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "judge")]
pub mod judge;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
mod lanes;
#[cfg(feature = "train")]
pub mod model;
#[cfg(any(feature = "judge", feature = "train"))]
mod page;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod signal;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod stream;
mod together;
#[cfg(feature = "train")]
pub mod train;
#[cfg_attr(not(test), deny(clippy::disallowed_methods))]
pub mod voice;
