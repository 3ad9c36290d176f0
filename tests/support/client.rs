//! A thin HTTP client: no status is an error, headers and raw bodies stay visible.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Request};

use super::ACTIVITY_JSON;

/// An answer of a server, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    asked: String,
}

impl Answer {
    /// The body as JSON; panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{}: not JSON ({e}): {}", self.asked, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(2000).collect()
    }

    /// All of the body as text.
    pub fn text_whole(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> &str {
        self.header("content-type").split(';').next().unwrap_or_default().trim()
    }

    /// The same answer, once its status was checked.
    #[track_caller]
    pub fn expect(self, status: u16, case: &str) -> Self {
        assert_eq!(self.status, status, "{case}: {} answered {}", self.asked, self.text());
        self
    }

    /// Checks that the request was refused: status, media type and all members of a problem
    /// document (RFC 9457). Gives the document.
    #[track_caller]
    pub fn refused(&self, status: u16, slug: &str, case: &str) -> Value {
        let what = format!("{case}: {} answered {} {}", self.asked, self.status, self.text());
        assert_eq!(self.status, status, "{what}");
        assert_eq!(self.media_type(), "application/problem+json", "{what}");
        let problem = self.json();
        assert_eq!(problem_slug(&problem), slug, "{what}");
        assert_eq!(problem["status"], status, "{what}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{what}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
        problem
    }
}

/// The last path segment of a problem's `type`.
pub fn problem_slug(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

/// A client of one server, with or without a bearer token.
#[derive(Clone)]
pub struct Client {
    base: String,
    secret: Option<String>,
    agent: ureq::Agent,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        Self { base: base.to_owned(), secret: None, agent }
    }

    /// The same client with a token.
    pub fn with_secret(&self, secret: &str) -> Self {
        Self { secret: Some(secret.to_owned()), ..self.clone() }
    }

    /// The token that it presents.
    #[track_caller]
    pub fn secret(&self) -> &str {
        self.secret.as_deref().expect("a client with a token")
    }

    /// A path of this server, or a whole URL as it is.
    pub fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_as(path, "application/json, application/activity+json, */*")
    }

    pub fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, body, &[])
    }

    /// Posts with further headers, which may also replace the content type.
    pub fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let mut all = headers.to_vec();
        if !typed {
            all.push(("content-type", ACTIVITY_JSON));
        }
        self.send("POST", path, &all, Some(body.to_string().into_bytes()))
    }

    /// Posts to a server that may end meanwhile; no answer is none.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let headers = [("content-type", ACTIVITY_JSON)];
        self.try_send("POST", path, &headers, Some(body.to_string().into_bytes())).ok()
    }

    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let answer = self.try_send(method, path, headers, body);
        answer.unwrap_or_else(|e| panic!("{method} {}: {e}", self.url(path)))
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, ureq::Error> {
        let url = self.url(path);
        let asked = format!("{method} {url}");
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(secret) = &self.secret {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        let answer = match body {
            Some(body) => self.agent.run(request.body(body).expect("a request")),
            None => self.agent.run(request.body(()).expect("a request")),
        };
        let mut answer = answer?;
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body, asked })
    }

    /// Sends a request whose body may be refused before it was read to its end; write errors do
    /// not count as long as an answer comes.
    pub fn post_large(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = format!("content-length: {}", body.len());
        self.post_raw(path, headers, &length, body.to_vec())
    }

    /// The same in chunks, so that the length does not show before the end.
    pub fn post_chunked(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut chunks = Vec::new();
        for chunk in body.chunks(64 * 1024) {
            chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\n\r\n");
        self.post_raw(path, headers, "transfer-encoding: chunked", chunks)
    }

    fn post_raw(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        framing: &str,
        body: Vec<u8>,
    ) -> Answer {
        let authority = self.base.split_once("://").expect("a base").1;
        let mut stream = TcpStream::connect(authority).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{framing}\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(secret) = &self.secret {
            head.push_str(&format!("authorization: Bearer {secret}\r\n"));
        }
        head.push_str("\r\n");
        let mut writer = stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body));
        });
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        writing.join().expect("the writer ends");
        parse(&format!("POST {path}"), &bytes)
    }
}

/// Reads an answer with a known length or until the end.
fn parse(asked: &str, bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{asked}: no answer came: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name: ureq::http::HeaderName = name.parse().expect("a header name");
        headers.append(name, value.trim().parse().expect("a header value"));
    }
    Answer {
        status: status.expect("a status"),
        headers,
        body: body.as_bytes().to_vec(),
        asked: asked.to_owned(),
    }
}
