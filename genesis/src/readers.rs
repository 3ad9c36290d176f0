//! Who may read an activity: anyone where it is public, else its author and its audience.
//!
//! Every route that serves an activity, or something that was made from one, asks here.

use fedsx_kernel::log::{Log, Record, StoreError, Stream};
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{Activity, Base};
use thiserror::Error;

use crate::actors;
use crate::fold::{GRAPH, blocks};
use crate::graph::{Graph, Relation};
use crate::moderation;
use crate::rules::is_public;

/// Why it cannot be told who may read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// The admission state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReaderError> for Refusal {
    fn from(error: ReaderError) -> Self {
        match error {
            ReaderError::State(error) => error.into(),
            ReaderError::Store(error) => error.into(),
        }
    }
}

/// Whether an activity is for those alone who moderate, whomever it is addressed to: a report.
pub fn is_confidential(activity: &Activity) -> bool {
    activity.kind() == "Flag"
}

/// Whether anyone may read an activity.
pub fn is_for_anyone(activity: &Activity) -> bool {
    !is_confidential(activity) && activity.audience().into_iter().any(is_public)
}

/// Whether anyone may read the activity of a record who is shown anything of its author
/// ([`may_read_of`]). That stays so as long as the record is there.
pub fn is_open(record: &Record) -> bool {
    record.entry.stream != Stream::Local && is_for_anyone(&record.activity)
}

/// Whether a reader (`None`: anyone) is shown what this author said to anyone: what a blocked or
/// suspended actor said is shown to nobody else.
///
/// # Errors
/// Where the state cannot be read.
pub fn may_read_of(
    base: &Base,
    state: &dyn StateView,
    reader: Option<&str>,
    author: &str,
) -> Result<bool, StateError> {
    Ok(reader == Some(author) || !moderation::standing(base, state, author)?.is_hidden())
}

/// Whether the actor with the id `reader` (`None`: anyone) may read the activity of a record.
///
/// An actor of this instance reads what came into its inbox. One elsewhere reads what names it,
/// and as a follower what is for followers; whom the author blocks reads only what anyone does.
///
/// # Errors
/// Where the state or the log cannot be read.
pub fn may_read(
    base: &Base,
    state: &dyn StateView,
    log: &Log,
    reader: Option<&str>,
    record: &Record,
) -> Result<bool, ReaderError> {
    let activity = &record.activity;
    if record.entry.stream == Stream::Local {
        return Ok(false);
    }
    if !may_read_of(base, state, reader, activity.actor())? {
        return Ok(false);
    }
    if is_open(record) {
        return Ok(true);
    }
    let Some(reader) = reader else { return Ok(false) };
    let (author, audience) = (activity.actor(), activity.audience());
    if reader == author {
        return Ok(true);
    }
    if let Some(name) = base.name_of(reader)
        && log.store().position(&Stream::Inbox(name), activity.cid())?.is_some()
    {
        return Ok(true);
    }
    if is_confidential(activity) || blocks(state, author, reader)? {
        return Ok(false);
    }
    if audience.contains(&reader) || record.entry.meta.hidden.iter().any(|id| id == reader) {
        return Ok(true);
    }
    let known = actors::held(state, author)?;
    let followers = known.as_ref().and_then(|author| author.followers());
    if base.is_local(reader) || !followers.is_some_and(|id| audience.contains(&id)) {
        return Ok(false);
    }
    Ok(Graph::new(GRAPH).relation(state, reader, author)? == Relation::Accepted)
}
