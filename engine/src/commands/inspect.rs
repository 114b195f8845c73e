//! `falsetto inspect`: the card of a bank and what it costs to run.

use std::path::PathBuf;

use falsetto_engine::stream::{Converter, Settings};
use falsetto_engine::voice::tensor_specs;

use super::{Outcome, open_bank, say};

/// Show what a voice bank is.
#[derive(clap::Args)]
pub struct Arguments {
    /// Voice bank; the built-in one if it is not given.
    #[arg(value_name = "FILE")]
    voice: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bank = open_bank(arguments.voice.as_deref())?;
    let card = bank.card();
    let model = &card.model;
    let values: usize = tensor_specs(model, card.singers.len()).iter().map(|spec| spec.elements()).sum();
    say!("name         {}", card.name);
    say!("hash         {}", bank.content_hash());
    say!("format       {}", card.format_version);
    say!("singers      {}", card.singers.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" "));
    say!("sample rate  {} Hz, hop {} samples", model.sample_rate_hz, model.hop_samples);
    say!("parameters   {values}");
    say!("encoder      {:?}", model.encoder);
    if let Some(bottleneck) = &model.bottleneck {
        say!("bottleneck   {bottleneck:?}");
    }
    match &model.envelope {
        Some(envelope) => say!("decoder      {envelope:?}, F0 decided after {} ms", model.f0_decision_ms),
        None => {
            say!("condition    {:?}, F0 decided after {} ms", model.condition, model.f0_decision_ms);
            say!("decoder      {:?}", model.decoder);
            say!("arithmetic   {:?}", card.arithmetic);
        }
    }
    say!("told singer  {:?}", model.singers);
    say!("trained on   {}", card.trained_on);
    say!("licence      {}", card.licence);
    say!("consent      {}", card.consent);
    for notice in &card.notices {
        say!("notice       {notice}");
    }
    let host_rate_hz = 48_000;
    let converter =
        Converter::new(&bank, host_rate_hz, Settings::default()).map_err(|error| error.to_string())?;
    let samples = converter.latency_samples();
    let milliseconds = 1_000.0 * samples as f64 / f64::from(host_rate_hz);
    say!("latency      {samples} samples at {host_rate_hz} Hz ({milliseconds:.1} ms), of which");
    for stage in converter.stages() {
        say!("             {:>9}  {}", stage.samples, stage.name);
    }
    Ok(())
}
