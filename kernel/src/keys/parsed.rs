//! Public keys that were read before.
//!
//! Reading one finds a point on a curve, or makes large numbers of text; the same keys sign again and
//! again. What a text means as a key depends on the text alone, so nothing here is ever out of date.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::{Key, KeyError, Material, PublicKey};

/// Keys that are kept; one of RSA takes about two KiB.
const KEPT: usize = 4096;

/// Keys by the text that says them.
pub(crate) struct ParsedKeys(Cache<Material, Arc<PublicKey>>);

impl ParsedKeys {
    pub(crate) fn new() -> Self {
        Self(Cache::new(KEPT))
    }

    /// As [`Key::public`].
    pub(crate) fn public(&self, key: &Key) -> Result<Arc<PublicKey>, KeyError> {
        if let Some(public) = self.0.get(&key.material) {
            return Ok(public);
        }
        let public = Arc::new(key.public()?);
        self.0.insert(key.material.clone(), public.clone());
        Ok(public)
    }
}
