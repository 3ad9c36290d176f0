//! Records that were set aside, and decisions about them; past state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use fedsx_kernel::activity::Activity;
use fedsx_kernel::log::{Log, MemoryStorage, Storage as _};
use fedsx_kernel::runtime::Runtime;
use fedsx_kernel::state::get_as;
use fedsx_kernel::supervision::Supervisor;
use fedsx_projections::set_aside::Status;
use fedsx_projections::{
    Fold, Options, Projections, Query, QueryError, Reader, SetAside, StoreSource, Verdict, builtin,
    rebuild_digest, rebuild_stored, stored_digest,
};
use serde_json::json;

const WAIT: Duration = Duration::from_secs(10);

async fn open(storage: &MemoryStorage, log: &Log, folds: Vec<Arc<dyn Fold>>) -> Projections {
    let opened =
        Projections::open(table(storage), log.clone(), Runtime::system(), context(), folds).await;
    opened.unwrap()
}

struct World {
    storage: Arc<MemoryStorage>,
    log: Log,
    projections: Projections,
}

impl World {
    async fn new() -> Self {
        let (storage, log) = open_log();
        let projections = open(&storage, &log, vec![Arc::new(Gate)]).await;
        Self { storage, log, projections }
    }

    async fn say(&self, seq: usize, verb: &str) -> u64 {
        self.append(say(0, seq, json!({"type": verb, "object": ACTORS[2]}))).await
    }

    async fn append(&self, activity: Activity) -> u64 {
        let at = append(&self.log, &(activity, false)).await;
        self.projections.wait("gate", at, WAIT).await.unwrap();
        at
    }

    async fn decide(&self, seq: u64, item: &SetAside, verdict: Verdict) -> u64 {
        self.append(instance_says(seq, &item.decision("gate", verdict, "told so"))).await
    }

    fn item(&self, at: u64) -> SetAside {
        self.projections.set_aside_at("gate", at).unwrap().unwrap()
    }

    fn count(&self, verb: &str) -> u64 {
        get_as(&*self.projections.view("gate").unwrap(), verb).unwrap().unwrap_or(0)
    }

    fn waiting(&self) -> u64 {
        self.projections.info("gate").unwrap().set_aside
    }

    async fn is_rebuilt(&self) {
        let rebuilt = rebuild_digest(&self.log, &Gate, &context()).unwrap();
        assert_eq!(self.projections.digest("gate").await.unwrap(), rebuilt);
    }
}

#[tokio::test]
async fn a_retry_folds_at_the_position_of_the_decision() {
    let world = World::new().await;
    let like = world.say(0, "Like").await;
    assert_eq!((world.count("Like"), world.waiting()), (0, 1));
    let digest = world.projections.digest("gate").await.unwrap();
    world.decide(0, &world.item(like), Verdict::Retry).await;
    let item = world.item(like);
    assert_eq!((item.status, item.failed_retries), (Status::Waiting, 1), "nobody follows yet");
    assert_eq!(item.decided.unwrap().why, "told so");
    assert_ne!(world.projections.digest("gate").await.unwrap().digest, digest.digest);
    world.say(1, "Follow").await;
    assert_eq!(world.count("Like"), 0, "nothing is retried by itself");
    world.is_rebuilt().await;
    let decided_at = world.decide(1, &world.item(like), Verdict::Retry).await;
    let item = world.item(like);
    assert_eq!((item.status, world.count("Like"), world.waiting()), (Status::Retried, 1, 0));
    let decided = item.decided.clone().unwrap();
    assert_eq!((decided.global_seq, decided.decision), (decided_at, Verdict::Retry));
    let view = world.projections.view("gate").unwrap();
    assert!(view.get(&format!("Like\n{like:020}")).unwrap().is_some(), "as the record it is");
    assert_eq!(world.count("DecideSetAside"), 2, "a decision is a record like any other");
    // Once it was folded, nothing more can be decided.
    world.decide(2, &item, Verdict::Retry).await;
    world.decide(3, &item, Verdict::Skip).await;
    assert_eq!((world.item(like), world.count("Like")), (item, 1));
    world.is_rebuilt().await;

    // Past state takes decisions where they stand.
    let likes = |at: u64| {
        let query = Query { key_prefix: Some(vec!["Like".into()]), ..Query::default() };
        world.projections.past("gate", at, &query, &Reader::Anyone).unwrap().items.len()
    };
    assert_eq!((likes(decided_at - 1), likes(decided_at)), (0, 2));
    world.projections.shutdown().await;
    let stored = stored_digest(&table(&world.storage), &Gate).unwrap();
    assert_eq!(stored, rebuild_digest(&world.log, &Gate, &context()).unwrap());
}

#[tokio::test]
async fn a_skip_marks_and_can_be_reconsidered() {
    let world = World::new().await;
    let like = world.say(0, "Like").await;
    world.decide(0, &world.item(like), Verdict::Skip).await;
    let skipped = world.item(like);
    assert_eq!((skipped.status, world.waiting()), (Status::Skipped, 0));
    assert_eq!(skipped.reason, "nobody follows anybody");
    world.decide(1, &skipped, Verdict::Skip).await;
    assert_eq!(world.item(like), skipped, "a second skip changes nothing");
    world.is_rebuilt().await;
    world.decide(2, &skipped, Verdict::Retry).await;
    assert_eq!((world.item(like).status, world.waiting()), (Status::Waiting, 1), "it failed again");
    world.say(1, "Follow").await;
    world.decide(3, &world.item(like), Verdict::Retry).await;
    assert_eq!((world.item(like).status, world.count("Like")), (Status::Retried, 1));
    world.is_rebuilt().await;
    world.projections.shutdown().await;
}

#[tokio::test]
async fn only_the_instance_decides() {
    let world = World::new().await;
    let like = world.say(0, "Like").await;
    let item = world.item(like);
    let content = serde_json::Value::Object(item.decision("gate", Verdict::Skip, "x"));
    for author in 0..4 {
        world.append(say(author, 50 + author, content.clone())).await;
    }
    for (seq, (name, of)) in [
        ("other", item.clone()),
        ("gate", SetAside { global_seq: like + 1, ..item.clone() }),
        ("gate", SetAside { cid: *say(1, 1, json!({"type": "Else"})).cid(), ..item.clone() }),
    ]
    .into_iter()
    .enumerate()
    {
        let decision = of.decision(name, Verdict::Skip, "x");
        world.append(instance_says(seq as u64, &decision)).await;
    }
    let mut odd = item.decision("gate", Verdict::Skip, "x");
    odd.insert("decision".into(), json!("maybe"));
    world.append(instance_says(9, &odd)).await;
    assert_eq!(world.item(like), item, "nothing of that is a decision about it");
    world.is_rebuilt().await;
    world.projections.shutdown().await;
}

#[tokio::test]
async fn what_and_when_in_one_batch() {
    // The record, the Follow and the decision are folded together.
    let (storage, log) = open_log();
    let like = say(0, 0, json!({"type": "Like", "object": ACTORS[2]}));
    let at = append(&log, &(like.clone(), false)).await;
    append(&log, &(say(0, 1, json!({"type": "Follow", "object": ACTORS[2]})), false)).await;
    let item = SetAside {
        global_seq: at,
        cid: *like.cid(),
        reason: String::new(),
        status: Status::Waiting,
        failed_retries: 0,
        decided: None,
    };
    let decision = item.decision("gate", Verdict::Retry, "");
    append(&log, &(instance_says(0, &decision), false)).await;
    let projections = open(&storage, &log, vec![Arc::new(Gate)]).await;
    projections.wait("gate", log.head(), WAIT).await.unwrap();
    assert_eq!(projections.set_aside_at("gate", at).unwrap().unwrap().status, Status::Retried);
    let rebuilt = rebuild_digest(&log, &Gate, &context()).unwrap();
    assert_eq!(projections.digest("gate").await.unwrap(), rebuilt);
    projections.shutdown().await;
}

#[tokio::test]
async fn past_state_has_limits() {
    let (storage, log) = open_log();
    let options = Options { past_records: 15, past_bytes: 160_000, ..Options::default() };
    let runtime = Runtime::system();
    let supervisor = Supervisor::start(runtime.clock.clone()).await.unwrap();
    let (under, table, of_log) = (supervisor.clone(), table(&storage), log.clone());
    let folds = builtin();
    let opened =
        Projections::open_with(options, under, table, of_log, runtime, context(), folds).await;
    let projections = opened.unwrap();
    for seq in 0..20 {
        let like = json!({"type": "Like", "to": [PUBLIC], "object": note_id(2, seq)});
        append(&log, &(say(0, seq, like), false)).await;
    }
    let past = |at: u64| projections.past("endorsements", at, &Query::default(), &Reader::Anyone);
    let far = past(20).unwrap_err();
    assert!(matches!(far, QueryError::TooManyRecords { records: 20, limit: 15 }), "{far}");
    // Out of order, so that states in between are retained, and lead further.
    for at in [5, 0, 12, 20, 13, 12, 1] {
        let page = past(at).unwrap();
        assert_eq!((page.at, page.items.len() as u64), (Some(at), at * 2), "at {at}");
        let query = Query { limit: 3, newest_first: true, ..Query::default() };
        let page = projections.past("endorsements", at, &query, &Reader::Anyone).unwrap();
        assert_eq!((page.items.len() as u64, page.next.is_some()), (3.min(at * 2), at > 1));
    }
    assert!(matches!(past(21), Err(QueryError::Future { head: 20 })));
    for seq in 20..30 {
        append(&log, &(say(0, seq, json!({"type": "Any"})), false)).await;
    }
    let mut document = person(2, "Dan");
    document["summary"] = json!("x".repeat(100_000));
    let create = json!({"type": "Create", "object": document, "to": [PUBLIC]});
    append(&log, &(say(2, 40, create), false)).await;
    let past = |at| projections.past("peer-actors", at, &Query::default(), &Reader::Anyone);
    assert!(past(15).is_ok() && past(30).is_ok());
    assert!(matches!(past(31), Err(QueryError::TooMuchState { limit: 160_000 })));
    projections.shutdown().await;
    supervisor.stop(None);
}

#[tokio::test]
async fn a_data_directory_is_rebuilt_offline() {
    let (storage, log) = open_log();
    let projections = open(&storage, &log, builtin()).await;
    for seq in 0..30 {
        let create = json!({"type": "Create", "to": [PUBLIC], "object": note(0, seq, "x")});
        append(&log, &(say(0, seq, create), false)).await;
    }
    projections.wait("objects", log.head(), WAIT).await.unwrap();
    projections.shutdown().await;
    let fold = builtin().into_iter().find(|fold| fold.name() == "objects").unwrap();
    let rebuild = || {
        let source = Arc::new(StoreSource(storage.log()));
        rebuild_stored(table(&storage), source, fold.clone(), &context(), &mut |_| {}).unwrap()
    };
    assert!(rebuild().is_same());
    let expected = rebuild_digest(&log, &*fold, &context()).unwrap();
    assert_eq!(stored_digest(&table(&storage), &*fold).unwrap(), expected);
    // State that is not what the log gives is found and replaced.
    let state = table(&storage).scan(b"objects\0", None, 1000).unwrap();
    let (key, _) = state.into_iter().find(|(key, _)| key.ends_with(b"notes/7")).unwrap();
    table(&storage).apply(vec![(key, None)]).unwrap();
    assert!(!rebuild().is_same());
    assert_eq!(stored_digest(&table(&storage), &*fold).unwrap(), expected);
}
