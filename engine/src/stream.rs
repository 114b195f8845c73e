//! Sound in, sound out, one hop at a time.

mod encoder;

pub use encoder::Encoder;
pub use stub::*;
#[allow(missing_docs)]
mod stub {
    use crate::voice::VoiceBank; use std::sync::Arc;
    #[derive(Clone,Copy,Default)] pub struct Settings { pub singer: usize, pub transpose_semitones: f32, pub seed: u64 }
    #[derive(Debug, thiserror::Error)] #[error("x")] pub struct StreamError;
    pub fn convert(_: &Arc<VoiceBank>, _: u32, _: Settings, x: &[f32]) -> Result<Vec<f32>, StreamError> { Ok(x.to_vec()) }
    pub struct Converter; pub struct Stage { pub samples: f64, pub name: &'static str }
    impl Converter { pub fn new(_: &Arc<VoiceBank>, _: u32, _: Settings) -> Result<Self, StreamError> { Ok(Self) } pub fn latency_samples(&self) -> usize {0} pub fn stages(&self) -> &[Stage] { &[] } }
}
