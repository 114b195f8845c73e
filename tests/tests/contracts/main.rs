//! What must always hold, seen from outside: through hosts that others wrote, through the formats' own interfaces, and
//! through the command.

mod automation;
mod bench;
mod bounce;
mod common;
mod family;
mod folder;
mod hostile;
mod judge;
mod latency;
mod loudness;
mod state;
