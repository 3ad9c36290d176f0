use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::runtime::Clock;
use moka::sync::Cache;

/// A bounded cache whose entries expire by the injected clock.
pub(super) struct Memory<V: Clone + Send + Sync + 'static> {
    cache: Cache<String, (i64, V)>,
    clock: Arc<dyn Clock>,
    ttl_ms: i64,
}

impl<V: Clone + Send + Sync + 'static> Memory<V> {
    pub fn new(entries: u64, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        Self { cache: Cache::new(entries), clock, ttl_ms }
    }

    pub fn put(&self, key: &str, value: V) {
        self.cache.insert(key.to_owned(), (self.clock.now_ms(), value));
    }

    /// The value, while it is fresh.
    pub fn get(&self, key: &str) -> Option<V> {
        let (at_ms, value) = self.cache.get(key)?;
        let age_ms = self.clock.now_ms().saturating_sub(at_ms);
        // A clock that was set back makes an entry old, not eternal.
        (0..self.ttl_ms).contains(&age_ms).then_some(value)
    }
}
