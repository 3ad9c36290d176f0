//! Whether an activity is admissible.

use fedsx_kernel::activity::{id_of, ids_in};
use fedsx_kernel::address::same_origin;
use fedsx_kernel::keys::Key;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::{Direction, Judgement};
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Activity, proof};

use super::{GenesisRules, kind_in};
use crate::actor_keys;
use crate::actors::{self, is_actor_type};
use crate::fold::GRAPH;
use crate::graph::Graph;
use crate::registry;

impl GenesisRules {
    pub(super) fn judge_with(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        direction: Direction,
        earlier: Option<&Judgement>,
    ) -> Result<Judgement, Refusal> {
        let outbound = direction == Direction::Outbound;
        if outbound {
            author_lives(state, activity)?;
            not_blocked_by_author(state, activity)?;
            super::moving::may_speak(state, activity)?;
            super::moderating::may_speak(&self.base, state, activity)?;
        } else {
            of_origin(activity)?;
            by_owner(state, activity)?;
            answers_our_follow(self, state, activity)?;
        }
        if activity.kind() == "Follow" && activity.object_id() == Some(activity.actor()) {
            return Err(Refusal::new(Problem::SelfFollow, "an actor cannot follow itself"));
        }
        may_change_keys(state, activity)?;
        // What follows reads of the state only what is in force.
        let basis = registry::generation(state)?;
        if let Some(earlier) = earlier
            && earlier.basis.is_some()
            && earlier.basis == basis
        {
            return Ok(earlier.clone());
        }
        self.definable(state, activity, outbound)?;
        let judgement = self.shape(state, activity, outbound, earlier)?;
        // In a pipeline, a batch may have come between these reads.
        let same = registry::generation(state)? == basis;
        Ok(Judgement { basis: basis.filter(|_| same), ..judgement })
    }
}

/// Only an actor that lives publishes; only its own `Create` comes before.
fn author_lives(state: &dyn StateView, activity: &Activity) -> Result<(), Refusal> {
    let creates_itself = activity.kind() == "Create" && actor_keys::concerns_author(activity);
    match actors::deleted(state, activity.actor())? {
        Some(true) => {
            Err(Refusal::new(Problem::ActorGone, format!("{} was deleted", activity.actor())))
        }
        Some(_) if creates_itself => {
            Err(Refusal::new(Problem::ActorExists, format!("{} exists already", activity.actor())))
        }
        None if !creates_itself => Err(Refusal::new(
            Problem::UnknownActor,
            format!(
                "{} does not exist yet; publish Create with a Person, Service or Group first",
                activity.actor()
            ),
        )),
        _ => Ok(()),
    }
}

/// Who blocks an actor neither follows it nor accepts it: each side would see something else.
fn not_blocked_by_author(state: &dyn StateView, activity: &Activity) -> Result<(), Refusal> {
    let other = match activity.kind() {
        "Follow" => activity.object_id(),
        "Accept" => activity.object().and_then(|follow| follow.get("actor")).and_then(id_of),
        _ => None,
    };
    let Some(other) = other else { return Ok(()) };
    if Graph::new(GRAPH).blocks(state, activity.actor(), other)? {
        let detail = format!("{} blocks {other}; undo the Block first", activity.actor());
        return Err(Refusal::new(Problem::NotAuthorised, detail));
    }
    Ok(())
}

/// What an author embeds as its own must be of its own origin (FEP-fe34).
fn of_origin(activity: &Activity) -> Result<(), Refusal> {
    let wrong = |what: &str, id: &str| {
        Refusal::new(
            Problem::WrongOrigin,
            format!("{what} {id} is not of the origin of {}", activity.actor()),
        )
    };
    let Some(object) = activity.object() else { return Ok(()) };
    match activity.kind() {
        "Create" | "Update" => {
            if let Some(id) = id_of(object)
                && !same_origin(id, activity.actor())
            {
                return Err(wrong("object", id));
            }
            let authors = ids_in(object.get("attributedTo"));
            if !authors.is_empty() && !authors.contains(&activity.actor()) {
                return Err(Refusal::new(
                    Problem::WrongOrigin,
                    format!("the object is attributed to {}", authors.join(", ")),
                ));
            }
            Ok(())
        }
        "Delete" => match id_of(object) {
            Some(id) if !same_origin(id, activity.actor()) => Err(wrong("object", id)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Actors are changed and deleted by themselves, statements undone by their author.
fn by_owner(state: &dyn StateView, activity: &Activity) -> Result<(), Refusal> {
    let refuse = |detail: String| Err(Refusal::new(Problem::NotAuthorised, detail));
    let Some(object) = activity.object() else { return Ok(()) };
    let id = id_of(object).unwrap_or_default();
    match activity.kind() {
        "Create" | "Update" | "Delete" | "Move" => {
            let is_actor = activity.kind() == "Move"
                || kind_in(object).is_some_and(is_actor_type)
                || actors::deleted(state, id)?.is_some();
            if is_actor && id != activity.actor() {
                return refuse(format!("{id} is not {}", activity.actor()));
            }
            Ok(())
        }
        "Undo" => {
            let author = object.get("actor").and_then(id_of);
            if author.is_some_and(|author| author != activity.actor()) {
                return refuse("only its author can undo an activity".into());
            }
            if !id.is_empty() && !same_origin(id, activity.actor()) {
                return refuse(format!("{id} is not by {}", activity.actor()));
            }
            if let Some(author) = Graph::new(GRAPH).author_of(state, id)?
                && author != activity.actor()
            {
                return refuse(format!("{id} is by {author}"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `Accept` and `Reject` count only as answers to a Follow that an actor of ours sent.
fn answers_our_follow(
    rules: &GenesisRules,
    state: &dyn StateView,
    activity: &Activity,
) -> Result<(), Refusal> {
    if !matches!(activity.kind(), "Accept" | "Reject") {
        return Ok(());
    }
    let refuse = || {
        Err(Refusal::new(Problem::NotAuthorised, "it answers no Follow that was sent from here"))
    };
    let Some(object) = activity.object() else { return refuse() };
    if kind_in(object).is_some_and(|kind| kind != "Follow") {
        return refuse();
    }
    let graph = Graph::new(GRAPH);
    if let Some(follower) = object.get("actor").and_then(id_of) {
        let ours = rules.base.is_local(follower)
            && object.get("object").and_then(id_of) == Some(activity.actor());
        // An answer that crossed our Undo, or a newer Follow, is no offence; it has no effect.
        let sent = ours && graph.ever_followed(state, follower, activity.actor())?;
        return if sent { Ok(()) } else { refuse() };
    }
    match id_of(object) {
        Some(id)
            if rules.base.is_local(id) && graph.is_follow_of(state, id, activity.actor())? =>
        {
            Ok(())
        }
        _ => refuse(),
    }
}

/// A change of keys is signed by a key that may rotate, judged against the state before it. An
/// actor whose keys are known is not created again with others: that would be a rotation by
/// any key that signs.
fn may_change_keys(state: &dyn StateView, activity: &Activity) -> Result<(), Refusal> {
    let introduced = actor_keys::introduced(activity);
    if !introduced.is_empty()
        && let Some(known) = actors::actor(state, activity.actor())?
        && !known.keys.all().is_empty()
    {
        let same =
            |new: &Key| known.keys.find(&new.id).is_some_and(|key| key.material == new.material);
        if let Some(other) = introduced.iter().find(|key| !same(key)) {
            return Err(Refusal::new(
                Problem::NotAuthorised,
                format!("{} is known, and {} is none of its keys", activity.actor(), other.id),
            ));
        }
    }
    let changes = activity.kind() == "Update"
        && actor_keys::concerns_author(activity)
        && actor_keys::rotation(activity).is_some();
    if !changes {
        return Ok(());
    }
    let Some(known) = actors::actor(state, activity.actor())? else { return Ok(()) };
    let head = proof::head(activity.document())
        .map_err(|e| Refusal::new(Problem::InvalidSignature, e.to_string()))?;
    // Outbound, the proof is added after judging; the writer judges again with it.
    let Some(head) = head else { return Ok(()) };
    actor_keys::signer(&known.keys, &head.verification_method, activity)
        .map(|_| ())
        .map_err(|e| Refusal::new(Problem::NotAuthorised, format!("this key may not rotate: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use fedsx_kernel::state::MemoryState;
    use serde_json::{Value, json};

    use super::*;

    const ANN: &str = "http://here.example/actors/ann";
    const BOB: &str = "http://there.example/actors/bob";

    fn activity(mut content: Value) -> Activity {
        let origin = content.get("actor").and_then(Value::as_str).unwrap().to_owned();
        let seq = content.get("seq").cloned().unwrap_or_else(|| 0.into());
        content["id"] = format!("{origin}#{seq}").into();
        Activity::from_document(content).unwrap()
    }

    /// A Reject that was sent before the follower's newer Follow, or its Undo, arrived is late, and
    /// no forgery: refusing it would leave a dead letter with an honest peer.
    #[test]
    fn answers_to_an_older_follow_of_ours_are_taken() {
        let base: fedsx_kernel::Base = "http://here.example".parse().unwrap();
        let rules = GenesisRules::new(base, "instance".parse().unwrap());
        let mut state = MemoryState::default();
        let follow =
            |seq: u64| activity(json!({"type": "Follow", "seq": seq, "actor": ANN, "object": BOB}));
        let reject = activity(json!({
            "type": "Reject", "seq": 9, "actor": BOB, "to": [ANN], "object": follow(1).to_value(),
        }));
        let judge = |state: &MemoryState| answers_our_follow(&rules, state, &reject);
        assert_eq!(judge(&state).unwrap_err().problem, Problem::NotAuthorised, "never followed");
        let undo = json!({"type": "Undo", "seq": 3, "actor": ANN, "object": follow(2).to_value()});
        for statement in [follow(1), follow(2), activity(undo)] {
            Graph::new(GRAPH).fold(&mut state, &statement).unwrap();
            assert!(judge(&state).is_ok(), "after {}", statement.kind());
        }
    }
}
