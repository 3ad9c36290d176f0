//! What a caller is shown of an activity; who may see it is decided in `genesis::readers`.

use axum::body::Bytes;
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_genesis::{erasure, moderation, readers};
use fedsx_kernel::log::Record;
use fedsx_kernel::pipeline::inbound::without_hidden;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde_json::Value;

use crate::app::App;
use crate::caller::{self, Caller};
use crate::hot::{Asked, Stamp};

/// Whether the activity of a record may be shown to this reader (`None`: anyone).
pub(crate) fn may_see(app: &App, reader: Option<&str>, record: &Record) -> Result<bool, Refusal> {
    let log = app.kernel().log();
    Ok(readers::may_read(app.base(), log.state(), log, reader, record)?)
}

/// The answer that is kept, where there is one and this caller may see what its author said.
///
/// # Errors
/// `not-found`, as for what is not there; `blocked`; where the state cannot be read.
pub(crate) fn kept(
    app: &App,
    caller: &Caller,
    asked: &Asked,
    stamp: &Stamp,
) -> Result<Option<Bytes>, Refusal> {
    let Some(kept) = app.hot.get(asked, stamp) else { return Ok(None) };
    let author = kept.author.as_deref().unwrap_or_default();
    let (state, reader) = (app.kernel().log().state(), caller.reads_as(app));
    if !readers::may_read_of(app.base(), state, reader.as_deref(), author)? {
        return Err(nothing());
    }
    caller::not_blocked(app, caller, author)?;
    Ok(Some(kept.json))
}

/// Keeps an answer that was made of a record, where anyone may read it.
pub(crate) fn keep(app: &App, asked: Asked, stamp: Stamp, record: &Record, json: &Bytes) {
    if readers::is_open(record) && !record.activity.is_erased() {
        app.hot.keep(asked, stamp, Some(record.activity.actor()), json.clone());
    }
}

/// The same answer for what is not there and for what the caller may not see.
pub(crate) fn nothing() -> Refusal {
    Refusal::new(Problem::NotFound, "there is nothing here, or nothing that you may see")
}

/// Whether a record of an actor's inbox is shown to it: not what the instance hides, nor what those
/// said whom it silences and the actor does not follow.
pub(crate) fn is_in_inbox(app: &App, reader: &str, record: &Record) -> Result<bool, Refusal> {
    let (state, author) = (app.kernel().log().state(), record.activity.actor());
    let standing = moderation::standing(app.base(), state, author)?;
    if standing.is_hidden() || !standing.silenced {
        return Ok(!standing.is_hidden() || author == reader);
    }
    Ok(Graph::new(GRAPH).relation(state, reader, author)? == Relation::Accepted)
}

/// Whether the definition that comes from this activity, or from no activity, may be listed to
/// anyone.
pub(crate) fn is_for_anyone(app: &App, origin: &str) -> Result<bool, Refusal> {
    match app.kernel().log().by_id(origin)? {
        Some(activity) => Ok(readers::is_for_anyone(&activity)),
        None => Ok(true),
    }
}

/// The activity as it is shown: without what only its author may see. Of one that was erased,
/// what is left.
pub(crate) fn shown(record: &Record) -> Value {
    let mut document = match record.activity.is_erased() {
        true => erasure::shown(&record.activity),
        false => record.activity.document().clone(),
    };
    without_hidden(&mut document);
    Value::Object(document)
}
