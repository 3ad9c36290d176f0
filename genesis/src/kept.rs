//! What is made of a value of the admission state, kept as long as the state gives that same value.
//!
//! The state of a log keeps what was read last and gives the same allocation again until it is
//! written; so what was parsed of it is known by that, and nothing has to be told when it changes. A state
//! that gives a new one each time, such as a batch that is planned, is parsed each time.

use std::sync::Arc;

use fedsx_kernel::state::StateError;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::Value;

/// Things that are kept, about.
const KEPT: usize = 1024;
/// What an entry takes beside its name and itself, in bytes, about.
const OVERHEAD_BYTES: usize = 100;

/// What can be kept.
pub(crate) trait Keepable: Clone {
    /// What it takes in memory, in bytes, about.
    fn bytes(&self) -> usize;
}

#[derive(Clone)]
struct ByBytes;

impl<T: Keepable> Weighter<String, (Arc<Value>, T)> for ByBytes {
    fn weight(&self, name: &String, (_, kept): &(Arc<Value>, T)) -> u64 {
        (name.len() + kept.bytes() + OVERHEAD_BYTES) as u64
    }
}

/// Things by name, with the values of which they were made.
pub(crate) struct Kept<T: Keepable>(Cache<String, (Arc<Value>, T), ByBytes>);

impl<T: Keepable> Kept<T> {
    /// Nothing yet, and never more than so many bytes, about.
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(KEPT, bytes, ByBytes))
    }

    /// The thing with this name, made of a value, or the one that was made of it before.
    pub(crate) fn of(
        &self,
        name: &str,
        value: Arc<Value>,
        make: impl FnOnce(&Value) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        if let Some((from, kept)) = self.0.get(name)
            && Arc::ptr_eq(&from, &value)
        {
            return Ok(kept);
        }
        let made = make(&value)?;
        self.0.insert(name.to_owned(), (value, made.clone()));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    impl Keepable for u64 {
        fn bytes(&self) -> usize {
            8
        }
    }

    #[test]
    fn a_value_is_parsed_once_until_it_is_another() {
        let (kept, parsed) = (Kept::<u64>::new(10_000), Cell::new(0));
        let read = |value: &Arc<Value>| {
            let made = kept.of("a", value.clone(), |value| {
                parsed.set(parsed.get() + 1);
                Ok(value.as_u64().unwrap())
            });
            made.unwrap()
        };
        let (one, two) = (Arc::new(json!(1)), Arc::new(json!(2)));
        assert_eq!([read(&one), read(&one), parsed.get()], [1, 1, 1]);
        assert_eq!([read(&two), read(&two), parsed.get()], [2, 2, 2]);
        assert_eq!(read(&one), 1, "an older state is still read as it is");
        assert_eq!(read(&Arc::new(json!(3))), 3);
    }
}
