//! What is made of a bank once, for all who sing with it.

use std::any::Any;

use parking_lot::Mutex;

/// One value of each type that was asked for. The bank need not know the types: packed weights are made by those who read
/// them.
#[derive(Default)]
pub(crate) struct Derived(Mutex<Vec<Box<dyn Any + Send + Sync>>>);

impl Derived {
    /// The value of this type, made at the first time that it is asked for; whoever asks meanwhile waits.
    pub(crate) fn get_or_make<T: Any + Clone + Send + Sync>(&self, make: impl FnOnce() -> T) -> T {
        let mut values = self.0.lock();
        if let Some(value) = values.iter().find_map(|value| value.downcast_ref::<T>()) {
            return value.clone();
        }
        let value = make();
        values.push(Box::new(value.clone()));
        value
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Derived").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_each_type_is_made_once() {
        let derived = Derived::default();
        assert_eq!(derived.get_or_make(|| 3_u32), 3);
        assert_eq!(derived.get_or_make(|| 4_i64), 4);
        assert_eq!(derived.get_or_make::<u32>(|| unreachable!("it is there")), 3);
        assert_eq!(derived.get_or_make::<i64>(|| unreachable!("it is there")), 4);
    }
}
