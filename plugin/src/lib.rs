//! Falsetto as a CLAP and VST3 plugin.
//!
//! ```text
//! params   the parameters and what a project remembers besides them
//! plugin   what the host calls: activation, reset, process, identity
//! audio    the audio thread: copies samples to and from the engine, aligns dry sound and parameters with the wet sound
//! voice    finds and loads voice banks on a thread of its own, opens streams for them
//! device   the processor or a GPU
//! board    what the audio thread and the voice thread show to the editor
//! editor   the window (feature `editor`)
//! ```

// `clippy.toml` lists what the audio thread must not use; only `audio` turns the lints on.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

mod audio;
mod board;
mod device;
#[cfg(feature = "editor")]
mod editor;
mod params;
mod plugin;
mod voice;

pub use params::FalsettoParams;
pub use plugin::Falsetto;

use nice_plug::prelude::*;

nice_export_clap!(Falsetto);
nice_export_vst3!(Falsetto);
