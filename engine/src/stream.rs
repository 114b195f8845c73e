//! Sound in, sound out, one hop at a time.

mod encoder;

pub use encoder::Encoder;
