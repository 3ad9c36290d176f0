#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fedsx_kernel::runtime::SystemClock;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::client::{BoxedStream, Client, ClientError, ClientOptions, Dial};

fn account(name: &str, host: &str) -> Account {
    Account { name: name.to_owned(), host: host.to_owned() }
}

#[test]
fn accounts() {
    for (text, name, host, shown) in [
        ("acct:alice@example.org", "alice", "example.org", "acct:alice@example.org"),
        ("ACCT:alice@Example.ORG", "alice", "example.org", "acct:alice@example.org"),
        ("alice@example.org", "alice", "example.org", "acct:alice@example.org"),
        ("@alice@example.org", "alice", "example.org", "acct:alice@example.org"),
        ("acct:@alice@example.org", "alice", "example.org", "acct:alice@example.org"),
        ("Alice@example.org", "Alice", "example.org", "acct:Alice@example.org"),
        ("alice@localhost:9999", "alice", "localhost:9999", "acct:alice@localhost:9999"),
        ("acct:alice@localhost:9999", "alice", "localhost:9999", "acct:alice@localhost:9999"),
        ("@alice@[::1]:99", "alice", "[::1]:99", "acct:alice@[::1]:99"),
        ("alice@example.org:443", "alice", "example.org", "acct:alice@example.org"),
        (
            "alice@bücher.example",
            "alice",
            "xn--bcher-kva.example",
            "acct:alice@xn--bcher-kva.example",
        ),
        ("acct:%61lice@example.org", "alice", "example.org", "acct:alice@example.org"),
        ("acct%3Aalice%40example.org", "alice", "example.org", "acct:alice@example.org"),
        // The example of RFC 7565, section 4.
        (
            "acct:juliet%40capulet.example@shoppingsite.example",
            "juliet@capulet.example",
            "shoppingsite.example",
            "acct:juliet%40capulet.example@shoppingsite.example",
        ),
    ] {
        let parsed: Account = text.parse().expect(text);
        assert_eq!(parsed, account(name, host), "{text}");
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(shown.parse::<Account>().expect(shown), parsed);
    }
    for text in [
        "",
        "@",
        "alice",
        "acct:",
        "acct:alice",
        "acct:@example.org",
        "@example.org",
        "@@example.org",
        "alice@",
        "alice@@example.org",
        "alice@b@example.org",
        "alice@example.org/path",
        "alice@example.org?query",
        "alice@example.org#fragment",
        "alice@example.org\\path",
        "alice@exam ple.org",
        "alice@example.org:",
        "alice@example.org:0",
        "alice@example.org:99999",
        "alice@example.org:ab",
        "a/b@example.org",
        "a%2Fb@example.org",
        "a b@example.org",
        "a%0Ab@example.org",
        "%ff@example.org",
        "acct://alice@example.org",
        "https://example.org/alice",
        "mailto:alice@example.org",
        "group:alice@example.org",
        &format!("{}@example.org", "a".repeat(MAX_RESOURCE_BYTES)),
    ] {
        assert!(text.parse::<Account>().is_err(), "{text}");
    }
    assert!(account("Alice", "a.example").is_same(&account("alice", "a.example")));
    assert!(!account("alice", "a.example").is_same(&account("alice", "b.example")));
}

#[test]
fn resources() {
    for (text, expected) in [
        ("https://Example.org/actors/alice", "https://example.org/actors/alice"),
        ("HTTP://localhost:9999/@alice", "http://localhost:9999/@alice"),
        ("https%3A%2F%2Fexample.org%2Factors%2Falice", "https://example.org/actors/alice"),
        (" https://example.org:443/a ", "https://example.org/a"),
    ] {
        assert_eq!(Resource::parse(text).expect(text), Resource::Url(expected.to_owned()));
    }
    assert_eq!(
        Resource::parse("@alice@example.org").unwrap(),
        Resource::Account(account("alice", "example.org"))
    );
    for text in ["https://", "https://u:p@example.org/", "https://example.org:0/", "https://a b/"] {
        assert!(matches!(Resource::parse(text), Err(ResourceError::InvalidUrl)), "{text}");
    }
    for text in ["mailto:alice@example.org", "ftp://example.org/", "group:a@b.example", "x:y"] {
        assert!(matches!(Resource::parse(text), Err(ResourceError::UnknownScheme)), "{text}");
    }
    let long = format!("https://example.org/{}", "a".repeat(MAX_RESOURCE_BYTES));
    assert!(matches!(Resource::parse(&long), Err(ResourceError::TooLong)));
}

#[test]
fn descriptors() {
    let (jrd, value) = parse_jrd(br#"{"subject": "acct:a@b.example", "properties": {"p": null}}"#)
        .expect("links are optional");
    assert_eq!(jrd.subject, "acct:a@b.example");
    assert!(jrd.links.is_empty() && jrd.aliases.is_empty());
    assert_eq!(value["properties"], json!({ "p": null }));
    let text = json!({
        "aliases": ["https://b.example/a", 7],
        "links": [
            { "rel": "self", "type": 1, "titles": { "en": "A" }, "properties": {} },
            { "href": "https://b.example/no-rel" },
            "odd",
            { "rel": "http://ostatus.org/schema/1.0/subscribe", "template": "https://b.example/{uri}" },
        ],
    });
    let (jrd, _) = parse_jrd(text.to_string().as_bytes()).unwrap();
    assert_eq!((jrd.subject.as_str(), jrd.aliases.len(), jrd.links.len()), ("", 1, 2));
    assert_eq!(jrd.links[1].template.as_deref(), Some("https://b.example/{uri}"));
    for odd in [r#"{"links": null, "aliases": {}}"#, "{}"] {
        assert!(parse_jrd(odd.as_bytes()).unwrap().0.links.is_empty());
    }
    for bad in ["", "[]", "null", "{", "\"a\"", "<XRD/>", &"[".repeat(10_000)] {
        assert!(parse_jrd(bad.as_bytes()).is_err(), "{bad}");
    }
}

struct Accounts;

#[async_trait]
impl Directory for Accounts {
    async fn subject(&self, resource: &Resource) -> Result<Option<Subject>, DirectoryError> {
        let actor_url = "http://home.example:9999/actors/alice".to_owned();
        let known = match resource {
            Resource::Account(asked) if asked.name == "broken" => return Err("disk".into()),
            Resource::Account(asked) => *asked == account("alice", "home.example:9999"),
            Resource::Url(url) => *url == actor_url,
        };
        Ok(known.then(|| Subject {
            account: account("alice", "home.example:9999"),
            profile_url: Some("http://home.example:9999/@alice".to_owned()),
            aliases: vec![actor_url.clone()],
            actor_url,
        }))
    }
}

#[tokio::test]
async fn answers_for_our_own() {
    let expected = json!({
        "subject": "acct:alice@home.example:9999",
        "aliases": ["http://home.example:9999/@alice", "http://home.example:9999/actors/alice"],
        "links": [
            {
                "rel": "self",
                "type": "application/activity+json",
                "href": "http://home.example:9999/actors/alice",
            },
            {
                "rel": "http://webfinger.net/rel/profile-page",
                "type": "text/html",
                "href": "http://home.example:9999/@alice",
            },
        ],
    });
    for resource in [
        "acct:alice@home.example:9999",
        "acct:%61lice@HOME.example:9999",
        "alice@home.example:9999",
        "@alice@home.example:9999",
        "http://home.example:9999/actors/alice",
        "HTTP://Home.Example:9999/actors/alice",
    ] {
        let jrd = answer("Home.example:9999", resource, &Accounts).await.expect(resource);
        assert_eq!(jrd, Some(expected.clone()), "{resource}");
    }
    for resource in [
        "acct:bob@home.example:9999",
        "acct:alice%40here@home.example:9999",
        "acct:alice@home.example",
        "acct:alice@other.example:9999",
        "acct:alice@here",
        "http://home.example:9999/actors/bob",
        "http://home.example:9999/actors/alice@here",
        "http://other.example:9999/actors/alice",
    ] {
        let jrd = answer("home.example:9999", resource, &Accounts).await.expect(resource);
        assert_eq!(jrd, None, "{resource}");
    }
    let refused = answer("home.example:9999", "alice", &Accounts).await;
    assert!(matches!(refused, Err(ResourceError::InvalidAccount)));
    let failed = answer("home.example:9999", "broken@home.example:9999", &Accounts).await;
    assert!(matches!(failed, Err(ResourceError::Directory(_))));
}

/// A network in memory: the answer of each URL, and what was asked.
#[derive(Clone, Default)]
struct Net {
    answers: Arc<HashMap<String, String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Net {
    fn new(answers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let answers = answers.into_iter().map(|(url, answer)| (url.to_owned(), answer));
        Self { answers: Arc::new(answers.collect()), asked: Arc::default() }
    }

    fn client(&self) -> Client {
        let options = ClientOptions { allow_http: true, ..ClientOptions::default() };
        Client::new(options, Arc::new(self.clone()), Arc::new(SystemClock))
    }

    async fn lookup(&self, text: &str) -> Result<Found, LookupError> {
        lookup(&self.client(), &text.parse().expect(text)).await
    }
}

impl Dial for Net {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        let authority = format!("{host}:{port}");
        let net = self.clone();
        Box::pin(async move {
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match far.read_u8().await {
                        Ok(byte) if byte.is_ascii() => head.push(byte),
                        // TLS: hang up.
                        _ => return,
                    }
                    if head.first() == Some(&0x16) {
                        return;
                    }
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.contains("\r\naccept: application/jrd+json, application/json\r\n"));
                let asked = format!("{authority}{}", head.split(' ').nth(1).unwrap());
                let unknown = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
                let answer = net.answers.get(&asked).unwrap_or(&unknown).clone();
                net.asked.lock().unwrap().push(asked);
                far.write_all(answer.as_bytes()).await.unwrap();
            });
            Ok(Box::new(near) as BoxedStream)
        })
    }
}

fn http(status: u16, media_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn jrd(subject: &str, actor_url: &str) -> String {
    let links = json!([
        { "rel": "self", "type": "text/html", "href": "https://wrong.example/" },
        { "rel": "alternate", "type": "application/activity+json", "href": "https://wrong.example/" },
        { "rel": "self", "type": "application/activity+json" },
        { "rel": "self", "type": "application/activity+json", "href": "javascript:alert(1)" },
        {
            "rel": "self",
            "type": "application/LD+json; profile=\"https://www.w3.org/ns/activitystreams\"",
            "href": actor_url,
        },
        { "rel": "self", "type": "application/activity+json", "href": "https://wrong.example/" },
    ]);
    http(
        200,
        "application/jrd+json; charset=utf-8",
        &json!({ "subject": subject, "links": links }).to_string(),
    )
}

#[tokio::test]
async fn finds_an_account() {
    let actor = "http://peer.example:99/actors/alice";
    let net = Net::new([(
        "peer.example:99/.well-known/webfinger?resource=acct:alice@peer.example:99",
        jrd("acct:Alice@PEER.example:99", actor),
    )]);
    let found = net.lookup("@alice@peer.example:99").await.expect("found");
    assert_eq!(found.actor_url, actor);
    assert_eq!(found.subject, account("Alice", "peer.example:99"));
    assert_eq!(found.jrd["subject"], "acct:Alice@PEER.example:99");
    assert_eq!(net.asked.lock().unwrap().len(), 1, "the subject needs no second question");
}

#[tokio::test]
async fn encodes_the_question_and_uses_http_on_loopback() {
    let net = Net::new([(
        "localhost:80/.well-known/webfinger?resource=acct:a%2540b%26c@localhost",
        jrd("http://localhost/actors/a", "http://localhost/actors/a"),
    )]);
    let found = net.lookup("a%40b&c@localhost").await.expect("found");
    assert_eq!(found.subject, account("a@b&c", "localhost"));
    let failure = net.lookup("alice@peer.example").await.unwrap_err();
    assert!(matches!(failure, LookupError::Client(ClientError::Connect { .. })), "{failure}");
    assert_eq!(net.asked.lock().unwrap().len(), 1, "no plain http without a port");
}

#[tokio::test]
async fn another_subject_must_be_confirmed_by_its_host() {
    let actor = "http://social.example:99/alice";
    let victim = "http://victim.example:99/bob";
    let net = Net::new([
        (
            "social.example:99/.well-known/webfinger?resource=acct:alice@social.example:99",
            jrd("acct:alice@example.org:99", actor),
        ),
        (
            "example.org:99/.well-known/webfinger?resource=acct:alice@example.org:99",
            jrd("acct:alice@example.org:99", actor),
        ),
        (
            "evil.example:99/.well-known/webfinger?resource=acct:mallory@evil.example:99",
            jrd("acct:bob@victim.example:99", "http://evil.example:99/mallory"),
        ),
        (
            "victim.example:99/.well-known/webfinger?resource=acct:bob@victim.example:99",
            jrd("acct:bob@victim.example:99", victim),
        ),
        (
            "evil.example:99/.well-known/webfinger?resource=acct:eve@evil.example:99",
            jrd("acct:nobody@victim.example:99", "http://evil.example:99/eve"),
        ),
    ]);
    let found = net.lookup("alice@social.example:99").await.expect("found");
    assert_eq!(found.subject, account("alice", "example.org:99"));
    assert_eq!(found.actor_url, actor);
    let failure = net.lookup("mallory@evil.example:99").await.unwrap_err();
    assert!(matches!(failure, LookupError::Unconfirmed { .. }), "{failure}");
    let failure = net.lookup("eve@evil.example:99").await.unwrap_err();
    assert!(matches!(failure, LookupError::NotFound(_)), "{failure}");
}

#[tokio::test]
async fn an_answer_has_a_size() {
    let links = json!([{ "rel": "self", "type": "application/activity+json", "href": "http://b.example/a" }]);
    let of = |bytes: usize| {
        let text = |more: &str| json!({ "subject": more, "links": links }).to_string();
        let body = text(&"x".repeat(bytes - text("").len()));
        http(200, "application/jrd+json", &body)
    };
    for (bytes, fits) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        let url = "b.example:99/.well-known/webfinger?resource=acct:a@b.example:99";
        let found = Net::new([(url, of(bytes))]).lookup("a@b.example:99").await;
        match found {
            Ok(found) => assert!(fits && found.actor_url == "http://b.example/a", "{bytes}"),
            Err(error) => {
                assert!(!fits && error.to_string().contains("larger than 65536 bytes"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn bad_answers_are_told_apart() {
    let large = format!("{{\"subject\": \"{}\"}}", "a".repeat(70_000));
    for (answer, expected) in [
        (http(404, "text/html", ""), "there is no acct:a@b.example:99"),
        (http(410, "text/html", ""), "there is no acct:a@b.example:99"),
        (http(500, "text/html", ""), "the host answered with status 500"),
        (http(200, "text/html", "{}"), "the answer is \"text/html\""),
        (http(200, "application/jrd+json", "<html>"), "no WebFinger document"),
        (http(200, "application/json", "{}"), "the answer names no actor"),
        (http(200, "application/json", &large), "larger than 65536 bytes"),
    ] {
        let net = Net::new([(
            "b.example:99/.well-known/webfinger?resource=acct:a@b.example:99",
            answer.clone(),
        )]);
        let failure = net.lookup("a@b.example:99").await.unwrap_err();
        assert!(failure.to_string().contains(expected), "{failure}");
    }
}
