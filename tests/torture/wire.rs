//! A small HTTP client for an instance that may end at any moment.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::Request;

pub const ACTIVITY_JSON: &str = "application/activity+json";
/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256 << 20;

/// An answer, whatever its status.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The last part of a problem document's `type`.
    pub fn problem(&self) -> &str {
        let kind = self.body.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default()
    }

    pub fn text(&self, member: &str) -> String {
        self.body.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub fn number(&self, member: &str) -> Option<u64> {
        self.body.get(member).and_then(Value::as_u64)
    }
}

#[derive(Clone)]
pub struct Wire {
    base: String,
    agent: ureq::Agent,
}

impl Wire {
    pub fn new(base: &str, patience: Duration) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(patience))
            .build()
            .into();
        Self { base: base.to_owned(), agent }
    }

    /// `Err` means that nobody knows whether the request was carried out.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        secret: Option<&str>,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer> {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(secret) = secret {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        let mut answer = match body {
            Some(body) => self.agent.run(request.body(body.to_vec())?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let status = answer.status().as_u16();
        let bytes = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// Reads a document that must be there.
    pub fn get(&self, path: &str, secret: Option<&str>) -> Result<Value> {
        let answer = self.send("GET", path, secret, &[], None);
        let answer = answer.with_context(|| format!("GET {path}"))?;
        if answer.status != 200 {
            bail!("GET {path}: {} {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// All items of a collection, following `next`.
    pub fn collection(&self, path: &str, secret: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let mut page = self.get(&path, Some(secret))?;
            match page.get_mut("orderedItems").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => bail!("{path} has no orderedItems"),
            }
            if let Some(withheld) = page.get("withheld") {
                bail!("{path} withholds {withheld} from its owner");
            }
            next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        }
        Ok(items)
    }
}
