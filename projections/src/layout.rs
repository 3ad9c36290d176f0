//! How projections lie in their table.
//!
//! | key | value |
//! |---|---|
//! | `<name>\0v<build>\0s<key>` | state: the JSON value ([`crate::packed`]) |
//! | `<name>\0v<build>\0x<global_seq, 8 bytes big-endian>` | a record that was set aside |
//! | `<name>\0v<build>\0c` | the checkpoint |
//! | `<name>\0v<build>\0k<global_seq, 8 bytes><number, 4 bytes>` | changes up to this one ([`crate::changes`]) |
//! | `<name>\0v<build>\0i` | how far the changes reach back |
//! | `<name>\0live` | the build that is served |
//! | `<name>\0next` | the build that is made beside it and will take its place |
//!
//! A build is a version of the fold, in decimal, and from its second building on a dot and the
//! number of the building.

use std::fmt;
use std::str::FromStr;

use fedsx_kernel::Cid;
use fedsx_kernel::log::{StoreError, Table, TableWrite};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::packed;

/// How far a projection has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The last entry that was folded.
    pub(crate) global_seq: u64,
    /// Its body, to notice a log that was cut and grew again.
    pub(crate) cid: Option<Cid>,
    /// Records that were set aside and wait for a decision.
    pub(crate) set_aside: u64,
    /// Where the log ended when this build began: what was erased up to there it never saw.
    #[serde(default)]
    pub(crate) born: u64,
    /// Whether this build may hold what was erased since; it is to be replaced by another one.
    #[serde(default)]
    pub(crate) stale: bool,
}

/// One building of a version of a projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) version: u32,
    pub(crate) generation: u32,
}

impl Build {
    /// The first building of a version.
    pub(crate) fn first(version: u32) -> Self {
        Self { version, generation: 0 }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => write!(f, "{}", self.version),
            generation => write!(f, "{}.{generation}", self.version),
        }
    }
}

impl FromStr for Build {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('.') {
            Some((version, generation)) => {
                Self { version: version.parse()?, generation: generation.parse()? }
            }
            None => Self::first(text.parse()?),
        })
    }
}

/// The keys of one build of one projection.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    pub(crate) fn new(name: &str, build: Build) -> Self {
        Self { root: format!("{name}\0v{build}\0") }
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

    pub(crate) fn changes(&self) -> Vec<u8> {
        format!("{}k", self.root).into_bytes()
    }

    /// Where older versions kept changes, each in a row.
    fn old_changes(&self) -> Vec<u8> {
        format!("{}h", self.root).into_bytes()
    }

    pub(crate) fn has_old_changes(&self, table: &dyn Table) -> Result<bool, StoreError> {
        Ok(!table.scan(&self.old_changes(), None, 1)?.is_empty())
    }

    pub(crate) fn wipe_old_changes(&self, table: &dyn Table) -> Result<(), StoreError> {
        table.remove_all(&self.old_changes())?;
        Ok(())
    }

    pub(crate) fn reach(&self) -> Vec<u8> {
        format!("{}i", self.root).into_bytes()
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

    /// Whether anything of this build is stored.
    pub(crate) fn is_empty(&self, table: &dyn Table) -> Result<bool, StoreError> {
        Ok(table.scan(self.root.as_bytes(), None, 1)?.is_empty())
    }

    /// Removes everything of this build, the checkpoint first, so that what a crash leaves
    /// behind is not taken for a state.
    pub(crate) fn wipe(&self, table: &dyn Table) -> Result<(), StoreError> {
        table.apply(vec![(self.checkpoint_key(), None)])?;
        table.remove_all(self.root.as_bytes())?;
        Ok(())
    }
}

/// Which builds of a projection are stored, and what they are for.
#[derive(Clone, Debug)]
pub(crate) struct Builds<'a>(pub(crate) &'a str);

impl Builds<'_> {
    /// The build that is served.
    pub(crate) fn live(&self, table: &dyn Table) -> Result<Option<Build>, StoreError> {
        read_build(table, &self.key("live"))
    }

    /// The build that will take its place.
    pub(crate) fn next(&self, table: &dyn Table) -> Result<Option<Build>, StoreError> {
        read_build(table, &self.key("next"))
    }

    pub(crate) fn put_live(&self, build: Build) -> TableWrite {
        (self.key("live"), Some(build.to_string().into_bytes()))
    }

    pub(crate) fn put_next(&self, build: Option<Build>) -> TableWrite {
        (self.key("next"), build.map(|build| build.to_string().into_bytes()))
    }

    /// The build of a version that is as far as possible: the served one, else the one that is
    /// being made.
    pub(crate) fn of_version(&self, table: &dyn Table, version: u32) -> Result<Build, StoreError> {
        let known = [self.live(table)?, self.next(table)?];
        let found = known.into_iter().flatten().find(|build| build.version == version);
        Ok(found.unwrap_or(Build::first(version)))
    }

    /// The names of all projections of which anything is stored.
    pub(crate) fn names(table: &dyn Table) -> Result<Vec<String>, StoreError> {
        let (mut names, mut after): (Vec<String>, Option<Vec<u8>>) = (Vec::new(), None);
        while let Some((key, _)) = table.scan(b"", after.as_deref(), 1)?.pop() {
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8(name.to_vec()).map_err(|_| damaged(&key, "no name"))?;
            // Keys are a name, a zero byte, and more: what comes after them all is the next name.
            after = Some([name.as_bytes(), &[1]].concat());
            names.push(name);
        }
        Ok(names)
    }

    /// Removes everything of this projection.
    pub(crate) fn wipe(&self, table: &dyn Table) -> Result<(), StoreError> {
        self.wipe_others(table, &[])?;
        table.remove_all(format!("{}\0", self.0).as_bytes())?;
        Ok(())
    }

    /// Removes every build that is not among these.
    pub(crate) fn wipe_others(&self, table: &dyn Table, keep: &[Build]) -> Result<(), StoreError> {
        let builds = format!("{}\0v", self.0).into_bytes();
        let keep: Vec<_> = keep.iter().map(|build| Layout::new(self.0, *build).root).collect();
        let mut after: Option<Vec<u8>> = None;
        while let Some((key, _)) = table.scan(&builds, after.as_deref(), 1)?.pop() {
            let name = key.get(builds.len()..).unwrap_or_default();
            let name = name.iter().take_while(|byte| **byte != 0).count();
            let root = key.get(..builds.len() + name + 1).unwrap_or(&key).to_vec();
            if !keep.iter().any(|kept| kept.as_bytes() == root) {
                table.remove_all(&root)?;
            }
            // No key of a build goes on with 0xff after its root.
            after = Some([root.as_slice(), &[0xff]].concat());
        }
        Ok(())
    }

    fn key(&self, what: &str) -> Vec<u8> {
        format!("{}\0{what}", self.0).into_bytes()
    }
}

fn read_build(table: &dyn Table, key: &[u8]) -> Result<Option<Build>, StoreError> {
    let Some(bytes) = table.get(key)? else { return Ok(None) };
    let build = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    build.map(Some).ok_or_else(|| damaged(key, "not a build"))
}

pub(crate) fn encode(key: &[u8], value: &Value) -> Result<Vec<u8>, StoreError> {
    packed::encode(value).map_err(|reason| damaged(key, &reason))
}

pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Result<Value, StoreError> {
    packed::decode(bytes).map_err(|reason| damaged(key, &reason))
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
