//! The HTTP client: the one way out of an instance.
//!
//! Every request goes through the same checks (URL, scheme, the addresses dialled) and the
//! same limits (time, header section, body, redirects). HTTP/1.1 with a small pool of
//! kept connections over an injected [`Dial`], so that a simulator can stand in for the network.

mod address;
mod budget;
mod connect;
mod dial;
mod error;
mod gate;
mod message;
mod options;
mod pool;
mod target;
mod tls;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use fedsx_kernel::metrics::{self, Timer};
use fedsx_kernel::runtime::Clock;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::Builder;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use quick_cache::sync::Cache;
use tokio::time::timeout;

use connect::Connector;
use pool::{Answer, Pool};
use target::shorten;
use tls::Tls;

pub use address::is_public;
pub use budget::budgeted;
pub(crate) use budget::inherited;
pub use dial::{BoxedStream, Dial, Stream, TcpDial};
pub use error::{ClientError, ConnectFailure, FailureClass, SignError};
pub use gate::{Gate, Open};
pub use message::{Request, Response, SignRequest};
pub use options::ClientOptions;
pub(crate) use target::Target;

/// The HTTP library does not work with a smaller buffer, in bytes.
const MIN_BUFFER_BYTES: usize = 8192;
/// Addresses whose parts are kept: whoever was posted to once is posted to again.
const KEPT_TARGETS: usize = 4096;

/// Sends requests. Clones are cheap and share connections.
#[derive(Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
    user_agent: HeaderValue,
    gate: Arc<dyn Gate>,
    pool: Pool,
    /// Where was posted to, by what was asked for.
    targets: Arc<Cache<String, Arc<Target>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that connects through `dial` and judges certificates by `clock`.
    pub fn new(options: ClientOptions, dial: Arc<dyn Dial>, clock: Arc<dyn Clock>) -> Self {
        Self::assemble(options, dial, Tls::new(clock))
    }

    fn assemble(options: ClientOptions, dial: Arc<dyn Dial>, tls: Tls) -> Self {
        let connector =
            Connector { dial, tls: Arc::new(tls), connect_timeout: options.connect_timeout };
        let mut builder = Builder::new();
        builder
            .max_headers(options.max_headers)
            .max_buf_size(options.max_header_bytes.max(MIN_BUFFER_BYTES));
        let pool = Pool::new(connector, builder);
        let user_agent = options.user_agent_value();
        let targets = Arc::new(Cache::new(KEPT_TARGETS));
        Self { options: Arc::new(options), user_agent, gate: Arc::new(Open), pool, targets }
    }

    /// The same client (and connections) that asks before every request whether it may be made.
    #[must_use]
    pub fn with_gate(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate, ..self }
    }

    /// The options that this client works by.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The same client (and connections) with another limit on bodies, in bytes.
    #[must_use]
    pub fn with_body_limit(&self, max_body_bytes: usize) -> Self {
        let options = ClientOptions { max_body_bytes, ..ClientOptions::clone(&self.options) };
        Self { options: Arc::new(options), ..self.clone() }
    }

    /// Sends one request and reads the answer, whatever its status; follows no redirect.
    ///
    /// `Host` and `Accept-Encoding: identity` are set here, `User-Agent` where it is missing; a
    /// signer that covers `Host` must use the authority of the URL, without a default port.
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`]. Where [`ClientError::status`] is there, the peer had answered.
    pub async fn send(&self, request: Request) -> Result<Response, ClientError> {
        counted("post", self.send_once(request)).await
    }

    async fn send_once(&self, request: Request) -> Result<Response, ClientError> {
        let Request { method, url, mut headers, body } = request;
        let target = self.target(&url)?;
        self.complete(&mut headers, &target);
        let mut status = None;
        let outcome = timeout(self.options.request_timeout, async {
            let answer = self.exchange(&target, method, headers, body).await?;
            status = Some(answer.head.status);
            self.read(answer, &target).await
        })
        .await;
        outcome.unwrap_or_else(|_| Err(self.too_slow(status)))
    }

    /// What a URL comes to in a request that is sent to it.
    pub(crate) fn target(&self, url: &str) -> Result<Arc<Target>, ClientError> {
        if let Some(target) = self.targets.get(url) {
            return Ok(target);
        }
        let target = Arc::new(Target::parse(url, self.options.allow_http)?);
        self.targets.insert(url.to_owned(), target.clone());
        Ok(target)
    }

    /// Fetches a URL and reads the answer, whatever its status; follows redirects.
    ///
    /// Every target of a redirect is checked like the first URL and signed anew. The time limit
    /// covers all of it. A connection that breaks before an answer begins is tried once more.
    ///
    /// # Errors
    ///
    /// See [`ClientError::class`].
    pub async fn get(
        &self,
        url: &str,
        accept: &str,
        sign: Option<&dyn SignRequest>,
    ) -> Result<Response, ClientError> {
        let accept = HeaderValue::from_str(accept)
            .map_err(|_| ClientError::InvalidRequest("Accept is not a field value".to_owned()))?;
        let target = Target::parse(url, self.options.allow_http)?;
        let mut status = None;
        counted("fetch", async {
            let whole = self.follow(target, &accept, sign, &mut status);
            let outcome = timeout(self.options.request_timeout, whole).await;
            outcome.unwrap_or_else(|_| Err(self.too_slow(status)))
        })
        .await
    }

    async fn follow(
        &self,
        mut target: Target,
        accept: &HeaderValue,
        sign: Option<&dyn SignRequest>,
        status: &mut Option<StatusCode>,
    ) -> Result<Response, ClientError> {
        let mut redirects = 0;
        loop {
            *status = None;
            let answer = match self.fetch(&target, accept, sign).await {
                // The server may have closed a kept connection just when we took it.
                Err(ClientError::Interrupted { status: None, .. }) => {
                    self.fetch(&target, accept, sign).await?
                }
                outcome => outcome?,
            };
            *status = Some(answer.head.status);
            let Some(location) = redirect_of(&answer.head)? else {
                check_encoding(&answer.head)?;
                return self.read(answer, &target).await;
            };
            answer.finish().await;
            if redirects >= self.options.max_redirects {
                let limit = self.options.max_redirects;
                return Err(ClientError::TooManyRedirects { limit, url: shorten(&location) });
            }
            redirects += 1;
            target = target.join(&location, self.options.allow_http).map_err(|refusal| {
                ClientError::RedirectRefused {
                    to: match &refusal {
                        // Credentials are left out of this form.
                        ClientError::InvalidUrl { url, .. } => url.clone(),
                        _ => shorten(&location),
                    },
                    reason: refusal.to_string(),
                }
            })?;
        }
    }

    async fn fetch(
        &self,
        target: &Target,
        accept: &HeaderValue,
        sign: Option<&dyn SignRequest>,
    ) -> Result<Answer, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.clone());
        self.complete(&mut headers, target);
        if let Some(signer) = sign {
            let signed = signer.sign(&Method::GET, &target.uri, None, &mut headers).await;
            signed.map_err(|error| ClientError::Sign(error.into()))?;
        }
        self.exchange(target, Method::GET, headers, Bytes::new()).await
    }

    /// Sets the fields that every request has.
    fn complete(&self, headers: &mut HeaderMap, target: &Target) {
        headers.insert(HOST, target.host.clone());
        // Compressed bodies could be far larger than their length on the wire.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
    }

    async fn exchange(
        &self,
        target: &Target,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        if let Err(reason) = self.gate.pass(target.url.as_str()) {
            let host = target.url.host_str().unwrap_or_default().to_owned();
            return Err(ClientError::Blocked { host, reason });
        }
        budget::charge()?;
        let mut request = hyper::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target.line.clone();
        *request.headers_mut() = headers;
        let answer = self.pool.request(&target.peer, request).await?;
        // The buffer of the HTTP library is only a rough limit.
        if header_bytes(&answer.head.headers) > self.options.max_header_bytes {
            return Err(ClientError::HeadersTooLarge);
        }
        Ok(answer)
    }

    async fn read(&self, mut answer: Answer, target: &Target) -> Result<Response, ClientError> {
        let status = answer.head.status;
        let limit = self.options.max_body_bytes;
        let announced = usize::try_from(answer.least_bytes()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(ClientError::BodyTooLarge { limit, status });
        }
        let mut body = Vec::with_capacity(announced);
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| ClientError::from_exchange(&error, Some(status)))?;
            let Some(data) = frame.data_ref() else { continue };
            if data.len() > limit.saturating_sub(body.len()) {
                return Err(ClientError::BodyTooLarge { limit, status });
            }
            body.extend_from_slice(data);
        }
        Ok(Response {
            status,
            headers: answer.finish().await.headers,
            body: body.into(),
            final_url: target.url.to_string(),
        })
    }

    fn too_slow(&self, status: Option<StatusCode>) -> ClientError {
        ClientError::Timeout { after: self.options.request_timeout, status }
    }
}

/// Counts a request and what became of it.
async fn counted(
    purpose: &'static str,
    request: impl Future<Output = Result<Response, ClientError>>,
) -> Result<Response, ClientError> {
    let timer = Timer::start();
    let answer = request.await;
    let outcome = match &answer {
        Ok(answer) => match answer.status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        },
        Err(error) => match error.class() {
            FailureClass::PeerDown => "unreachable",
            FailureClass::Certificate => "certificate",
            FailureClass::RefusedHere => "refused-here",
            FailureClass::BadAnswer => "unusable",
            FailureClass::Local => "failed-here",
        },
    };
    metrics::REQUESTS_OUT.count(1, &[purpose, outcome]);
    metrics::REQUEST_OUT_SECONDS.record(timer.seconds(), &[purpose]);
    answer
}

/// The size of a header section on the wire: each field has `: ` and a line end.
fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Where an answer redirects to; `None` where it does not.
fn redirect_of(answer: &Parts) -> Result<Option<String>, ClientError> {
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers.get(LOCATION) else { return Ok(None) };
    match std::str::from_utf8(location.as_bytes()) {
        Ok(location) => Ok(Some(location.to_owned())),
        Err(_) => Err(ClientError::RedirectRefused {
            to: shorten(&String::from_utf8_lossy(location.as_bytes())),
            reason: "it is not UTF-8".to_owned(),
        }),
    }
}

/// Refuses a document in an encoding that was not asked for and that we do not undo.
fn check_encoding(answer: &Parts) -> Result<(), ClientError> {
    let plain = answer
        .headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain || !answer.status.is_success() {
        Ok(())
    } else {
        Err(ClientError::Protocol("it is compressed, though identity was asked for".to_owned()))
    }
}
