//! Operating projections: rebuilds, digests, records that were set aside.

use std::time::Duration;

use tokio::sync::oneshot;

use super::handle::Projections;
use super::info::Info;
use super::projector::Message;
use super::shared::Rebuilt;
use crate::digest::{self, Digest};
use crate::error::QueryError;
use crate::layout::Layout;
use crate::set_aside::SetAside;

/// How long a digest may take.
const DIGEST_WAIT: Duration = Duration::from_secs(600);
/// How long a rebuild may take to begin.
const REBUILD_WAIT: Duration = Duration::from_secs(60);
/// Most records that were set aside in one answer.
const SET_ASIDE_LIMIT: usize = 1000;

impl Projections {
    /// Begins to build the state of a projection anew from the log. What is served stays until
    /// the new build has come as far, and is then replaced in one step.
    ///
    /// # Errors
    /// [`QueryError::UnderWay`] where that is being done already.
    pub async fn rebuild(&self, name: &str) -> Result<Info, QueryError> {
        let unavailable = || QueryError::Unavailable(name.to_owned());
        let shared = self.shared(name)?;
        let actor = shared.actor().ok_or_else(unavailable)?;
        let (answer, receive) = oneshot::channel();
        actor.cast(Message::Rebuild(answer)).map_err(|_| unavailable())?;
        let begun = tokio::select! {
            biased;
            begun = receive => begun.map_err(|_| unavailable())?,
            () = self.0.runtime.clock.sleep(REBUILD_WAIT) => return Err(unavailable()),
        };
        if !begun {
            return Err(QueryError::UnderWay(name.to_owned()));
        }
        self.0.past.forget(name);
        self.info(name)
    }

    /// How the last rebuild since the start ended; none while one is under way.
    ///
    /// # Errors
    /// [`QueryError::Unknown`].
    pub fn rebuilt(&self, name: &str) -> Result<Option<Rebuilt>, QueryError> {
        Ok(self.shared(name)?.rebuilt())
    }

    /// The digest of a projection, taken between two of its batches.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] while the projection is being restarted.
    pub async fn digest(&self, name: &str) -> Result<Digest, QueryError> {
        let unavailable = || QueryError::Unavailable(name.to_owned());
        let actor = self.shared(name)?.actor().ok_or_else(unavailable)?;
        let (answer, receive) = oneshot::channel();
        actor.cast(Message::Digest(answer)).map_err(|_| unavailable())?;
        tokio::select! {
            biased;
            digest = receive => Ok(digest.map_err(|_| unavailable())??),
            () = self.0.runtime.clock.sleep(DIGEST_WAIT) => Err(unavailable()),
        }
    }

    /// Up to 1,000 records that a projection set aside, after a position, with what was decided
    /// about them. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn set_aside(&self, name: &str, after: Option<u64>) -> Result<Vec<SetAside>, QueryError> {
        let shared = self.shared(name)?;
        let layout = Layout::new(name, shared.live());
        Ok(digest::set_aside(&*shared.table, &layout, after, SET_ASIDE_LIMIT)?)
    }

    /// One record that a projection set aside. Reading blocks.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], and where the table cannot be read.
    pub fn set_aside_at(
        &self,
        name: &str,
        global_seq: u64,
    ) -> Result<Option<SetAside>, QueryError> {
        let shared = self.shared(name)?;
        let layout = Layout::new(name, shared.live());
        let before = global_seq.checked_sub(1);
        let found = digest::set_aside(&*shared.table, &layout, before, 1)?.pop();
        Ok(found.filter(|item| item.global_seq == global_seq))
    }
}
