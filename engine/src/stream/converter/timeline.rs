//! Which settings hold for which hop.

use std::collections::VecDeque;

use super::Settings;

/// The settings of the hops that are still to come.
pub(super) struct Timeline {
    current: Settings,
    /// Changes that lie ahead: `(first hop, settings)`, ascending, each hop once.
    ahead: VecDeque<(u64, Settings)>,
    capacity: usize,
}

impl Timeline {
    /// `capacity` bounds how many hops can lie between the next one to be given and the one of the newest change.
    pub fn new(settings: Settings, capacity: usize) -> Self {
        Self { current: settings, ahead: VecDeque::with_capacity(capacity), capacity }
    }

    /// The newest settings hold from the start.
    pub fn reset(&mut self) {
        self.current = self.newest();
        self.ahead.clear();
    }

    /// The settings hold from this hop on, which is not before that of any change before.
    pub fn set(&mut self, first_hop: u64, settings: Settings) {
        // That there is no room cannot happen within the stated bound; never allocate all the same.
        let is_full = self.ahead.len() == self.capacity;
        match self.ahead.back_mut() {
            Some(last) if last.0 >= first_hop || is_full => last.1 = settings,
            _ => self.ahead.push_back((first_hop, settings)),
        }
    }

    /// The settings of a hop; hops are asked for in ascending order.
    pub fn at(&mut self, hop: u64) -> Settings {
        while let Some((first_hop, settings)) = self.ahead.front().copied()
            && first_hop <= hop
        {
            self.current = settings;
            self.ahead.pop_front();
        }
        self.current
    }

    fn newest(&self) -> Settings {
        self.ahead.back().map_or(self.current, |(_, settings)| *settings)
    }
}
