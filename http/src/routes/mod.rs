//! The routes, one file per concern. All of them stand in one table, from which the router and
//! [`ROUTES`] are made; `tests/wrong_caller` has a row for each, and fails without one.

mod activities;
mod actors;
mod admin;
mod backup;
mod collections;
mod discovery;
mod erasure;
mod events;
mod health;
mod inbox;
mod log;
mod moderation;
mod operate;
mod outbox;
mod own_tokens;
mod projections;
mod proxy;
mod publish;
mod residents;
mod synchronization;
mod table;
mod tokens;
mod triggers;
mod types;

use axum::Router;
use axum::response::Response;
use fedsx_kernel::refusal::{Problem, Refusal};

use self::table::table;
use crate::app::App;
use crate::problem::Rejection;

/// What a handler gives.
pub(crate) type Answer = Result<Response, Rejection>;

table! {
    "/activity" => post(publish::activity);
    "/actors/{name}" => get(actors::document);
    "/actors/{name}/outbox" => get(outbox::read).post(publish::outbox);
    "/actors/{name}/inbox" => get(inbox::read).post(inbox::of_actor);
    "/actors/{name}/followers" => get(actors::followers);
    "/actors/{name}/followers/synchronization" => get(synchronization::followers);
    "/actors/{name}/following" => get(actors::following);
    "/actors/{name}/liked" => get(collections::likes_of);
    "/actors/{name}/featured" => get(collections::featured_by);
    "/actors/{name}/keys" => get(actors::keys);
    "/actors/{name}/log/checkpoint" => get(log::checkpoint);
    "/actors/{name}/log/tile/{*path}" => get(log::tile);
    "/actors/{name}/log/proof/inclusion" => get(log::inclusion);
    "/actors/{name}/log/proof/consistency" => get(log::consistency);
    "/inbox" => post(inbox::shared);
    "/activities/{cid}" => get(activities::activity);
    "/objects/{id}" => get(activities::object);
    "/objects/{id}/{what}" => get(collections::of_object);
    "/proxy" => post(proxy::fetch);
    "/media" => post(proxy::media);
    "/types/{cid}" => get(types::definition);
    "/projections" => get(projections::list);
    "/projections/{name}" => get(projections::query);
    "/projections/{name}/events" => get(events::events);
    "/.well-known/webfinger" => get(discovery::webfinger);
    "/.well-known/nodeinfo" => get(discovery::nodeinfo_links);
    "/nodeinfo/2.1" => get(discovery::nodeinfo);
    "/.well-known/host-meta" => get(discovery::host_meta);
    "/.well-known/host-meta.json" => get(discovery::host_meta_json);
    "/.well-known/sx-capabilities" => get(discovery::capabilities);
    "/admin/dead-letter" => get(admin::dead_letters);
    "/admin/dead-letter/replay" => post(admin::replay_peer);
    "/admin/dead-letter/{id}" => delete(admin::drop_letter);
    "/admin/dead-letter/{id}/replay" => post(admin::replay);
    "/admin/peers" => get(admin::peers);
    "/admin/peers/probe" => post(admin::probe);
    "/admin/moderation" => get(moderation::list).post(moderation::decide);
    "/admin/moderation/undo" => post(moderation::undo);
    "/admin/moderation/history" => get(moderation::history);
    "/admin/moderation/simulate" => get(moderation::simulate);
    "/admin/triggers" => get(triggers::list);
    "/admin/reports" => get(moderation::reports::list);
    "/admin/reports/{cid}/resolve" => post(moderation::reports::resolve);
    "/admin/reports/{cid}/reopen" => post(moderation::reports::reopen);
    "/admin/reports/{cid}/forward" => post(moderation::reports::forward);
    "/admin/moderation/lists" => get(moderation::lists::sources);
    "/admin/moderation/lists/subscribe" => post(moderation::lists::subscribe);
    "/admin/moderation/lists/unsubscribe" => post(moderation::lists::unsubscribe);
    "/admin/moderation/lists/review" => post(moderation::lists::review);
    "/admin/moderation/lists/adopt" => post(moderation::lists::adopt);
    "/admin/moderation/lists/retract" => post(moderation::lists::retract_all);
    "/admin/actors" => get(residents::list).post(residents::create);
    "/token" => get(tokens::own);
    "/tokens" => get(own_tokens::list);
    "/tokens/{id}" => delete(own_tokens::revoke);
    "/admin/tokens" => get(tokens::list).post(tokens::issue);
    "/admin/tokens/{id}" => delete(tokens::revoke);
    "/admin/projections" => get(operate::projections);
    "/admin/projections/{name}/rebuild" => post(operate::rebuild);
    "/admin/projections/{name}/set-aside" => get(operate::list);
    "/admin/projections/{name}/set-aside/{global_seq}" => post(operate::decide);
    "/admin/delivery/{cid}" => get(admin::delivery);
    "/admin/backup" => get(backup::latest).post(backup::start);
    "/admin/erase" => post(erasure::erase);
    "/admin/equivocations" => get(admin::equivocations);
    "/problems/{slug}" => get(health::problem);
    "/livez" => get(health::live);
    "/readyz" => get(health::ready);
    "/metrics" => get(health::metrics);
}

/// All routes; what holds for each request is [`crate::front`]'s.
pub(crate) fn router(app: App) -> Router {
    bare().fallback(nothing_here).method_not_allowed_fallback(wrong_method).with_state(app)
}

async fn nothing_here() -> Answer {
    Err(Refusal::new(Problem::NotFound, "there is no such route").into())
}

async fn wrong_method() -> Answer {
    Err(Refusal::new(Problem::MethodNotAllowed, "see the Allow header").into())
}

/// A parameter of a query that must be of some form.
pub(crate) fn parameter<T: std::str::FromStr>(
    name: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Refusal> {
    text.map(|text| {
        text.parse().map_err(|_| {
            Refusal::new(Problem::InvalidParameter, format!("{name}: {text:?} is not possible"))
                .with("parameter", name)
        })
    })
    .transpose()
}

/// The parameters of a query, decoded, in order; at most 64.
pub(crate) fn parameters(uri: &axum::http::Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .take(64)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// The first value of a parameter.
pub(crate) fn first<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
}
