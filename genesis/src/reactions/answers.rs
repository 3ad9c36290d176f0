//! Which answers a record wants. They depend on the state and the record alone.
//!
//! - A Follow is accepted at once, unless the followed actor decides on its followers; one by who
//!   follows already is accepted in any case, since a server that asks again waits for an answer. Who
//!   moved has no new followers.
//! - A Block is not told to whom it is about (ActivityPub, section 6.9). So that both sides come to
//!   the same, the Follows that it ends are ended by statements that are told: the blocked actor's
//!   Follow is rejected, and an own one undone. Servers that do tell of a Block hear the same from
//!   who was blocked, so that nothing comes back when they lift it.

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
        ("Block", Stream::Outbox(author)) => {
            let Some(blocked) = record.activity.object_id() else { return Ok(Vec::new()) };
            to_block(base, state, first_seq, (author, blocked), record)
        }
        ("Block", Stream::Inbox(receiver))
            if record.activity.object_id() == Some(base.actor(receiver).as_str()) =>
        {
            to_block(base, state, first_seq, (receiver, record.activity.actor()), record)
        }
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
    let graph = Graph::new(GRAPH);
    let waits = match graph.relation(state, follower, &followed)? {
        Relation::Pending => true,
        Relation::Accepted => {
            graph.follow_id(state, follower, &followed)?.as_deref() != Some(id)
                && graph.is_follow_of(state, id, &followed)?
        }
        Relation::None => false,
    };
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

/// Ends what a Block between a hosted actor and another one ends, whoever of them blocked.
fn to_block(
    base: &Base,
    state: &dyn StateView,
    first_seq: impl Fn(&str) -> Result<Option<u64>, StoreError>,
    (hosted, other): (&ActorName, &str),
    record: &Record,
) -> Result<Vec<Answer>, Refusal> {
    let (graph, actor) = (Graph::new(GRAPH), base.actor(hosted));
    let mut answers = Vec::new();
    for (follower, followed, kind) in [(other, actor.as_str(), "Reject"), (&actor, other, "Undo")] {
        for follow in graph.standing_follows(state, follower, followed)? {
            // One that came after the Block, when that was lifted already, is another matter.
            if first_seq(&follow)?.is_some_and(|seq| seq < record.entry.global_seq) {
                let once_key = format!("ended\n{}\n{follow}", record.activity.cid());
                answers.push(Answer::new(hosted, kind, &follow, once_key));
            }
        }
    }
    Ok(answers)
}
