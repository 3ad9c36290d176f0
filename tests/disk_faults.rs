//! Full disks and writes that fail: nothing that was acknowledged is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::node::{Node, Signal, Spec, verify};
use crate::support::verbs::{Published, note};
use crate::support::{Answer, PATIENCE, Peer, Sign, eventually};

/// A small file system in memory; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Says so where this user may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let place = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(place.path());
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: mounting a tmpfs needs root");
            return None;
        }
        Some(Self(place))
    }

    fn data(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.0.path()).expect("a directory")
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Fills the disk until so many KiB are left.
    fn fill_up_to(&self, left_kib: u64) {
        self.free();
        let out = Command::new("df").args(["-k", "--output=avail"]).arg(self.0.path()).output();
        let out = String::from_utf8(out.expect("df runs").stdout).expect("text");
        let free: u64 = out.lines().last().and_then(|n| n.trim().parse().ok()).expect("a number");
        let bytes = usize::try_from(free.saturating_sub(left_kib) * 1024).expect("a size");
        // The last block may not fit, which is as well.
        let _ = fs::write(self.filler(), vec![1; bytes]);
    }

    fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn with_reserve(reserve: &str) -> Spec {
    let mut spec = uncompressed();
    spec.args.extend(["--disk-reserve".into(), reserve.into()]);
    spec
}

/// What is published takes as much of the disk as it seems to.
pub fn uncompressed() -> Spec {
    let mut spec = Spec::default();
    spec.args.extend(["--store-compression".into(), "false".into()]);
    spec
}

/// Everything that was acknowledged is served, and nothing came after it.
fn has_all(node: &Node, name: &str, acknowledged: &[Published]) {
    for one in acknowledged {
        node.client().get(&one.id).expect(200, "an acknowledged activity");
    }
    let last = acknowledged.last().expect("some");
    assert_eq!(node.total(name, "outbox"), last.seq + 1, "nothing is half there");
}

/// The store takes no more writes: reads go on, and the operator is told once.
fn is_poisoned(node: &Node, why: &str) {
    let ready = node.client().get("/readyz").expect(503, "not ready").json();
    let reasons = ready["reasons"].to_string();
    assert!(reasons.contains("until a restart") && reasons.contains(why), "{ready}");
    assert_eq!(ready["reasons"][0]["reason"], "store-poisoned", "{ready}");
    for path in ["/actors/alice", "/actors/alice/outbox?page=true", "/projections/objects"] {
        node.client().get(path).expect(200, "reads go on");
    }
    let again = node.admin().post("/admin/dead-letter/replay?peer=http://localhost:1", &json!({}));
    again.refused(503, "store-poisoned", "a replay");
    let log = eventually(PATIENCE, "the failure is told", || {
        let log = node.log_tail();
        log.contains("no more are taken until a restart").then_some(log)
    });
    let told = |text: &str| log.matches(text).count();
    assert_eq!(told("no more are taken until a restart"), 1, "{log}");
    assert!(told("wait for the next start") <= 1, "{log}");
    assert_eq!(told("did not start") + told("started again"), 0, "{log}");
}

pub fn verifies(data: &Path) {
    let ended = verify(data);
    assert_eq!(ended.code, Some(0), "fedsx verify: {}", ended.all());
}

#[test]
fn a_full_disk_answers_507_and_recovers() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let mut node = with_reserve("16MiB").start_in(disk.data());
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let mut published = vec![node.create("alice")];
    mallory.follows(&node, "alice");
    published.push(node.note("alice", "while there is room"));
    peer.receives(&published[1].id);
    let alice = node.actor("alice");
    let in_force =
        |node: &Node| node.keys("alice").iter().filter(|key| key["revoked"].is_null()).count();
    let keys = in_force(&node);

    // The reserve is touched, and a part of it is left for what follows the log.
    disk.fill_up_to(10 * 1024);
    let client = node.as_actor("alice");
    for round in 0..2 {
        let ready = node.client().get("/readyz").expect(503, "not ready").json();
        assert_eq!(ready["reasons"][0]["reason"], "disk-low", "{ready}");
        let refused = client.post("/activity", &note("no room"));
        refused.refused(507, "storage-full", "a publish");
        // Keys that are made for a publish stay without effect.
        let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
        let rotation = json!({ "type": "Update", "object": "alice", "patch": patch });
        client.post("/activity", &rotation).refused(507, "storage-full", "a rotation");
        let delivery = mallory.note(&format!("no room {round}"), &[&alice]);
        mallory.deliver(&node, "/actors/alice/inbox", &delivery, Sign::Bare).refused(
            507,
            "storage-full",
            "a delivery",
        );
        has_all(&node, "alice", &published);
        assert_eq!(in_force(&node), keys);
        // The same after a restart on the full disk.
        node.restart();
    }
    disk.free();
    eventually(PATIENCE, "it is ready again by itself", || {
        (node.client().get("/readyz").status == 200).then_some(())
    });
    published.push(node.note("alice", "there is room again"));
    peer.receives(&published[2].id);
    let delivery = mallory.note("there is room again", &[&alice]);
    mallory.deliver(&node, "/actors/alice/inbox", &delivery, Sign::Bare).expect(202, "a delivery");
    has_all(&node, "alice", &published);
    node.settled_head();
    verifies(node.into_data().path());
}

/// Where nothing is left, not even for the ledgers, deliveries wait; nothing is corrupted.
#[test]
fn deliveries_wait_for_room() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let node = with_reserve("24MiB").start_in(disk.data());
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    node.create("alice");
    mallory.follows(&node, "alice");
    peer.answer_with(503);
    let first = node.note("alice", "the peer is down");
    eventually(PATIENCE, "an attempt", || (!peer.posts_of(&first.id).is_empty()).then_some(()));
    // Below the part that ledgers may use.
    disk.fill_up_to(2 * 1024);
    node.as_actor("alice").post("/activity", &note("no")).refused(507, "storage-full", "full");
    node.client().get(&first.id).expect(200, "reads go on");
    peer.answer_with(202);
    disk.free();
    let second = node.note("alice", "room and a peer");
    peer.receives(&second.id);
    peer.receives(&first.id);
    node.settled_head();
    verifies(node.into_data().path());
}

/// On a disk that is really full, what was begun is cut off again: nothing is lost, and it goes on
/// when there is room.
#[test]
fn a_disk_without_reserve_answers_507_and_recovers() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let mut node = with_reserve("0").start_in(disk.data());
    let mut published = vec![node.create("alice")];
    for round in 0..3 {
        published.push(node.note("alice", &format!("round {round}")));
        disk.fill_up_to(0);
        let client = node.as_actor("alice");
        // What fits into the rest of the last block may still be taken.
        let text = |n| format!("{round} {n} {}", "x".repeat(3000));
        let refused = (0..200).find_map(|n| {
            let answer = client.post("/activity", &note(&text(n)));
            if answer.status == 201 {
                published.push(Published::of(&answer.json()));
                return None;
            }
            Some(answer)
        });
        refused.expect("refused").refused(507, "storage-full", "no room");
        has_all(&node, "alice", &published);
        client.post("/activity", &note(&text(999))).refused(507, "storage-full", "later");
        disk.free();
        published.push(node.note("alice", "with room again"));
        has_all(&node, "alice", &published);
        if round == 1 {
            node.restart();
            has_all(&node, "alice", &published);
        }
    }
    node.settled_head();
    verifies(node.into_data().path());
}

/// A limit on the size of files, which a restart reads anew.
struct FileLimit(tempfile::NamedTempFile);

impl FileLimit {
    fn new(kib: u32) -> Self {
        let limit = Self(tempfile::NamedTempFile::new().expect("a file"));
        limit.set(&kib.to_string());
        limit
    }

    fn set(&self, limit: &str) {
        fs::write(self.0.path(), limit).expect("written");
    }

    fn under(&self, mut spec: Spec) -> Spec {
        let script = format!("ulimit -f $(cat {}); exec \"$0\" \"$@\"", self.0.path().display());
        spec.under = vec!["bash".into(), "-c".into(), script];
        spec
    }
}

/// Publishes until something is refused; gives the answer.
fn publish_until_refused(node: &Node, published: &mut Vec<Published>) -> Answer {
    let client = node.as_actor("alice");
    for n in 0..400 {
        let answer = client.post("/activity", &note(&format!("{n} {}", "x".repeat(60_000))));
        if answer.status != 201 {
            return answer;
        }
        published.push(Published::of(&answer.json()));
    }
    panic!("the limit does not show");
}

#[test]
fn a_file_size_limit_answers_507() {
    let limit = FileLimit::new(8 * 1024);
    let mut node = limit.under(with_reserve("2MiB")).start();
    let mut published = vec![node.create("alice")];
    for _ in 0..2 {
        let refused = publish_until_refused(&node, &mut published);
        refused.refused(507, "storage-full", "the limit");
        has_all(&node, "alice", &published);
        node.restart();
    }
    limit.set("unlimited");
    node.restart();
    published.push(node.note("alice", "without a limit"));
    has_all(&node, "alice", &published);
    verifies(node.into_data().path());
}

#[test]
fn a_file_size_limit_without_reserve_answers_507_and_loses_nothing() {
    let limit = FileLimit::new(4 * 1024);
    let mut node = limit.under(with_reserve("0")).start();
    let mut published = vec![node.create("alice")];
    let refused = publish_until_refused(&node, &mut published);
    refused.refused(507, "storage-full", "the limit");
    has_all(&node, "alice", &published);
    node.stop();
    limit.set("unlimited");
    node.restart();
    published.push(node.note("alice", "without a limit"));
    has_all(&node, "alice", &published);
    node.settled_head();
    verifies(node.into_data().path());
}

/// After a sync that failed nobody knows what the device has: all writes stop until a restart.
#[test]
fn a_failing_sync_poisons_and_loses_nothing() {
    if !crate::durability::can_trace() {
        return;
    }
    let mut node = Node::start();
    let mut published = vec![node.create("alice"), node.note("alice", "while it works")];
    node.settled_head();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]);
    strace.args(["-o", "/dev/null", "-p", &node.pid().to_string()]);
    let mut strace = strace.spawn().expect("strace runs");
    let client = node.as_actor("alice");
    // Until it is attached, all goes well.
    let refused = eventually(PATIENCE, "a failing sync", || {
        let answer = client.post("/activity", &note("before the fault"));
        if answer.status == 201 {
            published.push(Published::of(&answer.json()));
            return None;
        }
        Some(answer)
    });
    let problem = refused.refused(503, "store-poisoned", "a publish");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("Input/output error"), "{detail}");
    strace.kill().expect("ended");
    strace.wait().expect("ended");
    has_all(&node, "alice", &published);
    client.post("/activity", &note("more")).refused(503, "store-poisoned", "later");
    is_poisoned(&node, "Input/output error");
    node.stop_with(Signal::TERM);
    node.restart();
    for one in &published {
        node.client().get(&one.id).expect(200, "an acknowledged activity");
    }
    // What was refused in the middle of a commit may be there as a whole.
    let held = node.total("alice", "outbox");
    assert!(held >= published.len() as u64, "{held} of {}", published.len());
    assert_eq!(node.note("alice", "after the restart").seq, held);
    node.settled_head();
    verifies(node.into_data().path());
}
