//! What is early waits.

/// The last `hops + 1` values, overwritten in place.
pub(super) struct Delay<T> {
    slots: Box<[T]>,
    newest: usize,
}

impl<T: Clone> Delay<T> {
    pub fn new(hops: usize, empty: T) -> Self {
        Self { slots: vec![empty; hops + 1].into(), newest: 0 }
    }

    /// The place of the next value, which holds an old one.
    pub fn next(&mut self) -> &mut T {
        self.newest = (self.newest + 1) % self.slots.len();
        &mut self.slots[self.newest]
    }

    /// The value from `hops` before the newest.
    pub fn oldest(&self) -> &T {
        &self.slots[(self.newest + 1) % self.slots.len()]
    }
}
