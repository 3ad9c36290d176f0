//! Who may see an activity: its author, its audience, and anyone where it is public.

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_genesis::rules::is_public;
use fedsx_genesis::{actors, erasure};
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::pipeline::inbound::without_hidden;
use fedsx_kernel::refusal::Refusal;
use serde_json::Value;

use crate::app::App;

/// Whether the activity of a record may be shown to this reader (`None`: anyone).
pub(crate) fn may_see(app: &App, reader: Option<&str>, record: &Record) -> Result<bool, Refusal> {
    let activity = &record.activity;
    let audience = activity.audience();
    if record.entry.stream == Stream::Local {
        return Ok(false);
    }
    if audience.iter().any(|id| is_public(id)) {
        return Ok(true);
    }
    let Some(reader) = reader else { return Ok(false) };
    let hidden = &record.entry.meta.hidden;
    if reader == activity.actor()
        || audience.contains(&reader)
        || hidden.iter().any(|id| id == reader)
    {
        return Ok(true);
    }
    if let Some(name) = app.base().name_of(reader) {
        let inbox = Stream::Inbox(name);
        return Ok(app.kernel().log().store().position(&inbox, activity.cid())?.is_some());
    }
    let state = app.kernel().log().state();
    let author = actors::actor(state, activity.actor())?;
    let to_followers = author
        .as_ref()
        .and_then(|author| author.followers())
        .is_some_and(|followers| audience.contains(&followers));
    let follows =
        Graph::new(GRAPH).relation(state, reader, activity.actor())? == Relation::Accepted;
    Ok(to_followers && follows)
}

/// Whether the definition that comes from this activity, or from no activity, may be listed to
/// anyone.
pub(crate) fn is_for_anyone(app: &App, origin: &str) -> Result<bool, Refusal> {
    match app.kernel().log().by_id(origin)? {
        Some(activity) => Ok(activity.audience().iter().any(|id| is_public(id))),
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
