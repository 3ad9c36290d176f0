//! Bodies, batches and activities to store.

use std::sync::Arc;

use fedsx_kernel::activity::Body;
use fedsx_kernel::log::{Append, Batch, Entry, LogStore, Meta, OnceValue, Place, Stream};
use fedsx_kernel::{Activity, ActorName, Cid};
use serde_json::{Value, json};

pub const BASE: &str = "https://here.example";
pub const THERE: &str = "https://there.example";

pub fn name(text: &str) -> ActorName {
    text.parse().unwrap()
}

pub fn outbox(text: &str) -> Stream {
    Stream::Outbox(name(text))
}

pub fn inbox(text: &str) -> Stream {
    Stream::Inbox(name(text))
}

/// A body of so many bytes; stores do not look into bodies.
pub fn body(number: u64, bytes: usize) -> (Cid, Body) {
    let mut block = format!("body {number} ").into_bytes();
    let mut next = number;
    while block.len() < bytes {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        block.extend_from_slice(&next.to_be_bytes());
    }
    block.truncate(bytes.max(16));
    let proof = number.is_multiple_of(2).then(|| format!("proof {number}"));
    (
        Cid::of_block(&block),
        Body { block, certifies_itself: !number.is_multiple_of(3), proof, erased: None },
    )
}

/// Makes batches that continue a log.
pub struct Batching {
    batch: Batch,
    next: u64,
    lengths: Vec<(Stream, u64)>,
}

impl Batching {
    pub fn after(log: &dyn LogStore) -> Self {
        Self {
            batch: Batch::default(),
            next: log.head().unwrap() + 1,
            lengths: log.streams().unwrap(),
        }
    }

    /// A new body in these streams.
    pub fn add(mut self, streams: &[Stream], number: u64, bytes: usize) -> Self {
        let (cid, body) = body(number, bytes);
        let id = number.is_multiple_of(5).then(|| format!("{THERE}/{number}"));
        self.batch.bodies.push((cid, body, id));
        for (index, stream) in streams.iter().enumerate() {
            self.entry(stream, cid, index == 0);
        }
        self
    }

    /// A body that is held already in another stream.
    pub fn again(mut self, stream: &Stream, number: u64, bytes: usize) -> Self {
        self.entry(stream, body(number, bytes).0, false);
        self
    }

    pub fn once(mut self, key: &str) -> Self {
        let entry = self.batch.entries.last().unwrap();
        let value = OnceValue {
            global_seq: entry.global_seq,
            cid: entry.cid,
            fingerprint: Some("f".into()),
        };
        self.batch.once.push((key.to_owned(), value));
        self
    }

    pub fn state(mut self, key: &str, value: Option<Value>) -> Self {
        self.batch.state.insert(key.to_owned(), value);
        self
    }

    fn entry(&mut self, stream: &Stream, cid: Cid, first: bool) {
        let known = self.lengths.iter_mut().find(|(held, _)| held == stream);
        let stream_seq = match known {
            Some((_, length)) => {
                *length += 1;
                *length - 1
            }
            None => {
                self.lengths.push((stream.clone(), 1));
                0
            }
        };
        let meta = Meta {
            received_ms: i64::try_from(self.next).unwrap(),
            origin: self.next.is_multiple_of(2).then(|| THERE.to_owned()),
            hidden: if self.next.is_multiple_of(7) {
                vec![format!("{BASE}/actors/x")]
            } else {
                Vec::new()
            },
            ..Meta::default()
        };
        let stream = stream.clone();
        self.batch.entries.push(Entry {
            global_seq: self.next,
            stream,
            stream_seq,
            cid,
            first,
            meta,
        });
        self.next += 1;
    }

    pub fn batch(self) -> Batch {
        self.batch
    }

    pub fn append(self, log: &dyn LogStore) {
        log.append(&self.batch).unwrap();
    }
}

/// An activity of an actor here, addressed to others here.
pub fn activity(author: &str, number: u64, to: &[&str]) -> Arc<Activity> {
    sized(author, number, to, 0)
}

/// The same with so many bytes of text.
pub fn sized(author: &str, number: u64, to: &[&str], bytes: usize) -> Arc<Activity> {
    let to: Vec<String> = to.iter().map(|name| format!("{BASE}/actors/{name}")).collect();
    let content = json!({
        "type": "Create",
        "actor": format!("{BASE}/actors/{author}"),
        "seq": number,
        "to": to,
        "object": { "type": "Note", "content": "x".repeat(bytes) },
    });
    let Value::Object(content) = content else { unreachable!() };
    Arc::new(Activity::seal(content).unwrap())
}

/// An activity from elsewhere whose id was given by its server.
pub fn foreign(id: &str, text: &str) -> Arc<Activity> {
    let document = json!({
        "id": format!("{THERE}/{id}"),
        "type": "Create",
        "actor": format!("{THERE}/actors/zoe"),
        "object": { "type": "Note", "content": text },
    });
    Arc::new(Activity::from_document(document).unwrap())
}

pub fn append(activity: Arc<Activity>, place: Place) -> Append {
    Append { activity, place, meta: Meta::default(), once: None, guard: None }
}

/// A publish at an outbox position.
pub fn publish(author: &str, seq: u64, to: &[&str]) -> Append {
    append(activity(author, seq, to), Place::Outbox(name(author), seq))
}
