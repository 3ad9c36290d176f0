//! Nothing is acknowledged before it is synced to the disk.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::node::{Node, Signal, Spec, children, kill_process, verify};
use crate::support::{PATIENCE, eventually};

const CALLS: &str = "trace=fdatasync,fsync,sendto,write,writev,sendmsg,read,recvfrom,readv,recvmsg";

/// Whether processes can be traced here; says so where not.
pub fn can_trace() -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    let can = probe.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: strace is missing or not allowed to trace here");
    }
    can
}

/// A node under strace, and the file that the trace goes to.
fn traced() -> (Node, tempfile::NamedTempFile) {
    let trace = tempfile::NamedTempFile::new().expect("a file");
    let path = trace.path().display().to_string();
    let under = ["strace", "-f", "-tt", "-s", "96", "-e", CALLS, "-o", &path];
    let spec = Spec { under: under.map(str::to_owned).to_vec(), ..Spec::default() };
    (spec.start(), trace)
}

/// The traced lines once one of them holds the text.
fn lines(trace: &tempfile::NamedTempFile, wanted: &str) -> Vec<String> {
    eventually(PATIENCE, &format!("{wanted} in the trace"), || {
        let text = fs::read_to_string(trace.path()).unwrap_or_default();
        text.contains(wanted).then(|| text.lines().map(str::to_owned).collect())
    })
}

fn is_sync(line: &str) -> bool {
    (line.contains("fdatasync") || line.contains("fsync")) && line.contains("= 0")
}

#[test]
fn a_publish_is_synced_before_it_is_acknowledged() {
    if !can_trace() {
        return;
    }
    let (mut node, trace) = traced();
    node.create("alice");
    for round in 0..5 {
        let text = format!("durable words {round}");
        let client = node.as_actor("alice");
        let body = crate::support::verbs::note(&text);
        let key = format!("round-{round}");
        let answer = client.post_with("/activity", &body, &[("idempotency-key", &key)]);
        answer.expect(201, "the publish");
    }
    // Whole files are searched, since strace writes with some delay.
    let lines = eventually(PATIENCE, "six answers in the trace", || {
        let all = lines(&trace, "HTTP/1.1 201");
        let answers = all.iter().filter(|line| line.contains("HTTP/1.1 201")).count();
        (answers >= 6).then_some(all)
    });
    let mut asked = None;
    let mut checked = 0;
    for (number, line) in lines.iter().enumerate() {
        let reads = ["read(", "recvfrom(", "readv(", "recvmsg("].iter().any(|c| line.contains(c))
            || line.contains("resumed");
        if reads && line.contains("POST /activity") {
            asked = Some(number);
        }
        if line.contains("HTTP/1.1 201") {
            let from = asked.take().unwrap_or_else(|| panic!("a request before {line}"));
            let between = &lines[from..number];
            assert!(
                between.iter().any(|line| is_sync(line)),
                "no sync between the request and its acknowledgement:\n{}",
                between.join("\n")
            );
            checked += 1;
        }
    }
    assert!(checked >= 6, "every publish was looked at, not only {checked}");
    stop_traced(&mut node);
}

/// A publish that comes alone waits for one sync, of the journal; what follows the log makes none
/// in the database of the projections.
#[test]
fn a_lone_publish_waits_for_one_sync() {
    if !can_trace() {
        return;
    }
    let trace = tempfile::NamedTempFile::new().expect("a file");
    let path = trace.path().display().to_string();
    let under = ["strace", "-f", "-y", "-s", "96", "-e", CALLS, "-o", &path];
    let mut node = Spec { under: under.map(str::to_owned).to_vec(), ..Spec::default() }.start();
    node.create("alice");
    const ROUNDS: usize = 5;
    for round in 0..ROUNDS {
        // What the one before set off is over.
        node.settled_head();
        let body = crate::support::verbs::note(&format!("alone {round}"));
        node.as_actor("alice").post("/activity", &body).expect(201, "the publish");
    }
    let lines = eventually(PATIENCE, "the answers in the trace", || {
        let all = lines(&trace, "HTTP/1.1 201");
        let answers = all.iter().filter(|line| line.contains("HTTP/1.1 201")).count();
        (answers > ROUNDS).then_some(all)
    });
    let (mut asked, mut waited) = (None, Vec::new());
    for (number, line) in lines.iter().enumerate() {
        if line.contains("POST /activity") {
            asked = Some(number);
        }
        if line.contains("HTTP/1.1 201") {
            let from = asked.take().unwrap_or_else(|| panic!("a request before {line}"));
            let syncs = lines[from..number].iter().filter(|line| line.contains("sync("));
            waited.push(syncs.filter(|line| line.contains("/store/")).cloned().collect::<Vec<_>>());
        }
    }
    // The first one created the actor.
    let waited = waited.split_off(waited.len() - ROUNDS);
    assert!(waited.iter().all(|syncs| !syncs.is_empty()), "{waited:#?}");
    assert!(waited.iter().any(|syncs| syncs.len() == 1), "{waited:#?}");
    for line in waited.iter().flatten() {
        assert!(line.contains("/store/journal."), "{line}");
    }
    let first = lines.iter().position(|line| line.contains("POST /activity")).expect("a publish");
    let last = lines.iter().rposition(|line| line.contains("HTTP/1.1 201")).expect("an answer");
    let elsewhere: Vec<_> = lines[first..last]
        .iter()
        .filter(|line| line.contains("sync(") && line.contains("/projections/"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
    let journal = lines[first..last].iter().filter(|line| line.contains("/store/journal."));
    eprintln!("{} lines on syncs of the journal for {} publishes", journal.count(), ROUNDS + 1);
    stop_traced(&mut node);
}

/// Publishes that wait for the same commit were not made to wait for each other.
#[test]
fn concurrent_publishes_share_a_commit() {
    let node = Node::start();
    let names = ["alice", "bob", "carol", "dave"];
    for name in names {
        node.create(name);
    }
    let commits = || {
        let metrics = node.client().get("/metrics").expect(200, "metrics").text_whole();
        let line = metrics.lines().find(|line| line.starts_with("fedsx_log_commits_total "));
        let count = line.and_then(|line| line.rsplit(' ').next()).expect("the counter");
        count.parse::<u64>().expect("a number")
    };
    let before = commits();
    const EACH: usize = 25;
    let shared = &node;
    std::thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                for i in 0..EACH {
                    shared.note(name, &format!("{name} {i}"));
                }
            });
        }
    });
    let (during, publishes) = (commits() - before, (names.len() * EACH) as u64);
    assert!(during < publishes, "{during} commits for {publishes} publishes: none was shared");
}

/// strace passes signals on to no child, so the traced process is ended by its own id.
fn stop_traced(node: &mut Node) {
    for process in children(node.pid()) {
        kill_process(process, Signal::TERM).expect("SIGTERM is sent");
    }
    assert_eq!(node.wait(), Some(0), "the traced instance ends well");
}

/// What was acknowledged is there after the process was killed in the middle of work.
#[test]
fn acknowledged_publishes_survive_a_kill() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    for round in 0..3 {
        let client = node.as_actor("alice");
        let before = node.total("alice", "outbox");
        let publisher = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for i in 0..1000 {
                let body = crate::support::verbs::note(&format!("{round} {i}"));
                match client.try_post("/activity", &body) {
                    Some(answer) if answer.status == 201 => {
                        acknowledged.push(answer.json()["id"].as_str().expect("an id").to_owned());
                    }
                    _ => break,
                }
            }
            acknowledged
        });
        eventually(PATIENCE, "some publishes", || {
            (node.total("alice", "outbox") > before + 5).then_some(())
        });
        node.crash();
        let acknowledged = publisher.join().expect("publishing");
        assert!(!acknowledged.is_empty(), "round {round}: something was acknowledged");
        node.restart();
        for id in &acknowledged {
            node.client().get(id).expect(200, "an acknowledged activity after the kill");
        }
        let mut seqs = Vec::new();
        let mut next = Some("/actors/alice/outbox?since=&limit=100".to_owned());
        while let Some(url) = next {
            let page = node.client().get(&url).expect(200, "a page").json();
            let items = page["orderedItems"].as_array().expect("items").clone();
            seqs.extend(items.iter().map(|one| one["seq"].as_u64().expect("seq")));
            next = page["next"].as_str().map(str::to_owned);
        }
        let dense: Vec<_> = (0..seqs.len() as u64).collect();
        assert_eq!(seqs, dense, "round {round}: positions have no gaps");
        let more = node.note("alice", "after the kill");
        assert_eq!(more.seq, dense.len() as u64, "round {round}: the log goes on");
    }
    let ended = verify(node.into_data().path());
    assert_eq!(ended.code, Some(0), "fedsx verify after three kills: {}", ended.all());
}
