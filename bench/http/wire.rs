//! One HTTP/1.1 connection that costs next to nothing: requests are bytes that were made before, and
//! of an answer only its status and its length are read.

use anyhow::{Context as _, Result, bail};
use axum::http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest answer, in bytes.
const MOST: usize = 8 * 1024 * 1024;

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    over: bool,
}

impl Connection {
    /// Connects to a port of this machine.
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(16 * 1024), over: false })
    }

    /// Whether another one is needed.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Sends a request; the status of its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<u16> {
        let answered = self.exchange(request).await;
        self.over |= answered.is_err();
        answered
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        end_of_head(&self.read).and_then(|end| self.read.get(end..)).unwrap_or_default()
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let end = loop {
            if let Some(end) = end_of_head(&self.read) {
                break end;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(self.read.get(..end).unwrap_or_default())?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let value = |name: &str| {
            head.lines().filter_map(|line| line.split_once(':')).find_map(|(held, value)| {
                held.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        self.over |= value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let length: usize = value("content-length").context("no length")?.parse()?;
        while self.read.len() < end + length {
            self.more().await?;
        }
        Ok(status)
    }

    async fn more(&mut self) -> Result<()> {
        if self.read.len() > MOST {
            bail!("an answer of more than {MOST} bytes");
        }
        match self.stream.read_buf(&mut self.read).await? {
            0 => bail!("the connection was closed"),
            _ => Ok(()),
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, port: u16, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    if !headers.contains_key("host") {
        bytes.extend_from_slice(format!("host: localhost:{port}\r\n").as_bytes());
    }
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if method == "POST" {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
