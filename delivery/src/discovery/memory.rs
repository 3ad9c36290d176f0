use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::runtime::Clock;
use quick_cache::sync::Cache;

/// A value and when it was put, in milliseconds since 1970.
#[derive(Clone)]
struct Kept<V> {
    at_ms: i64,
    ttl_ms: i64,
    value: V,
}

/// A bounded cache whose entries expire by the injected clock.
pub(crate) struct Memory<V: Clone + Send + Sync + 'static> {
    cache: Cache<String, Kept<V>>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
}

impl<V: Clone + Send + Sync + 'static> Memory<V> {
    pub fn new(entries: u64, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { cache: Cache::new(usize::try_from(entries).unwrap_or(usize::MAX)), clock, ttl }
    }

    pub fn put(&self, key: &str, value: V) {
        self.put_for(key, value, self.ttl);
    }

    /// Keeps a value for a time of its own.
    pub fn put_for(&self, key: &str, value: V, ttl: Duration) {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.cache.insert(key.to_owned(), Kept { at_ms: self.clock.now_ms(), ttl_ms, value });
    }

    /// The value, while it is fresh.
    pub fn get(&self, key: &str) -> Option<V> {
        let Kept { at_ms, ttl_ms, value } = self.cache.get(key)?;
        let age_ms = self.clock.now_ms().saturating_sub(at_ms);
        // A clock that was set back makes an entry old, not eternal.
        (0..ttl_ms).contains(&age_ms).then_some(value)
    }
}
