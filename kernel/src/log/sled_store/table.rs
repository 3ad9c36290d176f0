use std::sync::Arc;

use super::core::Core;
use super::device::Writer;
use super::rows::Rows;
use crate::log::store::{Pairs, StoreError, Table, TableWrite};

/// Keys and values beside the log.
pub(super) struct SledTable {
    pub(super) core: Arc<Core>,
    pub(super) rows: Rows,
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Pairs, StoreError> {
        self.rows.scan(prefix, after, limit)
    }

    fn scan_back(
        &self,
        prefix: &[u8],
        before: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs, StoreError> {
        self.rows.scan_back(prefix, before, limit)
    }

    fn apply(&self, writes: Vec<TableWrite>) -> Result<(), StoreError> {
        let prepared = self.core.admit(&self.rows, Writer::Beside, writes)?;
        self.core.commit(&self.rows, prepared)
    }
}
