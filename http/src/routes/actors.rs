//! Actors: the document, followers and following, the key history.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use fedsx_genesis::actors::{self, Held};
use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::Graph;
use fedsx_genesis::moderation::{self, Hidden};
use fedsx_genesis::rules::{account, actor_contexts, key_contexts};
use fedsx_kernel::ActorName;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::tokens::{Request, authorize};
use serde_json::{Value, json};

use super::{Answer, first, parameter, parameters};
use crate::app::App;
use crate::caller::{self, Caller};
use crate::collection::{self, MAX_PAGE};
use crate::hot::{Asked, Stamp};
use crate::negotiate::{self, Form};
use crate::pages;

/// Reads a name from a path; what cannot be a name names nobody.
pub(crate) fn name(text: &str) -> Result<ActorName, Refusal> {
    text.parse().map_err(|_| Refusal::new(Problem::UnknownActor, "there is no such actor"))
}

/// An actor that lives here and is not suspended.
pub(crate) fn hosted(app: &App, name: &ActorName) -> Result<Held, Refusal> {
    let actor = resident(app, name)?;
    if is_suspended(app, name)? {
        return Err(Refusal::new(Problem::ActorSuspended, format!("{name} is suspended")));
    }
    Ok(actor)
}

/// The same for this caller: who is suspended still reads what is its own.
pub(crate) fn hosted_for(app: &App, name: &ActorName, caller: &Caller) -> Result<Held, Refusal> {
    match authorize(caller.grant(), Request::Read(name)) {
        Ok(()) => resident(app, name),
        Err(_) => hosted(app, name),
    }
}

fn is_suspended(app: &App, name: &ActorName) -> Result<bool, Refusal> {
    Ok(moderation::is_suspended(app.kernel().log().state(), &app.base().actor(name))?)
}

/// An actor that lives here, suspended or not.
pub(crate) fn resident(app: &App, name: &ActorName) -> Result<Held, Refusal> {
    let state = app.kernel().log().state();
    match actors::held(state, &app.base().actor(name))? {
        None => Err(Refusal::new(Problem::UnknownActor, format!("there is no {name}"))),
        Some(actor) if actor.is_deleted() => {
            Err(Refusal::new(Problem::ActorGone, format!("{name} was deleted"))
                .with("tombstone", json!({ "type": "Tombstone", "id": app.base().actor(name) })))
        }
        Some(actor) => Ok(actor),
    }
}

/// What is left of an actor document where only signed requests read all of it: what its
/// signatures are checked by, and where it is written to.
const OPEN: [&str; 9] = [
    "id",
    "type",
    "preferredUsername",
    "inbox",
    "endpoints",
    "publicKey",
    "assertionMethod",
    "keys",
    "generator",
];

pub(crate) async fn document(
    State(app): State<App>,
    Path(text): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let form = negotiate::choose(&headers, &[Form::Activity, Form::Html])?;
    let name = name(&text)?;
    let actor = resident(&app, &name)?;
    let suspended = is_suspended(&app, &name)?;
    let is_open = !suspended && !app.parts.options.authorized_fetch && form == Form::Activity;
    let (asked, stamp) = (Asked::Actor(name.clone()), Stamp::Row(actor.row().clone()));
    if is_open && let Some(kept) = app.hot.get(&asked, &stamp) {
        return Ok(negotiate::written(kept.json));
    }
    let mut document = actor.document().clone();
    if suspended && let Some(members) = document.as_object_mut() {
        // Its signatures can still be checked; what it says of itself is not shown.
        members.retain(|member, _| OPEN.contains(&member.as_str()));
        members.insert("suspended".into(), true.into());
    }
    // The instance actor signs our requests: whoever checks that must be able to read it.
    let guarded =
        !suspended && app.parts.options.authorized_fetch && name != app.kernel().options().instance;
    if guarded
        && matches!(caller::of_open_read(&app, &method, &uri, &headers).await?, Caller::Anyone)
        && let Some(members) = document.as_object_mut()
    {
        members.retain(|member, _| OPEN.contains(&member.as_str()));
    }
    if form == Form::Html {
        let handle = format!("@{name}@{}", app.base().authority());
        return Ok(pages::actor(&document, handle)?);
    }
    if let Some(members) = document.as_object_mut() {
        // Actors that were made before this was known lack it.
        members.entry("webfinger").or_insert_with(|| account(app.base(), &name).into());
    }
    let contexts = actor_contexts(&document);
    if let Some(members) = document.as_object_mut() {
        members.insert("@context".into(), contexts);
    }
    let json = Bytes::from(document.to_string());
    if is_open {
        app.hot.keep(asked, stamp, None, json.clone());
    }
    Ok(negotiate::written(json))
}

pub(crate) async fn keys(State(app): State<App>, Path(text): Path<String>) -> Answer {
    let name = name(&text)?;
    let actor = actors::actor(app.kernel().log().state(), &app.base().actor(&name))
        .map_err(Refusal::from)?
        .ok_or_else(|| Refusal::new(Problem::UnknownActor, format!("there is no {name}")))?;
    // Keys of a deleted actor stay readable: what it said stays verifiable.
    let keys = actor.keys.all();
    Ok(negotiate::activity(&json!({
        "@context": key_contexts(),
        "id": app.base().of_actor(&name, "keys"),
        "type": "OrderedCollection",
        "totalItems": keys.len(),
        "orderedItems": keys,
    })))
}

type Listing =
    fn(&Graph, &dyn StateView, &str, Option<&str>, usize) -> Result<Vec<String>, StateError>;

pub(crate) async fn followers(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let listings: (Listing, Listing) = (Graph::followers, Graph::pending_inbound);
    listing(&app, &name, "followers", listings, (&method, &uri, &headers)).await
}

pub(crate) async fn following(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let listings: (Listing, Listing) = (Graph::following, Graph::pending_outbound);
    listing(&app, &name, "following", listings, (&method, &uri, &headers)).await
}

async fn listing(
    app: &App,
    text: &str,
    what: &'static str,
    (settled, pending): (Listing, Listing),
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
) -> Answer {
    let name = name(text)?;
    let caller = caller::of_read(app, method, uri, headers).await?;
    hosted_for(app, &name, &caller)?;
    let query = parameters(uri);
    let (id, actor) = (app.base().of_actor(&name, what), app.base().actor(&name));
    let own = authorize(caller.grant(), Request::Read(&name)).is_ok();
    let limit = parameter::<usize>("limit", first(&query, "limit"))?.unwrap_or(100);
    let limit = limit.clamp(1, MAX_PAGE);
    let after = first(&query, "after").map(str::to_owned);
    let paged = first(&query, "page").is_some() || after.is_some();
    let reading = actor.clone();
    let (total, (items, more), waiting) = app
        .read(move |app| {
            let state = app.kernel().log().state();
            let mut listed = Listed { state, hidden: Hidden::new(app.base(), state)? };
            let total = if paged { 0 } else { listed.count(settled, &reading)? };
            let items = if paged {
                listed.page(settled, &reading, after, limit)?
            } else {
                (Vec::new(), false)
            };
            let waiting =
                if own { listed.page(pending, &reading, None, MAX_PAGE)?.0 } else { Vec::new() };
            Ok((total, items, waiting))
        })
        .await?;
    if !paged {
        return Ok(negotiate::activity(&collection::collection(&id, total)));
    }
    let mut members = Vec::new();
    if let Some(last) = items.last().filter(|_| more) {
        let after: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
        members.push(("next", json!(format!("{id}?page=true&after={after}&limit={limit}"))));
    }
    if own {
        members.push(("pending", json!(waiting)));
    }
    let items = items.into_iter().map(Value::String).collect();
    let page = collection::page(&id, uri.query().unwrap_or("page=true"), items, members);
    Ok(negotiate::activity(&page))
}

/// Listings of the follow graph, without whom this instance hides.
struct Listed<'a> {
    state: &'a dyn StateView,
    hidden: Hidden<'a>,
}

impl Listed<'_> {
    /// Calls `take` with who is listed after `after`, until it says that it has enough.
    fn each(
        &mut self,
        listing: Listing,
        actor: &str,
        mut after: Option<String>,
        at_once: usize,
        mut take: impl FnMut(String) -> bool,
    ) -> Result<(), StateError> {
        loop {
            let page = listing(&Graph::new(GRAPH), self.state, actor, after.as_deref(), at_once)?;
            let is_last = page.len() < at_once;
            after = page.last().cloned();
            for id in page {
                if !self.hidden.has(&id)? && !take(id) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn count(&mut self, listing: Listing, actor: &str) -> Result<u64, StateError> {
        let mut total = 0;
        self.each(listing, actor, None, 1000, |_| {
            total += 1;
            true
        })?;
        Ok(total)
    }

    /// At most `limit`, and whether there are more.
    fn page(
        &mut self,
        listing: Listing,
        actor: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, bool), StateError> {
        let (mut items, mut more) = (Vec::new(), false);
        self.each(listing, actor, after, limit.saturating_add(1), |id| {
            more = items.len() == limit;
            if !more {
                items.push(id);
            }
            !more
        })?;
        Ok((items, more))
    }
}
