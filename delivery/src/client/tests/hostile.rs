//! Servers that mean no good: every request to one ends inside its limits, and nothing of it goes on
//! afterwards. The servers are those of `tests/hostile_servers`.

#![allow(clippy::disallowed_methods, reason = "time limits over real sockets are real time")]

#[path = "../../../../tests/hostile_servers/server.rs"]
mod server;

use std::time::Instant;

use futures::StreamExt as _;

use super::*;

/// The time limit where it is what ends the request.
const SHORT: Duration = Duration::from_millis(400);
/// The time limit where something else ends it, also on a busy machine.
const LONG: Duration = Duration::from_secs(30);
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(10);
/// Servers that are met at a time.
const AT_ONCE: usize = 8;

fn name_of(failure: &ClientError) -> &'static str {
    match failure {
        ClientError::Timeout { .. } => "timeout",
        ClientError::Interrupted { .. } => "interrupted",
        ClientError::Connect { .. } => "connect",
        ClientError::Tls { .. } | ClientError::NoTrustRoots(_) => "tls",
        ClientError::BodyTooLarge { .. } => "body",
        ClientError::HeadersTooLarge => "headers",
        ClientError::Protocol(_) => "protocol",
        ClientError::TooManyRedirects { .. } => "redirects",
        ClientError::RedirectRefused { .. } => "redirect-refused",
        _ => "another",
    }
}

async fn fetch(case: server::Server) -> Vec<String> {
    let running = case.start();
    let limit = if case.fails.contains("timeout") { SHORT } else { LONG };
    let options = ClientOptions {
        request_timeout: limit,
        connect_timeout: limit,
        max_body_bytes: 64 * 1024,
        max_header_bytes: 16 * 1024,
        ..local()
    };
    let scheme = if case.https { "https" } else { "http" };
    let url = format!("{scheme}://{}/actor", running.addr);
    let began = Instant::now();
    let answer = client(options).get(&url, "*/*", None).await;
    let took = began.elapsed();
    let found = answer.as_ref().map_or_else(name_of, |_| "answer");
    let mut wrong = Vec::new();
    if !case.fails.split('|').any(|name| name == found) {
        wrong.push(format!("{}: {found}: {answer:?}", case.server));
    }
    if took > limit + MARGIN {
        wrong.push(format!("{}: it took {took:?}", case.server));
    }
    // What is given up is really given up: the server notices. A whole answer may keep its connection.
    let ended = async {
        while running.open() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if found != "answer" && tokio::time::timeout(LONG, ended).await.is_err() {
        wrong.push(format!("{}: a connection stays open", case.server));
    }
    if running.heads().iter().any(|head| head.to_ascii_lowercase().contains("\r\ncookie")) {
        wrong.push(format!("{}: a cookie was sent back", case.server));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_to_a_hostile_server_ends() {
    let all = server::all();
    assert!(all.len() >= 70, "{} servers", all.len());
    let mut fetches = futures::stream::iter(all.into_iter().map(|case| tokio::spawn(fetch(case))))
        .buffer_unordered(AT_ONCE);
    let mut wrong = Vec::new();
    while let Some(fetched) = fetches.next().await {
        wrong.extend(fetched.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
