//! Who may read what, over every route that reads: a table of posts and readers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::cid::Cid;
use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, Spec, secret};
use crate::support::peer::{Foreign, fetch_signed, new_key};
use crate::support::verbs::Published;
use crate::support::{ACTIVITY_JSON, Answer, PATIENCE, PUBLIC, Peer, Sign, eventually};

const CBOR: &str = "application/vnd.ipld.dag-cbor";
const HTML: &str = "text/html";

/// A statement, by what it shows, and who may read it.
struct Post {
    name: &'static str,
    cid: String,
    /// What it says, which nobody else is shown, not even who operates; and what it is about.
    content: [String; 2],
    /// The paths at which it is served here.
    paths: Vec<String>,
    readers: &'static [&'static str],
}

impl Post {
    fn of(name: &'static str, published: &Published, readers: &'static [&'static str]) -> Self {
        let object = published.object();
        let local = object.split_once("/objects/").expect("an object of ours").1;
        Self {
            name,
            cid: published.cid.clone(),
            content: [marker(name), object.to_owned()],
            paths: vec![format!("/activities/{}", published.cid), format!("/objects/{local}")],
            readers,
        }
    }
}

fn marker(name: &str) -> String {
    format!("what {name} says")
}

/// Who reads.
enum Reader<'a> {
    Anyone,
    Token(&'static str),
    Peer(&'a Foreign),
}

impl Reader<'_> {
    fn get(&self, node: &Node, path: &str, accept: &str) -> Answer {
        match self {
            Self::Anyone => node.client().get_as(path, accept),
            Self::Token(name) => node.as_actor(name).get_as(path, accept),
            Self::Peer(foreign) => foreign.fetch(node, path, accept),
        }
    }

    /// What a live stream tells before it waits for more.
    fn stream(&self, node: &Node, path: &str) -> String {
        let authority = node.base.split_once("://").expect("a base").1;
        let mut connection = TcpStream::connect(authority).expect("the server listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let token = match self {
            Self::Token(name) => format!("authorization: Bearer {}\r\n", secret(name)),
            _ => String::new(),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {authority}\r\naccept: text/event-stream\r\n{token}\r\n"
        );
        connection.write_all(head.as_bytes()).expect("it listens");
        let mut text = String::new();
        for line in BufReader::new(connection).lines().map_while(Result::ok) {
            let refused = text.starts_with("HTTP/1.1 4") && line.is_empty();
            if line.starts_with("retry:") || refused {
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// Every path that reads, but for those of single posts.
fn routes(node: &Node, posts: &[Post]) -> Vec<String> {
    let (alice, head) = (encoded(&node.actor("alice")), node.head());
    let mut paths: Vec<String> = [
        "outbox",
        "outbox?page=true",
        "outbox?page=1&limit=100",
        "outbox?since=&limit=100",
        "outbox?limit=100",
        "outbox?from=0&limit=100",
        "outbox?before=100&limit=100",
        "outbox?after=2020-01-01T00:00:00Z&limit=100",
        "followers?page=true",
        "following?page=true",
        "liked?page=true",
        "featured",
        "keys",
        "log/checkpoint",
        "log/tile/0/000.p/1",
    ]
    .iter()
    .map(|rest| format!("/actors/alice/{rest}"))
    .collect();
    for name in ["alice", "bob", "carol", "dave", "erin"] {
        paths.push(format!("/actors/{name}"));
        paths.push(format!("/actors/{name}/inbox?page=true&limit=100"));
    }
    for name in [
        "actor-state",
        "announces",
        "define-registry",
        "delivery-state",
        "endorsements",
        "feed",
        "follower-graph",
        "key-history",
        "objects",
        "peer-actors",
        "peer-schemes",
        "collections",
        "reactions",
        "replies",
        "reports",
    ] {
        paths.push(format!("/projections/{name}?limit=1000"));
        paths.push(format!("/projections/{name}?limit=1000&order=desc"));
        paths.push(format!("/projections/{name}?limit=1000&at={head}"));
    }
    for name in ["alice", "bob", "dave"] {
        paths.push(format!("/projections/feed?key={name}"));
    }
    for post in posts {
        paths.push(format!("/actors/alice/log/proof/inclusion?cid={}", post.cid));
        paths.push(format!("/actors/alice/outbox?since={}&limit=100", post.cid));
        paths.push(format!("/projections/objects?key={}", encoded(&post.content[1])));
        paths.push(format!("/admin/delivery/{}", post.cid));
        let local = post.content[1].split_once("/objects/").expect("an object of ours").1;
        for what in ["likes", "shares", "replies"] {
            paths.push(format!("/objects/{local}/{what}"));
            paths.push(format!("/objects/{local}/{what}?page=true"));
        }
    }
    for path in [
        "/projections",
        "/.well-known/sx-capabilities",
        "/.well-known/nodeinfo",
        "/nodeinfo/2.1",
        "/metrics",
        "/admin/dead-letter",
        "/admin/peers",
        "/admin/projections?digest=false",
        "/admin/projections/objects/set-aside",
        "/admin/equivocations",
        "/admin/reports",
        "/admin/backup",
    ] {
        paths.push(path.to_owned());
    }
    paths.push(format!("/.well-known/webfinger?resource={alice}"));
    paths
}

/// What operating shows: who did what to what, and where it goes; by ids alone.
fn operates(path: &str) -> bool {
    ["/admin/", "/projections/delivery-state", "/projections/endorsements"]
        .iter()
        .any(|shown| path.starts_with(shown))
}

#[test]
fn every_route_shows_each_reader_what_is_for_it() {
    let node = Spec::default().token(&format!("erin={}", secret("erin"))).start();
    for name in ["alice", "bob", "carol", "dave", "erin"] {
        node.create(name);
    }
    let (peer, elsewhere) = (Peer::start(), Peer::start());
    let fay = peer.actor("fay");
    let mallory = peer.actor("mallory");
    let dan = elsewhere.actor("dan");
    let hid = elsewhere.actor("hid");
    let zed = elsewhere.actor("zed");
    fay.follows(&node, "alice");
    mallory.follows(&node, "alice");
    node.follow("erin", &node.actor("alice"));

    let (alice, bob, dave) = (node.actor("alice"), node.actor("bob"), node.actor("dave"));
    let followers = format!("{alice}/followers");
    let mut posts = Vec::new();
    let mut says = |name: &'static str, to: &[&str], bcc: &[&str], readers| {
        let object = json!({ "type": "Note", "content": marker(name) });
        let request = json!({ "type": "Create", "to": to, "bcc": bcc, "object": object });
        let published = node.publish("alice", &request);
        posts.push(Post::of(name, &published, readers));
        published
    };
    let all: &[&str] = &[
        "anyone", "alice", "bob", "carol", "dave", "erin", "fay", "dan", "hid", "zed", "mallory",
        "operator",
    ];
    says("public", &[PUBLIC], &[], all);
    says("unlisted", &[&followers], &[PUBLIC], &["alice", "erin", "fay"]);
    says("followers", &[&followers], &[], &["alice", "erin", "fay"]);
    let direct = says("direct", &[&bob, &dan.id], &[], &["alice", "bob", "dan"]);
    says("hidden", &[&bob], &[&dave, &hid.id], &["alice", "bob", "dave", "hid"]);
    let letter = says("letter", &[&mallory.id], &[], &["alice"]);
    says("diary", &[&alice], &[], &["alice"]);
    peer.receives(&letter.id);
    elsewhere.receives(&direct.id);
    node.publish(
        "bob",
        &json!({ "type": "Endorse", "to": [alice], "object": direct.object(), "kind": "like" }),
    );
    node.publish("alice", &json!({ "type": "Block", "object": mallory.id }));
    eventually(PATIENCE, "mallory follows no more", || {
        (!node.listed("alice", "followers").contains(&mallory.id)).then_some(())
    });
    let mut object = fay.note_object(&marker("received"));
    object["to"] = json!([bob]);
    let received = fay.activity("Create", object, &[&bob]);
    fay.deliver(&node, "/actors/bob/inbox", &received, Sign::Bare).expect(202, "a letter to bob");
    let received_id = received["id"].as_str().expect("an id");
    let cid = received_id.rsplit_once('/').expect("a CID").1.to_owned();
    posts.push(Post {
        name: "received",
        content: [marker("received"), received["object"]["id"].as_str().expect("an id").to_owned()],
        paths: vec![format!("/activities/{cid}")],
        cid,
        readers: &["bob", "fay"],
    });
    node.settled_head();

    let readers = [
        ("anyone", Reader::Anyone),
        ("alice", Reader::Token("alice")),
        ("bob", Reader::Token("bob")),
        ("carol", Reader::Token("carol")),
        ("dave", Reader::Token("dave")),
        ("erin", Reader::Token("erin")),
        ("operator", Reader::Token("operator")),
        ("fay", Reader::Peer(&fay)),
        ("dan", Reader::Peer(&dan)),
        ("hid", Reader::Peer(&hid)),
        ("zed", Reader::Peer(&zed)),
        ("mallory", Reader::Peer(&mallory)),
    ];
    let routes = routes(&node, &posts);
    for (who, reader) in &readers {
        let shows_only_theirs = |path: &str, text: &str| {
            for post in posts.iter().filter(|post| !post.readers.contains(who)) {
                let [says, about] = &post.content;
                assert!(!text.contains(says), "{path} shows {who} {}", post.name);
                let operates = *who == "operator" && operates(path);
                let told = operates || path.contains(&encoded(about));
                assert!(told || !text.contains(about), "{path} tells {who} of {}", post.name);
                let told = operates || path.contains("/log/") || path.contains(&post.cid);
                assert!(told || !text.contains(&post.cid), "{path} tells {who} of {}", post.name);
            }
            let recipients = [dave.as_str(), hid.id.as_str()];
            let of_hidden = text.contains(&marker("hidden")) && path.contains("/activities/");
            if of_hidden {
                let named = recipients.iter().find(|id| text.contains(**id));
                assert!(named.is_none(), "{path} names the hidden {named:?} to {who}");
            }
        };
        for post in &posts {
            let may = post.readers.contains(who);
            for path in &post.paths {
                for accept in [ACTIVITY_JSON, CBOR] {
                    let answer = reader.get(&node, path, accept);
                    let wanted = if may { 200 } else { 404 };
                    assert_eq!(
                        answer.status,
                        wanted,
                        "{who} reads {} as {accept}: {}",
                        post.name,
                        answer.text()
                    );
                    shows_only_theirs(path, &String::from_utf8_lossy(&answer.body));
                }
                let page = reader.get(&node, path, HTML);
                shows_only_theirs(path, &String::from_utf8_lossy(&page.body));
            }
        }
        for path in &routes {
            let answer = reader.get(&node, path, "application/json, */*");
            assert!(answer.status < 500, "{path} for {who}: {}", answer.text());
            shows_only_theirs(path, &String::from_utf8_lossy(&answer.body));
            if path.starts_with("/admin/") && *who != "operator" {
                assert!([401, 403].contains(&answer.status), "{path} for {who}: {}", answer.status);
            }
        }
        // What is for a reader is found where lists are read.
        let outbox = reader.get(&node, "/actors/alice/outbox?since=&limit=100", ACTIVITY_JSON);
        for post in posts.iter().filter(|post| post.name != "received") {
            let listed = outbox.text_whole().contains(&post.cid);
            assert_eq!(listed, post.readers.contains(who), "{} in the outbox for {who}", post.name);
        }
        if !matches!(reader, Reader::Peer(_)) {
            for name in
                ["objects", "feed", "endorsements", "announces", "follower-graph", "actor-state"]
            {
                let path = format!("/projections/{name}/events?since=0");
                shows_only_theirs(&path, &reader.stream(&node, &path));
            }
        }
    }
    let inbox = node.inbox("dave");
    assert!(inbox.iter().any(|one| one.to_string().contains(&marker("hidden"))), "it came");

    // To refer to what one may not read is to refer to nothing.
    let nothing = Cid::of_block(b"nothing").to_string();
    for post in posts.iter().filter(|post| !post.readers.contains(&"carol")) {
        for kind in ["Announce", "Endorse", "Undo", "Accept"] {
            let says = |cid: &str| {
                let request = json!({ "type": kind, "object": cid, "kind": "like" });
                node.as_actor("carol").post("/activity", &request)
            };
            let case = format!("carol: {kind} of {}", post.name);
            let refused = says(&post.cid).refused(422, "unknown-reference", &case);
            let other = says(&nothing).refused(422, "unknown-reference", &case);
            let (own, others) = (refused["detail"].to_string(), other["detail"].to_string());
            assert_eq!(own.replace(&post.cid, ""), others.replace(&nothing, ""), "{case}");
        }
    }
}

#[test]
fn reading_needs_a_current_key_and_no_block() {
    let node =
        Spec::default().token(&format!("instance={}:publish,read", secret("instance"))).start();
    node.create("alice");
    let peer = Peer::start();
    let fay = peer.actor("fay");
    let note = node.publish(
        "alice",
        &json!({
            "type": "Create", "to": [fay.id], "object": { "type": "Note", "content": "to fay" },
        }),
    );
    let path = format!("/activities/{}", note.cid);
    fay.fetch(&node, &path, ACTIVITY_JSON).expect(200, "whom it is for");
    let by = |key_id: &str, key| {
        fetch_signed(&node, &path, ACTIVITY_JSON, Scheme::Rfc9421, (key_id, key))
    };
    by(&fay.key_id, &fay.key).expect(200, "by her other key");
    let (id, key) = new_key(&fay.id);
    by(&id, &key).refused(401, "unknown-key", "a key that she never had");
    by(&fay.key_id, &key).refused(401, "invalid-signature", "another key under her name");

    // She rotates; the old key reads nothing any more once that is known.
    let mut document = fay.document();
    document["assertionMethod"] = json!([crate::support::peer::multikey(&fay.id, &id, &key)]);
    peer.serve("/actors/fay", document);
    by(&id, &key).expect(200, "her new key is fetched");
    by(&fay.key_id, &fay.key).refused(401, "unknown-key", "the superseded key");

    node.publish("instance", &json!({ "type": "Block", "object": peer.base }));
    by(&id, &key).refused(403, "blocked", "an instance that is blocked here");
    let public = node.note("alice", "for everyone");
    let path = format!("/activities/{}", public.cid);
    node.client().get(&path).expect(200, "anyone reads what is public");
    let _: Value = node.client().get("/actors/alice").expect(200, "and the actor").json();
}
