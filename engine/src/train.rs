//! Corpus, augmentation, recipes, the training loop, checkpoints.
//!
//! ```text
//! recipe           a TOML file: the model's sizes and everything the trainer does
//! setting          one value of a recipe, set from outside
//! layout           how corpora lie on a disk: who sings in which files
//! phrases          songs cut into phrases at their rests
//! split            which clips are trained on, and which training is watched by
//! corpus           files -> clips with their frame features
//! jitter           a small shift in pitch of a piece of sound
//! psola            the same phrase at another pitch, in the same voice
//! batch            segments drawn from clips, augmented, as the graph takes them; a function of (seed, step) alone
//! backtranslation  phase II: clips sung by blends of two singers, for the encoder to hear
//! shapes           spectral shapes of frames drawn from clips, as a graph of envelopes takes them
//! optimizer        Adam with a clipped global norm; its state is saved, so that a resumed run goes on exactly
//! device           the processor, or a GPU
//! ranks            several processes that make a run together, a card each
//! average          the running average of the parameters, which a bank is made of
//! codebook         a codebook that follows the frames that fall to it
//! critic           tells converted envelopes from sung ones
//! spectrum_critic  tells what is expected of a singer who takes over another's phrase from what is of the singer's own
//! cost             what a run takes in processor time, kept beside the bank
//! checkpoint       everything a run needs to go on, written to a temporary name and renamed
//! error            why a run ended early
//! emphasis         singers further apart in a bank than training put them, and back
//! score            how well given parameters predict given segments
//! adapt            a new singer in a bank that is there
//! inherit          the weights of a bank as the start of another run
//! objective        what a step learns from: samples or envelopes
//! trainer          the loop: step, validate, save, render previews through the real decoder
//! curve            what was measured of a run, and its CSV
//! chart            a page of it, with a panel for each loss
//! ```

mod adapt;
mod average;
mod backtranslation;
mod batch;
mod chart;
mod checkpoint;
mod codebook;
mod corpus;
mod cost;
mod critic;
mod curve;
mod device;
mod emphasis;
mod error;
mod inherit;
mod jitter;
mod layout;
mod objective;
mod optimizer;
mod past;
mod phrases;
mod psola;
mod ranks;
mod recipe;
mod score;
mod setting;
mod shapes;
mod spectrum_critic;
mod split;
mod timbre;
mod trainer;

pub use adapt::{Adapted, NewSinger, adapt, adapt_on, recipe as adaptation_recipe};
pub use corpus::{Corpus, CorpusError};
pub use cost::TrainingCost;
pub use device::{Device, DeviceError, Meeting, Products};
pub use error::TrainError;
pub use layout::test_part;
pub use recipe::{
    AugmentConfig, BacktranslationConfig, CardConfig, CodebookConfig, CriticConfig, CriticKind, Recipe,
    TrainingConfig,
};
pub use setting::{Setting, SettingError};
pub use trainer::{Progress, Summary, Trainer};
