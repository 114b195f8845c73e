//! `falsetto singers`: one singer a line, the name first.

use std::path::PathBuf;

use super::{Outcome, open_bank, say};

/// List the singers of a voice bank.
#[derive(clap::Args)]
pub struct Arguments {
    /// Voice bank; the built-in one if it is not given.
    #[arg(long, value_name = "FILE")]
    voice: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let bank = open_bank(arguments.voice.as_deref())?;
    for singer in &bank.card().singers {
        say!("{}\tmedian F0 {:.0} Hz", singer.name, singer.median_f0_hz);
    }
    Ok(())
}
