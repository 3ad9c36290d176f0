//! The log on standard error, whose filter can be changed while the instance runs.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt};

use super::lines::Lines;
use crate::config::{LogFormat, ServeConfig};

/// What is logged.
#[derive(Clone)]
pub(super) struct Filter(Handle<EnvFilter, Registry>);

impl Filter {
    /// Takes another filter.
    pub(super) fn set(&self, text: &str) -> Result<()> {
        let filter = EnvFilter::try_new(text).context("log")?;
        Ok(self.0.reload(filter)?)
    }
}

/// Starts to log.
pub(super) fn start(config: &ServeConfig) -> Result<Filter> {
    let filter = EnvFilter::try_new(&config.log).context("--log")?;
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(Lines { format: config.log_format }).with_ansi(ansi);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Filter(handle))
}
