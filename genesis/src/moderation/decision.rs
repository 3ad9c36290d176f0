//! Decisions as activities state them.

use std::fmt;
use std::str::FromStr;

use fedsx_kernel::Activity;
use fedsx_kernel::activity::id_of;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Subject;

/// The verb of decisions for which ActivityStreams has none.
pub const MODERATE: &str = "Moderate";
/// The verb by which an actor or a domain is blocked (ActivityStreams 2.0).
pub(crate) const BLOCK: &str = "Block";

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing is taken from it, sent to it, fetched from it or shown of it.
    Block,
    /// An exception to a block of a domain above it; where only listed domains are allowed, what
    /// lists it.
    Allow,
    /// It is left out of what is shown to those who do not follow.
    Silence,
    /// Its pictures, sounds and films are not shown.
    RejectMedia,
    /// An actor of this instance neither says nor receives anything.
    Suspend,
    /// Only domains with an `Allow` are allowed. It is about this instance itself.
    AllowList,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Block,
        Self::Allow,
        Self::Silence,
        Self::RejectMedia,
        Self::Suspend,
        Self::AllowList,
    ];

    /// Its name in activities, routes and commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
            Self::Silence => "silence",
            Self::RejectMedia => "reject-media",
            Self::Suspend => "suspend",
            Self::AllowList => "allow-list",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|action| action.name() == text);
        found.ok_or_else(|| {
            let text: String = text.chars().take(32).collect();
            format!("{text:?} is not block, allow, silence, reject-media, suspend or allow-list")
        })
    }
}

/// What an activity decides, and about whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// About whom.
    pub subject: Subject,
}

impl Decision {
    /// The request by which the instance actor decides this.
    pub fn request(&self) -> Map<String, Value> {
        let mut request = Map::new();
        let verb = if self.action == Action::Block { BLOCK } else { MODERATE };
        request.insert("type".into(), verb.into());
        request.insert("object".into(), self.subject.object().into());
        if verb == MODERATE {
            request.insert("action".into(), self.action.name().into());
        }
        request
    }
}

fn stated(kind: &str, object: Option<&Value>, action: Option<&Value>) -> Option<Decision> {
    let action = match kind {
        BLOCK => Action::Block,
        MODERATE => action?.as_str()?.parse().ok()?,
        _ => return None,
    };
    Some(Decision { action, subject: id_of(object?)?.parse().ok()? })
}

/// What an activity decides, whoever its author is; `None` for what is no decision.
pub fn decided(activity: &Activity) -> Option<Decision> {
    stated(activity.kind(), activity.object(), activity.get("action"))
}

/// The decision that an `Undo` takes back, with the id of its activity. Undos of ours embed what
/// they undo.
pub fn undone(activity: &Activity) -> Option<(&str, Decision)> {
    let object = activity.object().filter(|_| activity.kind() == "Undo")?;
    let kind = object.get("type")?.as_str()?;
    let decision = stated(kind, object.get("object"), object.get("action"))?;
    Some((id_of(object)?, decision))
}
