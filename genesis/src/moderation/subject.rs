//! What a decision is about: an actor, or a domain with everything below it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use fedsx_kernel::address::{MAX_URL_BYTES, origin_of};
use thiserror::Error;
use url::{Host, Url};

/// Why a text names neither an actor nor a domain.
#[derive(Debug, Error)]
#[error("{0:?} is neither a domain (social.example, social.example:8443) nor the id of an actor")]
pub struct SubjectError(String);

/// What a decision is about.
///
/// A domain stands for its subdomains, too, and without a port for every port. It is kept in its
/// ASCII form (IDNA) and in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The actor with this id.
    Actor(String),
    /// All actors of a domain.
    Domain {
        /// The host name or address, as a URL has it.
        host: String,
        /// The port, where only that one is meant.
        port: Option<u16>,
    },
}

impl FromStr for Subject {
    type Err = SubjectError;

    /// Reads a domain, `*.` before it or an origin included, or an actor's id.
    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let fail = || SubjectError(text.chars().take(100).collect());
        let text = text.trim();
        if text.len() > MAX_URL_BYTES {
            return Err(fail());
        }
        let is_url = text.contains("://");
        let url = match is_url {
            true => text.to_owned(),
            false => format!("https://{}", text.strip_prefix("*.").unwrap_or(text)),
        };
        // What a URL parser would mend is no domain.
        let parsed = origin_of(&url).and_then(|_| Url::parse(&url).ok()).ok_or_else(fail)?;
        let bare = parsed.path() == "/" && parsed.query().is_none() && parsed.fragment().is_none();
        match parsed.host() {
            // Published lists hide letters of names behind asterisks, which URLs may have.
            Some(Host::Domain(name)) if name.contains('*') => Err(fail()),
            Some(host) if bare => Ok(Self::Domain { host: plain(&host), port: parsed.port() }),
            Some(_) if is_url => Ok(Self::Actor(text.to_owned())),
            _ => Err(fail()),
        }
    }
}

/// A host without the dot that stands for the root.
fn plain(host: &Host<&str>) -> String {
    host.to_string().trim_end_matches('.').to_owned()
}

impl Subject {
    /// What names it in an activity: the id of an actor, the origin of a domain.
    pub fn object(&self) -> String {
        match self {
            Self::Actor(id) => id.clone(),
            domain @ Self::Domain { .. } => format!("https://{domain}"),
        }
    }

    /// Whether it is a domain.
    pub fn is_domain(&self) -> bool {
        matches!(self, Self::Domain { .. })
    }

    /// The subjects that cover an id or origin, the nearest first: the actor itself, its domain with
    /// the port, its domain, and the domains above that. None for what is no http(s) URL.
    pub fn covering(id: &str) -> Vec<Self> {
        let Some(url) = origin_of(id).and_then(|_| Url::parse(id).ok()) else { return Vec::new() };
        let Some(host) = url.host() else { return Vec::new() };
        let (host, is_name) = (plain(&host), matches!(host, Host::Domain(_)));
        let mut covering = Vec::new();
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            covering.push(Self::Actor(id.to_owned()));
        }
        let mut above = Some(host.as_str());
        while let Some(host) = above {
            let domain = |port| Self::Domain { host: host.to_owned(), port };
            covering.extend(url.port_or_known_default().map(|port| domain(Some(port))));
            covering.push(domain(None));
            above = host.split_once('.').map(|(_, above)| above).filter(|_| is_name);
        }
        covering
    }

    /// Whether a decision about it is one about this id or origin as well.
    pub fn covers(&self, id: &str) -> bool {
        Self::covering(id).contains(self)
    }

    /// Whether it is one machine's address and no name.
    pub fn is_address(&self) -> bool {
        match self {
            Self::Actor(_) => false,
            Self::Domain { host, .. } => host.starts_with('[') || host.parse::<IpAddr>().is_ok(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Actor(id) => f.write_str(id),
            Self::Domain { host, port: None } => f.write_str(host),
            Self::Domain { host, port: Some(port) } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    fn subject(text: &str) -> Subject {
        text.parse().unwrap()
    }

    #[test]
    fn domains_are_read_however_they_are_written() {
        for (text, shown) in [
            ("social.example", "social.example"),
            ("*.Social.EXAMPLE", "social.example"),
            (" social.example. ", "social.example"),
            ("https://social.example/", "social.example"),
            ("http://social.example:80", "social.example"),
            ("social.example:8443", "social.example:8443"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("127.0.0.1:99", "127.0.0.1:99"),
            ("[::1]", "[::1]"),
            ("https://social.example/actors/bob", "https://social.example/actors/bob"),
        ] {
            assert_eq!(subject(text).to_string(), shown, "{text}");
        }
        for text in [
            "",
            "a b",
            "social.example/bob",
            "ev**.example",
            "ftp://x.example",
            "x@y.example",
            "https://",
            "a:b:c",
        ] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_domain_covers_what_is_below_it() {
        for (domain, id, covers) in [
            ("evil.example", "https://evil.example/bob", true),
            ("evil.example", "https://EVIL.example/bob", true),
            ("evil.example", "https://evil.example./bob", true),
            ("evil.example", "https://evil.example:8443/bob", true),
            ("evil.example", "http://a.b.evil.example/bob", true),
            ("evil.example", "https://notevil.example/bob", false),
            ("evil.example", "https://evil.example.org/bob", false),
            ("evil.example:8443", "https://a.evil.example:8443/bob", true),
            ("evil.example:8443", "https://evil.example/bob", false),
            ("bücher.example", "https://xn--bcher-kva.example/bob", true),
            ("xn--bcher-kva.example", "https://bücher.example/bob", true),
            ("0.0.1", "http://127.0.0.1/bob", false),
            ("https://evil.example/bob", "https://evil.example/bob", true),
            ("https://evil.example/bob", "https://evil.example/bobby", false),
        ] {
            assert_eq!(subject(domain).covers(id), covers, "{domain} and {id}");
        }
        assert_eq!(Subject::covering("mailto:bob@evil.example"), []);
    }
}
