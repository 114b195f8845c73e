//! The parameter changes of one block, in the queues that VST3 wants.

use std::cell::RefCell;

use vst3::Steinberg::Vst::*;
use vst3::Steinberg::*;
use vst3::{Class, ComPtr, ComWrapper};

use crate::play::Change;

/// The points of one parameter.
struct Queue {
    id: ParamID,
    points: RefCell<Vec<(int32, ParamValue)>>,
}

impl Class for Queue {
    type Interfaces = (IParamValueQueue,);
}

impl IParamValueQueueTrait for Queue {
    unsafe fn getParameterId(&self) -> ParamID {
        self.id
    }

    unsafe fn getPointCount(&self) -> int32 {
        self.points.borrow().len() as int32
    }

    unsafe fn getPoint(&self, index: int32, offset: *mut int32, value: *mut ParamValue) -> tresult {
        let points = self.points.borrow();
        let Some(point) = usize::try_from(index).ok().and_then(|i| points.get(i)) else {
            return kInvalidArgument;
        };
        // SAFETY: the caller hands two places that it owns.
        unsafe {
            *offset = point.0;
            *value = point.1;
        }
        kResultOk
    }

    unsafe fn addPoint(&self, _offset: int32, _value: ParamValue, _index: *mut int32) -> tresult {
        kResultFalse
    }
}

/// The queues of all parameters that change in a block.
pub struct Changes {
    queues: Vec<ComPtr<IParamValueQueue>>,
}

impl Changes {
    /// The changes, whose positions count from the block's start and do not go back; `None` when there are none.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(changes: &[Change]) -> Option<ComPtr<IParameterChanges>> {
        if changes.is_empty() {
            return None;
        }
        let mut queues: Vec<Queue> = Vec::new();
        for change in changes {
            let point = (change.at_sample as int32, change.value);
            match queues.iter().find(|q| q.id == change.parameter_id) {
                Some(queue) => queue.points.borrow_mut().push(point),
                None => {
                    queues.push(Queue { id: change.parameter_id, points: RefCell::new(vec![point]) });
                }
            }
        }
        let queues = queues.into_iter().filter_map(|q| ComWrapper::new(q).to_com_ptr()).collect();
        ComWrapper::new(Self { queues }).to_com_ptr()
    }
}

impl Class for Changes {
    type Interfaces = (IParameterChanges,);
}

impl IParameterChangesTrait for Changes {
    unsafe fn getParameterCount(&self) -> int32 {
        self.queues.len() as int32
    }

    unsafe fn getParameterData(&self, index: int32) -> *mut IParamValueQueue {
        let queue = usize::try_from(index).ok().and_then(|i| self.queues.get(i));
        queue.map_or(std::ptr::null_mut(), |q| q.as_ptr())
    }

    unsafe fn addParameterData(&self, _id: *const ParamID, _index: *mut int32) -> *mut IParamValueQueue {
        std::ptr::null_mut()
    }
}
