//! Values of options that have units or several parts, as flags, variables and the file write them.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// The longest time that an option takes.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Pauses of a delivery schedule.
const MAX_PAUSES: usize = 32;
/// Networks of trusted proxies.
const MAX_NETWORKS: usize = 64;

/// Why a value was not taken.
#[derive(Debug, Error)]
pub enum ValueError {
    /// Not a time.
    #[error("{0:?} is no time: write 200ms, 30s, 5m, 6h or 1d ({1})")]
    Time(String, humantime::DurationError),
    /// Too short or too long.
    #[error("{0:?} is not within 1ms and 30d")]
    Range(String),
    /// Not a size.
    #[error("{0:?} is no size: write 0, 10KiB, 64MiB or 1GiB ({1})")]
    Size(String, String),
    /// Not a network.
    #[error("{0:?} is no address or network: write 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32")]
    Network(String),
    /// Too many networks.
    #[error("at most {MAX_NETWORKS} networks")]
    Networks,
    /// A schedule without end.
    #[error("at most {MAX_PAUSES} pauses")]
    Pauses,
}

/// A time of 1 ms to 30 days, such as `200ms`, `30s`, `5m` or `6h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let time = humantime::parse_duration(text.trim())
            .map_err(|e| ValueError::Time(text.to_owned(), e))?;
        if time < Duration::from_millis(1) || time > LONGEST {
            return Err(ValueError::Range(text.to_owned()));
        }
        Ok(Self(time))
    }
}

/// Networks and single addresses, separated by commas or white space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl FromStr for Networks {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace());
        let parse = |part: &str| match part.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => part.parse().map_err(|_| ValueError::Network(part.to_owned())),
        };
        let networks: Vec<_> =
            parts.filter(|part| !part.is_empty()).map(parse).collect::<Result<_, _>>()?;
        if networks.len() > MAX_NETWORKS {
            return Err(ValueError::Networks);
        }
        Ok(Self(networks))
    }
}

/// A number of bytes, such as `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let size: ByteSize =
            text.trim().parse().map_err(|e: String| ValueError::Size(text.to_owned(), e))?;
        Ok(Self(size.as_u64()))
    }
}

/// The pauses between attempts, separated by commas, such as `30s,5m,30m,6h,24h`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(pub Vec<Duration>);

impl FromStr for Schedule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let pauses = text
            .split(',')
            .map(|pause| Ok(pause.parse::<Time>()?.0))
            .collect::<Result<Vec<_>, ValueError>>()?;
        if pauses.len() > MAX_PAUSES {
            return Err(ValueError::Pauses);
        }
        Ok(Self(pauses))
    }
}

/// Tokens: a list in the file, separated by white space or `;` in a variable. They are read when
/// everything is settled, by code that shows no secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Listed")]
pub struct TokenList(pub Vec<String>);

/// How the file writes tokens. Errors about neither show what was written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    List(Vec<String>),
    Text(String),
}

impl From<Listed> for TokenList {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::List(list) => Self(list),
            Listed::Text(text) => Self::separated(&text),
        }
    }
}

impl TokenList {
    fn separated(text: &str) -> Self {
        let parts = text.split(|c: char| c.is_whitespace() || c == ';');
        Self(parts.filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}

impl FromStr for TokenList {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::separated(text))
    }
}

impl fmt::Debug for TokenList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenList({} tokens)", self.0.len())
    }
}

/// Reads an option of the file from its text, as its flag does.
///
/// # Errors
/// Where the text is no such value.
pub fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let Schedule(list) = "200ms, 30s,5m,24h".parse().expect("pauses");
        assert_eq!(list.first(), Some(&Duration::from_millis(200)));
        assert_eq!(list.last(), Some(&Duration::from_secs(24 * 3600)));
        for bad in ["", "5", "s", "0s", "31d", "-1s", "1x", "1s,,2s"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        assert!(["1s"; 33].join(",").parse::<Schedule>().is_err(), "too many");
    }

    #[test]
    fn sizes_have_units() {
        let of = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
        assert_eq!(of("64MiB"), Some(64 << 20));
        assert_eq!((of("0"), of("10KiB")), (Some(0), Some(10_240)));
        for bad in ["", "MiB", "-1", "1 light-year"] {
            assert!(of(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn networks_are_addresses_or_ranges() {
        let Networks(list) = "10.0.0.0/8, ::1  192.0.2.1".parse().expect("networks");
        assert_eq!(list.len(), 3);
        assert_eq!("".parse::<Networks>().expect("none"), Networks::default());
        for bad in ["localhost", "10.0.0.0/33", "1.2.3"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_not_shown() {
        let list: TokenList = "alice=correct-horse; bob=battery-staple".parse().expect("tokens");
        assert_eq!(list.0.len(), 2);
        assert!(!format!("{list:?}").contains("horse"));
    }
}
