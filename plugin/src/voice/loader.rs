//! The voice thread of one instance.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use falsetto_engine::stream::Settings;
use falsetto_engine::voice::VoiceBank;

use super::{Request, Voice, VoiceStatus, find, no_stream, open_stream, same_bank};
use crate::board::Board;

/// How often streams that came back are looked for.
const SWEEP: Duration = Duration::from_millis(250);

pub fn run(voice: &Arc<Voice>, inbox: &Receiver<Request>, board: &Board) {
    let mut returning = 0;
    loop {
        let request = if returning > 0 {
            inbox.recv_timeout(SWEEP)
        } else {
            inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match request {
            Ok(Request::Load) => {
                load(voice);
                returning += usize::from(refresh(voice, board));
            }
            Ok(Request::Refresh) => returning += usize::from(refresh(voice, board)),
            Ok(Request::Quit) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Dropped outside the lock: closing a stream may join the engine thread.
        let came_back = {
            let mut state = voice.state.lock();
            match &mut state.active {
                Some(active) => active.outgoing.pop().ok(),
                None => {
                    returning = 0;
                    None
                }
            }
        };
        if came_back.is_some() {
            returning = returning.saturating_sub(1);
        }
        drop(came_back);
    }
}

/// Finds the wanted bank, until what was found is what is wanted still.
fn load(voice: &Voice) {
    loop {
        let wanted = {
            let state = voice.state.lock();
            if state.status != VoiceStatus::Loading {
                return;
            }
            state.wanted.clone()
        };
        let found = find::find(&wanted);
        let mut state = voice.state.lock();
        if state.wanted != wanted {
            continue;
        }
        match found {
            Ok(found) => {
                if found.status == VoiceStatus::Ready {
                    // From now on the project knows the bank by its content.
                    state.wanted.hash = found.bank.content_hash();
                    state.wanted.name.clone_from(&found.bank.card().name);
                    state.wanted.path = found.path.map(|path| path.display().to_string());
                }
                state.status = found.status;
                state.bank = Some(found.bank);
            }
            Err(reason) => {
                state.status = VoiceStatus::Missing(reason);
                state.bank = None;
            }
        }
        voice.settled.notify_all();
        return;
    }
}

/// Makes an active plugin sing with the bank that was loaded. True if a stream will come back.
fn refresh(voice: &Voice, board: &Board) -> bool {
    let (bank, host_rate_hz, max_block_samples): (Option<Arc<VoiceBank>>, u32, usize) = {
        let state = voice.state.lock();
        match &state.active {
            Some(active) if !same_bank(active.playing.as_ref(), state.bank.as_ref()) => {
                (state.bank.clone(), active.host_rate_hz, active.max_block_samples)
            }
            _ => return false,
        }
    };
    let (stream, info) = match bank
        .as_ref()
        .map(|bank| open_stream(bank, host_rate_hz, max_block_samples, Settings::default()))
    {
        Some(Ok((stream, info))) => (Some(stream), info),
        Some(Err(reason)) => {
            voice.settle(None, VoiceStatus::Missing(reason));
            (None, no_stream(host_rate_hz, max_block_samples))
        }
        None => (None, no_stream(host_rate_hz, max_block_samples)),
    };
    let mut state = voice.state.lock();
    let Some(active) = &mut state.active else { return false };
    if active.host_rate_hz != host_rate_hz || active.max_block_samples != max_block_samples {
        // Activated anew meanwhile, with a bank of its own choice.
        return false;
    }
    if stream.is_some() && info.latency.total_samples() != active.latency_samples {
        board.restart.store(true, Relaxed);
        return false;
    }
    // Without a stream the latency stays what the host was told.
    let shown = if stream.is_some() { Some(info) } else { None };
    if active.incoming.push(stream).is_err() {
        // The audio thread stands still; the next activation takes the bank.
        board.restart.store(true, Relaxed);
        return false;
    }
    active.playing = bank;
    let mut board_stream = board.stream.lock();
    match shown {
        Some(info) => *board_stream = Some(info),
        None => {
            if let Some(info) = board_stream.as_mut() {
                info.meters = None;
            }
        }
    }
    true
}
