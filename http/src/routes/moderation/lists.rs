//! Block lists of others: followed, reviewed, adopted, retracted.
//!
//! A list is that of another instance's actor, which ours follows and whose public decisions come
//! into its inbox like anybody's statements; or a CSV file in the form that Mastodon exports.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_genesis::moderation::blocklist::{self, Entry, MAX_ENTRIES, Reviewed, State as Compared};
use fedsx_genesis::moderation::{Action, Decision, Note, Subject};
use fedsx_kernel::Publish;
use fedsx_kernel::refusal::{Problem, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{allowed, answer, invalid, noted, operator, publish, retract};
use crate::app::App;
use crate::body;
use crate::routes::{Answer, publish as publishing};

/// Decisions that one request publishes; the rest is for the next one.
const MAX_AT_ONCE: usize = 500;
/// The longest name of a list, in bytes.
const MAX_SOURCE_BYTES: usize = 2048;
/// Lists that are followed and shown.
const MAX_FOLLOWED: usize = 1000;

/// Which list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// The id of another instance's actor or its domain; or, with `csv`, a name of one's own.
    source: String,
    /// The content of a file.
    csv: Option<String>,
    /// Only decisions about these domains or actors.
    only: Option<Vec<String>>,
    /// Whether what was adopted and is not in the list any more is taken back.
    #[serde(default)]
    drop_withdrawn: bool,
    reason: Option<String>,
}

/// A list as it was read.
struct List {
    source: String,
    entries: Vec<Entry>,
    /// Lines that could not be read, with why.
    skipped: Vec<Value>,
}

/// The id of the actor whose list is meant: of a domain, its instance actor as fedsx names it.
fn source(text: &str) -> Result<String, Refusal> {
    match text.parse::<Subject>().map_err(|e| invalid("source", e))? {
        Subject::Actor(id) => Ok(id),
        domain @ Subject::Domain { .. } => {
            let origin = fedsx_kernel::origin_of(text).unwrap_or_else(|| domain.object());
            Ok(format!("{origin}/actors/instance"))
        }
    }
}

async fn read(app: &App, wish: &Wish) -> Result<List, Refusal> {
    if wish.source.is_empty() || wish.source.len() > MAX_SOURCE_BYTES {
        return Err(invalid("source", "the name of the list"));
    }
    if let Some(text) = &wish.csv {
        let (entries, skipped) = parse(text)?;
        return Ok(List { source: wish.source.clone(), entries, skipped });
    }
    let (source, instance) = (source(&wish.source)?, app.kernel().options().instance.clone());
    let asked = source.clone();
    let entries =
        app.read(move |app| Ok(blocklist::told(app.kernel().log(), &instance, &asked)?)).await?;
    Ok(List { source, entries, skipped: Vec::new() })
}

/// Reads a file: the columns `domain`, `severity` (`suspend`, `silence`, `noop`; `suspend` without
/// it), `reject_media` and `public_comment`, with or without `#` before their names.
fn parse(text: &str) -> Result<(Vec<Entry>, Vec<Value>), Refusal> {
    let bad = |e: csv::Error| invalid("csv", e);
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(bad)?.clone();
    let column = |name: &str| {
        let is = |header: &str| header.trim_start_matches('#').eq_ignore_ascii_case(name);
        headers.iter().position(is)
    };
    let domain = column("domain").ok_or_else(|| invalid("csv", "there is no column \"domain\""))?;
    let (severity, media) = (column("severity"), column("reject_media"));
    let comment = column("public_comment");
    let (mut entries, mut skipped) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.map_err(bad)?;
        let line = row.position().map_or(0, csv::Position::line);
        let of = |column: Option<usize>| column.and_then(|at| row.get(at)).unwrap_or_default();
        let mut skip = |why: String| skipped.push(json!({ "line": line, "why": why }));
        let subject = match of(Some(domain)).parse::<Subject>() {
            Ok(subject) => subject,
            Err(error) => {
                skip(error.to_string());
                continue;
            }
        };
        let mut actions = match of(severity) {
            "" | "suspend" => vec![Action::Block],
            "silence" => vec![Action::Silence],
            "noop" => Vec::new(),
            other => {
                skip(format!("severity: {:?}", other.chars().take(32).collect::<String>()));
                continue;
            }
        };
        if of(media).eq_ignore_ascii_case("true") && !actions.contains(&Action::Block) {
            actions.push(Action::RejectMedia);
        }
        let reason = Some(of(comment)).filter(|text| !text.is_empty()).map(str::to_owned);
        for action in actions {
            let decision = Decision { action, subject: subject.clone() };
            entries.push(Entry { decision, reason: reason.clone() });
        }
        if entries.len() > MAX_ENTRIES {
            return Err(invalid("csv", format!("at most {MAX_ENTRIES} decisions")));
        }
    }
    Ok((entries, skipped))
}

async fn reviewed(app: &App, list: &List) -> Result<Vec<Reviewed>, Refusal> {
    let (source, entries) = (list.source.clone(), list.entries.clone());
    app.read(move |app| {
        let state = app.kernel().log().state();
        Ok(blocklist::review(app.base(), state, &source, &entries)?)
    })
    .await
}

/// What is new or differs in a list.
pub(crate) async fn review(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let list = read(&app, &wish).await?;
    let items = reviewed(&app, &list).await?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for item in &items {
        let state = json!(item.state);
        *counts.entry(state.as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let shown = json!({
        "source": list.source,
        "items": items,
        "counts": counts,
        "skipped": list.skipped,
    });
    answer(StatusCode::OK, &shown)
}

/// Decides here what a list says and what is not decided here yet. What one request does not come
/// to is `remaining`: the same request again goes on.
pub(crate) async fn adopt(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let note = noted(&app, &grant, wish.reason.clone())?;
    let list = read(&app, &wish).await?;
    let wanted = |item: &&Reviewed| {
        let named = wish.only.as_ref().is_none_or(|only| {
            only.iter()
                .any(|one| one.parse::<Subject>().is_ok_and(|s| s.to_string() == item.subject))
        });
        let open = matches!(item.state, Compared::New | Compared::Differing);
        named && (open || (wish.drop_withdrawn && item.state == Compared::Withdrawn))
    };
    let items = reviewed(&app, &list).await?;
    let todo: Vec<&Reviewed> = items.iter().filter(wanted).collect();
    let (mut adopted, mut dropped) = (0, 0);
    for item in todo.iter().take(MAX_AT_ONCE) {
        if let Some(cid) = &item.adopted {
            retract(&app, cid, note.clone()).await?;
            dropped += 1;
            continue;
        }
        let subject = item.subject.parse().map_err(|e| invalid("source", e))?;
        let mut request = Decision { action: item.action, subject }.request();
        request.insert("source".into(), list.source.clone().into());
        let reason = note.reason.clone().or_else(|| shortened(item.reason.as_deref()));
        publish(&app, request, Note { reason, ..note.clone() }, false, false).await?;
        adopted += 1;
    }
    tracing::info!(source = %list.source, adopted, dropped, "a block list was adopted");
    let shown = json!({
        "source": list.source,
        "adopted": adopted,
        "dropped": dropped,
        "remaining": todo.len().saturating_sub(MAX_AT_ONCE),
        "skipped": list.skipped,
    });
    answer(StatusCode::OK, &shown)
}

/// What others give as a reason may be longer than ours.
fn shortened(reason: Option<&str>) -> Option<String> {
    reason.map(|text| text.chars().take(fedsx_genesis::moderation::MAX_REASON_CHARS).collect())
}

/// Takes back everything that was adopted from a list.
pub(crate) async fn retract_all(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    let grant = operator(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let note = noted(&app, &grant, wish.reason)?;
    let find = |source: String| {
        app.read(move |app| Ok(blocklist::adopted(app.kernel().log().state(), &source)?))
    };
    let mut adopted = find(wish.source.clone()).await?;
    let mut from = wish.source.clone();
    if adopted.is_empty()
        && let Ok(actor) = source(&wish.source)
    {
        adopted = find(actor.clone()).await?;
        from = actor;
    }
    for (_, cid) in adopted.iter().take(MAX_AT_ONCE) {
        retract(&app, cid, note.clone()).await?;
    }
    let shown = json!({
        "source": from,
        "retracted": adopted.len().min(MAX_AT_ONCE),
        "remaining": adopted.len().saturating_sub(MAX_AT_ONCE),
    });
    answer(StatusCode::OK, &shown)
}

/// The lists that are followed, and those from which something was adopted.
pub(crate) async fn sources(State(app): State<App>, headers: HeaderMap) -> Answer {
    allowed(&app, &headers)?;
    let page = app
        .read(|app| {
            let state = app.kernel().log().state();
            let instance = app.base().actor(&app.kernel().options().instance);
            let graph = Graph::new(GRAPH);
            let followed = graph.following(state, &instance, None, MAX_FOLLOWED)?;
            let waiting = graph.pending_outbound(state, &instance, None, MAX_FOLLOWED)?;
            let mut adopted = blocklist::sources(state)?;
            let mut items = Vec::new();
            for (ids, standing) in [(followed, "followed"), (waiting, "pending")] {
                for id in ids {
                    let count = adopted.remove(&id).unwrap_or(0);
                    items.push(json!({ "source": id, "state": standing, "adopted": count }));
                }
            }
            for (source, count) in adopted {
                items.push(json!({ "source": source, "state": "adopted", "adopted": count }));
            }
            Ok(json!({ "items": items }))
        })
        .await?;
    answer(StatusCode::OK, &page)
}

/// Follows another instance's actor, and asks for what it said before.
pub(crate) async fn subscribe(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let request = json!({
        "type": "Follow",
        "object": source(&wish.source)?,
        "backfill": { "mode": "full" },
    });
    say(&app, request).await
}

/// Follows it no longer; what was adopted stands.
pub(crate) async fn unsubscribe(State(app): State<App>, headers: HeaderMap, body: Body) -> Answer {
    allowed(&app, &headers)?;
    let wish: Wish = body::wish(&body::activity(&app, &headers, body).await?)?;
    let (followed, state) = (source(&wish.source)?, app.kernel().log().state());
    let instance = app.base().actor(&app.kernel().options().instance);
    let follow = Graph::new(GRAPH).follow_id(state, &instance, &followed).map_err(Refusal::from)?;
    let follow = follow
        .ok_or_else(|| Refusal::new(Problem::NotFound, format!("{followed} is not followed")))?;
    say(&app, json!({ "type": "Undo", "object": follow })).await
}

async fn say(app: &App, request: Value) -> Answer {
    let request: Map<String, Value> = request.as_object().cloned().unwrap_or_default();
    let actor = app.kernel().options().instance.clone();
    let publish = Publish { actor, request, once: None, cause: None, defines: false };
    Ok(publishing::answer(&app.kernel().publish(publish).await?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn files_are_read_as_mastodon_writes_them() {
        let text = "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n\
                    evil.example,suspend,TRUE,True,\"spam, and more\",False\n\
                    loud.example,silence,True,False,,False\n\
                    fine.example,noop,false,False,,False\n\
                    ev**.example,suspend,False,False,,True\n\
                    odd.example,scold,False,False,,False\n\
                    short.example\n";
        let (entries, skipped) = parse(text).unwrap();
        let shown: Vec<String> = entries
            .iter()
            .map(|one| format!("{} {}", one.decision.action, one.decision.subject))
            .collect();
        assert_eq!(
            shown,
            [
                "block evil.example",
                "silence loud.example",
                "reject-media loud.example",
                "block short.example",
            ]
        );
        assert_eq!(entries[0].reason.as_deref(), Some("spam, and more"));
        let lines: Vec<_> = skipped.iter().map(|one| one["line"].as_u64().unwrap()).collect();
        assert_eq!(lines, [5, 6]);
        assert!(parse("name,severity\nx.example,suspend\n").is_err(), "no domains");
        assert_eq!(parse("domain\na.example\n").unwrap().0.len(), 1);
    }
}
