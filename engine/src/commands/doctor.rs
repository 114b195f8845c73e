//! `falsetto doctor`: what this machine can do, and what stands in the way.

use std::time::Instant;

use falsetto_engine::decode::{Gpu, Isa};
use falsetto_engine::stream::{Settings, convert};
use falsetto_engine::voice::VoiceBank;

use super::{Outcome, say};

/// Check this machine.
#[derive(clap::Args)]
pub struct Arguments {}

pub fn run(_: &Arguments) -> Outcome {
    say!("falsetto     {}", env!("CARGO_PKG_VERSION"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    say!("processor    {} cores, decoder kernel {:?}", cores, Isa::best());
    match Gpu::open() {
        Ok(gpu) => say!("gpu          {}: used where --device cuda asks for it", gpu.name()),
        Err(error) => say!("gpu          not used: {error}"),
    }
    let bank = VoiceBank::default_bank().map_err(|error| error.to_string())?;
    say!(
        "voice        {} ({} singers), {}",
        bank.card().name,
        bank.card().singers.len(),
        bank.content_hash()
    );

    // Three seconds of a quiet 220 Hz tone: what is sung does not matter for the time it takes.
    let rate_hz = 48_000u32;
    let take: Vec<f32> = (0..3 * rate_hz)
        .map(|n| 0.1 * (std::f32::consts::TAU * 220.0 * n as f32 / rate_hz as f32).sin())
        .collect();
    let started = Instant::now();
    convert(&bank, rate_hz, Settings::default(), &take).map_err(|error| error.to_string())?;
    let factor = 3.0 / started.elapsed().as_secs_f64();
    say!("speed        {factor:.1} x real time on one core at {rate_hz} Hz");
    if factor < 1.5 {
        say!("             too slow to sing live with other plugins beside it; bounce offline instead");
    }
    Ok(())
}
