//! `fedsx serve`.

mod lines;
mod logging;
mod only_one;
mod reload;
mod telemetry;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use fedsx_delivery::client::{ClientOptions, TcpDial};
use fedsx_delivery::discovery::DiscoveryOptions;
use fedsx_delivery::service;
use fedsx_genesis::erasure::Wishes;
use fedsx_http::metrics::Metrics;
use fedsx_http::{HttpOptions, Starting, TcpAcceptor};
use fedsx_kernel::keys::FreshKeys;
use fedsx_kernel::log::{LogOptions, SledOptions, SledStorage};
use fedsx_kernel::runtime::{OsRandom, Random, Runtime};
use fedsx_kernel::{Base, KernelOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::logging::Filter;
use self::only_one::Identity;
use crate::config::{ServeArgs, ServeConfig};
use crate::node::{Node, NodeOptions, Surroundings};
use crate::{data, genesis, place};

/// Files that are open beside connections of clients: the store, and connections to peers.
const BESIDE_CONNECTIONS: usize = 512;

/// Runs an instance until it is told to stop.
///
/// # Errors
/// Where the configuration is impossible, or the instance cannot be started.
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    let config = args.clone().settle()?;
    let filter = logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, config, filter))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: ServeArgs, config: ServeConfig, filter: Filter) -> Result<()> {
    // Signals count from the first moment on, also while starting.
    let stop = stop_signal()?;
    survive_file_limits()?;
    raise_open_files(config.http.connections);
    let verified = genesis::bundle(config.genesis.as_deref())?.verify()?;
    data::prepare(&config.data)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening at {}", config.listen))?;
    let address = listener.local_addr()?;
    let starting = Starting::serve(Box::new(TcpAcceptor(listener)));
    let base: Base = match &config.base_url {
        Some(base) => base.clone(),
        None => format!("http://localhost:{}", address.port()).parse()?,
    };
    data::refuse_backup(&config.data)?;
    data::settle_base(&config.data, &base)?;
    let (traces, telemetry) = telemetry::start(&config, &base)?;
    let runtime = Runtime { traces, ..Runtime::system() };
    let storage = {
        let (directory, mut options) = (config.data.clone(), SledOptions::default());
        options.compress = config.store_compression;
        options.memory_bytes = config.store_memory_bytes.unwrap_or(options.memory_bytes);
        options.reserve_bytes = config.disk_reserve_bytes.unwrap_or(options.reserve_bytes);
        runtime.run(move || SledStorage::open_with(&directory, options)).await??
    };
    let master_key = data::master_key(&config.data, &storage, runtime.random.as_ref())?;
    // Only who has the directory open may change its epoch.
    place::settle(&config.data, config.epoch)?;
    let epoch = data::settle_epoch(&config.data, config.epoch)?;
    let metrics = Metrics::install()?;
    tokio::spawn(metrics.clone().upkeep());
    let around = Surroundings {
        runtime,
        storage: Arc::new(storage),
        beside: Some(Arc::new(data::BesideStore::new(&config.data))),
        dial: Arc::new(TcpDial { allow_private_network: config.allow_private_network }),
        master_key,
        key_maker: Arc::new(FreshKeys),
        genesis: Arc::new(verified),
        metrics,
    };
    let random: &dyn Random = &OsRandom;
    let identity = Identity { base: base.clone(), epoch, run: hex::encode(random.bytes::<16>()) };
    let mut options = options(&config, base.clone(), epoch);
    options.http.run.clone_from(&identity.run);
    let client = only_one::client(&options.client);
    let node = Node::start(options, around).await?;
    let listener = starting.end().await.context("the listener")?;
    reload::on_hangup(args, config, node.controls(), filter)?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{address}").and_then(|()| out.flush())?;
    tracing::info!(%address, %base, epoch, "serving");
    let (ended, watching) = identity.watch_until(client, stop);
    node.serve(listener, ended).await?;
    telemetry.end().await;
    let replaced = watching.await.context("asking under the base URL")?;
    tracing::info!("stopped");
    match replaced {
        Some(why) => bail!("{why}"),
        None => Ok(()),
    }
}

fn options(config: &ServeConfig, base: Base, epoch: u64) -> NodeOptions {
    let mut kernel = KernelOptions::new(base.clone());
    kernel.epoch = epoch;
    if let Some(per_second) = config.peer_deliveries_per_second {
        kernel.peer_deliveries_per_second = per_second;
        kernel.peer_burst = per_second.saturating_mul(50);
    }
    let mut delivery = service::Options::default();
    if let Some(schedule) = &config.delivery_schedule {
        delivery.schedule = schedule.clone();
    }
    let mut client = ClientOptions {
        allow_private_network: config.allow_private_network,
        allow_http: config.allow_http,
        user_agent: format!("fedsx/{} (+{base})", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    if let Some(timeout) = config.request_timeout {
        client.request_timeout = timeout;
        client.connect_timeout = client.connect_timeout.min(timeout);
    }
    let mut discovery = DiscoveryOptions::default();
    discovery.fetch_timeout = config.fetch_timeout.unwrap_or(discovery.fetch_timeout);
    discovery.fetch_pause = config.fetch_pause.unwrap_or(discovery.fetch_pause);
    NodeOptions {
        kernel,
        log: LogOptions { head_directory: Some(config.data.clone()), ..LogOptions::default() },
        client,
        discovery,
        delivery,
        http: HttpOptions { notice: config.shutdown_notice, ..config.http.clone() },
        tokens: config.tokens.clone(),
        wishes: Wishes { always: config.erase_on_delete },
        allow_list: config.allow_list,
    }
}

/// A write beyond a limit on the size of files (`ulimit -f`) gives an error; without a handler for
/// its signal it would end the process.
fn survive_file_limits() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signal_number = rustix::process::Signal::XFSZ.as_raw();
    // The handler stays when what it is asked for is dropped.
    drop(signal(SignalKind::from_raw(signal_number))?);
    Ok(())
}

/// Raises the limit on open files as far as it goes: each connection is one, and the usual limit is
/// from a time when that was many.
fn raise_open_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let needed = (connections + BESIDE_CONNECTIONS) as u64;
    if now.is_some_and(|now| now < needed) {
        tracing::warn!(
            open_files = now,
            connections,
            "more connections are allowed than files may be open (ulimit -n)"
        );
    }
}

/// Turns true at SIGTERM or SIGINT.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop; draining");
        // Without a receiver the node has ended already.
        let _ = sender.send(true);
        // The task lives on, so that the channel stays open.
        std::future::pending::<()>().await;
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::config::{example, file};

    /// What the options' descriptions say of defaults is what holds without them.
    #[test]
    fn described_defaults_are_the_defaults() {
        let place = "data = \"x\"\nallow_http = true\n";
        let needs_none = ["data", "tokens", "base_url", "trusted_proxies", "genesis", "allow_http"];
        let said = example::options()
            .into_iter()
            .filter(|option| !needs_none.contains(&option.key.as_str()))
            .fold(String::from(place), |text, option| {
                format!("{text}{} = {}\n", option.key, option.value)
            });
        let shown = |text: &str| {
            let config = file::parse(text).expect("options").settle().expect("settled");
            let all = options(&config, "http://localhost:1".parse().unwrap(), 0);
            let (kernel, client, discovery) = (all.kernel, all.client, all.discovery);
            let shown = (kernel, client, discovery, all.delivery, all.http);
            (format!("{shown:#?}"), config.listen, config.log, config.store_compression)
        };
        assert_eq!(shown(&said), shown(place));
    }
}
