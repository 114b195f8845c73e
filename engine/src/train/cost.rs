//! What a run costs in processor time, kept in a file of its own beside the bank: bank and checkpoint of a run that was
//! broken and resumed are those of the unbroken run to the byte, and no two runs take the same time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checkpoint::write_atomically;

const FILE: &str = "cost.json";

/// What a bank took to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingCost {
    /// Content hash of the bank that it was spent on.
    pub bank_hash: String,
    /// Steps that led to the bank.
    pub steps: u64,
    /// Processor time, user's and system's, of all threads, in seconds: reading the corpus, steps, validations and previews,
    /// summed over resumed runs. What a killed run did after its last checkpoint is not in it, and not in the bank.
    pub cpu_s: f64,
}

impl TrainingCost {
    /// What the bank in a file, of such a content hash, took to train; none where no run of [`super::Trainer`] left word
    /// beside it, or word of another bank.
    pub fn beside(bank: &Path, bank_hash: &str) -> Option<Self> {
        Self::read(bank.parent()?).filter(|cost| cost.bank_hash == bank_hash)
    }

    /// What is said in a run's folder. A figure is not worth a run: what cannot be read is not known.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path(folder)).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        write_atomically(&path(folder), &serde_json::to_vec_pretty(self)?)
    }
}

/// Where it is kept.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Processor time that a run has taken so far.
pub(super) struct Spent {
    /// Before `since`.
    earlier: Duration,
    /// Of this process when the count began.
    since: Duration,
}

impl Spent {
    /// Counts from now on, on top of what was taken before; none where the system does not tell.
    pub(super) fn on_top_of(earlier: Duration) -> Option<Self> {
        Some(Self { earlier, since: cpu_time()? })
    }

    /// The same, on top of what an earlier part of the run took as well.
    pub(super) fn and(self, earlier: &TrainingCost) -> Option<Self> {
        let more = Duration::try_from_secs_f64(earlier.cpu_s).ok()?;
        Some(Self { earlier: self.earlier.checked_add(more)?, ..self })
    }

    pub(super) fn total(&self) -> Option<Duration> {
        cpu_time()?.checked_sub(self.since)?.checked_add(self.earlier)
    }
}

/// Processor time of this process, user's and system's, of all threads.
#[cfg(unix)]
pub(super) fn cpu_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};

    clock_gettime(ClockId::ProcessCPUTime).try_into().ok()
}

/// Elsewhere it is not asked for.
#[cfg(not(unix))]
pub(super) fn cpu_time() -> Option<Duration> {
    None
}
