//! Names and addresses: which URL belongs to which actor, activity and object.
//!
//! The syntax is part of an activity's identity (an id that equals
//! `<origin of actor>/activities/<CID>` certifies itself), which is why it lives beside the
//! envelope and not beside the routes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::cid::Cid;

/// The longest actor name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest URL or id that is accepted anywhere, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// The name of an actor that is hosted here: `[a-z0-9_]`, then also `.` and `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActorName(String);

/// Why a text is not an actor name.
#[derive(Debug, Error)]
#[error(
    "{0:?} is not an actor name: 1 to {MAX_NAME_BYTES} of a-z, 0-9, '_', and after the first '.' and '-'"
)]
pub struct NameError(String);

impl ActorName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActorName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(plain);
        let goes_on = bytes.all(|c| plain(c) || c == b'.' || c == b'-');
        if starts && goes_on && text.len() <= MAX_NAME_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(MAX_NAME_BYTES + 1).collect()))
        }
    }
}

impl TryFrom<String> for ActorName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ActorName> for String {
    fn from(name: ActorName) -> Self {
        name.0
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorName({})", self.0)
    }
}

/// The origin under which this instance is reached, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(String);

/// Why a URL cannot be the base of an instance.
#[derive(Debug, Error)]
#[error(
    "{0:?} is not an http or https origin such as https://example.org or http://localhost:9999"
)]
pub struct BaseError(String);

impl Base {
    /// The base as text: `scheme://host[:port]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port as they stand in an account (`acct:name@host[:port]`).
    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or(self.0.as_str(), |(_, authority)| authority)
    }

    /// The id of a hosted actor.
    pub fn actor(&self, name: &ActorName) -> String {
        format!("{}/actors/{name}", self.0)
    }

    /// A collection or key of a hosted actor, such as `inbox` or `keys`.
    pub fn of_actor(&self, name: &ActorName, what: &str) -> String {
        format!("{}/actors/{name}/{what}", self.0)
    }

    /// The inbox that all hosted actors share.
    pub fn shared_inbox(&self) -> String {
        format!("{}/inbox", self.0)
    }

    /// The id of an activity of one of our actors.
    pub fn activity(&self, cid: &Cid) -> String {
        format!("{}/activities/{cid}", self.0)
    }

    /// The id of an object made here, from its 128 random bits.
    pub fn object(&self, random: &[u8; 16]) -> String {
        format!("{}/objects/{}", self.0, hex::encode(random))
    }

    /// The name of the hosted actor with this id; `None` for every other URL.
    pub fn name_of(&self, id: &str) -> Option<ActorName> {
        id.strip_prefix(self.0.as_str())?.strip_prefix("/actors/")?.parse().ok()
    }

    /// Whether a URL belongs to this instance.
    pub fn is_local(&self, url: &str) -> bool {
        origin_in(url).is_some_and(|origin| origin == self.0)
    }
}

impl FromStr for Base {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, BaseError> {
        let fail = || BaseError(text.to_owned());
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let origin = origin_of(trimmed).ok_or_else(fail)?;
        let url = Url::parse(trimmed).map_err(|_| fail())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if bare { Ok(Self(origin)) } else { Err(fail()) }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Scheme, host and port of an http(s) URL (`https://example.org:8443`, default ports left out);
/// `None` for anything else, and for URLs with credentials or beyond [`MAX_URL_BYTES`].
///
/// Ids are compared as they are written, so that what the URL parser would mend silently (white
/// space, control characters, backslashes, missing or extra slashes) is refused here.
pub fn origin_of(url: &str) -> Option<String> {
    origin_in(url).map(Cow::into_owned)
}

/// The same, borrowed where the URL has it as it stands.
fn origin_in(url: &str) -> Option<Cow<'_, str>> {
    if url.len() > MAX_URL_BYTES || !is_written_out(url) {
        return None;
    }
    if let Some(origin) = plain_origin(url) {
        return Some(Cow::Borrowed(origin));
    }
    let parsed = Url::parse(url).ok()?;
    let web = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    let plain = parsed.username().is_empty() && parsed.password().is_none();
    (web && plain).then(|| Cow::Owned(parsed.origin().ascii_serialization()))
}

/// The origin of a URL of the usual form, which the general parser would give back as it is written.
/// Every activity has a dozen ids whose origins are compared, so the usual ones are not parsed.
///
/// `None` where it might give something else: upper case, user names, addresses instead of names,
/// international names, default ports and whatever else is seldom.
fn plain_origin(url: &str) -> Option<&str> {
    let (scheme, default_port) = match url.split_once("://")?.0 {
        "https" => ("https://", "443"),
        "http" => ("http://", "80"),
        _ => return None,
    };
    let rest = url.strip_prefix(scheme)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let plain_label = |label: &str| {
        let letters = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty() && label.bytes().all(letters) && !label.starts_with("xn--")
    };
    // What ends in a number is an IPv4 address, however it is written.
    let is_name = host.rsplit('.').next()?.starts_with(|c: char| c.is_ascii_lowercase());
    let plain_port = |port: &str| {
        let number = port.bytes().all(|c| c.is_ascii_digit()) && !port.starts_with('0');
        number && port != default_port && port.parse::<u16>().is_ok()
    };
    let plain = is_name && host.split('.').all(plain_label) && port.is_none_or(plain_port);
    plain.then(|| url.get(..scheme.len() + end)).flatten()
}

/// Whether a URL has the form `scheme://authority...` and nothing that a parser leaves out.
fn is_written_out(url: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    let is_odd = if url.is_ascii() {
        url.bytes().any(|c| c <= b' ' || c == 0x7f || c == b'\\')
    } else {
        url.contains(odd)
    };
    let authority = url.split_once(':').and_then(|(_, rest)| rest.strip_prefix("//"));
    authority.is_some_and(|rest| !rest.starts_with('/')) && !is_odd
}

/// Whether two ids are of one origin (FEP-fe34).
pub fn same_origin(a: &str, b: &str) -> bool {
    let Some(origin) = origin_in(a) else { return false };
    // What begins with an origin as it is written out, and goes on with a path, has that origin.
    let rest = b.strip_prefix(&*origin).filter(|_| b.len() <= MAX_URL_BYTES && is_written_out(b));
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => true,
        _ => origin_in(b).is_some_and(|other| other == origin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["alice", "a", "a.b-c_9", "0x"] {
            assert!(good.parse::<ActorName>().is_ok(), "{good}");
        }
        for bad in ["", "Alice", ".a", "-a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<ActorName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_origin_is_an_equal_one() {
        let urls = [
            "https://example.org",
            "https://example.org/",
            "https://example.org/a?b#c",
            "https://example.org?b",
            "https://example.org#c",
            "https://example.org:443/a",
            "https://Example.org/a",
            "https://example.org:8443/a",
            "https://example.org.evil.example/a",
            "https://example.org@evil.example/a",
            "https://example.org/\\a",
            "https://example.org/a b",
            "http://example.org/a",
            "example.org",
        ];
        for a in urls {
            for b in urls {
                let equal = origin_of(a).is_some() && origin_of(a) == origin_of(b);
                assert_eq!(same_origin(a, b), equal, "{a} {b}");
            }
        }
        let long = format!("https://example.org/{}", "a".repeat(MAX_URL_BYTES));
        assert!(!same_origin("https://example.org", &long) && !same_origin(&long, &long));
    }

    #[test]
    fn origins() {
        for (url, origin) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.org:443/a", "https://example.org"),
            ("http://127.0.0.1.:80/x", "http://127.0.0.1"),
            ("http://0x7f.1:81/", "http://127.0.0.1:81"),
            ("https://bücher.example/ä", "https://xn--bcher-kva.example"),
            ("http://[::FFFF:1.2.3.4]/", "http://[::ffff:102:304]"),
        ] {
            assert_eq!(origin_of(url).as_deref(), Some(origin), "{url}");
        }
        for url in [
            "",
            "example.org",
            "//example.org",
            "http:example.org",
            "http:/example.org",
            "http:///example.org",
            "http:\\\\example.org",
            "http://example.org\\x",
            "ht\ttp://example.org",
            "http://example.org/\n",
            " http://example.org",
            "http://example.org/a b",
            "http://example.org/\u{a0}",
            "http://example.org/\0",
            "http://u@example.org",
            "http://:p@example.org",
            "ftp://example.org",
            "http://[fe80::1%25eth0]/",
            "http://example.org:99999/",
        ] {
            assert_eq!(origin_of(url), None, "{url:?}");
        }
    }

    proptest::proptest! {
        /// What is not parsed has the origin that the parser gives.
        #[test]
        fn plain_origins_are_those_of_the_parser(
            scheme in "https?|HTTP|ftp",
            host in "([a-z0-9-]{0,4}[.]){0,2}([a-z0-9-]{0,3}|xn--[a-z]{1,3}|0x[0-9a-f]|127[.]0[.]0[.]1|[A-Z]|[.]|u@h)",
            port in "|:|:80|:443|:0?[0-9]{1,5}|:8x",
            rest in "|[/?#][a-z:@/?#%{}|\"^]{0,6}",
        ) {
            let url = format!("{scheme}://{host}{port}{rest}");
            if let Some(origin) = plain_origin(&url) {
                let parsed = Url::parse(&url).expect("a URL");
                assert_eq!(parsed.origin().ascii_serialization(), origin, "{url}");
                assert!(parsed.username().is_empty() && parsed.password().is_none(), "{url}");
            }
        }
    }

    #[test]
    fn usual_origins_are_plain() {
        for (url, origin) in [
            ("https://example.org", "https://example.org"),
            ("https://social.example.org/users/a?b#c", "https://social.example.org"),
            ("http://localhost:9999/actors/a", "http://localhost:9999"),
        ] {
            assert_eq!(plain_origin(url), Some(origin));
        }
        let other = ["https://a:443/", "https://1.2.3.4/", "https://a.1/", "https://xn--a.b/"];
        for url in other.into_iter().chain(["https://A/", "https://a..b/", "https://u@a/"]) {
            assert_eq!(plain_origin(url), None, "{url}");
        }
    }

    #[test]
    fn bases() {
        let base: Base = "http://localhost:9999/".parse().expect("base");
        assert_eq!(base.as_str(), "http://localhost:9999");
        assert_eq!(base.authority(), "localhost:9999");
        let https: Base = "https://example.org:443".parse().expect("base");
        assert_eq!(https.as_str(), "https://example.org");
        for bad in ["ftp://a", "http://a/b", "http://u:p@a", "a", "http://a?x", "http://"] {
            assert!(bad.parse::<Base>().is_err(), "{bad}");
        }
        assert_eq!(
            base.name_of("http://localhost:9999/actors/bob").map(String::from).as_deref(),
            Some("bob")
        );
        assert!(base.name_of("http://localhost:9999/actors/bob/inbox").is_none());
        assert!(base.name_of("http://localhost:99991/actors/bob").is_none());
        assert!(base.is_local("http://localhost:9999/objects/1"));
        assert!(!base.is_local("http://localhost:9998/objects/1"));
    }
}
