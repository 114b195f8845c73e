//! Pieces of several streams side by side, so that their hops share passes over the weights.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::engine::{Served, Turn};
use crate::decode::{HopTask, decode_hops};
use crate::stream::{EncodeTask, encode_hops};

/// Serves the first of the streams, which stand in the order in which their results are due, that has something to do, and
/// with it as many of the next as gain from its company. That keeps the first one waiting for the others' share of the work,
/// but when time is short it is the work of all that must become less.
pub(super) fn turn(streams: &mut [Served]) -> Turn {
    let mut rest = streams;
    while let Some(first) = rest.first_mut() {
        let company = first.company().min(rest.len());
        let (group, later) = rest.split_at_mut(company);
        if turn_together(group) == Turn::Worked {
            return Turn::Worked;
        }
        rest = later;
    }
    Turn::Idle
}

/// Takes at most one piece of each stream as far as it can go.
pub(super) fn turn_together(streams: &mut [Served]) -> Turn {
    let mut turn = Turn::Idle;
    for stream in streams.iter_mut() {
        if stream.begin() == Turn::Worked {
            turn = Turn::Worked;
        }
    }
    // Streams whose pieces end sooner wait for the others.
    while streams.iter_mut().filter_map(|stream| stream.advance().then_some(())).count() > 0 {
        make(streams);
    }
    streams.iter_mut().for_each(Served::finish);
    turn
}

/// Makes and sings the due hops.
fn make(streams: &mut [Served]) {
    let begun = Instant::now();
    let mut count = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut tasks: Vec<EncodeTask> = streams.iter_mut().filter_map(Served::encoding).collect();
        encode_hops(&mut tasks);
        let mut hops: Vec<HopTask> = streams.iter_mut().filter_map(Served::decoding).collect();
        count = hops.len();
        decode_hops(&mut hops);
    }));
    let each = begun.elapsed() / count.max(1) as u32;
    for stream in streams {
        if let Err(panic) = &result
            && stream.decoding().is_some()
        {
            // Nobody knows whose hop it was, and none of these workers is used again.
            stream.retire(&**panic);
        }
        stream.sing(each);
    }
}
