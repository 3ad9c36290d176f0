//! How requests are signed, and what is remembered of how each peer takes them ("double knock").

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{PATIENCE, Peer, Posted, Sign, eventually};

/// Says something to an actor elsewhere; gives the id of the activity.
fn tells(node: &Node, to: &str, text: &str) -> String {
    let note = json!({ "type": "Note", "content": text, "to": [to] });
    node.publish("alice", &json!({ "type": "Create", "to": [to], "object": note })).id
}

fn is_rfc9421(post: &Posted) -> bool {
    post.headers.contains_key("signature-input")
}

fn header<'p>(post: &'p Posted, name: &str) -> &'p str {
    post.headers[name].to_str().expect("text")
}

/// What the node remembers of how a peer takes requests signed, once that is this.
#[track_caller]
fn remembered(node: &Node, peer: &Peer, signing: &str, because: &str) -> Value {
    let row = eventually(PATIENCE, &format!("{signing} is remembered, {because}"), || {
        let rows = node.projection("peer-schemes", &format!("?key={}", peer.base));
        let fits = |row: &Value| {
            let value = &row["value"];
            value["signing"] == signing && value["because"] == because
        };
        rows.into_iter().find(fits)
    });
    assert_eq!(row["key"], json!([peer.base]));
    let listed = node.projection("peer-schemes", "");
    assert!(listed.contains(&row), "the row stands in the listing: {listed:?}");
    let peers = node.admin().get("/admin/peers").expect(200, "the peers").json();
    let peers = peers["items"].as_array().expect("peers");
    let info = peers.iter().find(|info| info["peer"] == peer.base.as_str()).expect("the peer");
    assert_eq!(info["schemes"], row["value"]);
    row["value"].clone()
}

#[test]
fn an_unknown_peer_is_sent_what_everybody_takes_and_that_is_remembered() {
    let mut node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let bob = peer.actor("bob");
    let first = peer.receives(&tells(&node, &bob.id, "one"));
    assert!(!is_rfc9421(&first), "some servers take RFC 9421 unread");
    let signature = header(&first, "signature");
    assert!(signature.contains(r#"headers="(request-target) host date digest""#), "{signature}");
    assert_eq!(first.headers.get_all("signature").iter().count(), 1, "exactly one signature");
    assert!(header(&first, "digest").starts_with("SHA-256="), "in this spelling");
    let known = remembered(&node, &peer, "cavage", "usual");
    node.restart();
    peer.receives(&tells(&node, &bob.id, "two"));
    assert_eq!(peer.posted().len(), 2, "no request was sent twice");
    assert_eq!(remembered(&node, &peer, "cavage", "usual"), known, "it outlives the process");
    let stranger = node.as_actor("alice").get("/projections/peer-schemes");
    stranger.refused(403, "insufficient-scope", "for operators alone");
}

#[test]
fn what_worked_after_a_refusal_is_tried_first_from_there_on() {
    let mut node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let bob = peer.actor("bob");
    peer.answer_signed(false, 401);
    let id = tells(&node, &bob.id, "one");
    assert!(is_rfc9421(&peer.receives(&id)));
    let statuses: Vec<_> = peer.posts_of(&id).iter().map(|post| post.status).collect();
    assert_eq!(statuses, [401, 202], "two knocks, one attempt");
    let known = remembered(&node, &peer, "rfc9421", "refused");
    assert!(known["refused"]["cavage"].is_i64(), "{known}");
    node.crash();
    node.restart();
    let id = tells(&node, &bob.id, "two");
    let post = peer.receives(&id);
    assert!(is_rfc9421(&post) && peer.posts_of(&id).len() == 1, "the first knock is right");
    let input = header(&post, "signature-input");
    assert!(input.starts_with(r#"sig1=("@method" "@target-uri" "content-digest");"#), "{input}");
    assert_eq!(input.matches("keyid=").count(), 1, "exactly one signature: {input}");

    // The peer is set back to an older version.
    peer.answer_signed(false, 202);
    peer.answer_signed(true, 403);
    let id = tells(&node, &bob.id, "three");
    assert!(!is_rfc9421(&peer.receives(&id)));
    remembered(&node, &peer, "cavage", "refused");
}

/// A document that announces RFC 9421 (FEP-844e).
fn announces(peer: &Peer, name: &str) -> String {
    let bob = peer.actor(name);
    let mut document = bob.document();
    document["generator"] = json!({ "type": "Application", "implements": [
        { "href": "https://datatracker.ietf.org/doc/html/rfc9421", "name": "RFC-9421" }
    ] });
    peer.serve(&format!("/actors/{name}"), document);
    bob.id
}

#[test]
fn a_peer_that_announces_is_believed_until_it_fails_on_that() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let bob = announces(&peer, "bob");
    let post = peer.receives(&tells(&node, &bob, "one"));
    assert!(header(&post, "signature-input").contains(r#"alg="ed25519""#), "it lists a Multikey");
    remembered(&node, &peer, "rfc9421-ed25519", "announced");

    let broken = Peer::start();
    let bob = announces(&broken, "bob");
    broken.answer_signed(true, 500);
    let id = tells(&node, &bob, "two");
    assert!(!is_rfc9421(&broken.receives(&id)));
    let statuses: Vec<_> = broken.posts_of(&id).iter().map(|post| post.status).collect();
    assert_eq!(statuses, [500, 202], "some servers fail on what they do not understand");
    remembered(&node, &broken, "cavage", "refused");
    let id = tells(&node, &bob, "three");
    broken.receives(&id);
    assert_eq!(broken.posts_of(&id).len(), 1, "it is remembered over what it announces");
}

#[test]
fn what_a_peer_asks_for_is_met() {
    let mut node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let bob = peer.actor("bob");
    // It takes the first request, and would rather have the next ones so.
    let ask = r#"sig1=("@method" "@target-uri" "content-digest" "content-type" "host");created;keyid;alg="ed25519";tag="fedi""#;
    peer.say("accept-signature", ask);
    assert!(!is_rfc9421(&peer.receives(&tells(&node, &bob.id, "one"))));
    node.restart();
    let post = peer.receives(&tells(&node, &bob.id, "two"));
    let input = header(&post, "signature-input");
    let covered = r#"("@method" "@target-uri" "content-digest" "content-type" "host")"#;
    assert!(input.contains(covered), "{input}");
    assert!(input.contains(r#"alg="ed25519""#) && input.contains(r#"tag="fedi""#), "{input}");
    let known = remembered(&node, &peer, "rfc9421-ed25519", "asked");
    assert_eq!(known["asked"]["tag"], "fedi");

    // A challenge is answered at once, with its nonce.
    let strict = Peer::start();
    let bob = strict.actor("bob");
    strict.say("accept-signature", r#"s=("@method" "@authority" "@path");nonce="n-1";expires"#);
    strict.answer_next(&[401]);
    let post = strict.receives(&tells(&node, &bob.id, "three"));
    let input = header(&post, "signature-input");
    assert!(input.contains(r#"nonce="n-1""#) && input.contains("expires="), "{input}");
    assert!(input.contains(r#""@authority" "@path""#), "{input}");
    let known = remembered(&node, &strict, "rfc9421", "asked");
    assert_eq!(known["asked"]["nonce"], Value::Null, "a nonce serves once");
}

#[test]
fn who_signs_badly_is_told_how_to() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let bob = peer.actor("bob");
    let note = bob.plain("Create", bob.note_object("hello"), &[&node.actor("alice")]);
    let answer = bob.deliver(&node, "/actors/alice/inbox", &note, Sign::Bare);
    answer.refused(401, "invalid-signature", "neither proof nor signature");
    let ask = answer.header("accept-signature");
    assert_eq!(ask, r#"sig1=("@method" "@target-uri" "content-digest");created;keyid"#);
    bob.deliver(&node, "/actors/alice/inbox", &note, Sign::Rsa).expect(202, "as was asked");
}
