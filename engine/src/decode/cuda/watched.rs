//! A device that is given up once it does not answer.
//!
//! A kernel that never ends would hold everybody who waits for it, and most calls to the driver do. So nobody waits for longer
//! than a while, and a device that let one wait so long is asked for nothing again: its memory is lost with it.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::driver::{Chain, Driver, DriverError, Facts, Launch};

/// So long it is asked without a pause: a hop takes no longer on a device that keeps pace.
const EAGER: Duration = Duration::from_millis(20);
/// Between two questions afterwards.
const PAUSE: Duration = Duration::from_millis(1);

/// See the module.
pub(super) struct Watched<D: Driver> {
    driver: ManuallyDrop<D>,
    patience: Duration,
    is_given_up: AtomicBool,
}

impl<D: Driver> Watched<D> {
    /// `patience` is how long a launch may take.
    pub(super) fn new(driver: D, patience: Duration) -> Self {
        Self { driver: ManuallyDrop::new(driver), patience, is_given_up: false.into() }
    }

    /// The driver, if it may be asked `to` do something.
    fn asked(&self, to: &'static str) -> Result<&D, DriverError> {
        if self.is_given_up.load(Relaxed) { Err(self.no_answer(to)) } else { Ok(&self.driver) }
    }

    fn no_answer(&self, doing: &'static str) -> DriverError {
        DriverError { doing, why: format!("it has not answered for {:?}", self.patience) }
    }

    /// Waits until all that was launched is done.
    fn wait(&self) -> Result<(), DriverError> {
        let begun = Instant::now();
        while !self.driver.is_done()? {
            let waited = begun.elapsed();
            if waited >= self.patience {
                self.is_given_up.store(true, Relaxed);
                return Err(self.no_answer("sing a hop"));
            }
            if waited < EAGER {
                thread::yield_now();
            } else {
                thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

impl<D: Driver> Driver for Watched<D> {
    fn facts(&self) -> &Facts {
        self.driver.facts()
    }

    fn most_chains(&self, chain: &Chain) -> Result<usize, DriverError> {
        self.asked("find room")?.most_chains(chain)
    }

    fn allocate(&self, words: usize) -> Result<u64, DriverError> {
        self.asked("allocate memory")?.allocate(words)
    }

    unsafe fn release(&self, address: u64, words: usize) {
        if let Ok(driver) = self.asked("free memory") {
            // SAFETY: the caller's promise is this function's.
            unsafe { driver.release(address, words) }
        }
    }

    unsafe fn clear(&self, address: u64, words: usize) -> Result<(), DriverError> {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.asked("clear memory")?.clear(address, words) }
    }

    unsafe fn write(&self, address: u64, words: &[u32]) -> Result<(), DriverError> {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.asked("write to its memory")?.write(address, words) }
    }

    unsafe fn read(&self, address: u64, words: &mut [u32]) -> Result<(), DriverError> {
        let driver = self.asked("sing a hop")?;
        self.wait()?;
        // SAFETY: the caller's promise is this function's.
        unsafe { driver.read(address, words) }
    }

    fn is_done(&self) -> Result<bool, DriverError> {
        self.asked("sing a hop")?.is_done()
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<(), DriverError> {
        // SAFETY: the caller's promise is this function's.
        unsafe { self.asked("launch the kernel")?.launch(launch) }
    }
}

impl<D: Driver> Drop for Watched<D> {
    fn drop(&mut self) {
        if !*self.is_given_up.get_mut() {
            // SAFETY: the driver is dropped nowhere else, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.driver) }
        }
    }
}
