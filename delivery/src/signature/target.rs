use hyper::http::Uri;
use hyper::http::uri::Authority;

/// The address of a request in the parts that signatures cover.
///
/// Scheme and host are in lower case and a default port is left out (RFC 9421 section 2.2.3), for
/// both sides alike; path and query stay as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub scheme: String,
    pub authority: String,
    pub path: String,
    /// Without the question mark.
    pub query: Option<String>,
}

impl Target {
    /// Takes an absolute http or https address apart; `None` for every other one.
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return None;
        }
        let authority = normal_authority(uri.authority()?, &scheme)?;
        let path = if uri.path().is_empty() { "/" } else { uri.path() }.to_owned();
        Some(Self { scheme, authority, path, query: uri.query().map(str::to_owned) })
    }

    /// As [`Target::of`], from text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(&text.parse().ok()?)
    }

    /// Path and query as they stand in the request line.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The whole address.
    pub fn uri(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path_and_query())
    }

    /// Whether a `Host` header names this target's server.
    pub fn is_host(&self, host: &str) -> bool {
        host.parse::<Authority>()
            .ok()
            .and_then(|authority| normal_authority(&authority, &self.scheme))
            .is_some_and(|authority| authority == self.authority)
    }
}

/// Host and port without credentials (which make it `None`) and without a default port.
fn normal_authority(authority: &Authority, scheme: &str) -> Option<String> {
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let default_port = if scheme == "https" { 443 } else { 80 };
    match authority.port_u16() {
        Some(port) if port != default_port => Some(format!("{host}:{port}")),
        _ => Some(host),
    }
}
