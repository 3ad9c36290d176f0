//! How projections lie in their table.
//!
//! | key | value |
//! |---|---|
//! | `<name>\0v<version>\0s<key>` | state: DAG-CBOR of the JSON value |
//! | `<name>\0v<version>\0x<global_seq, 8 bytes big-endian>` | a record that was set aside |
//! | `<name>\0v<version>\0c` | the checkpoint |
//! | `<name>\0live` | the version that is served, in decimal |

use fedsx_kernel::Cid;
use fedsx_kernel::canonical;
use fedsx_kernel::log::{StoreError, Table, TableWrite};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a projection has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The last entry that was folded.
    pub(crate) global_seq: u64,
    /// Its body, to notice a log that was cut and grew again.
    pub(crate) cid: Option<Cid>,
    /// Records that were set aside so far.
    pub(crate) set_aside: u64,
}

/// A record that a fold could not digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// The entry.
    pub global_seq: u64,
    /// The body.
    pub cid: Cid,
    /// Why.
    pub reason: String,
}

/// Keys that are removed in one step.
const PAGE: usize = 1000;

/// The keys of one version of one projection.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    name: String,
    root: String,
}

impl Layout {
    pub(crate) fn new(name: &str, version: u32) -> Self {
        Self { name: name.to_owned(), root: format!("{name}\0v{version}\0") }
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        format!("{}s", self.root).into_bytes()
    }

    pub(crate) fn set_aside(&self) -> Vec<u8> {
        format!("{}x", self.root).into_bytes()
    }

    pub(crate) fn set_aside_at(&self, global_seq: u64) -> Vec<u8> {
        let mut key = self.set_aside();
        key.extend_from_slice(&global_seq.to_be_bytes());
        key
    }

    fn checkpoint_key(&self) -> Vec<u8> {
        format!("{}c", self.root).into_bytes()
    }

    pub(crate) fn checkpoint(&self, table: &dyn Table) -> Result<Option<Checkpoint>, StoreError> {
        let key = self.checkpoint_key();
        table.get(&key)?.map(|bytes| decode_as(&key, &bytes)).transpose()
    }

    pub(crate) fn put_checkpoint(&self, checkpoint: &Checkpoint) -> Result<TableWrite, StoreError> {
        let key = self.checkpoint_key();
        let value = encode_as(&key, checkpoint)?;
        Ok((key, Some(value)))
    }

    /// Whether anything of this version is stored.
    pub(crate) fn is_empty(&self, table: &dyn Table) -> Result<bool, StoreError> {
        Ok(table.scan(self.root.as_bytes(), None, 1)?.is_empty())
    }

    /// Removes everything of this version, the checkpoint first, so that what a crash leaves
    /// behind is not taken for a state.
    pub(crate) fn wipe(&self, table: &dyn Table) -> Result<(), StoreError> {
        table.apply(vec![(self.checkpoint_key(), None)])?;
        wipe_prefix(table, self.root.as_bytes())
    }

    pub(crate) fn live(&self, table: &dyn Table) -> Result<Option<u32>, StoreError> {
        let key = self.live_key();
        let Some(bytes) = table.get(&key)? else { return Ok(None) };
        let version = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        version.map(Some).ok_or_else(|| damaged(&key, "not a version"))
    }

    pub(crate) fn put_live(&self, version: u32) -> TableWrite {
        (self.live_key(), Some(version.to_string().into_bytes()))
    }

    fn live_key(&self) -> Vec<u8> {
        format!("{}\0live", self.name).into_bytes()
    }

    /// Removes every other version of the projection.
    pub(crate) fn wipe_others(&self, table: &dyn Table) -> Result<(), StoreError> {
        let versions = format!("{}\0v", self.name).into_bytes();
        let (own, mut after) = (self.root.as_bytes(), None);
        while let Some((key, _)) = table.scan(&versions, after.as_deref(), 1)?.pop() {
            if key.starts_with(own) {
                // No key of a version goes on with 0xff, which is not UTF-8.
                after = Some([own, &[0xff]].concat());
                continue;
            }
            let digits = key.get(versions.len()..).unwrap_or_default();
            let digits = digits.iter().take_while(|byte| **byte != 0).count();
            let root = key.get(..versions.len() + digits + 1).unwrap_or(&key).to_vec();
            wipe_prefix(table, &root)?;
        }
        Ok(())
    }
}

fn wipe_prefix(table: &dyn Table, prefix: &[u8]) -> Result<(), StoreError> {
    loop {
        let page = table.scan(prefix, None, PAGE)?;
        let done = page.len() < PAGE;
        table.apply(page.into_iter().map(|(key, _)| (key, None)).collect())?;
        if done {
            return Ok(());
        }
    }
}

pub(crate) fn encode(key: &[u8], value: &Value) -> Result<Vec<u8>, StoreError> {
    canonical::to_dag_cbor(value).map_err(|e| damaged(key, &e.to_string()))
}

pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<Value, StoreError> {
    canonical::from_dag_cbor(bytes).map_err(|e| damaged(key, &e.to_string()))
}

pub(crate) fn encode_as<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let value = serde_json::to_value(value).map_err(|e| damaged(key, &e.to_string()))?;
    encode(key, &value)
}

pub(crate) fn decode_as<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_value(decode(key, bytes)?).map_err(|e| damaged(key, &e.to_string()))
}

fn damaged(key: &[u8], reason: &str) -> StoreError {
    StoreError::Damaged {
        place: format!("projection key {:?}", String::from_utf8_lossy(key)),
        reason: reason.to_owned(),
    }
}
