//! Which answers a record wants. They depend on the state and the record alone.
//!
//! - A Follow is accepted at once, unless the followed actor decides on its followers; one by who
//!   follows already is accepted in any case. Who moved has no new followers.
//! - A Block is not told to whom it is about (ActivityPub, section 6.9). So that both sides come to
//!   the same, the Follows that it ends are ended by statements that are told: the blocked actor's
//!   Follow is rejected, and an own one undone.

use fedsx_kernel::log::{Record, StoreError, Stream};
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::state::StateView;
use fedsx_kernel::{ActorName, Base};
use serde_json::{Map, Value, json};

use crate::actors;
use crate::fold::{GRAPH, was_follower};
use crate::graph::{Graph, Relation};
use crate::moves;

/// Something to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Who says it.
    pub actor: ActorName,
    /// What a client would send.
    pub request: Map<String, Value>,
    /// Unique for cause and answer.
    pub once_key: String,
}

impl Answer {
    fn new(actor: &ActorName, kind: &str, object: &str, once_key: String) -> Self {
        let request = [("type", kind), ("object", object)]
            .map(|(name, value)| (name.to_owned(), Value::from(value)));
        Self { actor: actor.clone(), request: request.into_iter().collect(), once_key }
    }
}

/// The answers to a record. `first_seq` tells from which position on the log holds the activity with
/// an id.
///
/// # Errors
/// Where state or log cannot be read.
pub fn to(
    base: &Base,
    state: &dyn StateView,
    first_seq: impl Fn(&str) -> Result<Option<u64>, StoreError>,
    record: &Record,
) -> Result<Vec<Answer>, Refusal> {
    if record.entry.meta.backfilled {
        return Ok(Vec::new());
    }
    match (record.activity.kind(), &record.entry.stream) {
        ("Follow", Stream::Inbox(receiver)) => {
            Ok(to_follow(base, state, receiver, record)?.into_iter().collect())
        }
        ("Block", Stream::Outbox(author)) => to_block(state, first_seq, author, record),
        _ => Ok(Vec::new()),
    }
}

fn to_follow(
    base: &Base,
    state: &dyn StateView,
    receiver: &ActorName,
    record: &Record,
) -> Result<Option<Answer>, Refusal> {
    let (activity, followed) = (&record.activity, base.actor(receiver));
    if activity.object_id() != Some(followed.as_str()) {
        return Ok(None);
    }
    let Some(actor) = actors::actor(state, &followed)?.filter(|actor| !actor.deleted) else {
        return Ok(None);
    };
    let (follower, id) = (activity.actor(), activity.id());
    let waits = Graph::new(GRAPH).relation(state, follower, &followed)? == Relation::Pending;
    let new = !was_follower(state, follower, &followed, id)?;
    let moved = new && moves::moved_to(&actor.document).is_some();
    let decides = new && !moved && actor.approves_followers();
    if decides || !waits {
        return Ok(None);
    }
    let (kind, what) = if moved { ("Reject", "reject") } else { ("Accept", "accept") };
    let mut answer = Answer::new(receiver, kind, id, format!("{what}\n{followed}\n{id}"));
    answer.request.insert("to".into(), json!([follower]));
    Ok(Some(answer))
}

fn to_block(
    state: &dyn StateView,
    first_seq: impl Fn(&str) -> Result<Option<u64>, StoreError>,
    author: &ActorName,
    record: &Record,
) -> Result<Vec<Answer>, Refusal> {
    let block = &record.activity;
    let Some(blocked) = block.object_id() else { return Ok(Vec::new()) };
    let (graph, actor) = (Graph::new(GRAPH), block.actor());
    let mut answers = Vec::new();
    for (follower, followed, kind) in [(blocked, actor, "Reject"), (actor, blocked, "Undo")] {
        let Some(follow) = graph.standing_follow(state, follower, followed)? else { continue };
        // One that came after the Block, when that was lifted already, is another matter.
        if first_seq(&follow)?.is_some_and(|seq| seq < record.entry.global_seq) {
            let once_key = format!("ended\n{}\n{follow}", block.cid());
            answers.push(Answer::new(author, kind, &follow, once_key));
        }
    }
    Ok(answers)
}
