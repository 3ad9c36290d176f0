//! The Merkle log: checkpoints, tiles and proofs, checked by code of the test's own after the
//! definitions of RFC 9162 (section 2.1) and C2SP.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedsx_kernel::Cid;
use fedsx_kernel::keys::PublicKey;
use fedsx_kernel::log::{SledStorage, Storage as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::node::{Ended, Node, command, run_to_end, verify};

type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn leaf(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The largest power of two below n.
fn split(n: usize) -> usize {
    (1..).map(|k| 1 << k).take_while(|power| *power < n).last().unwrap_or(1)
}

/// MTH of RFC 9162, section 2.1.1, over hashes of leaves or of equal subtrees.
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(&[]),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The root that an inclusion proof leads to, by the recursion of section 2.1.3.1.
fn climbed(index: usize, size: usize, hash: Hash, path: &[Hash]) -> Hash {
    if size == 1 {
        assert!(path.is_empty(), "the proof is too long");
        return hash;
    }
    let (last, rest) = path.split_last().expect("the proof is too short");
    let k = split(size);
    if index < k {
        node_hash(&climbed(index, k, hash, rest), last)
    } else {
        node_hash(last, &climbed(index - k, size - k, hash, rest))
    }
}

/// Both roots that a consistency proof leads to, by the recursion of section 2.1.4.1.
fn joined(old: usize, new: usize, whole: Option<Hash>, path: &[Hash]) -> (Hash, Hash) {
    if old == new {
        let hash = whole.unwrap_or_else(|| path[0]);
        assert_eq!(path.len(), usize::from(whole.is_none()), "the length of the proof");
        return (hash, hash);
    }
    let (last, rest) = path.split_last().expect("the proof is too short");
    let k = split(new);
    if old <= k {
        let (before, after) = joined(old, k, whole, rest);
        (before, node_hash(&after, last))
    } else {
        let (before, after) = joined(old - k, new - k, None, rest);
        (node_hash(last, &before), node_hash(last, &after))
    }
}

fn hash(text: &Value) -> Hash {
    let bytes = STANDARD.decode(text.as_str().expect("a text")).expect("base64");
    bytes.try_into().expect("32 bytes")
}

fn hashes(proof: &Value) -> Vec<Hash> {
    proof["hashes"].as_array().expect("hashes").iter().map(hash).collect()
}

fn leaves(cids: &[String]) -> Vec<Hash> {
    let data = |cid: &String| cid.parse::<Cid>().expect("a CID").to_bytes();
    cids.iter().map(|cid| leaf(&data(cid))).collect()
}

/// Size and root of a checkpoint, once its form and signature were checked.
#[track_caller]
fn checkpoint(node: &Node, name: &str) -> (usize, Hash) {
    let answer = node.client().get(&format!("/actors/{name}/log/checkpoint"));
    let answer = answer.expect(200, "the checkpoint");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache", "a checkpoint grows old");
    let note = String::from_utf8(answer.body.clone()).expect("UTF-8");
    let (text, signatures) = note.split_once("\n\n").expect("an empty line");
    let text = format!("{text}\n");
    let lines: Vec<_> = text.lines().collect();
    let origin = format!("{}/actors/{name}/log", node.base.trim_start_matches("http://"));
    assert_eq!(lines.len(), 3, "origin, size, root and nothing else: {note}");
    assert_eq!(lines[0], origin, "the URL without its scheme");
    let line = signatures.strip_suffix('\n').expect("a newline at the end");
    let signature = line.strip_prefix(&format!("\u{2014} {origin} ")).expect("one signature line");
    let bytes = STANDARD.decode(signature).expect("base64");
    let (id, signature) = bytes.split_at(4);

    // The key is the actor's current Ed25519 key that signs activities.
    let keys = node.keys(name);
    let signs = |key: &&Value| {
        key["publicKeyMultibase"].is_string()
            && key["purposes"].as_array().is_some_and(|all| all.contains(&json!("sign-activity")))
            && key.get("validUntil").is_none()
    };
    let key = keys.iter().find(signs).expect("a current key");
    let multibase = key["publicKeyMultibase"].as_str().expect("a Multikey");
    let public = base58(multibase.strip_prefix('z').expect("base58btc"));
    assert_eq!(public[..2], [0xed, 0x01], "Ed25519");
    let digest = sha256(&[origin.as_bytes(), b"\n", &[1], &public[2..]]);
    assert_eq!(id, &digest[..4], "the key ID is that of C2SP signed-note");
    let public = PublicKey::from_multibase(multibase).expect("a key");
    public.verify(text.as_bytes(), signature).expect("the signature holds");
    (lines[1].parse().expect("a size"), hash(&json!(lines[2])))
}

fn base58(text: &str) -> Vec<u8> {
    let alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = vec![0u8; 34];
    for c in text.chars() {
        let mut carry = alphabet.find(c).expect("a base58 digit");
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry % 256) as u8;
            carry /= 256;
        }
    }
    bytes
}

#[track_caller]
fn tile(node: &Node, name: &str, path: &str) -> Vec<u8> {
    let answer = node.client().get(&format!("/actors/{name}/log/tile/{path}")).expect(200, path);
    assert_eq!(answer.header("content-type"), "application/octet-stream", "{path}");
    assert!(answer.header("cache-control").contains("immutable"), "{path} never changes");
    answer.body
}

fn tile_hashes(node: &Node, name: &str, path: &str) -> Vec<Hash> {
    let bytes = tile(node, name, path);
    assert_eq!(bytes.len() % 32, 0, "{path}");
    bytes.chunks(32).map(|hash| hash.try_into().expect("32 bytes")).collect()
}

/// The entries of a bundle, as CIDs.
fn bundle(node: &Node, name: &str, path: &str) -> Vec<String> {
    let bytes = tile(node, name, path);
    let (mut rest, mut cids) = (bytes.as_slice(), Vec::new());
    while let [high, low, more @ ..] = rest {
        let (data, next) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        cids.push(Cid::from_bytes(data).expect("a CID").to_string());
        rest = next;
    }
    assert!(rest.is_empty(), "{path}: a rest of {} bytes", rest.len());
    cids
}

fn proof(node: &Node, name: &str, query: &str) -> Value {
    let answer = node.client().get(&format!("/actors/{name}/log/proof/{query}")).expect(200, query);
    assert_eq!(answer.media_type(), "application/json", "{query}");
    answer.json()
}

#[test]
fn every_activity_is_provably_in_the_log_and_stays_there() {
    let mut node = Node::start();
    node.create("bob");
    let mut cids = vec![node.create("alice").cid];
    let mut checkpoints = vec![checkpoint(&node, "alice")];
    for round in 0..9 {
        let request = match round % 3 {
            // Some activities are for nobody else to read; their leaves are for anyone.
            0 => json!({
                "type": "Create",
                "to": [node.actor("bob")],
                "object": { "type": "Note", "content": "between us" },
            }),
            _ => json!({ "type": "Create", "object": { "type": "Note", "content": "for all" } }),
        };
        cids.push(node.publish("alice", &request).cid);
        checkpoints.push(checkpoint(&node, "alice"));
        if round == 4 {
            let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
            let request = json!({ "type": "Update", "object": "alice", "patch": patch });
            cids.push(node.publish("alice", &request).cid);
            checkpoints.push(checkpoint(&node, "alice"));
            node.restart();
            assert_eq!(checkpoint(&node, "alice"), checkpoints[cids.len() - 1], "as before");
        }
    }
    let leaves = leaves(&cids);
    for (count, (size, found)) in checkpoints.iter().enumerate() {
        assert_eq!(*size, count + 1, "a checkpoint covers what was acknowledged");
        assert_eq!(*found, root(&leaves[..*size]), "the root of {size}");
    }
    let (total, newest) = checkpoints[checkpoints.len() - 1];
    for (index, cid) in cids.iter().enumerate() {
        let newest_proof = proof(&node, "alice", &format!("inclusion?cid={cid}"));
        assert_eq!(newest_proof["leaf_index"], index, "{newest_proof}");
        assert_eq!(newest_proof["size"], total, "by default the newest tree");
        assert_eq!(hash(&newest_proof["root"]), newest, "{newest_proof}");
        for size in index + 1..=total {
            let proof = proof(&node, "alice", &format!("inclusion?cid={cid}&size={size}"));
            let reached = climbed(index, size, leaves[index], &hashes(&proof));
            assert_eq!(reached, checkpoints[size - 1].1, "leaf {index} in {size}");
        }
    }
    for new in 1..=total {
        for old in 1..=new {
            let proof = proof(&node, "alice", &format!("consistency?from={old}&to={new}"));
            assert_eq!((&proof["from"], &proof["to"]), (&json!(old), &json!(new)));
            let (before, after) = (checkpoints[old - 1].1, checkpoints[new - 1].1);
            assert_eq!((hash(&proof["from_root"]), hash(&proof["to_root"])), (before, after));
            let reached = joined(old, new, Some(before), &hashes(&proof));
            assert_eq!(reached, (before, after), "{old} to {new}");
        }
    }
    assert_eq!(proof(&node, "alice", "consistency?from=3")["to"], total, "by default the newest");
    assert_eq!(tile_hashes(&node, "alice", &format!("0/000.p/{total}")), leaves);
    assert_eq!(tile_hashes(&node, "alice", "0/000.p/3"), leaves[..3], "an older tree's tile");
    assert_eq!(bundle(&node, "alice", &format!("entries/000.p/{total}")), cids);
    let others = checkpoint(&node, "bob");
    assert_eq!(others.0, 1, "each outbox has a tree of its own");
}

#[test]
fn full_tiles_give_the_root_and_are_verified() {
    let mut node = Node::start();
    let mut cids = vec![node.create("alice").cid];
    while cids.len() < 255 {
        cids.push(node.note("alice", "one more").cid);
    }
    assert_eq!(checkpoint(&node, "alice").0, 255);
    let absent = node.client().get("/actors/alice/log/tile/0/000");
    absent.refused(404, "not-found", "a tile that is not full yet");
    while cids.len() < 260 {
        cids.push(node.note("alice", "one more").cid);
    }
    let leaves = leaves(&cids);
    for round in ["at first", "after a restart"] {
        let (size, found) = checkpoint(&node, "alice");
        assert_eq!(size, 260, "{round}");
        let full = tile_hashes(&node, "alice", "0/000");
        assert_eq!(full, leaves[..256], "{round}: the full tile");
        assert_eq!(tile_hashes(&node, "alice", "0/001.p/4"), leaves[256..], "{round}: the edge");
        let above = tile_hashes(&node, "alice", "1/000.p/1");
        assert_eq!(above, [root(&full)], "{round}: a tile above holds roots of full tiles");
        let right = root(&tile_hashes(&node, "alice", "0/001.p/4"));
        assert_eq!(found, node_hash(&above[0], &right), "{round}: the root from the tiles");
        assert_eq!(found, root(&leaves), "{round}: the root from the leaves");
        assert_eq!(bundle(&node, "alice", "entries/000"), cids[..256], "{round}");
        assert_eq!(bundle(&node, "alice", "entries/001.p/4"), cids[256..], "{round}");
        assert_eq!(tile_hashes(&node, "alice", "0/000.p/7"), leaves[..7], "{round}: partial still");
        for (index, size) in [(0, 260), (255, 256), (255, 260), (256, 257), (259, 260)] {
            let query = format!("inclusion?cid={}&size={size}", cids[index]);
            let reached =
                climbed(index, size, leaves[index], &hashes(&proof(&node, "alice", &query)));
            assert_eq!(reached, root(&leaves[..size]), "{round}: leaf {index} in {size}");
        }
        for (old, new) in [(1, 260), (255, 256), (256, 257), (200, 259)] {
            let before = root(&leaves[..old]);
            let query = format!("consistency?from={old}&to={new}");
            let reached = joined(old, new, Some(before), &hashes(&proof(&node, "alice", &query)));
            assert_eq!(reached, (before, root(&leaves[..new])), "{round}: {old} to {new}");
        }
        node.restart();
    }

    let data = node.into_data();
    let tree = |ended: &Ended| -> Value {
        let counts: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        counts["trees"]["outbox/alice"].clone()
    };
    let expected = json!({ "size": 260, "root": STANDARD.encode(root(&leaves)), "tiles": 2 });
    let ended = verify_json(data.path());
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    assert_eq!(tree(&ended), expected, "verify computes the same root");

    // A tile that is not what the log says is found, and can be made anew.
    let storage = SledStorage::open(data.path()).expect("the store");
    let (key, mut kept) =
        storage.ledgers().scan(b"merkle\0outbox/alice\0t", None, 1).expect("the ledgers").remove(0);
    kept[100] ^= 1;
    storage.ledgers().apply(vec![(key, Some(kept))]).expect("a write");
    storage.sync().expect("a sync");
    drop(storage);
    let ended = verify(data.path());
    assert_eq!(ended.code, Some(1), "a damaged tile: {}", ended.all());
    assert!(ended.stderr.contains("the tree of outbox/alice"), "the place: {}", ended.all());
    assert!(ended.stderr.contains("fedsx log rebuild"), "what to do: {}", ended.all());
    let mut rebuild = command();
    rebuild.args(["log", "rebuild", "--data"]).arg(data.path());
    let ended = run_to_end(rebuild);
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    let ended = verify_json(data.path());
    assert_eq!((ended.code, tree(&ended)), (Some(0), expected), "whole again");
}

fn verify_json(data: &Path) -> Ended {
    let mut verify = command();
    verify.args(["verify", "--json", "--data"]).arg(data);
    run_to_end(verify)
}

#[test]
fn impossible_requests_are_refused() {
    let node = Node::start();
    let first = node.create("alice").cid;
    let second = node.note("alice", "second").cid;
    let elsewhere = node.create("bob").cid;
    let get = |path: &str| node.client().get(&format!("/actors/{path}"));
    for (path, status, slug) in [
        ("nobody/log/checkpoint".to_owned(), 404, "unknown-actor"),
        ("nobody/log/tile/0/000.p/1".into(), 404, "unknown-actor"),
        (format!("nobody/log/proof/inclusion?cid={first}"), 404, "unknown-actor"),
        ("nobody/log/proof/consistency?from=1".into(), 404, "unknown-actor"),
        ("alice/log".into(), 404, "not-found"),
        ("alice/log/tile".into(), 404, "not-found"),
        ("alice/log/tile/0/000".into(), 404, "not-found"),
        ("alice/log/tile/0/000.p/3".into(), 404, "not-found"),
        ("alice/log/tile/0/000.p/0".into(), 404, "not-found"),
        ("alice/log/tile/0/0".into(), 404, "not-found"),
        ("alice/log/tile/1/000.p/1".into(), 404, "not-found"),
        ("alice/log/tile/64/000.p/1".into(), 404, "not-found"),
        ("alice/log/tile/63/000.p/1".into(), 404, "not-found"),
        ("alice/log/tile/0/x999/x999/x999/x999/x999/999.p/1".into(), 404, "not-found"),
        ("alice/log/tile/data/000.p/1".into(), 404, "not-found"),
        ("alice/log/tile/entries/001.p/1".into(), 404, "not-found"),
        ("alice/log/tile/0/../../checkpoint".into(), 404, "not-found"),
        ("alice/log/proof/inclusion".into(), 400, "invalid-parameter"),
        ("alice/log/proof/inclusion?cid=nonsense".into(), 400, "invalid-parameter"),
        (format!("alice/log/proof/inclusion?cid={first}&size=0"), 400, "invalid-parameter"),
        (format!("alice/log/proof/inclusion?cid={first}&size=-1"), 400, "invalid-parameter"),
        (format!("alice/log/proof/inclusion?cid={first}&size=3"), 404, "not-found"),
        (format!("alice/log/proof/inclusion?cid={second}&size=1"), 404, "not-found"),
        (format!("alice/log/proof/inclusion?cid={elsewhere}"), 404, "not-found"),
        ("alice/log/proof/consistency".into(), 400, "invalid-parameter"),
        ("alice/log/proof/consistency?from=0".into(), 400, "invalid-parameter"),
        ("alice/log/proof/consistency?from=x".into(), 400, "invalid-parameter"),
        ("alice/log/proof/consistency?from=2&to=1".into(), 400, "invalid-parameter"),
        ("alice/log/proof/consistency?from=1&to=3".into(), 404, "not-found"),
        ("alice/log/proof/consistency?from=3".into(), 404, "not-found"),
        (format!("alice/log/proof/consistency?from={}", u64::MAX), 404, "not-found"),
    ] {
        get(&path).refused(status, slug, &path);
    }
    let answer = node.client().post("/actors/alice/log/checkpoint", &json!({}));
    answer.refused(405, "method-not-allowed", "a checkpoint cannot be posted");
}

#[test]
fn the_log_of_a_deleted_actor_stays_provable() {
    let node = Node::start();
    let first = node.create("alice").cid;
    let (size, before) = checkpoint(&node, "alice");
    node.publish("alice", &json!({ "type": "Delete", "object": node.actor("alice") }));
    let gone = node.client().get("/actors/alice/log/checkpoint");
    gone.refused(410, "actor-gone", "its keys are destroyed");
    let after = root(&tile_hashes(&node, "alice", "0/000.p/2"));
    assert_eq!(bundle(&node, "alice", "entries/000.p/2")[0], first);
    let proof = proof(&node, "alice", &format!("consistency?from={size}"));
    assert_eq!(joined(size, 2, Some(before), &hashes(&proof)), (before, after));
}
