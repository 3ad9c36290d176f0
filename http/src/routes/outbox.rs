//! What an actor published (ActivityPub, section 5.1), filtered by what the caller may see.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use fedsx_kernel::log::{Record, Stream};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::{ActorName, Cid};
use serde_json::{Value, json};

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::collection::{self, MAX_PAGE, PAGE};
use crate::hot::{Asked, Stamp};
use crate::{caller, negotiate, visibility};

/// Which part of an outbox is asked for.
enum Window {
    /// The newest positions, page by page from 1, newest first.
    Page(u64),
    /// Positions from here on, oldest first.
    From(u64),
    /// Positions before this one, newest first.
    Before(u64),
}

pub(crate) async fn read(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let name = super::actors::name(&name)?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    super::actors::hosted_for(&app, &name, &caller)?;
    let query = parameters(&uri);
    let id = app.base().of_actor(&name, "outbox");
    let stream = Stream::Outbox(name.clone());
    // All positions count, whoever reads: by that followers elsewhere tell that something is missing,
    // the checkpoint of the Merkle log says the same, and pages name what they withhold.
    let total = app.kernel().log().store().stream_len(&stream).map_err(Refusal::from)?;
    let reader = caller.reads_as(&app);
    // Whose words these are was looked at above; who asks for nobody in particular sees the same.
    let asked = match (&reader, uri.query()) {
        (None, Some(query)) => Some(Asked::Outbox(name.clone(), query.to_owned())),
        _ => None,
    };
    let stamp = Stamp::Outbox { erasures: app.kernel().log().erasures(), total };
    if let Some(kept) = asked.as_ref().and_then(|asked| app.hot.get(asked, &stamp)) {
        return Ok(negotiate::written(kept.json));
    }
    let limit = parameter::<usize>("limit", first(&query, "limit"))?;
    let Some(window) = window(&app, &name, &query, limit.is_some(), total).await? else {
        let mut collection = collection::collection(&id, total);
        if let Some(members) = collection.as_object_mut() {
            members.insert("last".into(), format!("{id}?since=").into());
        }
        return Ok(negotiate::activity(&collection));
    };
    let limit = limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let most = limit as u64;
    let (from, to, ascending) = match window {
        Window::From(from) => (from.min(total), from.saturating_add(most).min(total), true),
        Window::Before(before) => (before.saturating_sub(most), before.min(total), false),
        Window::Page(number) => {
            let before = total.saturating_sub(number.saturating_sub(1).saturating_mul(most));
            (before.saturating_sub(most), before, false)
        }
    };
    let count = usize::try_from(to.saturating_sub(from)).unwrap_or(MAX_PAGE);
    let (mut items, withheld) = app
        .read(move |app| {
            let records = app.kernel().log().stream(&stream, from, count)?;
            split(app, reader.as_deref(), &records)
        })
        .await?;
    let next = if ascending {
        (to < total).then(|| format!("{id}?from={to}&limit={limit}"))
    } else {
        items.reverse();
        (from > 0).then(|| match window {
            Window::Page(number) => format!("{id}?page={}&limit={limit}", number + 1),
            _ => format!("{id}?before={from}&limit={limit}"),
        })
    };
    let previous = match window {
        Window::Page(number) if number > 1 => {
            Some(format!("{id}?page={}&limit={limit}", number - 1))
        }
        _ => None,
    };
    let mut more = Vec::new();
    more.extend(next.map(|next| ("next", json!(next))));
    more.extend(previous.map(|previous| ("prev", json!(previous))));
    if !withheld.is_empty() {
        more.push(("withheld", json!(withheld)));
    }
    let page = collection::page(&id, uri.query().unwrap_or_default(), items, more);
    let json = Bytes::from(page.to_string());
    if let Some(asked) = asked {
        app.hot.keep(asked, stamp, None, json.clone());
    }
    Ok(negotiate::written(json))
}

async fn window(
    app: &App,
    name: &ActorName,
    query: &[(String, String)],
    limited: bool,
    total: u64,
) -> Result<Option<Window>, Refusal> {
    if let Some(since) = first(query, "since") {
        if since.is_empty() {
            return Ok(Some(Window::From(0)));
        }
        let cid: Cid = parameter("since", Some(since))?.unwrap_or_else(|| Cid::of_block(b""));
        let position = app.kernel().log().store().position(&Stream::Outbox(name.clone()), &cid)?;
        return match position {
            Some(position) => Ok(Some(Window::From(position + 1))),
            None => Err(Refusal::new(
                Problem::InvalidParameter,
                format!("since: {cid} is not in this outbox"),
            )),
        };
    }
    if let Some(after) = first(query, "after") {
        let time: jiff::Timestamp = parameter("after", Some(after))?.unwrap_or_default();
        let name = name.clone();
        let from =
            app.read(move |app| published_after(app, &name, time.as_millisecond(), total)).await?;
        return Ok(Some(Window::From(from)));
    }
    if let Some(from) = parameter::<u64>("from", first(query, "from"))? {
        return Ok(Some(Window::From(from)));
    }
    if let Some(before) = parameter::<u64>("before", first(query, "before"))? {
        return Ok(Some(Window::Before(before.min(total))));
    }
    match first(query, "page") {
        Some("true") => Ok(Some(Window::Page(1))),
        Some(number) => {
            let number = parameter::<u64>("page", Some(number))?.unwrap_or(1);
            Ok(Some(Window::Page(number.max(1))))
        }
        None if limited => Ok(Some(Window::Before(total))),
        None => Ok(None),
    }
}

/// The first position of an outbox that was published after a time. Our own times only rise,
/// up to the clock being set, so a binary search finds it.
fn published_after(app: &App, name: &ActorName, time_ms: i64, total: u64) -> Result<u64, Refusal> {
    let stream = Stream::Outbox(name.clone());
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = low + (high - low) / 2;
        let record = app.kernel().log().stream(&stream, middle, 1)?.pop();
        let published = record.and_then(|record| record.activity.published_ms());
        if published.is_some_and(|published| published <= time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// What the reader may see, and the ranges `[epoch, from, to]` of what it may not, or what was
/// erased.
fn split(
    app: &App,
    reader: Option<&str>,
    records: &[Record],
) -> Result<(Vec<Value>, Vec<[u64; 3]>), Refusal> {
    let (mut items, mut withheld) = (Vec::new(), Vec::<[u64; 3]>::new());
    for record in records {
        if !record.activity.is_erased() && visibility::may_see(app, reader, record)? {
            items.push(visibility::shown(record));
            continue;
        }
        let Some((epoch, seq)) = record.activity.position() else { continue };
        match withheld.last_mut() {
            Some([held, _, to]) if *held == epoch && *to + 1 == seq => *to = seq,
            _ => withheld.push([epoch, seq, seq]),
        }
    }
    Ok((items, withheld))
}
