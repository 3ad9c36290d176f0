//! What others said of an object (`likes`, `shares`, `replies`; ActivityPub, sections 5.7 and 5.8),
//! and what an actor pinned and likes (`featured`, `liked`; section 5.5).
//!
//! All of it is read from projections, as the reader may see it: nobody is shown, or counted, what
//! is not for everyone, but to whom it came.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use fedsx_genesis::fold::owned;
use fedsx_kernel::refusal::Refusal;
use fedsx_projections::folds::{featured, liked};
use fedsx_projections::{Item, Query, Reader};
use serde_json::{Value, json};

use super::activities::{self, nothing};
use super::{Answer, first, parameters};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::collection::{self, MAX_PAGE};
use crate::{negotiate, visibility};

/// Rows that are counted one by one for a reader who may see more than anyone.
const MAX_COUNTED: usize = 1000;
/// The most objects that an actor shows first.
const MAX_FEATURED: usize = 100;

/// Statements in a projection that make up a collection.
struct Statements {
    projection: &'static str,
    /// The parts of a key before those that tell statements apart.
    prefix: Vec<String>,
    /// Where the count of what everyone may see stands: a key, and a member of its value.
    count: (Vec<String>, &'static str),
    /// The item that a row stands for.
    item: fn(&Item) -> Option<Value>,
}

fn statement_id(row: &Item) -> Option<Value> {
    row.value.get("id").cloned()
}

fn last_part(row: &Item) -> Option<Value> {
    row.key.last().map(|id| json!(id))
}

fn second_part(row: &Item) -> Option<Value> {
    row.key.get(1).map(|id| json!(id))
}

pub(crate) async fn of_object(
    State(app): State<App>,
    Path((id, what)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let object = format!("{}/objects/{id}", app.base());
    let (projection, prefix, member, item): (_, _, _, fn(&Item) -> Option<Value>) =
        match what.as_str() {
            "likes" => ("endorsements", vec![object.clone(), "like".into()], "like", statement_id),
            "shares" => ("announces", vec![object.clone()], "count", statement_id),
            "replies" => ("replies", vec![object.clone()], "count", second_part),
            _ => return Err(nothing().into()),
        };
    let count = (vec![object.clone()], member);
    let statements = Statements { projection, prefix, count, item };
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    let newest =
        owned(app.kernel().log().state(), &object).map_err(Refusal::from)?.ok_or_else(nothing)?;
    let record = activities::visible(&app, &caller, newest.cid).await?;
    caller::not_blocked(&app, &caller, record.activity.actor())?;
    if newest.deleted {
        return Ok(activities::gone(&record)?);
    }
    let id = format!("{object}/{what}");
    listed(&app, &caller, &uri, &id, statements).await
}

/// The collection of statements, or the page of it that is asked for.
async fn listed(app: &App, caller: &Caller, uri: &Uri, id: &str, statements: Statements) -> Answer {
    let reader = caller.reads_as(app).map_or(Reader::Anyone, Reader::Actor);
    let query = parameters(uri);
    let after = first(&query, "after").map(str::to_owned);
    if first(&query, "page").is_none() && after.is_none() {
        let total = app.read(move |app| total(app, &statements, &reader)).await?;
        return Ok(negotiate::activity(&collection::unordered(id, total)));
    }
    let item = statements.item;
    let (rows, next) =
        app.read(move |app| page(app, &statements, &reader, after, MAX_PAGE)).await?;
    let items = rows.iter().filter_map(item).collect();
    let query = uri.query().unwrap_or("page=true");
    Ok(negotiate::activity(&collection::unordered_page(id, query, items, next.as_deref())))
}

/// Rows of statements that stand, and where the next ones begin.
fn page(
    app: &App,
    statements: &Statements,
    reader: &Reader,
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<Item>, Option<String>), Refusal> {
    let query =
        Query { key_prefix: Some(statements.prefix.clone()), after, limit, newest_first: false };
    let page = app.parts.projections.query(statements.projection, &query, reader)?;
    let stands = |row: &Item| {
        row.value.get("cid").is_some() && row.value.get("undone") != Some(&json!(true))
    };
    Ok((page.items.into_iter().filter(stands).collect(), page.next))
}

/// How many statements the reader may see. Beyond [`MAX_COUNTED`] rows the ones for everyone count.
fn total(app: &App, statements: &Statements, reader: &Reader) -> Result<u64, Refusal> {
    if *reader != Reader::Anyone {
        let (rows, next) = page(app, statements, reader, None, MAX_COUNTED)?;
        if next.is_none() {
            return Ok(rows.len() as u64);
        }
    }
    let (key, member) = &statements.count;
    let query = Query { key_prefix: Some(key.clone()), after: None, limit: 1, newest_first: false };
    let page = app.parts.projections.query(statements.projection, &query, &Reader::Anyone)?;
    let row = page.items.first().filter(|row| row.key == *key);
    Ok(row.and_then(|row| row.value.get(member)).and_then(Value::as_u64).unwrap_or(0))
}

fn of_actor(actor: &str, id: &str) -> Statements {
    let prefix = vec![actor.to_owned(), id.to_owned()];
    let count = (prefix.clone(), "count");
    Statements { projection: "collections", prefix, count, item: last_part }
}

/// What an actor likes.
pub(crate) async fn likes_of(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let name = super::actors::name(&name)?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    super::actors::hosted_for(&app, &name, &caller)?;
    let actor = app.base().actor(&name);
    let id = liked(&actor);
    listed(&app, &caller, &uri, &id, of_actor(&actor, &id)).await
}

/// What an actor shows first, the newest pin first: all of it at once, as other servers read it.
pub(crate) async fn featured_by(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let name = super::actors::name(&name)?;
    let caller = caller::of_read(&app, &method, &uri, &headers).await?;
    super::actors::hosted_for(&app, &name, &caller)?;
    let actor = app.base().actor(&name);
    let id = featured(&actor);
    let statements = of_actor(&actor, &id);
    let reads_as = caller.reads_as(&app);
    let reader = reads_as.clone().map_or(Reader::Anyone, Reader::Actor);
    let items = app
        .read(move |app| {
            let (mut rows, _) = page(app, &statements, &reader, None, MAX_COUNTED)?;
            rows.sort_by_key(|row| {
                let order = row.value.get("order");
                let part = |name| order.and_then(|order| order.get(name)).and_then(Value::as_u64);
                std::cmp::Reverse((part("epoch"), part("seq")))
            });
            let mut items = Vec::new();
            for row in rows.iter().take(MAX_FEATURED) {
                let Some(Value::String(id)) = (statements.item)(row) else { continue };
                if is_shown(app, reads_as.as_deref(), &id)? {
                    items.push(Value::String(id));
                }
            }
            Ok(items)
        })
        .await?;
    Ok(negotiate::activity(&json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": id,
        "type": "OrderedCollection",
        "totalItems": items.len(),
        "orderedItems": items,
    })))
}

/// Whether an object of ours is there and for this reader.
fn is_shown(app: &App, reader: Option<&str>, id: &str) -> Result<bool, Refusal> {
    let Some(newest) = owned(app.kernel().log().state(), id)?.filter(|newest| !newest.deleted)
    else {
        return Ok(false);
    };
    match app.kernel().log().first(&newest.cid)? {
        Some(record) => visibility::may_see(app, reader, &record),
        None => Ok(false),
    }
}
