//! SIGHUP: options that a running instance takes over.

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::logging::Filter;
use crate::config::{RELOADED, ServeArgs, ServeConfig};
use crate::node::Controls;

/// Reads the configuration anew at each SIGHUP. Where it is impossible, nothing changes.
pub(super) fn on_hangup(
    args: ServeArgs,
    mut config: ServeConfig,
    controls: Controls,
    filter: Filter,
) -> Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let read = args.clone();
            let settled = tokio::task::spawn_blocking(move || read.settle()).await;
            match settled {
                Ok(Ok(new)) => {
                    take(&config, &new, &controls, &filter);
                    config = new;
                }
                Ok(Err(error)) => tracing::error!(
                    error = format!("{error:#}"),
                    "the configuration is impossible; nothing was changed"
                ),
                Err(error) => tracing::error!(%error, "the configuration could not be read"),
            }
        }
    });
    Ok(())
}

fn take(old: &ServeConfig, new: &ServeConfig, controls: &Controls, filter: &Filter) {
    if old.tokens != new.tokens {
        controls.configure_tokens(&new.tokens);
    }
    if old.http.requests_per_second != new.http.requests_per_second {
        controls.limit_requests(new.http.requests_per_second);
    }
    if old.http.actor_requests_per_second != new.http.actor_requests_per_second {
        controls.limit_actor_requests(new.http.actor_requests_per_second);
    }
    if old.log != new.log
        && let Err(error) = filter.set(&new.log)
    {
        tracing::error!(error = format!("{error:#}"), "the filter of the log stays as it was");
    }
    tracing::info!(reloaded = RELOADED.join(", "), "the configuration was read anew");
}
