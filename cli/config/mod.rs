//! Configuration of `fedsx serve`: flag before variable before file before default. An option is
//! declared and described once, in [`ServeArgs`].

pub mod command;
pub mod example;
pub mod file;
mod limits;
pub mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_http::HttpOptions;
use fedsx_kernel::Base;
use fedsx_kernel::tokens::TokenSpec;
use serde::Deserialize;

use self::values::{Networks, Schedule, Size, Time, TokenList};

/// Options that a running instance takes over at SIGHUP.
pub const RELOADED: [&str; 4] =
    ["tokens", "requests_per_second", "actor_requests_per_second", "log"];

/// Options of `fedsx serve`, as given by flags and variables.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeArgs {
    /// A TOML file with these options, by their names with underscores.
    #[serde(skip)]
    #[arg(long, env = "FEDSX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen at; port 0 picks one [default: 127.0.0.1:9999].
    #[arg(long, env = "FEDSX_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The origin under which others reach this instance [default: http://localhost:<port>].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_BASE_URL", value_name = "URL")]
    pub base_url: Option<Base>,
    /// A bearer token, NAME=SECRET or NAME=SECRET:scope,scope with the scopes publish, read,
    /// define and admin; publish and read without them. Repeatable.
    #[serde(skip)]
    #[arg(long = "token", value_name = "TOKEN", hide_env_values = true)]
    pub token: Vec<String>,
    /// Bearer tokens, NAME=SECRET or NAME=SECRET:scope,scope with the scopes publish, read, define
    /// and admin; publish and read without them. In the variable separated by white space or ';'.
    #[arg(long, env = "FEDSX_TOKENS", value_name = "TOKENS", hide = true, hide_env_values = true)]
    pub tokens: Option<TokenList>,
    /// Allow connections to private, loopback and other reserved addresses (development).
    #[arg(long, env = "FEDSX_ALLOW_PRIVATE_NETWORK", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_private_network: Option<bool>,
    /// Allow plain http, for this instance and toward others (development).
    #[arg(long, env = "FEDSX_ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_http: Option<bool>,
    /// Pauses between delivery attempts [default: 30s,5m,30m,6h,24h].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_DELIVERY_SCHEDULE", value_name = "PAUSES")]
    pub delivery_schedule: Option<Schedule>,
    /// Proxies, addresses or networks separated by commas, whose X-Forwarded-For says who the client
    /// is; nobody else's does.
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<Networks>,
    /// Requests per second of one client address, an IPv6 client's being its /64, and ten times as
    /// many at once; 0 for no limit [default: 200].
    #[arg(long, env = "FEDSX_REQUESTS_PER_SECOND", value_name = "N")]
    pub requests_per_second: Option<u32>,
    /// The same for all that bear tokens of one actor, wherever they are [default: 200].
    #[arg(long, env = "FEDSX_ACTOR_REQUESTS_PER_SECOND", value_name = "N")]
    pub actor_requests_per_second: Option<u32>,
    /// The same for all that actors of one peer signed, to read; 0 for no limit [default: 100].
    #[arg(long, env = "FEDSX_PEER_READS_PER_SECOND", value_name = "N")]
    pub peer_reads_per_second: Option<u32>,
    /// Connections that may be open [default: 4096].
    #[arg(long, env = "FEDSX_CONNECTIONS", value_name = "N")]
    pub connections: Option<u32>,
    /// Connections, and requests under way, of one client address; 0 for no limit [default: 256].
    #[arg(long, env = "FEDSX_CONCURRENT_PER_ADDRESS", value_name = "N")]
    pub concurrent_per_address: Option<u32>,
    /// Requests that may be under way; others are answered 503 [default: 1024].
    #[arg(long, env = "FEDSX_REQUESTS_IN_FLIGHT", value_name = "N")]
    pub requests_in_flight: Option<u32>,
    /// How long work may wait for its turn while many requests are under way, before a share of them
    /// is answered 503 [default: 100ms].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_QUEUEING_DELAY", value_name = "TIME")]
    pub queueing_delay: Option<Time>,
    /// Request bodies that may be in memory; others are answered 503 [default: 64MiB].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_BODY_MEMORY", value_name = "BYTES")]
    pub body_memory: Option<Size>,
    /// How long the head of a request may take, and a connection may be idle [default: 10s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_HEADER_TIMEOUT", value_name = "TIME")]
    pub header_timeout: Option<Time>,
    /// How long the body of a request may take; after a sixth of it no less than 1 KiB a second may
    /// arrive [default: 30s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_BODY_TIMEOUT", value_name = "TIME")]
    pub body_timeout: Option<Time>,
    /// How long a client may take nothing of an answer [default: 30s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_RESPONSE_TIMEOUT", value_name = "TIME")]
    pub response_timeout: Option<Time>,
    /// Deliveries that are taken of one peer each second; 0 for no limit [default: 100].
    #[arg(long, env = "FEDSX_PEER_DELIVERIES_PER_SECOND", value_name = "N")]
    pub peer_deliveries_per_second: Option<u32>,
    /// How long a request to another server may take, the last byte of its answer included
    /// [default: 10s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_REQUEST_TIMEOUT", value_name = "TIME")]
    pub request_timeout: Option<Time>,
    /// How long fetching an actor for a delivery may take, its key history included [default: 5s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_FETCH_TIMEOUT", value_name = "TIME")]
    pub fetch_timeout: Option<Time>,
    /// The least time between two fetches of one actor [default: 1s].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_FETCH_PAUSE", value_name = "TIME")]
    pub fetch_pause: Option<Time>,
    /// A higher epoch than the one noted in the data directory; a restore raises it by itself.
    #[arg(long, env = "FEDSX_EPOCH", value_name = "N")]
    pub epoch: Option<u64>,
    /// What is kept free on the disk, such as 64MiB; writes that would use it are answered 507. 0
    /// turns that off [default: 64MiB].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_DISK_RESERVE", value_name = "BYTES")]
    pub disk_reserve: Option<Size>,
    /// Erase the content of every object that its author deletes, here or elsewhere. Without this,
    /// only where a Delete of an actor here asks for it, and on request.
    #[arg(long, env = "FEDSX_ERASE_ON_DELETE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub erase_on_delete: Option<bool>,
    /// Answer only requests that an actor signed, or with a token: outboxes, collections, objects,
    /// activities, projections. Of actor documents others get keys and inbox alone, but for the
    /// instance actor's.
    #[arg(long, env = "FEDSX_AUTHORIZED_FETCH", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub authorized_fetch: Option<bool>,
    /// Have to do with listed domains only (true), or with all that are not blocked (false); either is
    /// a decision of the instance, made at the start where it does not stand yet. Without this,
    /// `fedsx moderation allow-list` decides.
    #[arg(long, env = "FEDSX_ALLOW_LIST", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_list: Option<bool>,
    /// Whether what is stored is compressed; false takes about twice the disk and less time
    /// [default: true].
    #[arg(long, env = "FEDSX_STORE_COMPRESSION", value_name = "BOOL")]
    pub store_compression: Option<bool>,
    /// For how many seconds, when it is told to stop, requests are still taken while /readyz says
    /// that the instance goes; a balancer in front needs that [default: 0].
    #[arg(long, env = "FEDSX_SHUTDOWN_NOTICE", value_name = "N")]
    pub shutdown_notice: Option<u32>,
    /// How much of what was written last is read from memory, before it is moved into the database;
    /// for log and projections each, and twice as much while that is done [default: 4MiB].
    #[serde(deserialize_with = "values::from_text")]
    #[arg(long, env = "FEDSX_STORE_MEMORY", value_name = "BYTES")]
    pub store_memory: Option<Size>,
    /// A genesis bundle in place of the built-in one.
    #[arg(long, env = "FEDSX_GENESIS", value_name = "DIR")]
    pub genesis: Option<PathBuf>,
    /// What is logged, as in RUST_LOG [default: info].
    #[arg(long, env = "FEDSX_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Where traces go (OpenTelemetry, OTLP over HTTP), such as http://localhost:4318; without it there
    /// are none.
    #[arg(long, env = "FEDSX_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// How many of a hundred traces that begin here are kept [default: 100].
    #[arg(long, env = "FEDSX_TRACE_PERCENT", value_name = "N")]
    pub trace_percent: Option<u8>,
    /// Tell peers, with each delivery, which trace it belongs to (W3C traceparent).
    #[arg(long, env = "FEDSX_TRACE_TO_PEERS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub trace_to_peers: Option<bool>,
    /// Show what a peer delivers under the trace that the peer names, and keep it where the peer does.
    #[arg(long, env = "FEDSX_TRACE_FROM_PEERS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub trace_from_peers: Option<bool>,
    /// How it is logged: text or json [default: text].
    #[arg(long, env = "FEDSX_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settled configuration of an instance.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The base, where it was given.
    pub base_url: Option<Base>,
    /// The tokens of the configuration.
    pub tokens: Vec<TokenSpec>,
    /// See the flag.
    pub allow_private_network: bool,
    /// See the flag.
    pub allow_http: bool,
    /// Pauses between delivery attempts.
    pub delivery_schedule: Option<Vec<Duration>>,
    /// What the server takes and what not.
    pub http: HttpOptions,
    /// Deliveries per second of one peer.
    pub peer_deliveries_per_second: Option<u32>,
    /// How long a request to another server may take.
    pub request_timeout: Option<Duration>,
    /// How long fetching an actor may take.
    pub fetch_timeout: Option<Duration>,
    /// The least time between two fetches of one actor.
    pub fetch_pause: Option<Duration>,
    /// A higher epoch than the noted one.
    pub epoch: Option<u64>,
    /// What is kept free on the disk, in bytes.
    pub disk_reserve_bytes: Option<u64>,
    /// Whether every Delete of an object erases its content.
    pub erase_on_delete: bool,
    /// Whether only listed domains are allowed, where the configuration says it.
    pub allow_list: Option<bool>,
    /// Whether what is stored is compressed.
    pub store_compression: bool,
    /// For how long requests are still taken when it is told to stop.
    pub shutdown_notice: Duration,
    /// How much of what was written is kept in memory before it is moved, in bytes.
    pub store_memory_bytes: Option<u64>,
    /// Where traces go.
    pub otlp_endpoint: Option<String>,
    /// How many of a hundred traces are kept.
    pub trace_percent: u8,
    /// See the flag.
    pub trace_to_peers: bool,
    /// See the flag.
    pub trace_from_peers: bool,
    /// A bundle in place of the built-in one.
    pub genesis: Option<PathBuf>,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

impl ServeArgs {
    /// Reads the file and settles everything.
    ///
    /// # Errors
    /// Where a value is impossible, or something is missing; the message says what to do.
    pub fn settle(self) -> Result<ServeConfig> {
        let file = match &self.config {
            Some(path) => file::read(path)?,
            None => Self::default(),
        };
        let mut given = TokenList(self.token.clone());
        given.0.extend(self.tokens.clone().unwrap_or_default().0);
        let args = self.over(file);
        let http = limits::http(&args)?;
        traces(&args)?;
        let tokens = if given.0.is_empty() { args.tokens.unwrap_or_default() } else { given };
        let tokens = tokens
            .0
            .iter()
            .enumerate()
            .map(|(n, token)| token.parse().with_context(|| format!("token {} of tokens", n + 1)))
            .collect::<Result<Vec<TokenSpec>>>()?;
        let allow_http = args.allow_http.unwrap_or(false);
        let plain = args.base_url.as_ref().is_none_or(|base| base.as_str().starts_with("http://"));
        if plain && !allow_http {
            let base =
                args.base_url.as_ref().map_or("http://localhost:<port>", |base| base.as_str());
            bail!(
                "the base URL {base} is plain http, which is for development: give --base-url \
                 https://... or allow it with --allow-http"
            );
        }
        Ok(ServeConfig {
            data: args.data.context("say where to keep data: --data DIR")?,
            listen: match args.listen {
                Some(listen) => listen,
                None => SocketAddr::from(([127, 0, 0, 1], 9999)),
            },
            base_url: args.base_url,
            tokens,
            allow_private_network: args.allow_private_network.unwrap_or(false),
            allow_http,
            delivery_schedule: args.delivery_schedule.map(|schedule| schedule.0),
            http,
            peer_deliveries_per_second: args.peer_deliveries_per_second,
            request_timeout: args.request_timeout.map(|time| time.0),
            fetch_timeout: args.fetch_timeout.map(|time| time.0),
            fetch_pause: args.fetch_pause.map(|time| time.0),
            epoch: args.epoch,
            disk_reserve_bytes: args.disk_reserve.map(|size| size.0),
            erase_on_delete: args.erase_on_delete.unwrap_or(false),
            allow_list: args.allow_list,
            store_compression: args.store_compression.unwrap_or(true),
            shutdown_notice: Duration::from_secs(args.shutdown_notice.unwrap_or(0).into()),
            store_memory_bytes: args.store_memory.map(|size| size.0),
            otlp_endpoint: args.otlp_endpoint,
            trace_percent: args.trace_percent.unwrap_or(100),
            trace_to_peers: args.trace_to_peers.unwrap_or(false),
            trace_from_peers: args.trace_from_peers.unwrap_or(false),
            genesis: args.genesis,
            log: args.log.unwrap_or_else(|| "info".to_owned()),
            log_format: args.log_format.unwrap_or_default(),
        })
    }

    /// These options, and those of another source where there is none.
    fn over(self, other: Self) -> Self {
        Self {
            config: self.config.or(other.config),
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            base_url: self.base_url.or(other.base_url),
            token: self.token,
            tokens: self.tokens.or(other.tokens),
            allow_private_network: self.allow_private_network.or(other.allow_private_network),
            allow_http: self.allow_http.or(other.allow_http),
            delivery_schedule: self.delivery_schedule.or(other.delivery_schedule),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            requests_per_second: self.requests_per_second.or(other.requests_per_second),
            actor_requests_per_second: self
                .actor_requests_per_second
                .or(other.actor_requests_per_second),
            peer_reads_per_second: self.peer_reads_per_second.or(other.peer_reads_per_second),
            connections: self.connections.or(other.connections),
            concurrent_per_address: self.concurrent_per_address.or(other.concurrent_per_address),
            requests_in_flight: self.requests_in_flight.or(other.requests_in_flight),
            queueing_delay: self.queueing_delay.or(other.queueing_delay),
            body_memory: self.body_memory.or(other.body_memory),
            header_timeout: self.header_timeout.or(other.header_timeout),
            body_timeout: self.body_timeout.or(other.body_timeout),
            response_timeout: self.response_timeout.or(other.response_timeout),
            peer_deliveries_per_second: self
                .peer_deliveries_per_second
                .or(other.peer_deliveries_per_second),
            request_timeout: self.request_timeout.or(other.request_timeout),
            fetch_timeout: self.fetch_timeout.or(other.fetch_timeout),
            fetch_pause: self.fetch_pause.or(other.fetch_pause),
            epoch: self.epoch.or(other.epoch),
            disk_reserve: self.disk_reserve.or(other.disk_reserve),
            erase_on_delete: self.erase_on_delete.or(other.erase_on_delete),
            authorized_fetch: self.authorized_fetch.or(other.authorized_fetch),
            allow_list: self.allow_list.or(other.allow_list),
            store_compression: self.store_compression.or(other.store_compression),
            shutdown_notice: self.shutdown_notice.or(other.shutdown_notice),
            store_memory: self.store_memory.or(other.store_memory),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            trace_percent: self.trace_percent.or(other.trace_percent),
            trace_to_peers: self.trace_to_peers.or(other.trace_to_peers),
            trace_from_peers: self.trace_from_peers.or(other.trace_from_peers),
            genesis: self.genesis.or(other.genesis),
            log: self.log.or(other.log),
            log_format: self.log_format.or(other.log_format),
        }
    }
}

/// Whether the options about traces fit together.
fn traces(args: &ServeArgs) -> Result<()> {
    let asks = args.trace_to_peers == Some(true) || args.trace_from_peers == Some(true);
    match &args.otlp_endpoint {
        None if asks => bail!("traces across instances need a collector: give --otlp-endpoint"),
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            bail!("otlp_endpoint: write http://host:port or https://host:port")
        }
        _ if args.trace_percent.is_some_and(|percent| percent > 100) => {
            bail!("trace_percent: 0 to 100")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_asked_for() {
        let args = ServeArgs { data: Some("x".into()), ..ServeArgs::default() };
        let error = args.clone().settle().expect_err("refused").to_string();
        assert!(error.contains("--allow-http"), "{error}");
        assert!(ServeArgs { allow_http: Some(true), ..args }.settle().is_ok());
    }
}
