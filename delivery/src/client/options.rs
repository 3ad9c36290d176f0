use std::time::Duration;

use hyper::header::HeaderValue;

/// What the client may do, and its limits.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whether the instance runs in a private network. The check itself is done by
    /// [`TcpDial`](super::TcpDial), which must be given the same value.
    pub allow_private_network: bool,
    /// Whether plain http is allowed (development).
    pub allow_http: bool,
    /// How long resolving, connecting and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long a request may take, from connecting to the last byte of the answer.
    pub request_timeout: Duration,
    /// The largest body of an answer, in bytes.
    pub max_body_bytes: usize,
    /// The largest header section of an answer, in bytes.
    pub max_header_bytes: usize,
    /// The most header fields of an answer.
    pub max_headers: usize,
    /// How many redirects one fetch follows.
    pub max_redirects: usize,
    /// The `User-Agent` field. It should name the instance; some servers refuse to answer
    /// without one.
    pub user_agent: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            allow_private_network: false,
            allow_http: false,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            max_body_bytes: 1024 * 1024,
            max_header_bytes: 64 * 1024,
            max_headers: 100,
            max_redirects: 3,
            user_agent: DEFAULT_USER_AGENT.to_owned(),
        }
    }
}

const DEFAULT_USER_AGENT: &str = concat!("fedsx/", env!("CARGO_PKG_VERSION"));

impl ClientOptions {
    /// The user agent as a field value; characters that cannot stand in one are left out.
    pub(super) fn user_agent_value(&self) -> HeaderValue {
        let visible: String =
            self.user_agent.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let visible = visible.trim();
        let usable = if visible.is_empty() { DEFAULT_USER_AGENT } else { visible };
        HeaderValue::from_str(usable)
            .unwrap_or_else(|_| HeaderValue::from_static(DEFAULT_USER_AGENT))
    }
}
