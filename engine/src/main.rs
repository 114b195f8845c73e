//! The `falsetto` command.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// Training frees and allocates gigabytes every second; glibc would hand them back to the kernel each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sings a take in another singer's voice.
#[derive(Parser)]
#[command(name = "falsetto", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sing takes in another singer's voice.
    Convert(commands::convert::Arguments),
    /// Train a voice bank from folders of singing.
    Train(commands::train::Arguments),
    /// Add a singer to a voice bank from a folder of recordings.
    Adapt(commands::adapt::Arguments),
    /// Judge a voice bank: melody, timbre and quality of its conversions, in one report; or compare several.
    Judge(commands::judge::Arguments),
    /// Score recordings: bits per sample that a voice bank needs for them.
    Score(commands::score::Arguments),
    /// List the singers of a voice bank.
    Singers(commands::singers::Arguments),
    /// Show what a voice bank is, or why it cannot be used.
    Inspect(commands::inspect::Arguments),
    /// Check this machine: processor, built-in voice, speed.
    Doctor(commands::doctor::Arguments),
    /// Measure this machine: decoders, the whole chain, and the ceilings that they run against.
    Bench(commands::bench::Arguments),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            // Refusals are told in our own words; what a decoder thinks of a broken file would come on top.
            tracing_subscriber::EnvFilter::try_from_env("FALSETTO_LOG")
                .unwrap_or_else(|_| "off,falsetto=warn,falsetto_engine=warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let outcome = match Arguments::parse().command {
        Command::Convert(arguments) => commands::convert::run(&arguments),
        Command::Train(arguments) => commands::train::run(&arguments),
        Command::Adapt(arguments) => commands::adapt::run(&arguments),
        Command::Judge(arguments) => commands::judge::run(&arguments),
        Command::Score(arguments) => commands::score::run(&arguments),
        Command::Singers(arguments) => commands::singers::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Doctor(arguments) => commands::doctor::run(&arguments),
        Command::Bench(arguments) => commands::bench::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("falsetto: {message}");
            ExitCode::FAILURE
        }
    }
}
