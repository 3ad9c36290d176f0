//! Configuration, and how projections are doing.

use fedsx_kernel::Cid;
use serde::Serialize;

use super::handle::Projections;
use super::shared::Shared;
use crate::error::QueryError;
use crate::fold::Visibility;

/// Configuration of the projections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most records in one batch.
    pub batch: u64,
    /// Most records that are folded for one query of past state.
    pub past_records: u64,
    /// About how many bytes of memory past state may take; what is retained for the next queries
    /// takes at most a quarter of that in all.
    pub past_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 512, past_records: 200_000, past_bytes: 64 * 1024 * 1024 }
    }
}

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// The version that is served.
    pub version: u32,
    /// Who may read it.
    pub visibility: Visibility,
    /// The position up to which the served state is folded.
    pub global_seq: u64,
    /// The end of the log.
    pub head: u64,
    /// Records that were set aside and wait for a decision.
    pub set_aside: u64,
    /// Whether the fold's own version is served and stands at the end of the log.
    pub caught_up: bool,
    /// Why it stands still until its actor is started again, where the storage failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// The definition that it comes from, where it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Cid>,
    /// The build that is made beside the served one, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilding: Option<Rebuilding>,
}

/// How far a rebuild is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilding {
    /// The version that it builds.
    pub version: u32,
    /// The position up to which it is folded.
    pub global_seq: u64,
}

impl Projections {
    /// Every projection, by name.
    pub fn list(&self) -> Vec<Info> {
        let head = self.0.log.head();
        self.0.running.all().values().map(|shared| info(shared, head)).collect()
    }

    /// One projection.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn info(&self, name: &str) -> Result<Info, QueryError> {
        Ok(info(&*self.shared(name)?, self.0.log.head()))
    }
}

fn info(shared: &Shared, head: u64) -> Info {
    let served = shared.served();
    let version = served.build.version;
    Info {
        name: shared.fold.name().to_owned(),
        version,
        visibility: shared.fold.visibility(),
        global_seq: served.global_seq,
        head,
        set_aside: shared.set_aside(),
        caught_up: version == shared.fold.version() && served.global_seq >= head,
        halted: shared.halted(),
        definition: shared.fold.definition().copied(),
        rebuilding: shared.making().map(|making| Rebuilding {
            version: making.build.version,
            global_seq: making.global_seq,
        }),
    }
}
