//! The client of commands that speak to a running instance's admin routes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_delivery::client::{Client, ClientOptions, Request, Response, TcpDial};
use fedsx_kernel::Base;
use fedsx_kernel::runtime::SystemClock;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::profile;

/// Digests of large projections take a while.
const TIMEOUT: Duration = Duration::from_secs(660);
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How a running instance is reached: flags, then variables, then a profile.
#[derive(Args, Clone, Debug)]
pub struct ApiArgs {
    /// The running instance [default: that of the profile, or http://127.0.0.1:9999].
    #[arg(long, global = true, env = "FEDSX_URL", value_name = "URL")]
    pub url: Option<String>,
    /// A token; operating an instance wants the scope admin [default: that of the profile].
    #[arg(long, global = true, env = "FEDSX_TOKEN", value_name = "SECRET", hide_env_values = true)]
    pub token: Option<String>,
    /// A profile of the file FEDSX_PROFILES or ~/.config/fedsx/profiles.toml [default: default].
    #[arg(long, global = true, env = "FEDSX_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
}

impl ApiArgs {
    /// The token, for commands that work on the token itself.
    ///
    /// # Errors
    /// Where none is given.
    pub fn secret(&self) -> Result<String> {
        let profile = profile::load(self.profile.as_deref())?;
        self.token
            .clone()
            .or(profile.token)
            .context("give a token: --token, FEDSX_TOKEN or a profile")
    }
}

/// The instance that is asked where none is named.
const DEFAULT_URL: &str = "http://127.0.0.1:9999";

/// A running instance.
pub struct Api {
    client: Client,
    base: Base,
    headers: HeaderMap,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    /// The instance that the options name.
    pub fn new(args: &ApiArgs) -> Result<Self> {
        let profile = profile::load(args.profile.as_deref())?;
        let token = args.token.clone().or(profile.token).context(
            "a running instance wants a token: --token, FEDSX_TOKEN or a profile with one",
        )?;
        let url = args.url.clone().or(profile.url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let base: Base = url.trim_end_matches('/').parse().context("--url")?;
        // The operator names the instance, which usually listens on this very machine.
        let options = ClientOptions {
            allow_private_network: true,
            allow_http: true,
            request_timeout: TIMEOUT,
            max_body_bytes: MAX_ANSWER_BYTES,
            ..ClientOptions::default()
        };
        let dial = Arc::new(TcpDial { allow_private_network: true });
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .context("the token has characters that no token has")?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(options, dial, Arc::new(SystemClock));
        Ok(Self { client, base, headers, runtime })
    }

    /// Reads a path.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None)
    }

    /// Posts a document to a path.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, Some(body))
    }

    /// Deletes what is at a path.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, None)
    }

    /// Reads a path of any server without a token; gives status, headers and body.
    pub fn look(&self, url: &str) -> Result<Response> {
        let body = Vec::new().into();
        let headers = HeaderMap::new();
        let request = Request { method: Method::GET, url: url.to_owned(), headers, body };
        Ok(self.runtime.block_on(self.client.send(request))?)
    }

    /// The instance's URL as it was given.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Waits a little before the instance is asked again.
    pub fn pause(&self, pause: Duration) {
        // A timer must be made inside of the runtime.
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut headers = self.headers.clone();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = body.map(Value::to_string).unwrap_or_default().into();
        let request = Request { method, url: url.clone(), headers, body };
        let answer = self.runtime.block_on(self.client.send(request));
        let answer = answer.with_context(|| url.clone())?;
        let document: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if answer.status.is_success() {
            return document.with_context(|| format!("{url} did not answer with JSON"));
        }
        let problem = document.unwrap_or_default();
        let text =
            |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or("no problem document");
        let slug = text("type").rsplit('/').next().unwrap_or_default();
        // What a token lacks is told by name.
        let check = problem.get("failed_check").and_then(Value::as_str);
        let check = check.map_or_else(String::new, |check| format!("; failed check: {check}"));
        bail!("{url} answered {}: {} ({slug}{check})", answer.status.as_u16(), text("detail"))
    }
}
