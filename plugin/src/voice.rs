//! Which voice bank a project uses: remembered by content, found and loaded on a thread of our own.
//!
//! The wrapper's background thread is shared by all instances of the plugin, so a slow disk would hold up every one of
//! them; `process` and `activate` must not load either. So each instance has a short-lived thread that finds the bank,
//! opens a stream for it if the plugin is active, and drops what the audio thread has given back.

mod find;
mod loader;
mod reference;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Sender};
use falsetto_engine::stream::{Converter, Hub, LatencyParts, Settings, Stream, StreamConfig};
use falsetto_engine::voice::VoiceBank;
use nice_plug::params::persist::PersistentField;
use parking_lot::{Condvar, Mutex};
use rtrb::{Consumer, Producer};

use crate::board::{Board, StreamInfo};
use crate::device;
pub use reference::VoiceReference;

/// What is to be told about the bank.
#[derive(Clone, Debug, PartialEq)]
pub enum VoiceStatus {
    /// The thread is at it.
    Loading,
    /// The bank that the project asks for.
    Ready,
    /// A bank of the right name and other content.
    ByName,
    /// No bank of this content or name; why, in words.
    Missing(String),
}

struct State {
    wanted: VoiceReference,
    status: VoiceStatus,
    bank: Option<Arc<VoiceBank>>,
    active: Option<Active>,
}

/// What the voice thread must know to change the stream under way.
pub struct Active {
    /// Rate of the host.
    pub host_rate_hz: u32,
    /// Largest block of the host.
    pub max_block_samples: usize,
    /// What the host was told.
    pub latency_samples: usize,
    /// The bank that plays.
    pub playing: Option<Arc<VoiceBank>>,
    /// To the audio thread; nothing in it means dry sound.
    pub incoming: Producer<Option<Stream>>,
    /// From the audio thread, to be dropped here.
    pub outgoing: Consumer<Option<Stream>>,
}

enum Request {
    Load,
    /// The bank that plays is not the one that was loaded last.
    Refresh,
    Quit,
}

/// The voice of one instance.
pub struct Voice {
    state: Mutex<State>,
    settled: Condvar,
    requests: Sender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Longest wait for a bank where a host asks for something that depends on it.
const TEXT_WAIT: Duration = Duration::from_secs(2);
const ACTIVATE_WAIT: Duration = Duration::from_secs(10);

impl Voice {
    /// Begins to load the bank that is built in.
    pub fn start(board: &Arc<Board>) -> Arc<Self> {
        let (requests, inbox) = channel::unbounded();
        let voice = Arc::new(Self {
            state: Mutex::new(State {
                wanted: VoiceReference::built_in(),
                status: VoiceStatus::Loading,
                bank: None,
                active: None,
            }),
            settled: Condvar::new(),
            requests,
            thread: Mutex::new(None),
        });
        let (shared, board) = (Arc::clone(&voice), Arc::clone(board));
        let thread = std::thread::Builder::new()
            .name("falsetto-voice".into())
            .spawn(move || loader::run(&shared, &inbox, &board));
        match thread {
            Ok(thread) => {
                *voice.thread.lock() = Some(thread);
                // Fails only if the thread is gone.
                let _ = voice.requests.send(Request::Load);
            }
            Err(error) => voice.settle(None, VoiceStatus::Missing(format!("no thread to load it: {error}"))),
        }
        voice
    }

    /// A voice that never loads anything.
    #[cfg(test)]
    pub fn idle() -> Arc<Self> {
        let (requests, _) = channel::unbounded();
        Arc::new(Self {
            state: Mutex::new(State {
                wanted: VoiceReference::built_in(),
                status: VoiceStatus::Missing("not loaded".into()),
                bank: None,
                active: None,
            }),
            settled: Condvar::new(),
            requests,
            thread: Mutex::new(None),
        })
    }

    /// Ends the thread. Drops everything that it still holds.
    pub fn close(&self) {
        let _ = self.requests.send(Request::Quit);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        self.state.lock().active = None;
    }

    /// Asks for another bank. Does nothing if it is the one that is wanted already.
    pub fn want(&self, reference: VoiceReference) {
        let mut state = self.state.lock();
        if state.wanted == reference && !matches!(state.status, VoiceStatus::Missing(_)) {
            return;
        }
        state.wanted = reference;
        state.status = VoiceStatus::Loading;
        let _ = self.requests.send(Request::Load);
    }

    /// What a project must remember.
    pub fn wanted(&self) -> VoiceReference {
        self.wait(TEXT_WAIT).wanted.clone()
    }

    /// Names of the bank's singers.
    pub fn singers(&self) -> Vec<String> {
        self.wait(TEXT_WAIT).bank.as_deref().map(singer_names).unwrap_or_default()
    }

    /// What is wanted, how it stands with it, and the bank there is now. Does not wait.
    #[cfg(feature = "editor")]
    pub fn view(&self) -> (VoiceReference, VoiceStatus, Option<Arc<VoiceBank>>) {
        let state = self.state.lock();
        (state.wanted.clone(), state.status.clone(), state.bank.clone())
    }

    /// The bank, once the thread has found it or given up.
    pub fn bank(&self) -> Option<Arc<VoiceBank>> {
        self.wait(ACTIVATE_WAIT).bank.clone()
    }

    /// The bank that plays in the present activation, if it has these properties.
    pub fn plays(&self, host_rate_hz: u32, max_block_samples: usize, bank: Option<&Arc<VoiceBank>>) -> bool {
        self.state.lock().active.as_ref().is_some_and(|active| {
            active.host_rate_hz == host_rate_hz
                && active.max_block_samples == max_block_samples
                && same_bank(active.playing.as_ref(), bank)
        })
    }

    /// The plugin is active from now on.
    pub fn activate(&self, active: Active) {
        let mut state = self.state.lock();
        let outdated = !same_bank(active.playing.as_ref(), state.bank.as_ref());
        state.active = Some(active);
        if outdated {
            let _ = self.requests.send(Request::Refresh);
        }
    }

    fn settle(&self, bank: Option<Arc<VoiceBank>>, status: VoiceStatus) {
        let mut state = self.state.lock();
        state.bank = bank;
        state.status = status;
        self.settled.notify_all();
    }

    fn wait(&self, longest: Duration) -> parking_lot::MutexGuard<'_, State> {
        let deadline = Instant::now() + longest;
        let mut state = self.state.lock();
        while state.status == VoiceStatus::Loading {
            if self.settled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state
    }
}

fn same_bank(one: Option<&Arc<VoiceBank>>, other: Option<&Arc<VoiceBank>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn singer_names(bank: &VoiceBank) -> Vec<String> {
    bank.card().singers.iter().map(|singer| singer.name.clone()).collect()
}

/// Opens a stream that sings with `bank`, and says what it is made of.
pub fn open_stream(
    bank: &Arc<VoiceBank>,
    host_rate_hz: u32,
    max_block_samples: usize,
    mut settings: Settings,
) -> Result<(Stream, StreamInfo), String> {
    // A project may ask for more singers than a bank has; the last one stands in, as in the converter itself.
    let last = bank.card().singers.len().saturating_sub(1);
    settings.singer = settings.singer.min(last);
    settings.second_singer = settings.second_singer.min(last);
    let mut converter = Converter::new(bank, host_rate_hz, settings).map_err(|error| error.to_string())?;
    let device = device::choose(&mut converter);
    let stages = converter.stages().iter().map(|stage| (stage.name, stage.samples)).collect();
    let config = StreamConfig { host_rate_hz, max_block_samples, settings };
    let stream = Hub::shared().open(Box::new(converter), config).map_err(|error| error.to_string())?;
    let (latency, meters) = (stream.latency(), Some(stream.meters()));
    let info = StreamInfo { host_rate_hz, latency, stages, device, meters };
    Ok((stream, info))
}

/// What is shown where there is no stream: the latency of the hand-off alone.
pub fn no_stream(host_rate_hz: u32, max_block_samples: usize) -> StreamInfo {
    let latency = LatencyParts::new(0, host_rate_hz, max_block_samples);
    StreamInfo { host_rate_hz, latency, stages: Vec::new(), device: String::new(), meters: None }
}

/// The bank's reference as a field of the project's state.
pub struct PersistedVoice(pub Arc<Voice>);

impl<'a> PersistentField<'a, VoiceReference> for PersistedVoice {
    fn set(&self, reference: VoiceReference) {
        self.0.want(reference);
    }

    fn map<F, R>(&self, read: F) -> R
    where
        F: Fn(&VoiceReference) -> R,
    {
        read(&self.0.wanted())
    }
}

#[cfg(test)]
mod tests;
