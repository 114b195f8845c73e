//! Falsetto's contracts, held through real hosts and the real command.
//!
//! ```text
//! clap_host     loads the built .clap and plays takes through it, as a DAW would
//! vst3_host     the same for the built .vst3
//! python_hosts  pedalboard and DawDreamer, in a Python environment of their own
//! command       runs the built `falsetto`
//! syscall_trap  counts the system calls of one thread while armed
//! play          how a take is played: block sizes, pace, parameter changes
//! take          a synthetic singer, so that no recording is needed
//! built         where `cargo xtask test` says the built plugin and command are
//! ```
//!
//! The tests themselves are in `tests/`; `cargo xtask demo` plays takes through [`clap_host`] as well.

pub mod built;
pub mod clap_host;
pub mod command;
pub mod play;
pub mod python_hosts;
pub mod syscall_trap;
pub mod take;
pub mod vst3_host;
