//! Sound in, sound out, one hop at a time.

mod converter;
mod encoder;
mod envelope;
mod hub;
mod offline;
mod product;

pub use converter::{
    Converter, GpuUse, HOST_RATES_HZ, MAX_FORMANT_SEMITONES, MAX_TRANSPOSE_SEMITONES, Progress, Settings,
    StageDelay, StreamError,
};
pub use encoder::{EncodeTask, Encoder, encode_hops};
pub use hub::{Hub, HubError, LatencyParts, Stream, StreamConfig, StreamMeters, StreamReport, Worker};
pub use offline::{Batch, Conversion, convert, median_f0_hz};
