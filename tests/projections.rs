//! Projections: who is shown what, past state, live streams, records that were set aside, and
//! rebuilding.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, Spec, command, run_to_end, verify};
use crate::support::verbs::Published;
use crate::support::{Client, PATIENCE, PUBLIC, eventually, secret};

const PUBLIC_ONES: [&str; 8] = [
    "actor-state",
    "announces",
    "define-registry",
    "endorsements",
    "follower-graph",
    "key-history",
    "objects",
    "peer-actors",
];

/// Everything that a reader gets from one projection: pages of present and past state in both
/// directions, and what live streams replay.
fn everything(client: &Client, token: Option<&str>, name: &str, head: u64) -> String {
    let mut text = String::new();
    for form in ["", "&order=desc", &format!("&at={head}"), "&limit=1"] {
        let mut after = String::new();
        loop {
            let path = format!("/projections/{name}?min_seq={head}{form}{after}");
            let page = client.get(&path).expect(200, name);
            text.push_str(&String::from_utf8_lossy(&page.body));
            match page.json()["next"].as_str() {
                Some(next) => after = format!("&after={}", encoded(&next.replace('\n', "%0A"))),
                None => break,
            }
        }
    }
    let authorization = token.map(|token| format!("Bearer {}", secret(token)));
    let mut headers = vec![("last-event-id", "0")];
    headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
    let stream = Events::of(client, &format!("/projections/{name}/events"), &headers);
    for change in stream.until_quiet() {
        text.push_str(&change.to_string());
    }
    text
}

/// A stream of server-sent events.
struct Events {
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
struct Event {
    id: Option<u64>,
    kind: String,
    data: Value,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {}", self.id, self.kind, self.data)
    }
}

impl Events {
    fn open(client: &Client, name: &str, since: Option<u64>) -> Self {
        let since = since.map(|since| since.to_string());
        let header: Vec<_> = since.iter().map(|since| ("last-event-id", since.as_str())).collect();
        Self::of(client, &format!("/projections/{name}/events"), &header)
    }

    fn of(client: &Client, path: &str, headers: &[(&str, &str)]) -> Self {
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
    fn block(&self) -> Option<Event> {
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
    fn next(&self) -> Event {
        loop {
            let event = self.block().expect("the stream goes on");
            if !event.kind.is_empty() {
                return event;
            }
        }
    }

    /// What is replayed, until the stream says where it stands.
    fn until_quiet(&self) -> Vec<Event> {
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

/// Something that must be shown to some and to nobody else.
struct Secret {
    what: &'static str,
    /// Where those who may see it find it.
    projection: &'static str,
    /// Texts by which it shows.
    traces: Vec<String>,
    entitled: &'static [&'static str],
}

#[test]
fn nothing_private_is_shown_by_any_route() {
    let node = Spec::default()
        .token(&format!("definer={}:publish,read,define", secret("definer")))
        .start();
    let shy = json!({
        "type": "Create",
        "object": { "type": "Person", "name": "bob", "manuallyApprovesFollowers": true },
    });
    node.publish("bob", &shy);
    for name in ["alice", "carol", "definer"] {
        node.create(name);
    }
    let bob = node.actor("bob");
    let public = node.note("carol", "for everyone");
    let target = public.object();
    let to_bob = |kind: &str, object: Value| json!({ "type": kind, "to": [bob], "object": object, "kind": "share" });
    let traces = |published: &Published| vec![published.id.clone(), published.cid.clone()];
    let both: &[&str] = &["alice", "bob"];
    let and_admin: &[&str] = &["alice", "bob", "admin"];
    let mut secrets = Vec::new();
    for (what, projection) in [
        ("Like", "endorsements"),
        ("Endorse", "endorsements"),
        ("Announce", "announces"),
        ("Follow", "follower-graph"),
    ] {
        let object = if what == "Follow" { json!(bob) } else { json!(target) };
        let published = node.publish("alice", &to_bob(what, object));
        // The newest Like or Endorse of one kind shows.
        let traces = traces(&published);
        secrets.push(Secret { what, projection, traces, entitled: and_admin });
    }
    let note = json!({ "type": "Note", "content": "a whispered word" });
    let note = node.publish("alice", &to_bob("Create", note));
    let mut of_note = traces(&note);
    of_note.extend([note.object().to_owned(), "whispered".to_owned()]);
    secrets.push(Secret { what: "Note", projection: "objects", traces: of_note, entitled: both });
    let verb = json!({ "type": "DefineActivity", "name": "Conspire", "summary": "x" });
    let defined = node.publish("definer", &to_bob("DefineActivity", verb));
    let mut of_verb = traces(&defined);
    of_verb.push("Conspire".into());
    secrets.push(Secret {
        what: "definition",
        projection: "define-registry",
        traces: of_verb,
        entitled: &["definer", "bob", "admin"],
    });
    let head = node.settled_head();

    let readers = [
        ("anyone", None),
        ("alice", Some("alice")),
        ("bob", Some("bob")),
        ("carol", Some("carol")),
        ("definer", Some("definer")),
        ("admin", Some("operator")),
    ];
    for (who, token) in readers {
        let client = token.map_or_else(|| node.client().clone(), |token| node.as_actor(token));
        let capabilities = client.get("/.well-known/sx-capabilities").expect(200, who).text();
        let all: Vec<(&str, String)> =
            PUBLIC_ONES.map(|name| (name, everything(&client, token, name, head))).into();
        for secret in &secrets {
            let is_entitled = secret.entitled.contains(&who);
            for (name, text) in &all {
                let found = secret.traces.iter().find(|trace| text.contains(*trace));
                assert!(
                    is_entitled || found.is_none(),
                    "{name} shows alice's {} to {who}: {found:?}",
                    secret.what
                );
                if is_entitled && *name == secret.projection {
                    assert!(found.is_some(), "{name} shows the {} to {who}", secret.what);
                }
            }
            if !is_entitled {
                let found = secret.traces.iter().find(|trace| capabilities.contains(*trace));
                assert!(found.is_none(), "capabilities: {found:?}");
            }
        }
        // Nobody learns from counts that somebody said something in private.
        for (name, own) in [
            ("endorsements", json!({ "like": 1, "share": 1 })),
            ("announces", json!({ "count": 1 })),
        ] {
            let path = format!("/projections/{name}?key={}", encoded(target));
            let items = client.get(&path).expect(200, who).json()["items"].clone();
            let counts: Vec<&Value> = items
                .as_array()
                .expect("items")
                .iter()
                .filter(|item| item["key"].as_array().is_some_and(|key| key.len() == 1))
                .map(|item| &item["value"])
                .collect();
            let expected: &[&Value] = if who == "admin" { &[&own] } else { &[] };
            assert_eq!(counts, expected, "{name} as {who} sees it");
        }
        let path = format!("/projections/follower-graph?key=counts&key={}", encoded(&bob));
        let counts = client.get(&path).expect(200, who).json()["items"].clone();
        let sees = matches!(who, "bob" | "admin");
        assert_eq!(counts.as_array().is_some_and(|items| items.len() == 1), sees, "{who} {counts}");
        // The feed and its stream are their owner's.
        for path in [
            "/projections/feed?key=bob",
            "/projections/feed?key=bob&at=3",
            "/projections/feed/events?key=bob",
        ] {
            let status = if who == "bob" {
                continue;
            } else if who == "anyone" {
                401
            } else {
                403
            };
            assert_eq!(client.get(path).status, status, "{who} {path}");
        }
    }
    let feed = node.as_actor("bob").get("/projections/feed").expect(200, "bob's feed").text();
    assert!(feed.contains("whispered"), "{feed}");
}

#[test]
fn past_state_can_be_asked_for() {
    let node = Node::start();
    node.create("alice");
    node.create("bob");
    let note = node.note("alice", "first words");
    let object = note.object().to_owned();
    let update = json!({ "type": "Update", "object": { "id": object, "type": "Note", "content": "second words" } });
    let updated = node.publish("alice", &update);
    let follow = node.follow("bob", &node.actor("alice"));
    let head = node.settled_head();
    let content = |at: u64| {
        let path = format!("/projections/objects?key={}&at={at}", encoded(&object));
        let page = node.client().get(&path).expect(200, "past state").json();
        assert_eq!((&page["at"], &page["global_seq"]), (&json!(at), &json!(at)));
        page["items"][0]["value"]["latest"]["content"].clone()
    };
    assert_eq!(content(0), Value::Null);
    assert_eq!(content(note.global_seq - 1), Value::Null);
    assert_eq!(content(note.global_seq), "first words");
    assert_eq!(content(updated.global_seq - 1), "first words");
    assert_eq!(content(updated.global_seq), "second words");
    assert_eq!(content(head), "second words");
    let followers = |at: u64| {
        let alice = encoded(&node.actor("alice"));
        let path = format!("/projections/follower-graph?key=followers&key={alice}&at={at}");
        let page = node.client().get(&path).expect(200, "past state").json();
        page["items"].as_array().expect("items").len()
    };
    assert_eq!((followers(follow.global_seq), followers(head)), (0, 1));
    for name in PUBLIC_ONES {
        let of = |query: &str| {
            let path = format!("/projections/{name}?limit=1000&min_seq={head}{query}");
            node.client().get(&path).expect(200, name).json()["items"].clone()
        };
        assert_eq!(of(&format!("&at={head}")), of(""), "{name} at the end of the log");
    }
    let feed = node.as_actor("bob").get(&format!("/projections/feed?at={head}"));
    feed.expect(200, "past state of one's own feed");

    let ahead = node.client().get(&format!("/projections/objects?at={}", head + 1000));
    let problem = ahead.refused(400, "invalid-parameter", "a position that is yet to come");
    assert_eq!((&problem["parameter"], &problem["head"]), (&json!("at"), &json!(head)));
    for path in ["/projections/objects?at=x", "/projections/objects?at=-1"] {
        node.client().get(path).refused(400, "invalid-parameter", path);
    }
    let deliveries = node.admin().get("/projections/delivery-state?at=1");
    deliveries.refused(400, "invalid-parameter", "a ledger has no past state");

    let delete = node.publish("alice", &json!({ "type": "Delete", "object": object }));
    let path = format!("/projections/objects?min_seq={}&at={}", delete.global_seq, note.global_seq);
    let page = node.client().get(&path).expect(200, "past state").text();
    assert!(!page.contains("first words"), "what was deleted since is not shown: {page}");
}

#[test]
fn changes_are_streamed_and_resumed() {
    let mut node = Node::start();
    node.create("alice");
    node.create("bob");
    let before = node.settled_head();
    let client = node.client().clone();
    let live = Events::open(&client, "objects", None);
    assert_eq!(live.block().expect("where it stands").id, Some(before));
    let first = node.note("alice", "one");
    let event = live.next();
    assert_eq!((event.id, event.kind.as_str()), (Some(first.global_seq), "change"));
    assert_eq!(event.data["key"], json!([first.object()]));
    assert_eq!(event.data["value"]["latest"]["content"], "one");
    assert_eq!(event.data["global_seq"], first.global_seq);
    let second = node.note("bob", "two");
    assert_eq!(live.next().data["key"], json!([second.object()]));

    // A client that was away: from the header, from the query, and only below a key.
    let replayed = Events::open(&client, "objects", Some(first.global_seq)).until_quiet();
    assert_eq!(replayed.len(), 1, "{replayed:?}");
    assert_eq!(replayed[0].id, Some(second.global_seq));
    let path =
        format!("/projections/objects/events?since={before}&key={}", encoded(first.object()));
    let replayed = Events::of(&client, &path, &[]).until_quiet();
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].data["key"], json!([first.object()]));

    // A row that is gone, and several changes at one position: the last one has the id.
    let like = node
        .publish("alice", &json!({ "type": "Like", "to": [PUBLIC], "object": second.object() }));
    let undo = node.publish("alice", &json!({ "type": "Undo", "object": like.id }));
    node.client().get(&format!("/projections/endorsements?min_seq={}", undo.global_seq));
    let replayed = Events::open(&client, "endorsements", Some(like.global_seq)).until_quiet();
    let gone = replayed.iter().find(|event| event.data["key"] == json!([second.object()]));
    assert_eq!(gone.expect("the count").data["value"], Value::Null, "nobody likes it any more");
    let ids: Vec<_> = replayed.iter().map(|event| event.id).collect();
    assert_eq!(ids, [None, Some(undo.global_seq)]);

    // Over a restart, also by a crash; the stream ends with the server.
    node.stop();
    while live.block().is_some() {}
    node.restart();
    node.crash();
    node.restart();
    let client = node.client().clone();
    let replayed = Events::open(&client, "objects", Some(before)).until_quiet();
    let keys: Vec<_> = replayed.iter().map(|event| event.data["key"][0].clone()).collect();
    assert_eq!(keys, [json!(first.object()), json!(second.object())]);

    // A position that is not there (any more): read anew.
    let reset = Events::open(&client, "objects", Some(1_000_000)).next();
    assert_eq!(reset.kind, "reset");
    assert_eq!(reset.data["global_seq"].as_u64(), reset.id);
    let stream = Events::open(&client, "objects", None);
    stream.block();
    node.admin().post("/admin/projections/objects/rebuild", &json!({})).expect(202, "a rebuild");
    assert_eq!(stream.next().kind, "reset", "the state was replaced");
    let third = node.note("alice", "three");
    assert_eq!(stream.next().data["key"], json!([third.object()]), "and the stream goes on");

    for (path, headers, status, slug) in [
        ("/projections/none/events", vec![], 404, "not-found"),
        ("/projections/delivery-state/events", vec![], 404, "not-found"),
        ("/projections/objects/events?since=x", vec![], 400, "invalid-parameter"),
        ("/projections/objects/events", vec![("last-event-id", "x")], 400, "invalid-parameter"),
        (
            "/projections/objects/events",
            vec![("accept", "application/json")],
            406,
            "not-acceptable",
        ),
    ] {
        client.send("GET", path, &headers, None).refused(status, slug, path);
    }
    let open: Vec<_> = (0..31).map(|_| Events::open(&client, "objects", None)).collect();
    let refused = client.send("GET", "/projections/objects/events", &[], None);
    refused.refused(503, "busy", "a client has a number of streams");
    drop((open, stream));
}

/// `fedsx projection` against a running node, by its admin token.
fn projection(node: &Node, args: &[&str]) -> (Option<i32>, String) {
    let mut command = command();
    command.arg("projection").args(args);
    command.env("FEDSX_URL", &node.base).env("FEDSX_TOKEN", secret("operator"));
    let ended = run_to_end(command);
    (ended.code, format!("{}{}", ended.stdout, ended.stderr))
}

#[test]
fn what_cannot_be_digested_is_decided_about() {
    let mut node = Node::start();
    node.create("alice");
    // The schema takes an object without an id; what announces it says nothing about anything.
    let odd = json!({ "type": "Announce", "object": { "type": "Note", "content": "no id" } });
    let (first, second) = (node.publish("alice", &odd), node.publish("alice", &odd));
    let after = node.publish("alice", &json!({ "type": "Announce", "object": first.id }));
    let items = node.projection("announces", &format!("?min_seq={}", after.global_seq));
    assert_eq!(items.len(), 2, "the projection goes on: {items:?}");
    let waiting = |node: &Node| {
        let listing = node.client().get("/projections").expect(200, "the projections").json();
        let all = listing["projections"].as_array().expect("projections").clone();
        let one = all.into_iter().find(|one| one["name"] == "announces").expect("announces");
        one["set_aside"].clone()
    };
    assert_eq!(waiting(&node), 2);
    let admin = node.admin();
    let list = |admin: &Client| {
        let path = "/admin/projections/announces/set-aside";
        admin.get(path).expect(200, "set aside").json()["items"].clone()
    };
    let items = list(&admin);
    assert_eq!(items[0]["global_seq"], first.global_seq);
    assert_eq!((&items[0]["status"], &items[0]["cid"]), (&json!("waiting"), &json!(first.cid)));
    assert!(!items[0]["reason"].as_str().expect("a reason").is_empty());

    let place = format!("/admin/projections/announces/set-aside/{}", first.global_seq);
    let wish = |decision: &str| json!({ "decision": decision, "why": "it names nothing" });
    for (case, client, path, body, status, slug) in [
        ("no token", node.client().clone(), &place, wish("skip"), 401, "invalid-token"),
        ("no scope", node.as_actor("alice"), &place, wish("skip"), 403, "insufficient-scope"),
        ("no decision", admin.clone(), &place, wish("perhaps"), 400, "invalid-parameter"),
        (
            "too much",
            admin.clone(),
            &place,
            json!({ "decision": "skip", "why": "x".repeat(501) }),
            400,
            "invalid-parameter",
        ),
        (
            "another record",
            admin.clone(),
            &place.replace(&first.global_seq.to_string(), "1"),
            wish("skip"),
            404,
            "not-found",
        ),
        (
            "another projection",
            admin.clone(),
            &place.replace("announces", "none"),
            wish("skip"),
            404,
            "not-found",
        ),
    ] {
        client.post(path, &body).refused(status, slug, case);
    }
    let forged = json!({
        "type": "DecideSetAside",
        "object": { "type": "SetAsideRecord", "projection": "announces", "global_seq": first.global_seq, "cid": first.cid },
        "decision": "skip",
    });
    let refused = node.as_actor("alice").post("/activity", &forged);
    refused.refused(422, "schema-violation", "only the instance decides");
    assert_eq!(waiting(&node), 2, "nothing of that decided anything");

    // A retry fails as the first time did, and that is noted.
    let retried = admin.post(&place, &wish("retry")).expect(201, "a retry").json();
    assert_eq!(
        (&retried["item"]["status"], &retried["item"]["failed_retries"]),
        (&json!("waiting"), &json!(1))
    );
    let skipped = admin.post(&place, &wish("skip")).expect(201, "a skip").json();
    let item = &skipped["item"];
    assert_eq!(
        (&item["status"], &item["decided"]["why"]),
        (&json!("skipped"), &json!("it names nothing"))
    );
    assert_eq!(
        (&item["decided"]["cid"], &item["decided"]["global_seq"]),
        (&skipped["cid"], &skipped["global_seq"])
    );
    assert_eq!(waiting(&node), 1);
    // The decision is an activity of the instance actor, for nobody else to read.
    let id = skipped["id"].as_str().expect("an id");
    assert!(id.starts_with(&node.base));
    assert_eq!(node.client().get(id).status, 404);
    let outbox = node.client().get("/actors/instance/outbox?since=&limit=100").text();
    assert!(!outbox.contains("it names nothing"), "{outbox}");

    // The same by the command line.
    let seq = second.global_seq.to_string();
    let (code, text) = projection(&node, &["set-aside", "announces"]);
    assert!(code == Some(0) && text.contains(&seq) && text.contains("1 wait"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", &seq, "--retry"]);
    assert!(code == Some(1) && text.contains("waiting"), "{text}");
    let (code, text) =
        projection(&node, &["set-aside", "announces", &seq, "--skip", "--why", "neither"]);
    assert!(code == Some(0) && text.contains("skipped"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", "1", "--skip"]);
    assert!(code == Some(2) && text.contains("404"), "{text}");
    let (code, text) = projection(&node, &["set-aside", "announces", "--skip"]);
    assert_eq!(code, Some(2), "{text}");
    assert_eq!(waiting(&node), 0);

    let (before, digest) = (list(&admin), digest(&node, "announces"));
    node.restart();
    assert_eq!(list(&node.admin()), before, "decisions survive a restart");
    assert_eq!(self::digest(&node, "announces"), digest);
    let (code, text) = projection(&node, &["rebuild", "announces"]);
    assert!(code == Some(0) && text.contains("the same as before"), "{text}");
    assert_eq!(list(&node.admin()), before, "and are part of a rebuild");
    assert_eq!(self::digest(&node, "announces"), digest);
    node.stop();
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
}

/// The digest of a projection that has come to the end of the log.
fn digest(node: &Node, name: &str) -> Value {
    let head = node.settled_head();
    let path = format!("/projections/{name}?limit=1&min_seq={head}&wait_ms=20000");
    node.admin().get(&path).expect(200, name);
    let path = format!("/admin/projections?name={name}");
    let items = node.admin().get(&path).expect(200, "digests").json()["items"].clone();
    items[0]["digest"].clone()
}

#[test]
fn digests_stay_and_rebuilds_agree() {
    let mut node = Node::start();
    for name in ["alice", "bob"] {
        node.create(name);
    }
    node.follow("alice", &node.actor("bob"));
    let note = node.note("bob", "something");
    node.publish("alice", &json!({ "type": "Announce", "object": note.cid }));
    node.publish(
        "alice",
        &json!({ "type": "Like", "to": [node.actor("bob")], "object": note.object() }),
    );
    node.publish("bob", &json!({ "type": "Delete", "object": note.object() }));
    let listing = node.client().get("/projections").expect(200, "the projections").json();
    let listed = listing["projections"].as_array().expect("projections").iter();
    // Deliveries are a ledger.
    let names: Vec<&str> = listed
        .map(|one| one["name"].as_str().expect("a name"))
        .filter(|name| *name != "delivery-state")
        .collect();
    let all = |node: &Node| -> Vec<Value> { names.iter().map(|name| digest(node, name)).collect() };
    let before = all(&node);
    node.restart();
    assert_eq!(all(&node), before, "after a restart");
    node.crash();
    node.restart();
    assert_eq!(all(&node), before, "after a crash");

    // What is served stays while the new state is built.
    let head = node.settled_head();
    let feed = |node: &Node| {
        let path = format!("/projections/feed?min_seq={head}");
        node.as_actor("alice").get(&path).expect(200, "the feed").json()["items"].clone()
    };
    let shown = feed(&node);
    for name in &names {
        let path = format!("/admin/projections/{name}/rebuild");
        let begun = node.admin().post(&path, &json!({})).expect(202, name).json();
        assert_eq!(begun["projection"]["name"], *name);
        assert_eq!(feed(&node), shown);
        let path = format!("/admin/projections?name={name}&digest=false");
        let rebuilt = eventually(PATIENCE, "the rebuild ends", || {
            let items = node.admin().get(&path).expect(200, name).json()["items"].clone();
            items[0]["rebuilt"].is_object().then(|| items[0]["rebuilt"].clone())
        });
        assert_eq!(rebuilt["is_same"], true, "{name}: {rebuilt}");
    }
    assert_eq!(all(&node), before, "after a rebuild");
    for (case, client, status) in
        [("no token", node.client().clone(), 401), ("no scope", node.as_actor("alice"), 403)]
    {
        assert_eq!(
            client.post("/admin/projections/feed/rebuild", &json!({})).status,
            status,
            "{case}"
        );
    }
    let unknown = node.admin().post("/admin/projections/none/rebuild", &json!({}));
    unknown.refused(404, "not-found", "another projection");

    let (code, text) = projection(&node, &["list"]);
    assert!(code == Some(0) && names.iter().all(|name| text.contains(name)), "{text}");
    let (code, text) = projection(&node, &["digest", "feed"]);
    let expected = digest(&node, "feed")["digest"].as_str().expect("a digest").to_owned();
    assert!(code == Some(0) && text.contains(&expected), "{text}");
    let (code, text) = projection(&node, &["digest", "--json"]);
    assert_eq!(code, Some(0));
    let items: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(names.len()));
    let (code, text) = projection(&node, &["rebuild", "--all"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = projection(&node, &["digest", "none"]);
    assert!(code == Some(2) && text.contains("404"), "{text}");
    let mut tokenless = command();
    tokenless.args(["projection", "--url", &node.base, "list"]);
    let ended = run_to_end(tokenless);
    assert!(ended.code == Some(2) && ended.stderr.contains("--token"), "{}", ended.all());

    node.stop();
    let offline = |args: &[&str]| {
        let mut command = command();
        command.args(["projection", "rebuild", "--data"]).arg(node.data()).args(args);
        run_to_end(command)
    };
    let one = offline(&["objects"]);
    assert!(one.code == Some(0) && one.stdout.contains("the same as before"), "{}", one.all());
    let every = offline(&["--all", "--json"]);
    let items: Value = serde_json::from_str(&every.stdout).expect("JSON");
    assert_eq!(items["items"].as_array().map(Vec::len), Some(names.len()), "{}", every.all());
    assert_eq!(offline(&["none"]).code, Some(2));
    let checked = verify(node.data());
    assert_eq!(checked.code, Some(0), "{}", checked.all());
    node.restart();
    assert_eq!(all(&node), before, "after an offline rebuild");
}
