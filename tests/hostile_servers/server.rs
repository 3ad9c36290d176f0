//! Servers that answer as `servers.json` says, over real sockets. Shared by the tests of the HTTP
//! client and of the whole instance.
//!
//! A server reads the head of a request and then sends what its steps say: `send` a text (`times`
//! over, 0 for ever, with `pause_ms` in between), `hex` bytes, `body` a text whose length the head
//! before it may name as `{length}`, or `wait` until the client goes. `{url}` is the address that
//! was asked for. Then it closes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a server in tests runs by the real clock and ends by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

/// A server and what must become of a request to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "each of the two tests has its own questions")]
pub struct Server {
    /// What is wrong with it.
    pub server: String,
    pub answer: Vec<Step>,
    /// The kinds of failure that the client may report, separated by `|`.
    pub fails: String,
    /// The problem with which a delivery is refused whose author lives there.
    pub problem: String,
    /// Where it depends on what comes first, all that are right.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Whether it is asked by https.
    #[serde(default)]
    pub https: bool,
    /// Whether it reads the request.
    #[serde(default = "yes")]
    pub reads: bool,
    /// Whether its document is one that is recorded.
    #[serde(default)]
    pub kept: bool,
    /// The most requests that one delivery may cause.
    #[serde(default)]
    pub most: Option<usize>,
}

/// One thing that a server does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    send: Option<String>,
    times: Option<u64>,
    #[serde(default)]
    pause_ms: u64,
    hex: Option<String>,
    body: Option<String>,
    #[serde(default)]
    wait: bool,
}

fn yes() -> bool {
    true
}

/// All servers.
pub fn all() -> Vec<Server> {
    serde_json::from_str(include_str!("servers.json")).expect("the corpus of servers")
}

/// A server that runs until the process ends.
pub struct Running {
    pub addr: SocketAddr,
    open: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Connections that the client has not given up.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The heads of the requests that came.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }
}

impl Server {
    /// Starts it.
    pub fn start(&self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (open, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let running = Running { addr, open: open.clone(), heads: heads.clone() };
        let server = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (server, open, heads) = (server.clone(), open.clone(), heads.clone());
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // An error is a client that has gone.
                    let _ = server.serve(stream, addr, &heads);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        running
    }

    fn serve(
        &self,
        mut stream: TcpStream,
        addr: SocketAddr,
        heads: &Mutex<Vec<String>>,
    ) -> std::io::Result<()> {
        let mut url = String::new();
        if self.reads {
            let mut head = Vec::new();
            let mut byte = [0];
            // A TLS client speaks first as well, but not in lines.
            while !(head.ends_with(b"\r\n\r\n") || self.https && head.len() == 5) {
                if stream.read(&mut byte)? == 0 {
                    return Ok(());
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            url = format!("http://{addr}{path}");
            heads.lock().expect("the heads").push(head);
        }
        for (index, step) in self.answer.iter().enumerate() {
            let body = self.answer.get(index + 1).and_then(|next| next.body.as_deref());
            let length = body.map_or(0, |body| body.replace("{url}", &url).len());
            let filled =
                |text: &str| text.replace("{url}", &url).replace("{length}", &length.to_string());
            let bytes = match (&step.send, &step.hex, &step.body) {
                (Some(text), ..) | (_, _, Some(text)) => filled(text).into_bytes(),
                (_, Some(digits), _) => (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits"))
                    .collect(),
                _ => Vec::new(),
            };
            let mut sent = 0;
            loop {
                stream.write_all(&bytes)?;
                sent += 1;
                match step.times {
                    Some(0) => {}
                    Some(times) if sent < times => {}
                    None if step.wait => {
                        std::io::copy(&mut stream, &mut std::io::sink())?;
                        break;
                    }
                    _ => break,
                }
                if step.pause_ms > 0 {
                    std::thread::sleep(Duration::from_millis(step.pause_ms));
                }
            }
        }
        Ok(())
    }
}
