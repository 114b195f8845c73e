//! Sound in, sound out, one hop at a time.

mod converter;
mod encoder;

pub use converter::{Converter, Settings, StageDelay, StreamError};
pub use encoder::Encoder;
