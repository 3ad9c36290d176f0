//! Asks a running instance for a backup of itself, and watches it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_delivery::client::{Client, ClientOptions, Request, TcpDial};
use fedsx_kernel::Base;
use fedsx_kernel::backup::{BackupState, BackupStatus};
use fedsx_kernel::runtime::{Runtime, SystemClock};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::BackupArgs;
use crate::progress::Progress;

/// How often the instance is asked how far it is.
const PAUSE: Duration = Duration::from_millis(250);
/// How often in a row it may not answer.
const MOST_FAILURES: u32 = 20;

/// Begins a backup and waits for its end; gives where its log ends.
pub(super) fn backup(args: &BackupArgs, directory: &Path) -> Result<u64> {
    let token = args.token.as_deref().context(
        "a running instance wants a token with the scope admin: --token or FEDSX_ADMIN_TOKEN \
         (or give --data for a data directory on which no instance runs)",
    )?;
    let base: Base = args.url.parse().context("--url")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let instance = Instance::new(&base, token)?;
        let wish = json!({ "directory": directory, "with_master_key": args.with_master_key });
        let begun = instance.ask(Method::POST, &wish).await?;
        instance.watch(directory, &begun).await
    })
}

struct Instance {
    client: Client,
    url: String,
    headers: HeaderMap,
}

impl Instance {
    fn new(base: &Base, token: &str) -> Result<Self> {
        // The operator names the instance, which usually listens on this very machine.
        let options = ClientOptions {
            allow_private_network: true,
            allow_http: true,
            ..ClientOptions::default()
        };
        let dial = Arc::new(TcpDial { allow_private_network: true });
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .context("the token has characters that no token has")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            client: Client::new(options, dial, Arc::new(SystemClock)),
            url: format!("{base}/admin/backup"),
            headers,
        })
    }

    async fn ask(&self, method: Method, body: &Value) -> Result<BackupStatus> {
        let body = if method == Method::GET { Vec::new() } else { body.to_string().into_bytes() };
        let (url, headers) = (self.url.clone(), self.headers.clone());
        let request = Request { method, url, headers, body: body.into() };
        let answer = self.client.send(request).await.with_context(|| self.url.clone())?;
        if matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED) {
            return serde_json::from_slice(&answer.body).with_context(|| self.url.clone());
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        bail!("{} answered {}: {} ({})", self.url, answer.status, text("detail"), text("title"))
    }

    async fn watch(&self, directory: &Path, begun: &BackupStatus) -> Result<u64> {
        let clock = Runtime::system().clock;
        let bar = Progress::count("copying", 1);
        let mut failures = 0;
        loop {
            clock.sleep(PAUSE).await;
            let status = match self.ask(Method::GET, &Value::Null).await {
                Ok(status) => status,
                Err(_) if failures < MOST_FAILURES => {
                    failures += 1;
                    continue;
                }
                Err(error) => return Err(error.context("the instance does not answer any more")),
            };
            failures = 0;
            if status.directory != directory || status.started != begun.started {
                bail!("the instance has begun another backup meanwhile");
            }
            bar.expect(status.expected.max(1));
            bar.set(status.keys);
            match status.state {
                BackupState::Running => {}
                BackupState::Done => return Ok(status.global_seq.unwrap_or(0)),
                BackupState::Failed => {
                    bail!("no backup was made: {}", status.error.unwrap_or_default())
                }
            }
        }
    }
}
