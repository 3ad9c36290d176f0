//! Which URLs are requested at all.

use fedsx_kernel::address::MAX_URL_BYTES;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::PathAndQuery;
use url::Url;

use super::error::ClientError;
use super::pool::Host;

/// How much of a refused URL an error repeats, in characters.
const SHOWN_CHARS: usize = 200;

/// A URL that passed the checks, in the forms that a request needs.
#[derive(Debug)]
pub(crate) struct Target {
    /// The URL without its fragment, which is never sent.
    pub(super) url: Url,
    /// The same for the HTTP library.
    pub(crate) uri: Uri,
    /// The value of the Host field: the authority, without the scheme's default port.
    pub(crate) host: HeaderValue,
    /// Whom connections lead to.
    pub(super) peer: Host,
    /// Path and query, as a request line has them.
    pub(super) line: Uri,
}

impl Target {
    /// Checks a URL.
    pub(super) fn parse(text: &str, allow_http: bool) -> Result<Self, ClientError> {
        if text.len() > MAX_URL_BYTES {
            return Err(invalid(text, "it is too long"));
        }
        // The URL parser drops these silently; whoever compares ids would see another URL.
        if text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
            return Err(invalid(text, "it contains white space or control characters"));
        }
        let url = Url::parse(text).map_err(|_| invalid(text, "it is not a URL"))?;
        Self::check(url, allow_http)
    }

    /// The target of a redirect, which may be relative to this one.
    pub(super) fn join(&self, location: &str, allow_http: bool) -> Result<Self, ClientError> {
        if location.len() > MAX_URL_BYTES {
            return Err(invalid(location, "it is too long"));
        }
        let url = self.url.join(location).map_err(|_| invalid(location, "it is not a URL"))?;
        Self::check(url, allow_http)
    }

    fn check(mut url: Url, allow_http: bool) -> Result<Self, ClientError> {
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            // A URL whose credentials cannot be removed is not repeated at all.
            let bare = url.set_username("").and_then(|()| url.set_password(None)).is_ok();
            let shown = if bare { url.as_str() } else { "" };
            return Err(invalid(shown, "it contains credentials"));
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => return Err(ClientError::SchemeRefused { url: shorten(url.as_str()) }),
            _ => return Err(invalid(url.as_str(), "it is neither https nor http")),
        }
        if url.as_str().len() > MAX_URL_BYTES {
            return Err(invalid(url.as_str(), "it is too long"));
        }
        if url.port() == Some(0) {
            return Err(invalid(url.as_str(), "port 0 does not exist"));
        }
        let authority = match (url.host_str(), url.port()) {
            (None | Some(""), _) => return Err(invalid(url.as_str(), "it has no host")),
            (Some(host), None) => host.to_owned(),
            (Some(host), Some(port)) => format!("{host}:{port}"),
        };
        let host = HeaderValue::try_from(authority)
            .map_err(|_| invalid(url.as_str(), "its host is not valid"))?;
        let uri = Uri::try_from(url.as_str())
            .map_err(|_| invalid(url.as_str(), "it is not valid in a request"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme().cloned(), uri.authority().cloned())
        else {
            return Err(invalid(url.as_str(), "it is not valid in a request"));
        };
        let path = uri.path_and_query().cloned();
        let line = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        Ok(Self { url, uri, host, peer: Host { scheme, authority }, line })
    }
}

fn invalid(url: &str, reason: &'static str) -> ClientError {
    ClientError::InvalidUrl { url: shorten(url), reason }
}

/// The beginning of a text that came from outside.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn accepted() {
        for (text, uri, host) in [
            ("https://example.org", "https://example.org/", "example.org"),
            ("HTTPS://Example.ORG:443/a?b#c", "https://example.org/a?b", "example.org"),
            ("https://example.org:8443/", "https://example.org:8443/", "example.org:8443"),
            ("http://localhost:80/x", "http://localhost/x", "localhost"),
            ("http://[::1]:99/x", "http://[::1]:99/x", "[::1]:99"),
            ("http://2130706433/", "http://127.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1"),
            ("http://0177.0.0.1/", "http://127.0.0.1/", "127.0.0.1"),
            (
                "https://bücher.example/ä",
                "https://xn--bcher-kva.example/%C3%A4",
                "xn--bcher-kva.example",
            ),
        ] {
            let target = Target::parse(text, true).expect(text);
            assert_eq!(target.uri.to_string(), uri);
            assert_eq!(target.host, host);
        }
    }

    #[test]
    fn refused() {
        let long = format!("https://example.org/{}", "a".repeat(MAX_URL_BYTES));
        let grows = format!("https://example.org/{}", "ä".repeat(MAX_URL_BYTES / 3));
        for text in [
            "",
            "example.org",
            "//example.org/",
            "https://",
            "https://:443/",
            "https://example.org:0/",
            "https://example.org:99999/",
            "https://user@example.org/",
            "https://:secret@example.org/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "data:text/plain,a",
            "https://exam ple.org/",
            "https://example.org/\r\nHost: evil",
            " https://example.org/",
            "https://[::1/",
            "https://1.2.3.4.5/",
            &long,
            &grows,
        ] {
            let refused = Target::parse(text, true);
            assert!(matches!(refused, Err(ClientError::InvalidUrl { .. })), "{text}: {refused:?}");
        }
        let refused = Target::parse("http://example.org/", false).unwrap_err();
        assert!(matches!(refused, ClientError::SchemeRefused { .. }));
        assert!(refused.to_string().contains("--allow-http"));
        let shown = Target::parse("https://user:secret@example.org/", true).unwrap_err();
        assert!(!format!("{shown} {shown:?}").contains("secret"));
    }

    #[test]
    fn redirects() {
        let base = Target::parse("https://example.org/a/b?c", false).unwrap();
        for (location, expected) in [
            ("/x", "https://example.org/x"),
            ("x", "https://example.org/a/x"),
            ("//other.example/x", "https://other.example/x"),
            ("https://other.example/x#y", "https://other.example/x"),
        ] {
            assert_eq!(base.join(location, false).unwrap().url.as_str(), expected);
        }
        for location in ["http://example.org/", "https://u:p@example.org/", "javascript:a", "//:0/"]
        {
            assert!(base.join(location, false).is_err(), "{location}");
        }
    }
}
