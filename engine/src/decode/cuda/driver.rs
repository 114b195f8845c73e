//! A device's memory and launches, as little of them as is needed.

use std::sync::Arc;

use thiserror::Error;

use super::plan::Limits;

/// What a device said no to.
#[derive(Clone, Debug, Error)]
#[error("the GPU failed to {doing}: {why}")]
pub struct DriverError {
    /// What was asked of it.
    pub doing: &'static str,
    /// Its answer.
    pub why: String,
}

/// What a device is.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    /// What it has for one network, each way that it can hand letters on, the fastest first.
    pub(super) limits: Vec<Limits>,
}

/// What a network runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// Thread blocks; more than one wait for each other.
    pub(super) blocks: usize,
    /// Whether they are a cluster.
    pub(super) is_cluster: bool,
    /// Of each block.
    pub(super) threads: usize,
    /// The same.
    pub(super) chip_words: usize,
}

/// One launch of the kernel.
pub(super) struct Launch<'a> {
    pub(super) chain: Chain,
    /// How many of them.
    pub(super) chains: usize,
    /// The kernel's arguments in their order.
    pub(super) model: &'a [u32],
    pub(super) weights: u64,
    pub(super) streams: u64,
    pub(super) stream_count: u32,
    pub(super) letters: u64,
    pub(super) first_letter: u32,
}

/// See the module. Addresses are the device's, words 32 bits long; calls take effect in their order.
pub(super) trait Driver: Send + Sync {
    /// What the device is.
    fn facts(&self) -> &Facts;
    /// How many such chains run at the same time; 0 where not even one does.
    fn most_chains(&self, chain: &Chain) -> Result<usize, DriverError>;
    /// Memory, all zero.
    fn allocate(&self, words: usize) -> Result<u64, DriverError>;
    /// Gives memory back.
    ///
    /// # Safety
    /// `allocate` gave it, and it is not given back twice or used after.
    unsafe fn release(&self, address: u64, words: usize);
    /// Writes zeros.
    ///
    /// # Safety
    /// The words from `address` on lie within one allocation.
    unsafe fn clear(&self, address: u64, words: usize) -> Result<(), DriverError>;
    /// Writes words.
    ///
    /// # Safety
    /// As for [`Driver::clear`].
    unsafe fn write(&self, address: u64, words: &[u32]) -> Result<(), DriverError>;
    /// Reads words, once all that was launched is done.
    ///
    /// # Safety
    /// As for [`Driver::clear`].
    unsafe fn read(&self, address: u64, words: &mut [u32]) -> Result<(), DriverError>;
    /// Whether all that was launched is done.
    fn is_done(&self) -> Result<bool, DriverError>;
    /// Runs the kernel.
    ///
    /// # Safety
    /// The arguments are what the kernel takes: a model and weights that belong together, and memory as long as they say.
    unsafe fn launch(&self, launch: &Launch) -> Result<(), DriverError>;
}

/// A piece of a device's memory.
pub(super) struct Memory {
    driver: Arc<dyn Driver>,
    address: u64,
    words: usize,
}

impl Memory {
    /// So many words, all zero.
    pub(super) fn new(driver: Arc<dyn Driver>, words: usize) -> Result<Self, DriverError> {
        let address = driver.allocate(words)?;
        Ok(Self { driver, address, words })
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Zeros all from word `first` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn clear(&self, first: usize) -> Result<(), DriverError> {
        assert!(first <= self.words, "words of device memory");
        // SAFETY: they lie within this allocation, as just asked.
        unsafe { self.driver.clear(self.address + 4 * first as u64, self.words - first) }
    }

    /// Writes words from `at` on.
    ///
    /// # Panics
    /// If they do not fit.
    pub(super) fn write(&self, at: usize, words: &[u32]) -> Result<(), DriverError> {
        assert!(at + words.len() <= self.words, "words of device memory");
        // SAFETY: they lie within this allocation, as just asked.
        unsafe { self.driver.write(self.address + 4 * at as u64, words) }
    }

    /// Reads the first words.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn read(&self, words: &mut [u32]) -> Result<(), DriverError> {
        assert!(words.len() <= self.words, "words of device memory");
        // SAFETY: they lie within this allocation, as just asked.
        unsafe { self.driver.read(self.address, words) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: this allocation is this value's alone, and the value is gone.
        unsafe { self.driver.release(self.address, self.words) }
    }
}
