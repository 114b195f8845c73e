//! The trap on x86-64 Linux with glibc.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_long, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use super::{SystemCall, TrapError};

const PR_SET_SYSCALL_USER_DISPATCH: c_long = 59;
const PR_SYS_DISPATCH_OFF: c_long = 0;
const PR_SYS_DISPATCH_ON: c_long = 1;
const ALLOW: u8 = 0;
const BLOCK: u8 = 1;
/// Calls that are kept with their stack; later ones are only counted.
const KEPT_CALLS: usize = 64;
const KEPT_FRAMES: usize = 16;
/// `mov $15, %rax; syscall` is 9 bytes; the exempt range may be generous, since only the signal return lies there.
const SIGNAL_RETURN_BYTES: c_long = 16;
/// Offset of `si_syscall` in `siginfo_t`: after signo, errno, code, padding and `si_call_addr`.
const SI_SYSCALL_OFFSET: usize = 24;

/// What one thread's trap has seen. Only that thread and its own signal handler touch it.
struct Log {
    selector: Cell<u8>,
    count: Cell<usize>,
    numbers: [Cell<i64>; KEPT_CALLS],
    stacks: [[Cell<usize>; KEPT_FRAMES]; KEPT_CALLS],
}

thread_local! {
    // Constant and without a destructor: reaching it from a signal handler neither allocates nor registers anything.
    static LOG: Log = const {
        Log {
            selector: Cell::new(ALLOW),
            count: Cell::new(0),
            numbers: [const { Cell::new(0) }; KEPT_CALLS],
            stacks: [const { [const { Cell::new(0) }; KEPT_FRAMES] }; KEPT_CALLS],
        }
    };
}

/// The trap of the thread that installed it.
pub struct Trap {
    /// The trap belongs to one thread: neither `Send` nor `Sync`.
    one_thread: PhantomData<*const ()>,
}

impl Trap {
    /// Sets the trap on the calling thread, not armed, with an empty log.
    pub fn install() -> Result<Self, TrapError> {
        warm_up_backtrace();
        let signal_return = install_handler()?;
        LOG.with(|log| {
            log.count.set(0);
            // SAFETY: the selector is a byte of this thread's own storage, so it outlives the dispatch, which is
            // switched off when the trap is dropped or the thread ends. The exempt range is libc's signal return.
            let result = unsafe {
                system_call(
                    libc::SYS_prctl,
                    [
                        PR_SET_SYSCALL_USER_DISPATCH,
                        PR_SYS_DISPATCH_ON,
                        signal_return,
                        SIGNAL_RETURN_BYTES,
                        log.selector.as_ptr() as c_long,
                        0,
                    ],
                )
            };
            if result < 0 {
                return Err(TrapError(format!("the kernel refuses prctl(59) with error {}", -result)));
            }
            Ok(Self { one_thread: PhantomData })
        })
    }

    /// Runs `f` with the trap armed.
    pub fn armed<T>(&self, f: impl FnOnce() -> T) -> T {
        // The kernel and the handler read the selector behind the compiler's back, so it is written as volatile.
        // SAFETY: the pointer is to this thread's own byte.
        let set = |value| LOG.with(|log| unsafe { ptr::write_volatile(log.selector.as_ptr(), value) });
        set(BLOCK);
        let result = f();
        set(ALLOW);
        result
    }

    /// The calls so far; beyond the 64th without their stack.
    pub fn calls(&self) -> Vec<SystemCall> {
        LOG.with(|log| {
            (0..log.count.get())
                .map(|i| match log.numbers.get(i) {
                    None => SystemCall { number: -1, stack: Vec::new() },
                    Some(number) => SystemCall {
                        number: number.get(),
                        stack: log.stacks[i].iter().map(Cell::get).filter(|a| *a != 0).map(locate).collect(),
                    },
                })
                .collect()
        })
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        // SAFETY: switching the dispatch of this thread off takes no pointers.
        unsafe {
            system_call(libc::SYS_prctl, [PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0, 0]);
        }
    }
}

/// glibc loads the unwinder on the first `backtrace`; that must not happen inside the handler.
fn warm_up_backtrace() {
    let mut frames = [ptr::null_mut(); 4];
    // SAFETY: the buffer holds as many entries as is said.
    unsafe { libc::backtrace(frames.as_mut_ptr(), frames.len() as c_int) };
}

/// Installs the handler; gives the address of libc's signal-return code, which must always be allowed its call.
fn install_handler() -> Result<c_long, TrapError> {
    /// The kernel's own layout; libc's wrapper hides the restorer.
    #[repr(C)]
    struct KernelSigaction {
        handler: usize,
        flags: u64,
        restorer: usize,
        mask: u64,
    }

    // SAFETY: a zeroed `sigaction` is valid; the handler has the three-argument form that SA_SIGINFO asks for and
    // does only what is allowed in a handler.
    let failed = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = on_sigsys as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &action, ptr::null_mut()) != 0
    };
    if failed {
        return Err(TrapError("the handler of SIGSYS cannot be set".into()));
    }
    let mut seen = KernelSigaction { handler: 0, flags: 0, restorer: 0, mask: 0 };
    // SAFETY: reads the action back into a struct of the kernel's layout; 8 is the size of the kernel's signal set.
    let result = unsafe {
        system_call(libc::SYS_rt_sigaction, [libc::SIGSYS as c_long, 0, &raw mut seen as c_long, 8, 0, 0])
    };
    if result < 0 || seen.restorer == 0 {
        return Err(TrapError("libc's signal return cannot be found".into()));
    }
    Ok(seen.restorer as c_long)
}

/// Notes the call and makes it in place of the thread.
unsafe extern "C" fn on_sigsys(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    LOG.with(|log| {
        let selector = log.selector.as_ptr();
        // SAFETY: this thread's own byte; the handler's own calls must pass.
        unsafe { ptr::write_volatile(selector, ALLOW) };
        // SAFETY: the kernel hands a full `siginfo_t` of a SIGSYS and the context of the interrupted code.
        let (number, registers) = unsafe {
            let number = *info.cast::<u8>().add(SI_SYSCALL_OFFSET).cast::<i32>();
            (i64::from(number), &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs)
        };
        let index = log.count.get();
        log.count.set(index + 1);
        if let (Some(slot), Some(stack)) = (log.numbers.get(index), log.stacks.get(index)) {
            slot.set(number);
            let mut frames = [ptr::null_mut(); KEPT_FRAMES];
            // SAFETY: the buffer holds as many entries as is said; the unwinder was loaded by `install`.
            let depth = unsafe { libc::backtrace(frames.as_mut_ptr(), KEPT_FRAMES as c_int) };
            for (i, cell) in stack.iter().enumerate() {
                cell.set(if i < depth as usize { frames[i] as usize } else { 0 });
            }
        }
        let argument = |register: c_int| registers[register as usize];
        let arguments = [
            argument(libc::REG_RDI),
            argument(libc::REG_RSI),
            argument(libc::REG_RDX),
            argument(libc::REG_R10),
            argument(libc::REG_R8),
            argument(libc::REG_R9),
        ];
        // SAFETY: exactly the call that the interrupted code was about to make, with its own arguments.
        let result = unsafe { system_call(number, arguments) };
        registers[libc::REG_RAX as usize] = result;
        // SAFETY: as above; the interrupted code runs on with the trap armed.
        unsafe { ptr::write_volatile(selector, BLOCK) };
    });
}

/// One system call, without libc.
///
/// # Safety
/// The arguments must be what the kernel expects of this call.
unsafe fn system_call(number: c_long, [a, b, c, d, e, f]: [c_long; 6]) -> c_long {
    let result: c_long;
    // SAFETY: the x86-64 calling convention of Linux: rcx and r11 are clobbered, the rest is kept; the caller vouches
    // for the arguments.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            out("rcx") _, out("r11") _,
        );
    }
    result
}

/// `library+offset` of an address in this process.
fn locate(address: usize) -> String {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` accepts any address and fills the struct when it knows it.
    let info = unsafe {
        if libc::dladdr(address as *const c_void, info.as_mut_ptr()) == 0 {
            return format!("{address:#x}");
        }
        info.assume_init()
    };
    if info.dli_fname.is_null() {
        return format!("{address:#x}");
    }
    // SAFETY: a found entry names its library with a C string that lives as long as the library is loaded.
    let library = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy();
    let name = library.rsplit('/').next().unwrap_or_default();
    format!("{name}+{:#x}", address - info.dli_fbase as usize)
}

#[cfg(test)]
mod tests {
    use super::super::{SystemCall, may_go_without};
    use super::Trap;

    fn calls_of(f: impl FnOnce()) -> Vec<SystemCall> {
        match Trap::install() {
            Ok(trap) => {
                trap.armed(f);
                trap.calls()
            }
            Err(e) => {
                assert!(may_go_without(), "{e}");
                vec![SystemCall { number: libc::SYS_getppid, stack: vec!["none".into()] }]
            }
        }
    }

    #[test]
    fn a_system_call_is_seen_and_still_made() {
        let mut parent = 0;
        // SAFETY: `getppid` has no arguments and cannot fail.
        let calls = calls_of(|| parent = unsafe { libc::getppid() });
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0].number, libc::SYS_getppid);
        // SAFETY: as above.
        assert_eq!(parent, unsafe { libc::getppid() });
    }

    #[test]
    fn plain_arithmetic_is_silent() {
        if Trap::install().is_err() && may_go_without() {
            return;
        }
        let calls = calls_of(|| {
            std::hint::black_box((0..1000).map(f64::from).map(f64::sqrt).sum::<f64>());
        });
        assert!(calls.is_empty(), "{calls:?}");
    }
}
