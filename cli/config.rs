//! Configuration of `fedsx serve`: flag before variable before file before default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_kernel::Base;
use fedsx_kernel::tokens::TokenSpec;
use serde::Deserialize;

/// Options of `fedsx serve`, as given by flags and variables.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// A TOML file with these options, by their names with underscores.
    #[arg(long, env = "FEDSX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen at; port 0 picks one [default: 127.0.0.1:9999].
    #[arg(long, env = "FEDSX_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The origin under which others reach this instance [default: http://localhost:<port>].
    #[arg(long, env = "FEDSX_BASE_URL", value_name = "URL")]
    pub base_url: Option<String>,
    /// A bearer token, NAME=SECRET or NAME=SECRET:scope,scope with the scopes publish, read,
    /// define and admin [default scopes: publish,read]. Repeatable.
    #[arg(long = "token", value_name = "TOKEN", hide_env_values = true)]
    pub token: Vec<String>,
    /// The same, several separated by white space or ';'.
    #[arg(long, env = "FEDSX_TOKENS", value_name = "TOKENS", hide = true, hide_env_values = true)]
    pub tokens: Option<String>,
    /// Allow connections to private, loopback and other reserved addresses (development).
    #[arg(long, env = "FEDSX_ALLOW_PRIVATE_NETWORK", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_private_network: Option<bool>,
    /// Allow plain http, for this instance and toward others (development).
    #[arg(long, env = "FEDSX_ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_http: Option<bool>,
    /// Pauses between delivery attempts [default: 30s,5m,30m,6h,24h].
    #[arg(long, env = "FEDSX_DELIVERY_SCHEDULE", value_name = "PAUSES")]
    pub delivery_schedule: Option<String>,
    /// Requests per second of one client address; 0 for no limit [default: 200].
    #[arg(long, env = "FEDSX_REQUESTS_PER_SECOND", value_name = "N")]
    pub requests_per_second: Option<u32>,
    /// Deliveries that are taken of one peer each second; 0 for no limit [default: 100].
    #[arg(long, env = "FEDSX_PEER_DELIVERIES_PER_SECOND", value_name = "N")]
    pub peer_deliveries_per_second: Option<u32>,
    /// How long a request to another server may take, the last byte of its answer included
    /// [default: 10s].
    #[arg(long, env = "FEDSX_REQUEST_TIMEOUT", value_name = "TIME")]
    pub request_timeout: Option<String>,
    /// How long fetching an actor for a delivery may take, its key history included [default: 5s].
    #[arg(long, env = "FEDSX_FETCH_TIMEOUT", value_name = "TIME")]
    pub fetch_timeout: Option<String>,
    /// The least time between two fetches of one actor [default: 1s].
    #[arg(long, env = "FEDSX_FETCH_PAUSE", value_name = "TIME")]
    pub fetch_pause: Option<String>,
    /// A higher epoch than the one noted in the data directory; a restore raises it by itself.
    #[arg(long, env = "FEDSX_EPOCH", value_name = "N")]
    pub epoch: Option<u64>,
    /// The master key as 64 hexadecimal digits; without it, the file master.key in the data
    /// directory is used.
    #[arg(skip)]
    pub master_key: Option<String>,
    /// What is kept free on the disk, such as 64M; writes that would use it are answered 507. 0
    /// turns that off [default: 64M].
    #[arg(long, env = "FEDSX_DISK_RESERVE", value_name = "BYTES")]
    pub disk_reserve: Option<String>,
    /// Erase the content of every object that its author deletes, here or elsewhere. Without this,
    /// only where a Delete of an actor here asks for it, and on request.
    #[arg(long, env = "FEDSX_ERASE_ON_DELETE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub erase_on_delete: Option<bool>,
    /// Whether what is stored is compressed; false takes about twice the disk and less time
    /// [default: true].
    #[arg(long, env = "FEDSX_STORE_COMPRESSION", value_name = "BOOL")]
    pub store_compression: Option<bool>,
    /// A genesis bundle in place of the built-in one.
    #[arg(long, env = "FEDSX_GENESIS", value_name = "DIR")]
    pub genesis: Option<PathBuf>,
    /// What is logged, as in RUST_LOG [default: info].
    #[arg(long, env = "FEDSX_LOG", value_name = "FILTER")]
    pub log: Option<String>,
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

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    base_url: Option<String>,
    tokens: Option<Vec<String>>,
    allow_private_network: Option<bool>,
    allow_http: Option<bool>,
    delivery_schedule: Option<String>,
    requests_per_second: Option<u32>,
    peer_deliveries_per_second: Option<u32>,
    request_timeout: Option<String>,
    fetch_timeout: Option<String>,
    fetch_pause: Option<String>,
    epoch: Option<u64>,
    disk_reserve: Option<String>,
    erase_on_delete: Option<bool>,
    store_compression: Option<bool>,
    genesis: Option<PathBuf>,
    log: Option<String>,
    log_format: Option<LogFormat>,
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
    /// Tokens to put into the ledger.
    pub tokens: Vec<TokenSpec>,
    /// See the flag.
    pub allow_private_network: bool,
    /// See the flag.
    pub allow_http: bool,
    /// Pauses between delivery attempts.
    pub delivery_schedule: Option<Vec<Duration>>,
    /// Requests per second of one client.
    pub requests_per_second: Option<u32>,
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
    /// Whether what is stored is compressed.
    pub store_compression: bool,
    /// A bundle in place of the built-in one.
    pub genesis: Option<PathBuf>,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

impl ServeArgs {
    /// Reads the file and settles everything.
    pub fn settle(self) -> Result<ServeConfig> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => FileConfig::default(),
        };
        let mut tokens: Vec<String> = self.token;
        if let Some(more) = &self.tokens {
            let more = more.split(|c: char| c.is_whitespace() || c == ';');
            tokens.extend(more.filter(|token| !token.is_empty()).map(str::to_owned));
        }
        if tokens.is_empty() {
            tokens = file.tokens.unwrap_or_default();
        }
        let tokens = tokens
            .iter()
            .map(|token| token.parse().context("--token"))
            .collect::<Result<Vec<TokenSpec>>>()?;
        let schedule = self.delivery_schedule.or(file.delivery_schedule);
        let allow_http = self.allow_http.or(file.allow_http).unwrap_or(false);
        let base_url = match self.base_url.or(file.base_url) {
            Some(text) => Some(text.parse::<Base>().context("--base-url")?),
            None => None,
        };
        let plain = base_url.as_ref().is_none_or(|base| base.as_str().starts_with("http://"));
        if plain && !allow_http {
            let base = base_url.as_ref().map_or("http://localhost:<port>", |base| base.as_str());
            bail!(
                "the base URL {base} is plain http, which is for development: give --base-url \
                 https://... or allow it with --allow-http"
            );
        }
        Ok(ServeConfig {
            data: self.data.or(file.data).context("say where to keep data: --data DIR")?,
            listen: match self.listen.or(file.listen) {
                Some(listen) => listen,
                None => SocketAddr::from(([127, 0, 0, 1], 9999)),
            },
            base_url,
            tokens,
            allow_private_network: self
                .allow_private_network
                .or(file.allow_private_network)
                .unwrap_or(false),
            allow_http,
            delivery_schedule: schedule.as_deref().map(pauses).transpose()?,
            requests_per_second: self.requests_per_second.or(file.requests_per_second),
            peer_deliveries_per_second: self
                .peer_deliveries_per_second
                .or(file.peer_deliveries_per_second),
            request_timeout: time(
                "--request-timeout",
                self.request_timeout.or(file.request_timeout),
            )?,
            fetch_timeout: time("--fetch-timeout", self.fetch_timeout.or(file.fetch_timeout))?,
            fetch_pause: time("--fetch-pause", self.fetch_pause.or(file.fetch_pause))?,
            epoch: self.epoch.or(file.epoch),
            disk_reserve_bytes: self
                .disk_reserve
                .or(file.disk_reserve)
                .as_deref()
                .map(bytes)
                .transpose()?,
            erase_on_delete: self.erase_on_delete.or(file.erase_on_delete).unwrap_or(false),
            store_compression: self.store_compression.or(file.store_compression).unwrap_or(true),
            genesis: self.genesis.or(file.genesis),
            log: self.log.or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

fn read(path: &Path) -> Result<FileConfig> {
    let source = config::File::from(path).format(config::FileFormat::Toml);
    config::Config::builder()
        .add_source(source)
        .build()
        .and_then(config::Config::try_deserialize)
        .with_context(|| format!("the configuration file {}", path.display()))
}

/// Reads a size such as `64M`; `K`, `M` and `G` are 1024 bytes and its powers.
fn bytes(text: &str) -> Result<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_bytes: u64 = match unit {
        "" => 1,
        "K" => 1024,
        "M" => 1024 * 1024,
        "G" => 1024 * 1024 * 1024,
        _ => bail!("--disk-reserve: {text:?} has no unit of K, M, G"),
    };
    let number: u64 = number.parse().with_context(|| format!("--disk-reserve: {text:?}"))?;
    number.checked_mul(unit_bytes).with_context(|| format!("--disk-reserve: {text:?} is too much"))
}

/// Reads pauses such as `30s,5m,30m,6h,24h`; `ms`, `s`, `m`, `h` and `d` are units.
fn pauses(text: &str) -> Result<Vec<Duration>> {
    let of = |text| pause("--delivery-schedule", text);
    let list = text.split(',').map(str::trim).map(of).collect::<Result<Vec<_>>>()?;
    if list.len() > 32 {
        bail!("--delivery-schedule: at most 32 pauses");
    }
    Ok(list)
}

/// A time where one was given.
fn time(option: &str, text: Option<String>) -> Result<Option<Duration>> {
    text.map(|text| pause(option, text.trim())).transpose()
}

fn pause(option: &str, text: &str) -> Result<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => bail!("{option}: {text:?} has no unit of ms, s, m, h, d"),
    };
    let number: u64 = number.parse().with_context(|| format!("{option}: {text:?}"))?;
    let pause_ms = number
        .checked_mul(unit_ms)
        .filter(|ms| (1..=30 * 24 * 3600 * 1000).contains(ms))
        .with_context(|| format!("{option}: {text:?} is not within 1ms and 30d"))?;
    Ok(Duration::from_millis(pause_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_units() {
        let list = pauses("200ms, 30s,5m,24h").expect("pauses");
        assert_eq!(list.first(), Some(&Duration::from_millis(200)));
        assert_eq!(list.last(), Some(&Duration::from_secs(24 * 3600)));
        for bad in ["", "5", "s", "0s", "31d", "-1s", "1w"] {
            assert!(pauses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64M").ok(), Some(64 << 20));
        assert_eq!((bytes("0").ok(), bytes("10K").ok()), (Some(0), Some(10_240)));
        for bad in ["", "M", "64 M", "64m", "-1", "1T", "99999999999G"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_asked_for() {
        let args = ServeArgs { data: Some("x".into()), ..ServeArgs::default() };
        let error = args.clone().settle().expect_err("refused").to_string();
        assert!(error.contains("--allow-http"), "{error}");
        assert!(ServeArgs { allow_http: Some(true), ..args }.settle().is_ok());
    }
}
