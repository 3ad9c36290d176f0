//! Moderation: block lists of others, and what becomes of reports.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::operator::As;
use crate::support::node::Node;
use crate::support::{PATIENCE, PUBLIC, Peer, Sign, eventually};

/// What a review says, as `state action subject`.
fn said(review: &Value) -> Vec<String> {
    let items = review["items"].as_array().unwrap_or_else(|| panic!("items in {review}"));
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let line = |item| [text(item, "state"), text(item, "action"), text(item, "subject")].join(" ");
    items.iter().map(line).collect()
}

/// What stands, as `action subject source`.
fn standing(operator: &As<'_>) -> Vec<String> {
    let listed = operator.json(&["moderation", "list"]);
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or("-").to_owned();
    let line = |item| [text(item, "action"), text(item, "subject"), text(item, "source")].join(" ");
    listed.as_array().expect("a list").iter().map(line).collect()
}

/// Another instance's public decisions are followed, reviewed, adopted, and retracted.
#[test]
fn the_list_of_another_instance_is_followed_and_adopted() {
    let (a, b) = (Node::start(), Node::start());
    let (here, there) = (As::operator(&b), As::operator(&a));
    there.works(&["moderation", "block", "evil.example", "--public"]);
    there.works(&["moderation", "block", "private.example", "--reason", "nobody's business"]);
    here.works(&["moderation", "silence", "evil.example", "--reason", "ours"]);
    here.works(&["moderation", "block", "same.example"]);
    here.works(&["moderation", "lists", "subscribe", &a.base]);
    let source = a.actor("instance");
    b.lists_of_instance(&source);
    there.works(&["moderation", "silence", "loud.example", "--public"]);
    there.works(&["moderation", "block", "same.example", "--public"]);
    let wanted =
        ["new silence loud.example", "differing block evil.example", "same block same.example"];
    let review = || here.json(&["moderation", "lists", "review", &a.base]);
    eventually(PATIENCE, "what was said before and after has come", || {
        (said(&review()) == wanted).then_some(())
    });
    let table = here.works(&["moderation", "lists", "review", &a.base]);
    assert!(!table.contains("private.example"), "what is private is told to nobody: {table}");

    let adopted =
        here.json(&["moderation", "lists", "adopt", &a.base, "--reason", "we trust them"]);
    assert_eq!((&adopted["adopted"], &adopted["remaining"]), (&json!(2), &json!(0)), "{adopted}");
    let again = here.json(&["moderation", "lists", "adopt", &a.base]);
    assert_eq!(again["adopted"], 0, "what is adopted is not adopted twice: {again}");
    let ours = "silence evil.example -".to_owned();
    let expected = vec![
        format!("block evil.example {source}"),
        ours.clone(),
        format!("silence loud.example {source}"),
        "block same.example -".to_owned(),
    ];
    assert_eq!(standing(&here), expected);
    let listed = here.json(&["moderation", "lists", "list"]);
    assert_eq!(listed[0], json!({ "source": source, "state": "followed", "adopted": 2 }));

    // They take one back.
    there.works(&["moderation", "undo", "evil.example"]);
    eventually(PATIENCE, "the Undo has come", || {
        said(&review()).contains(&"withdrawn block evil.example".to_owned()).then_some(())
    });
    assert_eq!(standing(&here), expected, "what we adopted is ours to take back");
    let dropped = here.json(&["moderation", "lists", "adopt", &a.base, "--drop-withdrawn"]);
    assert_eq!((&dropped["adopted"], &dropped["dropped"]), (&json!(0), &json!(1)), "{dropped}");
    assert_eq!(standing(&here)[0], ours);
    let retracted = here.json(&["moderation", "lists", "retract", &a.base]);
    assert_eq!(retracted["retracted"], 1, "{retracted}");
    assert_eq!(standing(&here), [ours, "block same.example -".to_owned()]);
    here.works(&["moderation", "lists", "unsubscribe", &a.base]);
    here.fails(&["moderation", "lists", "unsubscribe", &a.base], "not-found");
}

/// A file in Mastodon's form is reviewed, adopted in part and as a whole, and retracted.
#[test]
fn a_file_of_decisions_is_adopted_and_retracted() {
    let node = Node::start();
    let operator = As::operator(&node);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let own = node.base.trim_start_matches("http://");
    write!(
        file,
        "#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\n\
         evil.example,suspend,TRUE,True,\"spam, and more\",False\n\
         loud.example,silence,True,False,,False\n\
         {own},suspend,False,False,,False\n\
         ev**.example,suspend,False,False,,True\n"
    )
    .expect("written");
    let path = file.path().display().to_string();
    let head = node.settled_head();
    let review = operator.json(&["moderation", "lists", "review", "friends", "--csv", &path]);
    let wanted = [
        "new block evil.example".to_owned(),
        "new silence loud.example".to_owned(),
        "new reject-media loud.example".to_owned(),
        format!("refused block {own}"),
    ];
    assert_eq!(said(&review), wanted);
    assert_eq!(review["skipped"][0]["line"], 5, "{review}");
    assert_eq!(node.settled_head(), head, "a review changes nothing");
    let adopt = ["moderation", "lists", "adopt", "friends", "--csv", &path];
    operator.works(&[&adopt[..], &["--only", "evil.example"]].concat());
    assert_eq!(standing(&operator), ["block evil.example friends"]);
    let listed = operator.json(&["moderation", "list"]);
    assert_eq!(listed[0]["reason"], "spam, and more", "the list's own reason: {listed}");
    assert_eq!(operator.json(&adopt)["adopted"], 2);
    assert_eq!(standing(&operator).len(), 3);
    assert_eq!(operator.json(&["moderation", "lists", "retract", "friends"])["retracted"], 3);
    assert_eq!(standing(&operator), Vec::<String>::new());
    let history = operator.json(&["moderation", "history"]);
    assert_eq!(history["items"].as_array().expect("items").len(), 6, "{history}");
    let nonsense = json!({ "source": "x", "csv": "name\nx\n" });
    let answer = node.admin().post("/admin/moderation/lists/review", &nonsense);
    answer.refused(400, "invalid-parameter", "no domains");
}

/// Reports are resolved and opened again by signed statements, and forwarded without naming who
/// reported.
#[test]
fn reports_are_resolved_and_forwarded() {
    let node = Node::start();
    node.create("alice");
    let peer = Peer::start();
    let mallory = peer.actor("mallory");
    let spam = mallory.note("spam", &[PUBLIC, &node.actor("alice")]);
    mallory.deliver(&node, "/actors/alice/inbox", &spam, Sign::Bare).expect(202, "a Note");
    let reporter = Peer::start();
    let carol = reporter.actor("carol");
    let about = json!([spam["object"]["id"], mallory.id, node.actor("alice")]);
    let flag = carol.activity("Flag", about, &[&node.actor("instance")]);
    carol.deliver(&node, "/inbox", &flag, Sign::Bare).expect(202, "a report");
    let operator = As::operator(&node);
    let reports = |state: &str| {
        let listed = operator.json(&["moderation", "reports", "list", "--state", state]);
        listed.as_array().expect("a list").clone()
    };
    let open = eventually(PATIENCE, "the report is listed", || reports("open").into_iter().next());
    let cid = open["cid"].as_str().expect("a CID");
    assert_eq!(open["actor"], carol.id);

    let resolve = ["moderation", "reports", "resolve", cid, "--reason", "talked to her"];
    let resolved = operator.json(&resolve);
    assert_eq!(operator.json(&resolve)["cid"], resolved["cid"], "once is enough");
    assert!(reports("open").is_empty());
    let found = reports("resolved").remove(0);
    assert_eq!(found["resolution"]["cid"], resolved["cid"]);
    assert_eq!(found["resolution"]["by"], node.actor("operator"));
    assert_eq!(found["resolution"]["reason"], "talked to her");
    let path = format!("/activities/{}", resolved["cid"].as_str().expect("a CID"));
    node.client().get(&path).refused(404, "not-found", "nobody else's business");
    operator.works(&["moderation", "reports", "reopen", cid]);
    assert_eq!(reports("open").len(), 1);
    operator.fails(&["moderation", "reports", "reopen", cid], "not-found");
    let other = node.note("alice", "no report");
    operator.fails(&["moderation", "reports", "resolve", &other.cid], "not-found");

    let forward = ["moderation", "reports", "forward", cid, "--comment", "please look at this"];
    let forwarded = operator.json(&forward);
    let sent = peer.receives(forwarded["id"].as_str().expect("an id")).body;
    assert_eq!(sent["actor"], node.actor("instance"));
    assert_eq!(sent["object"], json!([spam["object"]["id"], mallory.id]), "what is theirs");
    assert_eq!(sent["content"], "please look at this");
    let text = sent.to_string();
    assert!(!text.contains(&carol.id) && !text.contains(cid), "the reporter is not named: {text}");
    assert!(!text.contains("operator"), "nor who forwarded it: {text}");
    assert_eq!(reports("open").len(), 1, "a forward is no new report");
    assert_eq!(
        eventually(PATIENCE, "it is listed as ours", || { reports("forward").into_iter().next() })
            ["id"],
        forwarded["id"]
    );
}

impl Node {
    /// Waits until the instance actor follows another.
    fn lists_of_instance(&self, other: &str) {
        eventually(PATIENCE, &format!("the instance follows {other}"), || {
            let page = self.client().get("/actors/instance/following?page=true").json();
            page["orderedItems"].to_string().contains(other).then_some(())
        });
    }
}
