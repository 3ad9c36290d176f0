//! What the kernel asks of the layer that knows what verbs mean.
//!
//! The kernel moves activities; a [`Rules`] value says what a publish request becomes, whether
//! an activity is admissible, who receives it here, and how the admission state changes. All of
//! it must be deterministic: the same state and activity give the same answer.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::activity::Activity;
use crate::address::{ActorName, Base};
use crate::cid::Cid;
use crate::keys::{HistoryError, Key, KeyHistory, PublicKey, Purpose, SecretKey};
use crate::log::{Log, Record};
use crate::refusal::Refusal;
use crate::state::{State, StateError, StateView};

/// Where an activity is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Published by an actor hosted here.
    Outbound,
    /// Delivered or fetched from elsewhere.
    Inbound,
}

/// Where the admission state says which [`Rules::version`] made it; absent for 1. Written by the
/// fold of the log's first entry.
pub const RULES_VERSION: &str = "~rules";

/// What judging found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The definition of the verb; `None` where the verb is unknown (inbound only).
    pub judged_by: Option<Cid>,
    /// The definition of the object's type, where it has a known one.
    pub object_by: Option<Cid>,
    /// What else was asked: the definitions of supertypes, and validators.
    pub beside: Vec<Cid>,
    /// What the rules name the part of the state that these were read from. While it has this
    /// name they are the same, and so is what they say of the activity.
    pub basis: Option<Cid>,
}

impl Judgement {
    /// Whether both asked the same definitions.
    pub fn asked_the_same(&self, other: &Self) -> bool {
        self.judged_by == other.judged_by
            && self.object_by == other.object_by
            && self.beside == other.beside
    }
}

/// A key that the rules ask the kernel to generate for an actor, or to keep.
#[derive(Clone, Debug)]
pub struct KeyWish {
    /// The kind.
    pub algorithm: crate::keys::Algorithm,
    /// What it may be used for.
    pub purposes: Vec<Purpose>,
    /// The key itself, where the client brought it; of the wished algorithm.
    pub given: Option<SecretKey>,
}

/// A key that the kernel generated or was given; the private half is already in the vault.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// What was wished for.
    pub wish: KeyWish,
    /// The public half.
    pub public: PublicKey,
}

/// What a publish request is prepared with.
pub struct Preparing<'a> {
    /// The publishing actor.
    pub name: &'a ActorName,
    /// The publishing actor's id.
    pub actor: &'a str,
    /// Addresses of this instance.
    pub base: &'a Base,
    /// Committed admission state.
    pub state: &'a dyn StateView,
    /// Committed log, to look references up.
    pub log: &'a Log,
    /// Whether the definitions of this instance may change by this request.
    pub defines: bool,
    /// The activity that this one follows from, for what the instance derives itself.
    pub cause: Option<&'a Cid>,
    /// Wall-clock time.
    pub now: Timestamp,
    /// 128 random bits for the id of an object made by this request.
    pub object_random: [u8; 16],
    /// Keys that were generated for this request.
    pub new_keys: &'a [NewKey],
}

/// A publish request, made into the content of an activity.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The members of the activity; the pipeline adds identity, position, time and proof.
    pub content: Map<String, Value>,
    /// Recipients that only the author may see.
    pub hidden: Vec<String>,
    /// The key id that signs, where it is not the actor's current signing key.
    pub signing_key: Option<String>,
    /// Whether what follows depends on this activity being committed first: it creates,
    /// changes or ends the actor.
    pub barrier: bool,
}

/// What verbs mean.
pub trait Rules: Send + Sync + 'static {
    /// Rises whenever [`Rules::fold`] would give another state for the same log: the stored state
    /// is then computed anew. A version above 1 is noted at [`RULES_VERSION`].
    fn version(&self) -> u64 {
        1
    }

    /// Which keys must be generated before [`Rules::prepare`] can run.
    fn keys_wanted(
        &self,
        state: &dyn StateView,
        actor: &str,
        request: &Map<String, Value>,
    ) -> Result<Vec<KeyWish>, Refusal>;

    /// Makes a publish request into the content of an activity.
    fn prepare(
        &self,
        with: &Preparing<'_>,
        request: Map<String, Value>,
    ) -> Result<Prepared, Refusal>;

    /// Decides whether an activity is admissible. Runs in the pipeline against committed state.
    fn judge(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        direction: Direction,
    ) -> Result<Judgement, Refusal>;

    /// Judges again, in the writer, against the very state at the activity's position. May trust
    /// the part of the earlier judgement whose definitions are still the same.
    fn confirm(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        direction: Direction,
        earlier: &Judgement,
    ) -> Result<Judgement, Refusal>;

    /// Changes the admission state by a record, at its first entry.
    fn fold(&self, state: &mut dyn State, record: &Record) -> Result<(), StateError>;

    /// The actors hosted here that receive an activity: addressed, hidden, or as followers.
    fn recipients(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        hidden: &[String],
    ) -> Result<Vec<ActorName>, StateError>;

    /// Whether an activity goes to its [`Rules::recipients`] alone, whoever's inbox it was
    /// delivered to.
    fn is_confined(&self, activity: &Activity) -> bool {
        let _ = activity;
        false
    }

    /// Whether an activity goes to its [`Rules::recipients`] as well, whoever's inbox it was
    /// delivered to.
    fn is_spread(&self, activity: &Activity) -> bool {
        let _ = activity;
        false
    }

    /// The keys of an actor, local or not; `None` where it is unknown.
    fn keys(&self, state: &dyn StateView, actor: &str) -> Result<Option<KeyHistory>, StateError>;

    /// The key of an author that a proof names, if it may sign this activity at its place. What
    /// changes keys may ask for another purpose than what else an author says.
    ///
    /// # Errors
    /// Where the key is unknown, was not valid at that place, or is not for this.
    fn signer<'k>(
        &self,
        keys: &'k KeyHistory,
        key_id: &str,
        activity: &Activity,
    ) -> Result<&'k Key, HistoryError> {
        keys.signer_at(key_id, Purpose::SignActivity, activity.order())
    }

    /// Whether a hosted actor exists and has not been deleted.
    fn hosted(&self, state: &dyn StateView, name: &ActorName) -> Result<Hosted, StateError>;

    /// Refuses senders that are blocked, before anything is verified or fetched for them.
    fn sender(
        &self,
        state: &dyn StateView,
        actor: &str,
        receiver: Option<&str>,
    ) -> Result<(), Refusal>;

    /// Whether an activity can be left aside unread: it ends something that was never here, its
    /// author is at an end, or it states what was erased here.
    fn ignorable(&self, state: &dyn StateView, activity: &Activity) -> Result<bool, StateError>;

    /// Which object ids an activity is about, for ordering: its own, the object's, the inner
    /// object's.
    fn subjects<'a>(&self, activity: &'a Activity) -> Vec<&'a str>;
}

/// What is known of a hosted actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosted {
    /// Never created.
    Absent,
    /// Lives here.
    Active,
    /// Was deleted.
    Deleted,
    /// Lives here, and may neither publish nor receive for now.
    Suspended,
}
