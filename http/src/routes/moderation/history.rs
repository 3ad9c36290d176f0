//! What stands, and everything that was decided.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fedsx_genesis::moderation::{self, Action, Decision, Note, Subject};
use fedsx_genesis::readers;
use fedsx_kernel::log::Stream;
use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::{Activity, Cid};
use serde_json::{Map, Value, json};

use super::{allowed, answer, first, invalid, limit, parameter, parameters, subject};
use crate::app::App;
use crate::routes::Answer;

/// Statements of the instance actor that one request looks at.
const MAX_LOOKED_AT: u64 = 20_000;
/// Statements that are read at once.
const PAGE: u64 = 256;

/// A decision as those who operate the instance see it, by the CID of its activity.
pub(super) fn decision(app: &App, decision: &Decision, cid: &str) -> Result<Value, Refusal> {
    let held = match cid.parse::<Cid>() {
        Ok(cid) => app.kernel().log().activity(&cid)?,
        Err(_) => None,
    };
    let mut shown = match held {
        Some(activity) => statement(app, &activity)?,
        None => Map::new(),
    };
    describe(app, &mut shown, decision);
    Ok(Value::Object(shown))
}

fn describe(app: &App, shown: &mut Map<String, Value>, decision: &Decision) {
    let kind = match &decision.subject {
        Subject::Domain { .. } => "domain",
        Subject::Actor(_) => "actor",
    };
    let is_own = app.base().is_local(&decision.subject.object());
    shown.insert("action".into(), json!(decision.action));
    shown.insert("subject".into(), decision.subject.to_string().into());
    shown.insert("kind".into(), if is_own { "own-actor" } else { kind }.into());
}

/// Who said it, when and why.
pub(super) fn statement(app: &App, activity: &Activity) -> Result<Map<String, Value>, Refusal> {
    let text = |name: &str| activity.get(name).and_then(Value::as_str).map(str::to_owned);
    let kept = moderation::note(app.kernel().log().state(), activity.cid())?;
    let inside = Note { by: text("attributedTo"), token: text("token"), reason: text("reason") };
    let note = kept.unwrap_or(inside);
    let shown = json!({
        "id": activity.id(),
        "cid": activity.cid().to_string(),
        "published": activity.get("published"),
        "by": note.by,
        "token": note.token,
        "reason": note.reason,
        "source": activity.get("source"),
        "public": readers::is_for_anyone(activity),
    });
    match shown {
        Value::Object(members) => Ok(members),
        _ => Ok(Map::new()),
    }
}

/// The decisions that stand, in the order of what they are about.
pub(crate) async fn list(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = limit(&query)?;
    let after = match first(&query, "after") {
        Some(text) => Some(text.parse::<Subject>().map_err(|e| invalid("after", e))?),
        None => None,
    };
    let action = match first(&query, "action") {
        Some(text) => Some(text.parse::<Action>().map_err(|e| invalid("action", e))?),
        None => None,
    };
    let page = app
        .read(move |app| {
            let found = moderation::page(app.kernel().log().state(), after.as_ref(), limit)?;
            let next = found.last().filter(|_| found.len() == limit);
            let next = next.map(|(subject, _)| subject.to_string());
            let mut items = Vec::new();
            for (subject, row) in found {
                let wanted = row.iter().filter(|(held, _)| action.is_none_or(|a| a == **held));
                for (held, standing) in wanted {
                    let about = Decision { action: *held, subject: subject.clone() };
                    for one in standing {
                        items.push(decision(app, &about, &one.cid)?);
                    }
                }
            }
            Ok(json!({ "items": items, "next": next }))
        })
        .await?;
    answer(StatusCode::OK, &page)
}

/// Everything that was decided and taken back, the newest first; `object` asks for one subject.
pub(crate) async fn history(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let query = parameters(&uri);
    let limit = limit(&query)?;
    let before = parameter::<u64>("before", first(&query, "before"))?;
    let about = match first(&query, "object") {
        Some(text) => Some(subject(&app, None, text)?),
        None => None,
    };
    let page = app
        .read(move |app| {
            let (log, instance) = (app.kernel().log(), &app.kernel().options().instance);
            let stream = Stream::Outbox(instance.clone());
            let total = log.store().stream_len(&stream)?;
            let mut at = before.unwrap_or(total).min(total);
            let last = at.saturating_sub(MAX_LOOKED_AT);
            let mut items = Vec::new();
            'pages: while at > last {
                let from = at.saturating_sub(PAGE).max(last);
                let count = usize::try_from(at - from).unwrap_or(usize::MAX);
                for record in log.stream(&stream, from, count)?.iter().rev() {
                    if items.len() == limit {
                        break 'pages;
                    }
                    at = record.entry.stream_seq;
                    items.extend(entry(app, &record.activity, about.as_ref())?);
                }
                at = from;
            }
            Ok(json!({ "items": items, "next": (at > 0).then_some(at) }))
        })
        .await?;
    answer(StatusCode::OK, &page)
}

/// A decision, or the end of one, as an entry of the history.
fn entry(
    app: &App,
    activity: &Activity,
    about: Option<&Subject>,
) -> Result<Option<Value>, Refusal> {
    let (decision, undoes) = match (moderation::decided(activity), moderation::undone(activity)) {
        (Some(decision), _) => (decision, None),
        (None, Some((id, decision))) => (decision, Some(id)),
        (None, None) => return Ok(None),
    };
    if about.is_some_and(|about| *about != decision.subject) {
        return Ok(None);
    }
    let mut shown = statement(app, activity)?;
    describe(app, &mut shown, &decision);
    shown.insert("undoes".into(), json!(undoes));
    Ok(Some(Value::Object(shown)))
}
