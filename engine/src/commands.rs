//! One module for each verb. A verb ends with one clear sentence when it cannot do its work.

pub mod adapt;
pub mod bench;
pub mod convert;
pub mod device;
pub mod doctor;
pub mod inspect;
pub mod judge;
pub mod ranks;
pub mod score;
pub mod singers;
pub mod train;
pub mod transpose;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;

use falsetto_engine::train::Corpus;
use falsetto_engine::voice::VoiceBank;

/// A sentence for the user.
pub type Outcome = Result<(), String>;

/// Prints a line on standard output. A reader that has gone (`falsetto inspect | head -1`) has read enough: that ends
/// the command, and is no failure.
pub fn print_line(line: std::fmt::Arguments) {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        Err(error) => {
            eprintln!("falsetto: cannot write to standard output: {error}");
            exit(1);
        }
    }
}

/// [`print_line`] with the syntax of `println!`.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::print_line(format_args!($($text)*)) };
}
pub(crate) use say;

/// The bank of `--voice`, or the built-in one.
pub fn open_bank(path: Option<&Path>) -> Result<Arc<VoiceBank>, String> {
    match path {
        Some(path) => VoiceBank::load(path).map(Arc::new).map_err(|error| error.to_string()),
        None => VoiceBank::default_bank().map_err(|error| error.to_string()),
    }
}

/// Says what of the recordings is not trained on.
pub fn tell_left_out(corpus: &Corpus) {
    for (path, reason) in &corpus.dropped {
        eprintln!("left out {}: {reason}", path.display());
    }
    let (silent, short) = (corpus.silent_seconds, corpus.short_seconds);
    if silent + short > 0.05 {
        eprintln!(
            "left out of the others: {silent:.1} s of silence, {short:.1} s of phrases too short to train on"
        );
    }
}

/// A bar on standard error that disappears when it is done; nothing where standard error is no terminal.
pub fn progress_bar(length: u64, template: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template(template)
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar());
    indicatif::ProgressBar::new(length).with_style(style)
}
