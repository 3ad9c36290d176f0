//! Reports (`Flag`) that were dealt with.

use fedsx_kernel::Activity;
use fedsx_kernel::activity::id_of;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{self, State, StateError, StateView, key};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MODERATE;

/// The action by which a report is dealt with.
pub const RESOLVE: &str = "resolve";
const RESOLVED: &str = "report-resolved";

/// By which statement a report was dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The id of the statement.
    pub id: String,
    /// Its CID.
    pub cid: String,
}

/// The request by which the instance actor says that a report is dealt with.
pub fn resolving(report: &str) -> Map<String, Value> {
    let members = [("type", MODERATE), ("action", RESOLVE), ("object", report)];
    members.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect()
}

/// How the report with this id was dealt with; `None` where it is open.
///
/// # Errors
/// Where the state cannot be read.
pub fn resolution(state: &dyn StateView, report: &str) -> Result<Option<Resolution>, StateError> {
    state::get_as(state, &key(&[RESOLVED, report]))
}

/// The report that a statement says is dealt with.
fn resolved(kind: &str, action: Option<&Value>, object: Option<&Value>) -> Option<String> {
    let resolves = kind == MODERATE && action.and_then(Value::as_str) == Some(RESOLVE);
    object.filter(|_| resolves).and_then(id_of).map(str::to_owned)
}

/// The report about which a statement of the instance actor decides.
fn about(activity: &Activity) -> Option<String> {
    resolved(activity.kind(), activity.get("action"), activity.object())
}

pub(super) fn fold(state: &mut dyn State, record: &Record) -> Result<(), StateError> {
    let activity = &record.activity;
    if let Some(report) = about(activity) {
        let resolution =
            Resolution { id: activity.id().to_owned(), cid: activity.cid().to_string() };
        return state::put_as(state, &key(&[RESOLVED, &report]), &resolution);
    }
    let Some(undone) = activity.object().filter(|_| activity.kind() == "Undo") else {
        return Ok(());
    };
    let kind = undone.get("type").and_then(Value::as_str).unwrap_or_default();
    if let Some(report) = resolved(kind, undone.get("action"), undone.get("object")) {
        let stands = resolution(state, &report)?.is_some_and(|one| id_of(undone) == Some(&one.id));
        if stands {
            state.remove(&key(&[RESOLVED, &report]));
        }
    }
    Ok(())
}
