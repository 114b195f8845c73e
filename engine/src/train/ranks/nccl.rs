//! Ranks that are cards, by NVIDIA's collective communication library, found when the program runs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use candle_core::{CudaDevice, Result, Tensor};
use libloading::Library;
use parking_lot::Mutex;

use super::Ranks;
use crate::model::ops::with_tensors_on_card;

/// What the ranks of a run know each other by.
#[derive(Clone, Copy)]
#[repr(C)]
pub(in crate::train) struct Id(pub(in crate::train) [u8; 128]);

/// `ncclFloat32` and `ncclAvg`.
const FLOAT: c_int = 7;
const MEAN: c_int = 4;

/// Where the library may be.
const FILES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

type Communicator = *mut c_void;

/// The library's functions that are needed; all but the last answer with an error code.
struct Functions {
    id: unsafe extern "C" fn(*mut Id) -> c_int,
    join: unsafe extern "C" fn(*mut Communicator, c_int, Id, c_int) -> c_int,
    leave: unsafe extern "C" fn(Communicator) -> c_int,
    begin: unsafe extern "C" fn() -> c_int,
    end: unsafe extern "C" fn() -> c_int,
    all: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Communicator,
        *mut c_void,
    ) -> c_int,
    describe: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Never let go of: threads that it has started run its code until the process ends.
    _library: ManuallyDrop<Library>,
}

impl Functions {
    fn load() -> std::result::Result<Self, String> {
        // SAFETY: loading NVIDIA's library runs nothing but its own set-up.
        let opened = FILES.iter().find_map(|file| unsafe { Library::new(file) }.ok());
        let library =
            opened.ok_or("libnccl.so.2 is not on this machine; pip and NVIDIA's packages have it")?;
        let missing = |error: libloading::Error| error.to_string();
        // SAFETY: the functions have these types since version 2.10, and the library stays as long as they do.
        unsafe {
            Ok(Self {
                id: *library.get(b"ncclGetUniqueId").map_err(missing)?,
                join: *library.get(b"ncclCommInitRank").map_err(missing)?,
                leave: *library.get(b"ncclCommDestroy").map_err(missing)?,
                begin: *library.get(b"ncclGroupStart").map_err(missing)?,
                end: *library.get(b"ncclGroupEnd").map_err(missing)?,
                all: *library.get(b"ncclAllReduce").map_err(missing)?,
                describe: *library.get(b"ncclGetErrorString").map_err(missing)?,
                _library: ManuallyDrop::new(library),
            })
        }
    }

    fn checked(&self, answer: c_int) -> std::result::Result<(), String> {
        if answer == 0 {
            return Ok(());
        }
        // SAFETY: the library describes every code with a text of its own.
        let text = unsafe { CStr::from_ptr((self.describe)(answer)) };
        Err(format!("NCCL: {}", text.to_string_lossy()))
    }
}

/// A new meeting place for ranks.
pub(in crate::train) fn meeting() -> std::result::Result<Id, String> {
    let functions = Functions::load()?;
    let mut id = Id([0; 128]);
    // SAFETY: it writes an id.
    functions.checked(unsafe { (functions.id)(&raw mut id) })?;
    Ok(id)
}

/// One card of several.
pub(in crate::train) struct Nccl {
    functions: Functions,
    communicator: Communicator,
    rank: usize,
    count: usize,
    device: Arc<candle_core::cuda_backend::cudarc::driver::CudaStream>,
    /// Held while the communicator is in use.
    turn: Mutex<()>,
}

// SAFETY: a communicator may be used by any thread, by one at a time.
unsafe impl Send for Nccl {}
// SAFETY: all that uses the communicator through a shared reference holds `turn`.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Waits until all ranks have come.
    pub(in crate::train) fn join(
        device: &CudaDevice,
        rank: usize,
        count: usize,
        id: Id,
    ) -> std::result::Result<Self, String> {
        let functions = Functions::load()?;
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(|error| format!("{error:?}"))?;
        let mut communicator = std::ptr::null_mut();
        // SAFETY: it writes a communicator of the card whose context is bound.
        let answer = unsafe { (functions.join)(&raw mut communicator, count as c_int, id, rank as c_int) };
        functions.checked(answer)?;
        Ok(Self { functions, communicator, rank, count, device: stream, turn: Mutex::new(()) })
    }
}

impl Ranks for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    /// In their place: the tensors that are given are gradients and the like, which nobody reads again.
    fn means(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        if tensors.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.turn.lock();
        let said = |answer| self.functions.checked(answer).map_err(candle_core::Error::Msg);
        with_tensors_on_card(tensors, |_, spans| {
            // SAFETY: a group is begun and ended by the same thread.
            said(unsafe { (self.functions.begin)() })?;
            let mut answer = 0;
            for span in spans {
                let (address, values) = span.raw();
                let (from, to, stream) =
                    (address as *const c_void, address as *mut c_void, self.device.cu_stream());
                // SAFETY: so many values lie there on the communicator's card, and what is asked of its stream keeps its order.
                let one = unsafe {
                    (self.functions.all)(from, to, values, FLOAT, MEAN, self.communicator, stream.cast())
                };
                answer = if answer == 0 { one } else { answer };
            }
            // SAFETY: as above.
            let ended = unsafe { (self.functions.end)() };
            said(answer).and_then(|()| said(ended))
        })?;
        Ok(tensors.to_vec())
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: the communicator is this value's alone. One that fails to leave has nothing left to be told.
        let _ = unsafe { (self.functions.leave)(self.communicator) };
    }
}
