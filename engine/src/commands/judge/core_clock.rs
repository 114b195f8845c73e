//! How long a thread had a core.

use std::time::{Duration, Instant};

/// Time since its start that the calling thread had a core: what else a machine does must not make a bank look slow. Where
/// the system does not tell (only Linux is asked), all time counts.
pub struct CoreClock {
    had_core: Option<Duration>,
    started: Instant,
}

impl CoreClock {
    pub fn start() -> Self {
        Self { had_core: had_core(), started: Instant::now() }
    }

    /// To be asked by the thread that started it.
    pub fn elapsed(&self) -> Duration {
        let told = had_core().zip(self.had_core).and_then(|(now, then)| now.checked_sub(then));
        // A kernel that does not count says 0 each time.
        told.filter(|time| !time.is_zero()).unwrap_or_else(|| self.started.elapsed())
    }
}

/// The first figure of `schedstat`: nanoseconds that the thread had a core.
fn had_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
