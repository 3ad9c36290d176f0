//! Limits on what comes in: each is reached, answered as plans/limits.md says, and harms nobody else.

mod aside;
mod inner;
mod shares;
mod table;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Client};
use crate::support::node::{Node, Spec};
use crate::support::peer::unique;
use crate::support::verbs::{items, note};
use crate::support::{ACTIVITY_JSON, PATIENCE, Peer, Sign, at_once, eventually};

/// An instance with options in place of their defaults.
fn with(options: &[(&str, &str)]) -> Node {
    let mut spec = Spec::default();
    for (name, value) in options {
        spec.args.extend([format!("--{name}"), (*value).to_owned()]);
    }
    spec.start()
}

/// A connection from an address of this machine.
fn connect_from(node: &Node, from: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
    let to = SocketAddr::from(([127, 0, 0, 1], node.port()));
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
        socket.connect(to).await.expect("the server listens").into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn connect(node: &Node) -> TcpStream {
    connect_from(node, "127.0.0.1")
}

/// Sends the head of a request, and nothing more.
fn begin(stream: &mut TcpStream, method: &str, path: &str, fields: &[&str]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
    fields.iter().for_each(|field| head.push_str(&format!("{field}\r\n")));
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("written");
}

/// All that comes until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    let slow = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!slow, "the connection does not end; so far: {}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks a refusal that was read as text.
#[track_caller]
fn is_refusal(text: &str, status: u16, slug: &str, case: &str) {
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {text}");
    assert!(text.contains(&format!("/problems/{slug}")), "{case}: {text}");
}

/// A request as a proxy passes it on for a client.
fn passed_on(client: &Client, path: &str, for_whom: &str) -> Answer {
    client.send("GET", path, &[("x-forwarded-for", for_whom)], None)
}

#[test]
fn heads_and_documents_have_sizes() {
    let node = Node::start();
    node.create("alice");
    let head = node.settled_head();
    let ask = |path: &str, fields: &[&str]| {
        let mut stream = connect(&node);
        let mut all = fields.to_vec();
        all.push("connection: close");
        begin(&mut stream, "GET", path, &all);
        rest(stream)
    };
    let long = format!("/nodeinfo/2.1?{}", "x".repeat(8 * 1024));
    is_refusal(&ask(&long, &[]), 414, "uri-too-long", "a long query");
    let large = format!("x-large: {}", "x".repeat(33 * 1024));
    is_refusal(&ask("/nodeinfo/2.1", &[&large]), 431, "headers-too-large", "a large field");
    let huge = format!("x-large: {}", "x".repeat(80 * 1024));
    assert!(ask("/nodeinfo/2.1", &[&huge]).starts_with("HTTP/1.1 431 "), "a larger one");
    let many: Vec<_> = (0..101).map(|n| format!("x-{n}: 1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(ask("/nodeinfo/2.1", &many).starts_with("HTTP/1.1 431 "), "many fields");
    assert!(ask("/nodeinfo/2.1", &many[..90]).starts_with("HTTP/1.1 200 "), "not so many");

    let (alice, admin) = (node.as_actor("alice"), node.admin());
    let json = [("content-type", ACTIVITY_JSON)];
    let large = format!("{{\"object\":\"{}\"}}", "x".repeat(70 * 1024)).into_bytes();
    let answer = admin.post_large("/admin/erase", &json, &large);
    answer.refused(413, "too-large", "what no activity is has 64 KiB");
    let answer = admin.post_chunked("/admin/erase", &json, &large);
    answer.refused(413, "too-large", "also in chunks");
    for (case, item) in [("arrays", "[]"), ("objects", "{}"), ("values", "0")] {
        let items = vec![item; if item == "0" { 70_000 } else { 9000 }].join(",");
        let body = format!("{{\"type\":\"Create\",\"object\":[{items}]}}").into_bytes();
        let answer = alice.send("POST", "/activity", &json, Some(body));
        let problem = answer.refused(400, "malformed-json", case);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("more than"), "{case}: {detail}");
    }
    let many: Vec<_> = (0..2001).map(|n| format!("https://a.example/users/{n}")).collect();
    let request = json!({ "type": "Create", "to": many, "object": { "type": "Note" } });
    alice.post("/activity", &request).refused(422, "invalid-activity", "many recipients");
    let key = [("idempotency-key", &*"x".repeat(256))];
    let answer = alice.post_with("/activity", &note("x"), &key);
    answer.refused(400, "invalid-parameter", "a long idempotency key");
    let odd = alice.get(&format!("/projections/feed?key=alice&limit={}", "x".repeat(6000)));
    let problem = odd.refused(400, "invalid-parameter", "what is quoted is cut");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.chars().count() <= 1001, "{} characters", detail.chars().count());
    assert_eq!(node.settled_head(), head, "nothing was appended");
}

#[test]
fn what_a_request_names_is_limited() {
    let node = Node::start();
    node.create("alice");
    let (alice, admin) = (node.as_actor("alice"), node.admin());
    let others = |count: usize| {
        (0..count).map(|n| format!("https://a.example/users/{n}")).collect::<Vec<_>>()
    };
    let aliases = |count| {
        let profile = json!({ "id": node.actor("alice"), "alsoKnownAs": others(count) });
        alice.post("/activity", &json!({ "type": "Update", "object": profile }))
    };
    aliases(20).expect(201, "20 aliases");
    let report =
        |count| alice.post("/activity", &json!({ "type": "Flag", "object": others(count) }));
    report(100).expect(201, "a report on 100");
    let token = |chars| {
        let wish = json!({ "actor": "alice", "scopes": ["read"], "label": "ä".repeat(chars) });
        admin.post("/admin/tokens", &wish)
    };
    token(100).expect(201, "a label of 100 characters");
    let block = |chars| {
        let reason = "ä".repeat(chars);
        let wish = json!({ "action": "block", "object": "b.example", "reason": reason });
        admin.post("/admin/moderation", &wish)
    };
    block(2000).expect(201, "a reason of 2000 characters");
    let head = node.settled_head();
    aliases(21).refused(422, "invalid-activity", "an alias more");
    report(101).refused(422, "invalid-activity", "one more is reported");
    token(101).refused(400, "invalid-parameter", "a longer label");
    block(2001).refused(400, "invalid-parameter", "a longer reason");
    assert_eq!(node.settled_head(), head, "nothing was appended");
}

#[test]
fn ids_and_pages_have_sizes() {
    let (node, peer) = (Node::start(), Peer::start());
    node.create("alice");
    node.create("bob");
    let (alice, to_alice) = (node.as_actor("alice"), [&*node.actor("alice")]);
    // An id, filled up to so many bytes.
    let long = |base: &str, bytes: usize| {
        let id = format!("{base}/{:032x}/", unique());
        format!("{id}{}", "x".repeat(bytes - id.len()))
    };
    let like = |id: &str| alice.post("/activity", &json!({ "type": "Like", "object": id }));
    like(&long("https://a.example", 2048)).expect(201, "an id of 2048 bytes");
    let trent = peer.actor("trent");
    let deliver = |name: &str, id: String| {
        let mut activity = trent.plain("Like", json!(node.actor("bob")), &to_alice);
        activity[name] = id.into();
        trent.deliver(&node, "/actors/alice/inbox", &activity, Sign::Cavage)
    };
    deliver("id", long(&peer.base, 2048)).expect(202, "an id of 2048 bytes");
    let head = node.settled_head();
    let refused = like(&long("https://a.example", 2049));
    refused.refused(422, "unknown-reference", "one byte more");
    for member in ["id", "actor", "object"] {
        let refused = deliver(member, long(&peer.base, 2049));
        refused.refused(422, "invalid-activity", &format!("one byte more in {member}"));
    }
    assert_eq!(node.settled_head(), head, "nothing was appended");

    let text = json!({ "type": "Note", "content": "for a page" });
    let to_bob = json!({ "type": "Create", "to": [node.actor("bob")], "object": text });
    at_once(8, |_| {
        for _ in 0..26 {
            node.publish("alice", &to_bob);
        }
    });
    let places = [("alice", "/actors/alice/outbox?page=1"), ("bob", "/actors/bob/inbox?page=true")];
    for (name, path) in places {
        let client = node.as_actor(name);
        for (limit, shown) in [(199, 199), (200, 200), (201, 200), (1_000_000, 200)] {
            let page = client.get(&format!("{path}&limit={limit}")).expect(200, path).json();
            assert_eq!(items(&page).len(), shown, "{path} with a limit of {limit}");
            let next = page["next"].as_str().unwrap_or_else(|| panic!("a next page of {path}"));
            let rest = items(&client.get(next).expect(200, next).json());
            assert!(!rest.is_empty() && rest.iter().all(|item| !items(&page).contains(item)));
        }
    }
}

fn metric(node: &Node, name: &str) -> f64 {
    let text = node.client().get("/metrics").expect(200, "metrics").text_whole();
    let lines = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn slow_clients_are_cut_off() {
    let node =
        with(&[("header-timeout", "1s"), ("body-timeout", "6s"), ("response-timeout", "1s")]);
    node.create("alice");
    // A head that does not end, and a connection on which nothing comes any more.
    let mut slow = connect(&node);
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").expect("written");
    let mut idle = connect(&node);
    begin(&mut idle, "GET", "/livez", &[]);
    assert!(rest(idle).starts_with("HTTP/1.1 200 "), "it was answered, and then closed");
    assert!(!rest(slow).contains(" 200 "), "half a head");

    // A body that comes slower than 1 KiB a second: given up long before its time is over.
    let mut slow = connect(&node);
    let token = format!("authorization: Bearer {}", node.as_actor("alice").secret());
    let fields = [token.as_str(), "content-type: application/json", "content-length: 100000"];
    begin(&mut slow, "POST", "/activity", &fields);
    let done = AtomicBool::new(false);
    let text = std::thread::scope(|scope| {
        let mut writer = slow.try_clone().expect("a handle");
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) && writer.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let text = rest(slow);
        done.store(true, Ordering::Relaxed);
        text
    });
    is_refusal(&text, 408, "request-timeout", "a slow body");

    // Answers that nobody reads.
    let large = "x".repeat(90 * 1024);
    for _ in 0..8 {
        node.as_actor("alice").post("/activity", &note(&large)).expect(201, "a large note");
    }
    let mut deaf = connect(&node);
    for _ in 0..60 {
        begin(&mut deaf, "GET", "/actors/alice/outbox?limit=8", &[]);
    }
    eventually(PATIENCE, "no connection but that which asks", || {
        (metric(&node, "fedsx_http_connections") <= 1.0).then_some(())
    });
    drop(deaf);
    node.client().get("/livez").expect(200, "it goes on");
}

#[test]
fn connections_are_limited_for_each_address_and_in_all() {
    let node = with(&[("connections", "7"), ("concurrent-per-address", "4")]);
    // Opens connections that are kept, until one is refused.
    let fill = |from: &str, most: usize| {
        let mut held = Vec::new();
        loop {
            let mut stream = connect_from(&node, from);
            begin(&mut stream, "GET", "/livez", &[]);
            let mut first = [0; 12];
            stream.read_exact(&mut first).expect("an answer");
            if &first != b"HTTP/1.1 200" {
                return (held, format!("{}{}", String::from_utf8_lossy(&first), rest(stream)));
            }
            held.push(stream);
            assert!(held.len() <= most, "more than {most} connections");
        }
    };
    let (one, refused) = fill("127.0.0.1", 4);
    is_refusal(&refused, 429, "too-many-requests", "of one address");
    assert!(refused.to_ascii_lowercase().contains("retry-after: 1"), "{refused}");
    let (_two, refused) = fill("127.0.0.2", 4);
    is_refusal(&refused, 503, "busy", "of all");
    drop(one);
    eventually(PATIENCE, "what is closed makes room", || {
        let mut stream = connect(&node);
        begin(&mut stream, "GET", "/livez", &["connection: close"]);
        rest(stream).starts_with("HTTP/1.1 200 ").then_some(())
    });
}

#[test]
fn bodies_have_memory_together() {
    let node = with(&[("body-memory", "1MiB")]);
    node.create("alice");
    let alice = node.as_actor("alice");
    let token = format!("authorization: Bearer {}", alice.secret());
    let mut half = connect(&node);
    let fields = [token.as_str(), "content-type: application/json", "content-length: 1000000"];
    begin(&mut half, "POST", "/activity", &fields);
    half.write_all(&vec![b' '; 990_000]).expect("written");
    eventually(PATIENCE, "the memory is taken", || {
        (metric(&node, "fedsx_http_body_bytes") >= 990_000.0).then_some(())
    });
    let large = note(&"x".repeat(80 * 1024));
    let refused = alice.post("/activity", &large);
    refused.refused(503, "busy", "no memory is left");
    assert_eq!(refused.header("retry-after"), "1");
    alice.post("/activity", &note("small")).expect(201, "a small one");
    drop(half);
    eventually(PATIENCE, "what was given up makes room", || {
        (alice.post("/activity", &large).status == 201).then_some(())
    });
}

#[test]
fn requests_under_way_are_limited_for_each_client_and_in_all() {
    let node = with(&[
        ("trusted-proxies", "127.0.0.1"),
        ("requests-in-flight", "4"),
        ("concurrent-per-address", "2"),
        // A machine that is busy with something else refuses none of these few.
        ("queueing-delay", "1h"),
    ]);
    node.create("alice");
    // Requests that wait for what will not be.
    let token = format!("authorization: Bearer {}", node.as_actor("alice").secret());
    let wait = |from: &str| {
        let mut stream = connect(&node);
        let from = format!("x-forwarded-for: {from}");
        let path = "/projections/feed?key=alice&min_seq=9999999&wait_ms=30000";
        begin(&mut stream, "GET", path, &[&token, &from]);
        stream
    };
    // Else one of the requests below might be under way in the place of one that waits.
    let idle = metric(&node, "fedsx_http_requests_in_flight");
    let under_way = |count: f64| {
        eventually(PATIENCE, &format!("{count} requests wait"), || {
            (metric(&node, "fedsx_http_requests_in_flight") >= idle + count).then_some(())
        });
    };
    let path = "/nodeinfo/2.1";
    let becomes = |from: &str, status: u16| {
        eventually(PATIENCE, &format!("{from} is answered {status}"), || {
            let answer = passed_on(node.client(), path, from);
            (answer.status == status).then_some(answer)
        })
    };
    let one = [wait("192.0.2.1"), wait("192.0.2.1")];
    under_way(2.0);
    becomes("192.0.2.1", 429).refused(429, "too-many-requests", "of one client");
    passed_on(node.client(), path, "192.0.2.2").expect(200, "another client");
    let two = [wait("192.0.2.2"), wait("192.0.2.2")];
    under_way(4.0);
    let answer = becomes("192.0.2.3", 503);
    answer.refused(503, "busy", "of all");
    assert_eq!(answer.header("retry-after"), "1");
    for path in ["/livez", "/readyz", "/metrics"] {
        node.client().get(path).expect(200, "health");
    }
    node.admin().get("/admin/peers").expect(200, "operators");
    drop((one, two));
    becomes("192.0.2.3", 200);
    becomes("192.0.2.1", 200);
}

/// A request that is refused before its body was read does not end the connection, unless the body is
/// long.
#[test]
fn who_is_refused_keeps_the_connection() {
    let node = with(&[("requests-per-second", "1")]);
    eventually(PATIENCE, "the share is used up", || {
        (node.client().get("/nodeinfo/2.1").status == 429).then_some(())
    });
    let mut stream = connect(&node);
    let body = vec![b'x'; 60 * 1024];
    for _ in 0..2 {
        let length = format!("content-length: {}", body.len());
        begin(&mut stream, "POST", "/inbox", &["content-type: application/json", &length]);
        stream.write_all(&body).expect("written");
    }
    begin(&mut stream, "GET", "/livez", &["connection: close"]);
    let answers = rest(stream);
    // The share may have grown by one meanwhile; what that one says is no JSON.
    let refused = answers.matches("HTTP/1.1 429 ").count();
    assert!(refused >= 1, "{answers}");
    assert_eq!(refused + answers.matches("HTTP/1.1 400 ").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{answers}");
}

/// Far more clients than the instance may let wait: some are answered at once that it is behind, the
/// others get their answers, and operators all of theirs.
#[test]
fn a_share_is_refused_while_the_instance_is_behind() {
    let node = with(&[
        ("queueing-delay", "1ms"),
        ("requests-in-flight", "256"),
        ("requests-per-second", "0"),
        ("actor-requests-per-second", "0"),
    ]);
    let names = ["alice", "bob", "carol", "dave"];
    for name in names {
        node.create(name);
    }
    let (taken, behind, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let publish = |name: &str| {
        let answer = node.as_actor(name).post("/activity", &note("more"));
        if answer.status == 201 {
            taken.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let problem = answer.refused(503, "busy", "behind");
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("behind"), "{problem}");
        let wait = answer.header("retry-after").parse::<u64>();
        assert!(wait.as_ref().is_ok_and(|wait| (1..=5).contains(wait)), "{wait:?}");
        behind.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for n in 0..40 {
            let (publish, over) = (&publish, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    publish(names[n % names.len()]);
                }
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while behind.load(Ordering::Relaxed) < 20 && Instant::now() < deadline {
            node.client().get("/livez").expect(200, "health");
            node.admin().get("/admin/peers").expect(200, "operators");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(behind.load(Ordering::Relaxed) >= 20, "some were refused");
    assert!(taken.load(Ordering::Relaxed) > 0, "others were not");
    assert!(metric(&node, "fedsx_http_requests_shed_total") > 0.0);
    for _ in 0..20 {
        node.as_actor("alice").post("/activity", &note("after it")).expect(201, "alone again");
    }
}
