//! Limits on what comes in: each is reached, answered as plans/limits.md says, and harms nobody else.

mod inner;
mod table;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fedsx_delivery::signature::Scheme;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::runtime::OsRandom;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::node::{Node, Spec};
use crate::support::peer::{Foreign, fetch_signed, unique};
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

/// Asks until that is too often; gives how often it was not, and the refusal.
#[track_caller]
fn until_refused(mut ask: impl FnMut(usize) -> Answer) -> (usize, Value) {
    for asked in 0..400 {
        let answer = ask(asked);
        if answer.status == 429 {
            let wait = answer.header("retry-after").parse::<u64>();
            assert!(wait.as_ref().is_ok_and(|wait| (1..=10).contains(wait)), "{wait:?}");
            return (asked, answer.refused(429, "too-many-requests", "too often"));
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    panic!("no limit");
}

#[test]
fn addresses_and_actors_have_shares_of_requests() {
    let node = with(&[
        ("trusted-proxies", "127.0.0.1"),
        ("requests-per-second", "1"),
        ("actor-requests-per-second", "3"),
    ]);
    let (anyone, path) = (node.client(), "/nodeinfo/2.1");
    let (asked, _) = until_refused(|_| passed_on(anyone, path, "2001:db8::1"));
    assert!(asked >= 10, "ten seconds' worth at once: {asked}");
    let refused = |for_whom: &str, case: &str| {
        // As the share grows again all the while, it is used up first.
        until_refused(|_| passed_on(anyone, path, "2001:db8::1"));
        passed_on(anyone, path, for_whom).refused(429, "too-many-requests", case);
    };
    refused("2001:db8::ffff:2", "another address of its network");
    refused("198.51.100.1, 2001:db8::1", "what a client writes itself does not count");
    passed_on(anyone, path, "2001:db8:0:1::1").expect(200, "another network");
    passed_on(anyone, path, "198.51.100.1").expect(200, "another address");
    for path in ["/livez", "/readyz"] {
        passed_on(anyone, path, "2001:db8::1").expect(200, "health is not counted");
    }
    passed_on(anyone, "/metrics", "127.0.0.1").refused(404, "not-found", "through a proxy");

    // Tokens of one actor count together, wherever they are presented.
    let from = |n: usize| format!("192.0.2.{}", n % 250);
    let wish = json!({ "actor": "alice", "scopes": ["publish", "read"], "capability": true });
    let headers = [("x-forwarded-for", "198.51.100.9")];
    let made = node.admin().post_with("/admin/tokens", &wish, &headers).expect(201, "a capability");
    let phone = node.client().with_secret(made.json()["secret"].as_str().expect("a token"));
    let alice = node.as_actor("alice");
    let (asked, problem) = until_refused(|n| passed_on(&alice, "/token", &from(n)));
    assert!(asked >= 30, "ten seconds' worth at once: {asked}");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("alice")), "{problem}");
    until_refused(|n| passed_on(&alice, "/token", &from(n + 100)));
    let other = passed_on(&phone, "/token", "203.0.113.1");
    other.refused(429, "too-many-requests", "a capability of the same actor");
    passed_on(&node.as_actor("bob"), "/token", "203.0.113.2").expect(200, "another actor");
    passed_on(anyone, path, "203.0.113.3").expect(200, "and whoever has no token");
}

/// Reads are counted against the peer of who signed them, wherever they come from; what nobody of it
/// signed, and what it delivers, is not.
#[test]
fn peers_have_shares_of_signed_reads() {
    let node = with(&[
        ("peer-reads-per-second", "1"),
        ("requests-per-second", "0"),
        ("authorized-fetch", "true"),
    ]);
    node.create("alice");
    let (alice, path) = (node.actor("alice"), "/actors/alice/outbox");
    let (busy, calm) = (Peer::start(), Peer::start());
    let (mallory, eve, trent) = (busy.actor("mallory"), busy.actor("eve"), calm.actor("trent"));
    let read = |by: &Foreign, path: &str| by.fetch(&node, path, ACTIVITY_JSON);
    let mut eve_once = Some(read(&eve, path));
    let (asked, problem) =
        until_refused(|_| eve_once.take().unwrap_or_else(|| read(&mallory, path)));
    assert!(asked >= 10, "ten seconds' worth at once: {asked}");
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("reads")), "{problem}");
    for (by, path, case) in [
        (&eve, path, "another actor of it"),
        (&mallory, "/actors/alice", "where others are shown a part"),
        (&mallory, "/projections/objects", "a projection"),
    ] {
        // As the share grows again all the while, it is used up first.
        until_refused(|_| read(&mallory, "/actors/alice/followers"));
        read(by, path).refused(429, "too-many-requests", case);
    }
    let letter = mallory.note("still heard", &[&alice]);
    let answer = mallory.deliver(&node, "/actors/alice/inbox", &letter, Sign::Cavage);
    answer.expect(202, "deliveries have a share of their own");
    node.client().get("/actors/alice").expect(200, "and so has whoever signs nothing");

    // Who claims to be Trent uses up nothing of his.
    read(&trent, path).expect(200, "another peer");
    let thief = SecretKey::generate_ed25519(&OsRandom);
    for _ in 0..20 {
        let by = (trent.key_id.as_str(), &thief);
        let answer = fetch_signed(&node, path, ACTIVITY_JSON, Scheme::Rfc9421, by);
        answer.refused(401, "invalid-signature", "another key");
    }
    read(&trent, path).expect(200, "his share is whole");
    eventually(PATIENCE, "the share grows again", || {
        (read(&mallory, path).status == 200).then_some(())
    });
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
