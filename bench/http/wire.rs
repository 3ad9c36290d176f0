//! One HTTP/1.1 connection that costs next to nothing: requests are bytes that were made before, and
//! of an answer only its status and its length are read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use axum::http::HeaderMap;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// The longest head of an answer, in bytes.
const MOST: usize = 64 * 1024;

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether the connection ends with it.
    pub is_last: bool,
    /// How long its body is, in bytes.
    pub length: usize,
}

/// A connection that stays open. It never blocks: who holds it waits for all of them at once.
pub struct Connection {
    stream: TcpStream,
    /// The head of the answer, as far as it has come.
    head: Vec<u8>,
    /// The answer whose head was read, and how much of its body is still to come.
    reading: Option<(Answer, usize)>,
    /// How much of the request is not sent yet.
    unsent: usize,
}

impl Connection {
    /// Connects to a port of this machine. What happens on it is told under this number.
    pub fn open(port: u16, registry: &Registry, number: usize) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address(port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(number), interest)?;
        Ok(Self { stream, head: Vec::new(), reading: None, unsent: 0 })
    }

    /// Begins to send a request: all of it, where there is room.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        self.unsent = request.len();
        self.go_on(request)
    }

    /// Sends what is left of the request.
    pub fn go_on(&mut self, request: &[u8]) -> Result<()> {
        while self.unsent > 0 {
            let rest = request.get(request.len() - self.unsent..).context("no such request")?;
            match self.stream.write(rest) {
                Ok(sent) => self.unsent -= sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what has come, into memory that all connections share; the answer, where that was its end.
    pub fn receive(&mut self, memory: &mut [u8]) -> Result<Option<Answer>> {
        loop {
            let read = match self.stream.read(memory) {
                Ok(0) => bail!("the connection was closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let answer = self.take(memory.get(..read).unwrap_or_default())?;
            // What comes after a read that did not fill the memory is told again.
            if answer.is_some() || read < memory.len() {
                return Ok(answer);
            }
        }
    }

    /// Takes bytes of an answer; the answer, where they are the last of it.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Answer>> {
        let (answer, left) = match self.reading.take() {
            Some((answer, left)) => (answer, left.checked_sub(bytes.len())),
            None => {
                self.head.extend_from_slice(bytes);
                let Some((answer, end)) = head(&self.head)? else { return Ok(None) };
                let left = answer.length.checked_sub(self.head.len() - end);
                self.head.clear();
                (answer, left)
            }
        };
        match left.context("more than the answer that was asked for")? {
            0 => Ok(Some(answer)),
            left => {
                self.reading = Some((answer, left));
                Ok(None)
            }
        }
    }
}

/// Asks once, and waits for the answer.
pub fn ask(port: u16, request: &[u8]) -> Result<Answer> {
    let mut stream = std::net::TcpStream::connect(address(port))?;
    stream.write_all(request)?;
    let (mut read, mut memory) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((answer, _)) = head(&read)? {
            return Ok(answer);
        }
        let more = stream.read(&mut memory)?;
        if more == 0 {
            bail!("the connection was closed");
        }
        read.extend_from_slice(memory.get(..more).unwrap_or_default());
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What the head of an answer says, and where it ends; nothing where it is not all there.
fn head(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
        if bytes.len() > MOST {
            bail!("a head of more than {MOST} bytes");
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let status = text.get(9..12).context("no status")?.parse()?;
    let (mut length, mut is_last) = (None, false);
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = length.context("no length")?;
    Ok(Some((Answer { status, is_last, length }, end)))
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
