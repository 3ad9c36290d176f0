//! Two processes that are one instance: a copy, or the old one after a move.
//!
//! An instance asks now and then under its own base URL who answers there. Where that is another
//! process of the same base with a higher epoch, this one was replaced; with the same epoch both
//! give the same numbers out. In both cases the one that others cannot reach ends.

use std::sync::Arc;
use std::time::Duration;

use fedsx_delivery::client::{Client, ClientOptions, Request, TcpDial};
use fedsx_kernel::Base;
use fedsx_kernel::runtime::SystemClock;
use hyper::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often it asks.
const PAUSE: Duration = Duration::from_secs(600);

/// Who an instance is among those that have its base.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) base: Base,
    pub(super) epoch: u64,
    /// Random, another one for each process.
    pub(super) run: String,
}

impl Identity {
    /// Why this process must not go on, by what the base URL answers; `None` where it may.
    fn replaced(&self, said: &Value) -> Option<String> {
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        let epoch = said.get("epoch").and_then(Value::as_u64)?;
        let run = text("run")?;
        if text("base") != Some(self.base.as_str()) || run == self.run || epoch < self.epoch {
            return None;
        }
        let base = &self.base;
        Some(if epoch > self.epoch {
            format!(
                "another instance answers under {base}, at epoch {epoch}; this one, at epoch {}, was \
                 replaced by it: do not start it again",
                self.epoch
            )
        } else {
            format!(
                "another process answers under {base}, with the same epoch {epoch}: both would give the \
                 same numbers out; end one of them for good"
            )
        })
    }

    async fn ask(&self, client: &Client) -> Option<Value> {
        let request = Request {
            method: Method::GET,
            url: format!("{}/.well-known/sx-capabilities", self.base),
            headers: HeaderMap::new(),
            body: Vec::new().into(),
        };
        match client.send(request).await {
            Ok(answer) if answer.status.is_success() => serde_json::from_slice(&answer.body).ok(),
            Ok(answer) => {
                tracing::debug!(status = %answer.status, "the base URL does not lead here");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "the base URL does not lead here");
                None
            }
        }
    }

    /// Asks until another one answers; gives why this process has to end.
    async fn watch(self, client: Client) -> String {
        loop {
            if let Some(why) = self.ask(&client).await.and_then(|said| self.replaced(&said)) {
                tracing::error!(why, "this instance ends");
                return why;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Turns true at `stop`, or where another one answers; the task then says why.
    pub(super) fn watch_until(
        self,
        client: Client,
        mut stop: watch::Receiver<bool>,
    ) -> (watch::Receiver<bool>, JoinHandle<Option<String>>) {
        let (sender, ended) = watch::channel(false);
        let watching = tokio::spawn(async move {
            let replaced = tokio::select! {
                biased;
                // The task that hears the signals keeps its end open.
                _ = stop.wait_for(|stop| *stop) => None,
                why = self.watch(client) => Some(why),
            };
            // Without a receiver the node has ended already.
            let _ = sender.send(true);
            replaced
        });
        (ended, watching)
    }
}

/// A client for the own base URL: the operator named it, so that it may lead to this machine.
pub(super) fn client(options: &ClientOptions) -> Client {
    let options = ClientOptions { allow_private_network: true, ..options.clone() };
    let dial = Arc::new(TcpDial { allow_private_network: true });
    Client::new(options, dial, Arc::new(SystemClock))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_replaced_ends() {
        let base: Base = "https://a.example".parse().unwrap();
        let own = Identity { base, epoch: 5, run: "mine".into() };
        let said = |base: &str, epoch: u64, run: &str| {
            own.replaced(&json!({ "base": base, "epoch": epoch, "run": run }))
        };
        assert_eq!(said("https://a.example", 5, "mine"), None, "itself");
        assert_eq!(said("https://a.example", 4, "other"), None, "the other one has to end");
        assert_eq!(said("https://b.example", 9, "other"), None, "another instance altogether");
        assert!(said("https://a.example", 5, "other").unwrap().contains("same epoch"));
        assert!(said("https://a.example", 6, "other").unwrap().contains("replaced"));
        assert_eq!(own.replaced(&json!({})), None, "something else");
    }
}
