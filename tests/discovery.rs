//! Step 10: webfinger, actor documents, and what else an instance says about itself.

use serde_json::json;

use fedsx_delivery::signature;

use crate::support::node::{Node, Spec, command, run_to_end};
use crate::support::{ACTIVITY_JSON, Peer, Sign};

fn authority(base: &str) -> &str {
    base.trim_start_matches("http://")
}

fn webfinger(resource: &str) -> String {
    format!("/.well-known/webfinger?resource={resource}")
}

/// The link to the actor document in a JRD.
fn self_link(jrd: &serde_json::Value) -> String {
    let links = jrd["links"].as_array().expect("links");
    let link = links.iter().find(|link| link["rel"] == "self" && link["type"] == ACTIVITY_JSON);
    link.unwrap_or_else(|| panic!("no self link in {jrd}"))["href"].as_str().expect("href").into()
}

#[test]
fn local_actors_are_found() {
    let node = Node::start();
    node.create("alice");
    let alice = node.actor("alice");
    let account = format!("acct:alice@{}", authority(&node.base));
    let client = node.client();
    let answer = client.get(&webfinger(&account)).expect(200, "an account");
    assert_eq!(answer.media_type(), "application/jrd+json");
    let jrd = answer.json();
    assert_eq!(jrd["subject"], account, "the subject is the account");
    assert_eq!(self_link(&jrd), alice, "the self link is the actor");
    assert_eq!(answer.header("access-control-allow-origin"), "*", "RFC 7033, section 5");
    // The way back, in the actor document (FEP-2c59).
    let document = client.get("/actors/alice").expect(200, "the actor").json();
    assert_eq!(format!("acct:{}", document["webfinger"].as_str().unwrap_or_default()), account);
    assert!(document["@context"].to_string().contains("socialweb/webfinger#webfinger"));
    let by_url = client.get(&webfinger(&alice)).expect(200, "the actor's URL").json();
    assert_eq!(self_link(&by_url), alice, "a URL leads to itself");
    let escaped = account.replace(':', "%3A").replace('@', "%40");
    let jrd = client.get(&webfinger(&escaped)).expect(200, "percent-encoded").json();
    assert_eq!(self_link(&jrd), alice);
    let upper = format!("acct:alice@{}", authority(&node.base).to_uppercase());
    client.get(&webfinger(&upper)).expect(200, "hosts know no case");

    let unknown = format!("acct:nobody@{}", authority(&node.base));
    assert_eq!(client.get(&webfinger(&unknown)).status, 404, "an unknown account");
    let foreign = client.get(&webfinger("acct:alice@example.org"));
    assert_eq!(foreign.status, 404, "another host, without a token: {}", foreign.text());
    let missing = client.get("/.well-known/webfinger");
    missing.refused(400, "invalid-parameter", "no resource");
    let odd = client.get(&webfinger("mailto:alice"));
    assert!(matches!(odd.status, 400 | 404), "not an account: {}", odd.text());
    let twice = client.get(&format!("{}&resource=acct:x@y", webfinger(&account)));
    assert!(matches!(twice.status, 200 | 400), "two resources: {}", twice.text());
}

#[test]
fn an_instance_describes_itself() {
    let node = Node::start();
    node.create("alice");
    let client = node.client();
    let listing = client.get("/.well-known/nodeinfo").expect(200, "nodeinfo").json();
    let link = listing["links"].as_array().expect("links").iter();
    let href = link.filter_map(|link| link["href"].as_str()).find(|href| href.ends_with("/2.1"));
    let info = client.get(href.expect("a link to 2.1")).expect(200, "nodeinfo 2.1").json();
    let links = listing["links"].as_array().expect("links");
    let application = links
        .iter()
        .find(|link| link["rel"] == "https://www.w3.org/ns/activitystreams#Application");
    assert_eq!(application.expect("a link (FEP-2677)")["href"], node.actor("instance"));
    assert_eq!(info["software"]["name"], "fedsx");
    assert_eq!(info["version"], "2.1");
    assert_eq!(info["protocols"], json!(["activitypub"]));
    let meta = client.get_as("/.well-known/host-meta", "*/*").expect(200, "host-meta");
    assert_eq!(meta.media_type(), "application/xrd+xml");
    assert!(meta.text().contains("/.well-known/webfinger?resource={uri}"), "{}", meta.text());
    for (path, accept) in [
        ("/.well-known/host-meta.json", "*/*"),
        ("/.well-known/host-meta", "application/json"),
        ("/.well-known/host-meta", "application/jrd+json, */*;q=0.5"),
    ] {
        let meta = client.get_as(path, accept).expect(200, "host-meta as JSON");
        assert_eq!(meta.media_type(), "application/json", "{path} {accept}");
        let template = format!("{}/.well-known/webfinger?resource={{uri}}", node.base);
        assert_eq!(meta.json()["links"][0]["template"], template);
    }
    let capabilities =
        client.get("/.well-known/sx-capabilities").expect(200, "capabilities").json();
    for member in ["software", "version", "genesis", "codecs", "suites", "definitions"] {
        assert!(capabilities.get(member).is_some(), "{member} in {capabilities}");
    }
    assert!(capabilities["suites"].to_string().contains("eddsa-jcs-2022"));
    let definitions = capabilities["definitions"].as_array().expect("definitions");
    let named = |name: &str| definitions.iter().find(|one| one["name"] == name);
    for name in ["Create", "Note", "Announce", "Endorse", "Person"] {
        let one = named(name).unwrap_or_else(|| panic!("{name} among the definitions"));
        assert!(one["cid"].as_str().is_some_and(|cid| cid.starts_with("bafyr")), "{one}");
    }
    client.get("/livez").expect(200, "it lives");
    assert_eq!(client.get("/readyz").expect(200, "it is ready").json()["ready"], true);
    assert!(client.get("/metrics").expect(200, "metrics").text().contains("fedsx"), "metrics");
    let instance = client.get("/actors/instance").expect(200, "the instance actor").json();
    assert_eq!(instance["type"], "Application");
}

#[test]
fn accounts_of_other_instances_are_resolved() {
    let (a, b) = (Node::start(), Node::start());
    a.create("alice");
    b.create("bob");
    let account = format!("acct:bob@{}", authority(&b.base));
    let jrd = a.as_actor("alice").get(&webfinger(&account)).expect(200, "with a token").json();
    assert_eq!(self_link(&jrd), b.actor("bob"), "A resolves an account on B");
    let unknown = format!("acct:nobody@{}", authority(&b.base));
    let answer = a.as_actor("alice").get(&webfinger(&unknown));
    assert_eq!(answer.status, 404, "an unknown account on B: {}", answer.text());
    let dead = {
        let peer = Peer::start();
        format!("acct:x@{}", authority(&peer.base))
    };
    let answer = a.as_actor("alice").get(&webfinger(&dead));
    answer.refused(502, "upstream-failed", "a host that does not answer");
    let stranger = a.client().get(&webfinger(&account));
    assert_ne!(stranger.status, 200, "strangers cannot make us fetch");
    assert_ne!(stranger.status, 500);
}

#[test]
fn actor_documents_are_cached() {
    let node = Node::start();
    node.create("alice");
    let alice = node.actor("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let inbox = "/actors/alice/inbox";
    for i in 0..3 {
        let activity = mallory.note(&format!("n{i}"), &[&alice]);
        mallory.deliver(&node, inbox, &activity, Sign::Bare).expect(202, "a Note");
    }
    assert_eq!(peer.fetched("/actors/mallory"), 1, "three deliveries, one fetch");
    let known = node.projection("peer-actors", "");
    assert!(json!(known).to_string().contains(&mallory.id), "peer-actors has it: {known:?}");

    let ghost = peer.actor("ghost");
    peer.remove("/actors/ghost");
    for _ in 0..3 {
        let activity = ghost.note("boo", &[&alice]);
        let refused = ghost.deliver(&node, inbox, &activity, Sign::Bare);
        refused.refused(401, "unknown-key", "no document");
    }
    assert_eq!(peer.fetched("/actors/ghost"), 1, "failures are remembered shortly");

    // Someone who serves the document of another is not believed.
    let eve = peer.actor("eve");
    let mut lie = eve.document();
    lie["id"] = json!(mallory.id);
    peer.serve("/actors/eve", lie);
    let activity = eve.note("x", &[&alice]);
    let refused = eve.deliver(&node, inbox, &activity, Sign::Bare);
    assert_eq!(refused.status, 401, "the id differs from the address: {}", refused.text());

    // An unknown key id makes the node look again, once.
    let (new_id, new_key) = crate::support::peer::new_key(&mallory.id);
    let mut document = mallory.document();
    let new = crate::support::peer::multikey(&mallory.id, &new_id, &new_key);
    document["assertionMethod"].as_array_mut().expect("keys").push(new);
    peer.serve("/actors/mallory", document);
    let content =
        mallory.content("Create", mallory.note_object("new key"), json!({ "to": [alice] }));
    let activity = mallory.sealed_by(content, &new_id, &new_key);
    let answer = mallory.deliver(&node, inbox, &activity, Sign::Bare);
    answer.expect(202, "a key that the cached document does not have");
    assert_eq!(peer.fetched("/actors/mallory"), 2, "one fetch more");
}

/// Without the development flags nothing private is contacted.
#[test]
fn private_addresses_are_not_contacted() {
    let spec = Spec { args: vec!["--allow-http".into()], development: false, ..Spec::default() };
    let node = spec.start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let activity = mallory.note("x", &[&node.actor("alice")]);
    let refused = mallory.deliver(&node, "/actors/alice/inbox", &activity, Sign::Bare);
    assert!(matches!(refused.status, 401 | 502), "its keys cannot be had: {}", refused.text());
    assert_eq!(peer.fetched("/actors/mallory"), 0, "nothing was asked");
    let account = format!("acct:mallory@{}", authority(&peer.base));
    let answer = node.as_actor("alice").get(&webfinger(&account));
    let problem = answer.refused(502, "forbidden-address", "a private address");
    assert!(problem.to_string().contains("allow-private-network"), "names the flag: {problem}");
    let head = node.settled_head();
    assert_eq!(node.note("alice", "still works").global_seq, head + 1);
}

/// The command asks the host itself, without a data directory or a running instance.
#[test]
fn accounts_are_resolved_by_the_command() {
    let node = Node::start();
    node.create("bob");
    let account = format!("acct:bob@{}", authority(&node.base));
    let resolve = |arguments: &[&str]| {
        let mut command = command();
        command.arg("resolve").args(arguments);
        run_to_end(command)
    };
    let flags = ["--allow-http", "--allow-private-network"];
    for account in [&account, account.trim_start_matches("acct:"), &account.replace("acct:", "@")] {
        let found = resolve(&[&[account], &flags[..]].concat());
        assert_eq!(found.code, Some(0), "{}", found.all());
        assert_eq!(found.stdout.trim(), node.actor("bob"), "{account}");
    }
    let found = resolve(&[&[account.as_str(), "--json"], &flags[..]].concat());
    let json: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    assert_eq!((&json["actor"], &json["subject"]), (&json!(node.actor("bob")), &json!(account)));
    assert_eq!(self_link(&json["jrd"]), node.actor("bob"));

    let nobody = account.replace("bob", "nobody");
    let missing = resolve(&[&[nobody.as_str()], &flags[..]].concat());
    assert_eq!(missing.code, Some(1), "{}", missing.all());
    assert!(
        missing.stdout.is_empty() && missing.stderr.contains("there is no"),
        "{}",
        missing.all()
    );
    let private = resolve(&[account.as_str(), "--allow-http"]);
    assert_eq!(private.code, Some(1), "{}", private.all());
    assert!(private.stderr.contains("--allow-private-network"), "{}", private.all());
    assert_eq!(resolve(&[account.as_str()]).code, Some(1), "https alone reaches nobody here");
    assert_eq!(resolve(&["bob"]).code, Some(2), "no account");
}

/// Servers that answer signed requests only are asked as the instance actor, whose document is there
/// for everyone.
#[test]
fn fetches_are_signed_by_the_instance() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    peer.demand_signatures();
    let mallory = peer.actor("mallory");
    let hello = mallory.note("hello", &[&node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &hello, Sign::Bare).expect(202, "first contact");
    let headers = peer.fetched_with("/actors/mallory");
    assert!(headers.contains_key("user-agent"), "{headers:?}");
    let target = format!("{}/actors/mallory", peer.base);
    let method = axum::http::Method::GET;
    let received =
        signature::Received { method: &method, target_uri: &target, headers: &headers, body: &[] };
    let claim = signature::claim(&received, jiff::Timestamp::now()).expect("a good signature");
    let claim = claim.expect("a signature");
    let instance = node.client().get("/actors/instance").expect(200, "unsigned").json();
    assert_eq!(claim.key_id, instance["publicKey"]["id"], "the key of the instance actor");
    let pem = instance["publicKey"]["publicKeyPem"].as_str().expect("PEM");
    let key = fedsx_kernel::keys::PublicKey::from_pem(pem).expect("a key");
    claim.verify(&key).expect("the signature holds");
}
