#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;

use fedsx_genesis::GenesisRules;
use fedsx_kernel::Activity;
use fedsx_kernel::log::{Append, Log, LogOptions, MemoryStorage, Meta, Place, Storage as _};
use fedsx_kernel::runtime::{InlineBlocking, ManualClock};
use fedsx_projections::{Context, Projections, Reader, builtin};
use tokio::time::Instant;

use super::*;

async fn open() -> (Runtime, Log, Projections) {
    let base: fedsx_kernel::Base = "https://here.example".parse().unwrap();
    // Blocking work is done at once, so that the virtual clock does not run on meanwhile.
    let runtime = Runtime {
        clock: Arc::new(ManualClock::new(1_800_000_000_000)),
        blocking: Arc::new(InlineBlocking),
        ..Runtime::system()
    };
    let storage = Arc::new(MemoryStorage::default());
    let rules = Arc::new(GenesisRules::new(base.clone(), "instance".parse().unwrap()));
    let log = Log::open(storage.clone(), rules, runtime.clone(), &LogOptions::default()).unwrap();
    let (table, context) = (storage.projections(), Context { base });
    let projections =
        Projections::open(table, log.clone(), runtime.clone(), context, builtin()).await.unwrap();
    (runtime, log, projections)
}

fn stream(runtime: &Runtime, projections: &Projections) -> Stream {
    let subscription = Subscription { reader: Reader::Anyone, ..Subscription::default() };
    let changes = projections.changes("endorsements", subscription).unwrap();
    Stream::new(changes, runtime.clone())
}

async fn like(log: &Log, seq: u64, to: &str) {
    let content = json!({"type": "Like", "actor": "https://here.example/actors/ann", "seq": seq,
        "to": [to], "object": "https://there.example/notes/1"});
    let activity = Activity::seal(content.as_object().unwrap().clone()).unwrap();
    let place = Place::Outbox("ann".parse().unwrap(), seq);
    let (activity, meta) = (Arc::new(activity), Meta::default());
    log.append(Append { activity, place, meta, once: None, guard: None }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_quiet_stream_alive_until_it_ends() {
    let (runtime, log, projections) = open().await;
    let mut stream = stream(&runtime, &projections);
    let begin = Instant::now();
    assert_eq!(stream.next().await.unwrap(), "retry: 2000\nid: 0\n\n");
    assert_eq!(stream.next().await.unwrap(), ": heartbeat\nid: 0\n\n");
    assert_eq!(begin.elapsed(), HEARTBEAT);
    // Something that this reader may not see moves it on without a word.
    like(&log, 0, "https://there.example/actors/dan").await;
    assert_eq!(stream.next().await.unwrap(), ": heartbeat\nid: 1\n\n");
    // Nor do many such things keep the heartbeat back.
    let before = Instant::now();
    let (quiet, busy) = tokio::join!(stream.next(), async {
        for seq in 1..5 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            like(&log, seq, "https://there.example/actors/dan").await;
        }
    });
    assert_eq!((quiet.unwrap().as_str(), busy), (": heartbeat\nid: 4\n\n", ()));
    assert_eq!(before.elapsed(), Duration::from_secs(16));
    like(&log, 5, "https://www.w3.org/ns/activitystreams#Public").await;
    let text = stream.next().await.unwrap();
    let blocks: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(blocks.len(), 2, "{text}");
    assert!(blocks[0].starts_with("event: change\ndata: {"), "{text}");
    assert!(blocks[1].starts_with("id: 6\nevent: change\ndata: {"), "{text}");
    let mut beats = 0;
    while let Some(text) = stream.next().await {
        assert_eq!(text, ": heartbeat\nid: 6\n\n");
        beats += 1;
    }
    assert_eq!(begin.elapsed(), LONGEST, "the client must show again who it is");
    assert!(beats > 200);
    projections.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_server_does() {
    let (runtime, _log, projections) = open().await;
    let mut stream = stream(&runtime, &projections);
    stream.next().await.unwrap();
    projections.end_streams();
    let begin = Instant::now();
    assert_eq!(stream.next().await, None);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    projections.shutdown().await;
}

#[test]
fn the_client_says_where_it_stands() {
    let of = |header: Option<&str>, query: &str| {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("last-event-id", HeaderValue::from_str(value).unwrap());
        }
        let uri: Uri = format!("/projections/x/events?{query}").parse().unwrap();
        since(&headers, &parameters(&uri))
    };
    assert_eq!(of(None, "").unwrap(), None);
    assert_eq!(of(None, "since=7").unwrap(), Some(7));
    assert_eq!(of(Some("9"), "since=7").unwrap(), Some(9), "what it saw last counts");
    assert_eq!(of(Some(""), "since=7").unwrap(), Some(7));
    assert!(of(Some("nine"), "").is_err() && of(None, "since=-1").is_err());
}
