//! A client of live streams.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::Value;

use crate::support::{Client, PATIENCE};

/// A stream of server-sent events.
pub(super) struct Events {
    lines: Receiver<String>,
    connection: TcpStream,
}

impl Drop for Events {
    fn drop(&mut self) {
        // The server may have ended it.
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) id: Option<u64>,
    pub(super) kind: String,
    pub(super) data: Value,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {}", self.id, self.kind, self.data)
    }
}

impl Events {
    pub(super) fn open(client: &Client, name: &str, since: Option<u64>) -> Self {
        let since = since.map(|since| since.to_string());
        let header: Vec<_> = since.iter().map(|since| ("last-event-id", since.as_str())).collect();
        Self::of(client, &format!("/projections/{name}/events"), &header)
    }

    pub(super) fn of(client: &Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let url = client.url(path);
        let (authority, target) = url["http://".len()..].split_once('/').expect("a path");
        let mut connection = TcpStream::connect(authority).expect("the server listens");
        // HTTP/1.0 leaves the events as they are, without chunks around them.
        let mut head = format!("GET /{target} HTTP/1.0\r\nhost: {authority}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        connection.write_all(format!("{head}\r\n").as_bytes()).expect("it is sent");
        let mut lines = BufReader::new(connection.try_clone().expect("a second handle")).lines();
        let head: Vec<String> = lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .map(|line| line.to_ascii_lowercase())
            .collect();
        assert!(head[0].contains(" 200 "), "{path}: {head:?}");
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{path}: {head:?}");
        let (send, lines_of_events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines: lines_of_events, connection }
    }

    /// The next event, or block without one; none where the stream has ended.
    pub(super) fn block(&self) -> Option<Event> {
        let mut event = Event { id: None, kind: String::new(), data: Value::Null };
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("nothing came for {PATIENCE:?}"),
            };
            if line.is_empty() {
                return Some(event);
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim_start();
            match field {
                "id" => event.id = Some(value.parse().expect("a position")),
                "event" => event.kind = value.to_owned(),
                "data" => event.data = serde_json::from_str(value).expect("JSON"),
                _ => {}
            }
        }
    }

    /// The next event that says something.
    pub(super) fn next(&self) -> Event {
        loop {
            let event = self.block().expect("the stream goes on");
            if !event.kind.is_empty() {
                return event;
            }
        }
    }

    /// What is replayed, until the stream says where it stands.
    pub(super) fn until_quiet(&self) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let event = self.block().expect("the stream goes on");
            if event.kind.is_empty() {
                return all;
            }
            all.push(event);
        }
    }
}
