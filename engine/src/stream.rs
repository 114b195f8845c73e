//! Sound in, sound out, one hop at a time.

mod hub;
mod settings;

pub use hub::{Hub, HubError, LatencyParts, Stream, StreamConfig, StreamMeters, StreamReport, Worker};
pub use settings::Settings;
