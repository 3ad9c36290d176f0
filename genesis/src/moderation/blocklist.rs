//! Block lists of others: what they say, compared with what stands here.

use std::collections::{BTreeMap, BTreeSet};

use fedsx_kernel::log::{Log, StoreError, Stream};
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{ActorName, Base};
use serde::Serialize;

use super::{Action, Decision, Subject, decided, page, row, undone};
use crate::readers::is_for_anyone;

/// Records that are read at once.
const PAGE: u64 = 512;
/// The most decisions that a list has.
pub const MAX_ENTRIES: usize = 50_000;

/// One decision of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What, about whom.
    pub decision: Decision,
    /// Why, as the list says publicly.
    pub reason: Option<String>,
}

/// How an entry stands to what this instance decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing stands here about that subject.
    New,
    /// Something else stands here about that subject.
    Differing,
    /// The same was decided here, or adopted from another list.
    Same,
    /// It was adopted from this list.
    Adopted,
    /// It was adopted from this list, which does not have it any more.
    Withdrawn,
    /// It is about this instance itself, or one of its actors.
    Refused,
}

/// An entry with its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reviewed {
    /// What.
    pub action: Action,
    /// About whom.
    pub subject: String,
    /// Why, as the list says publicly.
    pub reason: Option<String>,
    /// How it stands to what was decided here.
    pub state: State,
    /// What stands here about that subject.
    pub ours: Vec<Action>,
    /// The CID of what was adopted from the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<String>,
}

/// The standing decisions that another instance's actor told ours, of those that are for everyone.
///
/// # Errors
/// Where the log cannot be read.
pub fn told(log: &Log, instance: &ActorName, source: &str) -> Result<Vec<Entry>, StoreError> {
    let stream = Stream::Inbox(instance.clone());
    let total = log.store().stream_len(&stream)?;
    let (mut said, mut taken_back) = (BTreeMap::new(), BTreeSet::new());
    let mut at = 0;
    while at < total {
        let records = log.stream(&stream, at, usize::try_from(PAGE).unwrap_or(usize::MAX))?;
        at = at.saturating_add(PAGE);
        for record in &records {
            let activity = &record.activity;
            if activity.actor() != source || !is_for_anyone(activity) {
                continue;
            }
            if let Some((id, _)) = undone(activity) {
                taken_back.insert(id.to_owned());
            } else if let Some(decision) = decided(activity)
                && said.len() < MAX_ENTRIES
            {
                let reason = activity.get("reason").and_then(serde_json::Value::as_str);
                let entry = Entry { decision, reason: reason.map(str::to_owned) };
                said.insert(activity.id().to_owned(), entry);
            }
        }
    }
    // An Undo counts whether it came before or after what it takes back.
    said.retain(|id, _| !taken_back.contains(id));
    Ok(said.into_values().filter(|entry| is_adoptable(entry.decision.action)).collect())
}

/// What is about an instance's own actors concerns nobody else.
fn is_adoptable(action: Action) -> bool {
    matches!(action, Action::Block | Action::Silence | Action::RejectMedia | Action::Allow)
}

/// Compares a list with what stands.
///
/// # Errors
/// Where the state cannot be read.
pub fn review(
    base: &Base,
    state: &dyn StateView,
    source: &str,
    entries: &[Entry],
) -> Result<Vec<Reviewed>, StateError> {
    let mut reviewed = Vec::new();
    let mut listed = BTreeSet::new();
    for Entry { decision, reason } in entries {
        if !listed.insert((decision.subject.clone(), decision.action)) {
            continue;
        }
        let row = row(state, &decision.subject)?;
        let same = row.get(&decision.action).map(Vec::as_slice).unwrap_or_default();
        let adopted = same.iter().find(|one| one.source.as_deref() == Some(source));
        let is_own =
            decision.subject.covers(base.as_str()) || base.is_local(&decision.subject.object());
        let found = match (is_own, adopted) {
            (true, _) => State::Refused,
            (_, Some(_)) => State::Adopted,
            _ if !same.is_empty() => State::Same,
            _ if row.is_empty() => State::New,
            _ => State::Differing,
        };
        reviewed.push(Reviewed {
            action: decision.action,
            subject: decision.subject.to_string(),
            reason: reason.clone(),
            state: found,
            ours: row.keys().copied().collect(),
            adopted: adopted.map(|one| one.cid.clone()),
        });
    }
    for (decision, cid) in adopted(state, source)? {
        if !listed.contains(&(decision.subject.clone(), decision.action)) {
            reviewed.push(Reviewed {
                action: decision.action,
                subject: decision.subject.to_string(),
                reason: None,
                state: State::Withdrawn,
                ours: row(state, &decision.subject)?.keys().copied().collect(),
                adopted: Some(cid),
            });
        }
    }
    reviewed.sort_by(|a, b| (a.state, &a.subject, a.action).cmp(&(b.state, &b.subject, b.action)));
    Ok(reviewed)
}

/// What stands and was adopted from a list, with the CIDs.
///
/// # Errors
/// Where the state cannot be read.
pub fn adopted(state: &dyn StateView, source: &str) -> Result<Vec<(Decision, String)>, StateError> {
    let mut found = Vec::new();
    each(state, |decision, cid, from| {
        if from == Some(source) {
            found.push((decision.clone(), cid.to_owned()));
        }
    })?;
    Ok(found)
}

/// From which lists what stands was adopted, with how much.
///
/// # Errors
/// Where the state cannot be read.
pub fn sources(state: &dyn StateView) -> Result<BTreeMap<String, u64>, StateError> {
    let mut found = BTreeMap::new();
    each(state, |_, _, from| {
        if let Some(source) = from {
            *found.entry(source.to_owned()).or_insert(0) += 1;
        }
    })?;
    Ok(found)
}

fn each(
    state: &dyn StateView,
    mut see: impl FnMut(&Decision, &str, Option<&str>),
) -> Result<(), StateError> {
    const AT_ONCE: usize = 1000;
    let mut after: Option<Subject> = None;
    loop {
        let rows = page(state, after.as_ref(), AT_ONCE)?;
        for (subject, row) in &rows {
            for (action, standing) in row {
                let decision = Decision { action: *action, subject: subject.clone() };
                for one in standing {
                    see(&decision, &one.cid, one.source.as_deref());
                }
            }
        }
        if rows.len() < AT_ONCE {
            return Ok(());
        }
        after = rows.into_iter().next_back().map(|(subject, _)| subject);
    }
}
