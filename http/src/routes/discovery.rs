//! Discovery: webfinger (RFC 7033), NodeInfo 2.1, host-meta (RFC 6415), capabilities.

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use fedsx_delivery::webfinger::{
    self, Account, Directory, DirectoryError, Resource, ResourceError, Subject,
};
use fedsx_genesis::definition::Kind;
use fedsx_genesis::registry;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Hosted;
use fedsx_kernel::tokens::{Request, authorize};
use fedsx_kernel::{ActorName, Base};
use serde_json::{Value, json};

use super::{Answer, first, parameters};
use crate::app::App;
use crate::{caller, negotiate, visibility};

struct Accounts<'a>(&'a App);

#[async_trait]
impl Directory for Accounts<'_> {
    async fn subject(&self, resource: &Resource) -> Result<Option<Subject>, DirectoryError> {
        let base: &Base = self.0.base();
        let name = match resource {
            Resource::Account(account) => account.name.to_ascii_lowercase().parse().ok(),
            Resource::Url(url) => base.name_of(url),
        };
        let Some(name): Option<ActorName> = name else { return Ok(None) };
        let state = self.0.kernel().log().state();
        let hosted = self.0.kernel().rules().hosted(state, &name);
        let hosted = hosted.map_err(|e| DirectoryError::from(e.to_string()))?;
        if !matches!(hosted, Hosted::Active | Hosted::Suspended) {
            return Ok(None);
        }
        let actor_url = base.actor(&name);
        Ok(Some(Subject {
            account: Account {
                name: name.to_string(),
                host: base.authority().to_ascii_lowercase(),
            },
            profile_url: Some(actor_url.clone()),
            aliases: vec![actor_url.clone()],
            actor_url,
        }))
    }
}

pub(crate) async fn webfinger(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Answer {
    let query = parameters(&uri);
    let resource = first(&query, "resource").ok_or_else(|| {
        Refusal::new(Problem::InvalidParameter, "resource: an account or the URL of an actor")
    })?;
    let grant = caller::token(&app, &headers)?;
    let elsewhere = match Resource::parse(resource) {
        Ok(Resource::Account(account)) if account.host != app.base().authority() => Some(account),
        _ => None,
    };
    if let (Some(account), Some(grant)) = (&elsewhere, &grant) {
        // Only who may publish here can make this server ask others. What a narrowed token may
        // still publish is told by no request of this kind; that it may read stands for it.
        authorize(Some(grant), Request::Publish(&grant.actor))?;
        if caller::capability(&app, &headers)?.is_some() {
            authorize(Some(grant), Request::Read(&grant.actor))?;
        }
        let actor = app.parts.discovery.resolve(account).await?;
        return Ok(jrd(&json!({
            "subject": account.to_string(),
            "aliases": [actor],
            "links": [{ "rel": "self", "type": negotiate::ACTIVITY_JSON, "href": actor }],
        })));
    }
    match webfinger::answer(app.base().authority(), resource, &Accounts(&app)).await {
        Ok(Some(answer)) => Ok(jrd(&answer)),
        Ok(None) => Err(Refusal::new(Problem::NotFound, "no such account here").into()),
        Err(ResourceError::Directory(error)) => {
            Err(Refusal::new(Problem::Internal, error.to_string()).into())
        }
        Err(error) => {
            Err(Refusal::new(Problem::InvalidParameter, format!("resource: {error}")).into())
        }
    }
}

fn jrd(value: &Value) -> Response {
    let mut response = negotiate::json(StatusCode::OK, "application/jrd+json", value);
    // RFC 7033, section 5: scripts of every origin may ask.
    response.headers_mut().insert(
        axum::http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
        axum::http::HeaderValue::from_static("*"),
    );
    response
}

pub(crate) async fn nodeinfo_links(State(app): State<App>) -> Answer {
    let instance = app.base().actor(&app.kernel().options().instance);
    let links = json!({ "links": [
        {
            "rel": "http://nodeinfo.diaspora.software/ns/schema/2.1",
            "href": format!("{}/nodeinfo/2.1", app.base()),
        },
        // Who signs requests as the instance (FEP-2677).
        { "rel": "https://www.w3.org/ns/activitystreams#Application", "href": instance },
    ] });
    Ok(negotiate::json(StatusCode::OK, "application/json", &links))
}

pub(crate) async fn nodeinfo(State(app): State<App>) -> Answer {
    let users = app
        .read(|app| {
            let streams = app.kernel().log().store().streams()?;
            let instance = &app.kernel().options().instance;
            Ok(streams
                .iter()
                .filter(|(stream, _)| stream.author().is_some_and(|name| name != instance))
                .count())
        })
        .await?;
    let info = json!({
        "version": "2.1",
        "software": { "name": "fedsx", "version": env!("CARGO_PKG_VERSION") },
        "protocols": ["activitypub"],
        "services": { "inbound": [], "outbound": [] },
        "openRegistrations": false,
        "usage": { "users": { "total": users } },
        "metadata": {},
    });
    let media_type =
        "application/json; profile=\"http://nodeinfo.diaspora.software/ns/schema/2.1#\"";
    Ok(negotiate::json(StatusCode::OK, media_type, &info))
}

/// Where accounts are looked up (RFC 6415): as XRD, or as JSON for who prefers that.
pub(crate) async fn host_meta(State(app): State<App>, headers: HeaderMap) -> Answer {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim();
        ["application/json", "application/jrd+json"]
            .iter()
            .any(|json| range.eq_ignore_ascii_case(json))
    };
    if accept.flat_map(|value| value.split(',')).next().is_some_and(wants) {
        return host_meta_json(State(app)).await;
    }
    let xrd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <XRD xmlns=\"http://docs.oasis-open.org/ns/xri/xrd-1.0\">\n  \
         <Link rel=\"lrdd\" type=\"application/jrd+json\" template=\"{}\"/>\n</XRD>\n",
        template(&app)
    );
    Ok(negotiate::bytes(StatusCode::OK, "application/xrd+xml", xrd.into_bytes()))
}

pub(crate) async fn host_meta_json(State(app): State<App>) -> Answer {
    let jrd = json!({ "links": [{
        "rel": "lrdd",
        "type": "application/jrd+json",
        "template": template(&app),
    }] });
    Ok(negotiate::json(StatusCode::OK, "application/json", &jrd))
}

fn template(app: &App) -> String {
    format!("{}/.well-known/webfinger?resource={{uri}}", app.base())
}

pub(crate) async fn capabilities(State(app): State<App>) -> Answer {
    let answer = app
        .read(|app| {
            let state = app.kernel().log().state();
            let (mut definitions, mut codecs) = (Vec::new(), Vec::new());
            for kind in Kind::ALL {
                for (name, found) in registry::all(state, kind, 1000)? {
                    if !visibility::is_for_anyone(app, &found.origin)?
                        || !visibility::is_for_anyone(app, &found.by)?
                    {
                        continue;
                    }
                    if kind == Kind::Codecs {
                        codecs.push(name.clone());
                    }
                    definitions.push(json!({
                        "kind": kind.as_str(),
                        "name": name,
                        "cid": found.cid.to_string(),
                        "origin": found.origin,
                    }));
                }
            }
            Ok(json!({
                "software": "fedsx",
                "version": env!("CARGO_PKG_VERSION"),
                "base": app.base().as_str(),
                "epoch": app.kernel().options().epoch,
                "run": app.parts.options.run,
                "genesis": app.parts.genesis.cid.to_string(),
                "codecs": codecs,
                "suites": app.kernel().suites(),
                "capability_key": app.parts.capabilities.public_key(),
                "definitions": definitions,
            }))
        })
        .await?;
    Ok(negotiate::json(StatusCode::OK, "application/json", &answer))
}
