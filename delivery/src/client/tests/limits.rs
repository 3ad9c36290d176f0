//! Limits on what a server may send and on how long it may take.

use super::*;

async fn failure_of(options: ClientOptions, addr: SocketAddr) -> ClientError {
    let url = format!("http://{addr}/");
    let fetched = client(options.clone()).get(&url, "*/*", None).await.unwrap_err();
    let sent = client(options).send(request(Method::POST, url)).await.unwrap_err();
    assert_eq!(fetched.to_string(), sent.to_string());
    fetched
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    for head in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    {
        let addr = serve(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(b"5\r\nhello\r\n").await;
            }
        })
        .await;
        let options = ClientOptions { max_body_bytes: 100_000, ..local() };
        let failure = failure_of(options, addr).await;
        assert!(matches!(failure, ClientError::BodyTooLarge { limit: 100_000, .. }), "{failure}");
        assert_eq!(failure.status(), Some(StatusCode::OK));
        assert_eq!(failure.class(), FailureClass::BadAnswer);
    }
}

#[tokio::test]
async fn an_announced_body_is_refused_before_it_is_read() {
    let addr =
        answering(|_| "HTTP/1.1 202 Accepted\r\nContent-Length: 101\r\n\r\n".to_owned()).await;
    let options = ClientOptions { max_body_bytes: 100, ..local() };
    let failure = failure_of(options, addr).await;
    assert!(matches!(failure, ClientError::BodyTooLarge { limit: 100, .. }), "{failure}");
    assert_eq!(failure.status(), Some(StatusCode::ACCEPTED));
}

#[tokio::test]
async fn the_limit_itself_is_allowed() {
    let addr = answering(|_| ok(&"a".repeat(100))).await;
    let client = client(ClientOptions { max_body_bytes: 99, ..local() });
    let url = format!("http://{addr}/");
    assert!(client.get(&url, "*/*", None).await.is_err());
    let answer = client.with_body_limit(100).get(&url, "*/*", None).await;
    assert_eq!(answer.expect("an answer").body.len(), 100);
}

#[tokio::test]
async fn a_dripping_body_runs_out_of_time() {
    let addr = serve(|mut stream, _| async move {
        read_head(&mut stream).await;
        let mut sent =
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9999\r\n\r\n").await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            sent = stream.write_all(b"a").await;
        }
    })
    .await;
    let options = ClientOptions { request_timeout: Duration::from_millis(400), ..local() };
    let failure = failure_of(options, addr).await;
    assert!(matches!(failure, ClientError::Timeout { .. }), "{failure}");
    assert_eq!(failure.status(), Some(StatusCode::ACCEPTED));
    assert_eq!(failure.class(), FailureClass::PeerDown);
}

#[tokio::test]
async fn a_silent_server_runs_out_of_time() {
    let addr = serve(|mut stream, _| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let options = ClientOptions { request_timeout: Duration::from_millis(200), ..local() };
    let failure = failure_of(options, addr).await;
    assert!(matches!(failure, ClientError::Timeout { status: None, .. }), "{failure}");
}

#[tokio::test]
async fn a_large_header_section_is_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: a\r\n".repeat(101));
    for head in [long, many] {
        let addr = answering(move |_| head.clone()).await;
        let failure = failure_of(local(), addr).await;
        assert!(matches!(failure, ClientError::HeadersTooLarge), "{failure}");
        assert_eq!(failure.class(), FailureClass::BadAnswer);
    }
    let fits = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "A: a\r\n".repeat(99));
    let addr = answering(move |_| fits.clone()).await;
    assert!(client(local()).get(&format!("http://{addr}/"), "*/*", None).await.is_ok());
    // A limit under what the HTTP library can work with must not make it panic.
    let failure = failure_of(ClientOptions { max_header_bytes: 1, ..local() }, addr).await;
    assert!(matches!(failure, ClientError::HeadersTooLarge), "{failure}");
}

#[tokio::test]
async fn an_unfinished_answer_is_an_interruption() {
    for (sent, status) in [
        ("", None),
        ("HTTP/1.1 202 Acc", None),
        ("HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nabc", Some(StatusCode::ACCEPTED)),
        (
            "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
            Some(StatusCode::ACCEPTED),
        ),
    ] {
        let addr = serve(move |mut stream, _| async move {
            read_head(&mut stream).await;
            stream.write_all(sent.as_bytes()).await.unwrap();
        })
        .await;
        let failure = failure_of(local(), addr).await;
        assert!(matches!(failure, ClientError::Interrupted { .. }), "{sent}: {failure}");
        assert_eq!(failure.status(), status, "{sent}");
        assert_eq!(failure.class(), FailureClass::PeerDown);
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    for sent in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ] {
        let addr = answering(move |_| sent.to_owned()).await;
        let failure = failure_of(local(), addr).await;
        assert!(matches!(failure, ClientError::Protocol(_)), "{sent}: {failure:?}");
        assert_eq!(failure.class(), FailureClass::BadAnswer);
    }
}

#[tokio::test]
async fn a_compressed_document_is_refused_but_a_compressed_receipt_is_not() {
    let answer = "HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab";
    let addr = answering(move |_| answer.to_owned()).await;
    let url = format!("http://{addr}/");
    let failure = client(local()).get(&url, "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::Protocol(_)), "{failure}");
    let answer = client(local()).send(request(Method::POST, url)).await;
    assert_eq!(answer.expect("an answer").status, StatusCode::ACCEPTED);
}
