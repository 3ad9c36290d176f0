//! What WebFinger is asked about: an account (RFC 7565) or the URL of an actor.

use std::fmt;
use std::str::FromStr;

use ::webfinger::Prefix;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;
use url::Url;

use super::answer::DirectoryError;

/// The longest resource, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 1024;

/// What stands unencoded in the user part of an account: unreserved characters and
/// sub-delimiters (RFC 7565, section 7).
const USER_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Why a text is not a resource that WebFinger can be asked about, or why its
/// subject could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// Longer than [`MAX_RESOURCE_BYTES`].
    #[error("a resource has at most {MAX_RESOURCE_BYTES} bytes")]
    TooLong,
    /// Not of the form `name@host[:port]`.
    #[error("an account has the form acct:name@host, also with a port")]
    InvalidAccount,
    /// Not an http or https URL, or one with credentials.
    #[error("the resource is not a valid http or https URL")]
    InvalidUrl,
    /// Neither an account nor a URL.
    #[error("only acct:, https: and http: resources are known here")]
    UnknownScheme,
    /// Our own directory of accounts failed.
    #[error("the accounts cannot be looked up now: {0}")]
    Directory(#[source] DirectoryError),
}

/// An account: a name at a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// The name, percent-decoded, in the case that was given.
    pub name: String,
    /// `host[:port]`, lower case, international names in their ASCII form.
    pub host: String,
}

impl Account {
    /// Whether both name the same account: servers of the field ignore case in names.
    pub fn is_same(&self, other: &Self) -> bool {
        self.host == other.host && self.name.eq_ignore_ascii_case(&other.name)
    }

    /// Parses what follows `acct:`.
    fn from_address(text: &str) -> Result<Self, ResourceError> {
        let text = text.strip_prefix('@').unwrap_or(text);
        let (name, host) = text.split_once('@').ok_or(ResourceError::InvalidAccount)?;
        let name =
            percent_decode_str(name).decode_utf8().map_err(|_| ResourceError::InvalidAccount)?;
        let unusable = |c: char| c.is_control() || c.is_whitespace() || c == '/';
        if name.is_empty() || name.contains(unusable) {
            return Err(ResourceError::InvalidAccount);
        }
        let host = normal_host(host).ok_or(ResourceError::InvalidAccount)?;
        Ok(Self { name: name.into_owned(), host })
    }
}

impl FromStr for Account {
    type Err = ResourceError;

    /// Accepts `acct:name@host[:port]`, `name@host[:port]` and `@name@host[:port]`.
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        match Resource::parse(text)? {
            Resource::Account(account) => Ok(account),
            Resource::Url(_) => Err(ResourceError::InvalidAccount),
        }
    }
}

impl fmt::Display for Account {
    /// The account as a URI: `acct:name@host[:port]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acct:{}@{}", utf8_percent_encode(&self.name, USER_PART), self.host)
    }
}

/// What WebFinger is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// An account.
    Account(Account),
    /// The http or https URL of an actor or its page, in normal form.
    Url(String),
}

impl Resource {
    /// Parses the value of the `resource` parameter, query-decoded or encoded once more.
    pub fn parse(text: &str) -> Result<Self, ResourceError> {
        if text.len() > MAX_RESOURCE_BYTES {
            return Err(ResourceError::TooLong);
        }
        let text = text.trim();
        // Some clients encode twice: `acct%3Aname%40host`.
        let decoded;
        let text = if text.contains(['@', ':']) {
            text
        } else {
            decoded = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| ResourceError::InvalidAccount)?;
            &decoded
        };
        // In `name@host:port` the colon ends no scheme.
        let scheme = text.split_once(':').filter(|(scheme, _)| !scheme.contains('@'));
        let Some((scheme, rest)) = scheme else {
            return Account::from_address(text).map(Self::Account);
        };
        match Prefix::from(scheme) {
            Prefix::Acct => Account::from_address(rest).map(Self::Account),
            Prefix::Custom(scheme) if matches!(scheme.as_str(), "https" | "http") => {
                normal_url(text).map(Self::Url).ok_or(ResourceError::InvalidUrl)
            }
            _ => Err(ResourceError::UnknownScheme),
        }
    }

    /// The host and port that the resource belongs to.
    pub(super) fn authority(&self) -> Option<String> {
        match self {
            Self::Account(account) => Some(account.host.clone()),
            Self::Url(url) => authority_of(&Url::parse(url).ok()?),
        }
    }
}

fn normal_url(text: &str) -> Option<String> {
    // The URL parser drops these silently.
    if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.port() != Some(0);
    (plain && authority_of(&url).is_some()).then(|| url.into())
}

/// `host[:port]` in normal form: lower case, ASCII, without the port of https.
pub(super) fn normal_host(text: &str) -> Option<String> {
    let delimiter =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '?' | '#' | '@');
    if text.is_empty() || text.contains(delimiter) || text.ends_with(':') {
        return None;
    }
    let url = Url::parse(&format!("https://{text}/")).ok()?;
    if url.port() == Some(0) { None } else { authority_of(&url) }
}

fn authority_of(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}
