//! Why a training run ended early or could not start.

use std::path::PathBuf;

use thiserror::Error;

use super::checkpoint::CheckpointError;
use super::corpus::CorpusError;
use super::recipe::RecipeError;
use crate::files::FileError;
use crate::stream::StreamError;
use crate::voice::VoiceError;

/// Why a training run ended early or could not start.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The training audio.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The bank that was to be saved.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// A preview that was to be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A preview that was to be rendered.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The recipe says something of a singer whom the audio does not have.
    #[error("the recipe's card.home_f0_hz names {name}, who is not in the training audio; there are {known}")]
    UnknownSinger {
        /// The singer.
        name: String,
        /// Who is there.
        known: String,
    },
    /// A singer who cannot come into a bank.
    #[error("the bank cannot take this singer in: {reason}")]
    NewSinger {
        /// What the new card would have wrong.
        reason: String,
    },
    /// A bank that a run cannot start from.
    #[error(
        "bank {bank} is of another model than the recipe's: a run can start from it if sample rate, hop, pre-emphasis, \
         excitation and decoder are alike and singers have learnt embeddings; `falsetto inspect` shows its sizes"
    )]
    Inherit {
        /// Its name.
        bank: String,
    },
    /// A recipe whose batches cannot be shared out.
    #[error("{count} ranks cannot train this recipe together: {reason}")]
    Ranks {
        /// How many.
        count: usize,
        /// Why not.
        reason: String,
    },
    /// The output folder.
    #[error("output folder {path}: {source}")]
    Output {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The graph.
    #[error("training graph: {0}")]
    Graph(#[from] candle_core::Error),
    /// The loss is no longer a number.
    #[error(
        "the loss is not finite at step {step}; lower training.learning_rate or gradient_norm in the recipe"
    )]
    Diverged {
        /// The step.
        step: u64,
    },
    /// The decoder ignores F0.
    #[error(
        "stopped at step {step}: a wrong F0 costs only {bits:.2} bits per sample (the recipe asks for {needed:.2}), \
         so the decoder ignores it and would sing noise; give it condition.f0 and a prior, or train on cleaner voices"
    )]
    IgnoresF0 {
        /// The step.
        step: u64,
        /// Measured.
        bits: f32,
        /// Asked for.
        needed: f32,
    },
}
