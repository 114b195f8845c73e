//! Counts the system calls that one thread makes while the trap is armed.
//!
//! Linux can hand a thread's system calls back to the thread itself (Syscall User Dispatch, kernel 5.11 and later):
//! while a selector byte says so, each call raises SIGSYS instead. The handler notes the call, then makes it. There
//! is no cost while the trap is not armed, nothing needs root, and a release build of the plugin is seen as it is.

use std::fmt;

use thiserror::Error;

/// Set to 1 where the kernel or the CPU cannot trap system calls and the tests should pass without this proof.
pub const WITHOUT_TRAP_VARIABLE: &str = "FALSETTO_WITHOUT_SYSCALL_TRAP";

/// One trapped call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// The call's number on this architecture.
    pub number: i64,
    /// Where it came from, innermost first: `library+offset`.
    pub stack: Vec<String>,
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system call {} from {}", self.number, self.stack.join(" < "))
    }
}

/// The trap cannot be set on this machine.
#[derive(Clone, Debug, Error)]
#[error(
    "system calls cannot be trapped here: {0}; run the tests on x86-64 Linux 5.11 or later, or set {WITHOUT_TRAP_VARIABLE}=1 to go without this proof"
)]
pub struct TrapError(String);

/// Whether the person who runs the tests agreed to go without the trap.
pub fn may_go_without() -> bool {
    std::env::var_os(WITHOUT_TRAP_VARIABLE).is_some_and(|v| v == "1")
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub use linux::Trap;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
pub use other::Trap;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
mod other {
    use super::{SystemCall, TrapError};

    /// No trap on this machine.
    pub struct Trap(());

    impl Trap {
        /// Always an error.
        pub fn install() -> Result<Self, TrapError> {
            Err(TrapError("this is not x86-64 Linux with glibc".into()))
        }

        /// Runs `f`.
        pub fn armed<T>(&self, f: impl FnOnce() -> T) -> T {
            f()
        }

        /// Nothing.
        pub fn calls(&self) -> Vec<SystemCall> {
            Vec::new()
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
mod linux;
