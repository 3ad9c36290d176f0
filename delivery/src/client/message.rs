use std::fmt;

use futures::future::BoxFuture;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode, Uri};

use super::error::SignError;

/// A request to send as it is.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL.
    pub url: String,
    /// Header fields; those that every request has are added by the client.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    /// Leaves out fields and body, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A whole answer.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body, not decoded in any way.
    pub body: Bytes,
    /// The URL that gave this answer, after redirects, without a fragment.
    pub final_url: String,
}

impl fmt::Debug for Response {
    /// Leaves out fields and body, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("final_url", &self.final_url)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Signs requests just before they are sent.
pub trait SignRequest: Send + Sync {
    /// Adds the fields that prove who sends the request.
    ///
    /// `headers` holds what will be sent, `Host` included; `uri` is absolute. A fetch has no body.
    fn sign<'a>(
        &'a self,
        method: &'a Method,
        uri: &'a Uri,
        body: Option<&'a [u8]>,
        headers: &'a mut HeaderMap,
    ) -> BoxFuture<'a, Result<(), SignError>>;
}
