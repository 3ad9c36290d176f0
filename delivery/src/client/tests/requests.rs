//! What is sent, and how redirects are followed.

use std::sync::Mutex;

use super::*;

#[tokio::test]
async fn a_fetch_sends_the_fields_that_servers_demand() {
    let addr = answering(ok).await;
    let options = ClientOptions {
        user_agent: "fedsx/0.1.0\r\n (+https://home.example)".to_owned(),
        ..local()
    };
    let signer = Numbering::default();
    let url = format!("http://{addr}/actor?page=1#main-key");
    let answer = client(options).get(&url, "application/activity+json", Some(&signer)).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.final_url, format!("http://{addr}/actor?page=1"));
    let head = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(head.starts_with("GET /actor?page=1 HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: {addr}"),
        "accept: application/activity+json".to_owned(),
        "accept-encoding: identity".to_owned(),
        "user-agent: fedsx/0.1.0 (+https://home.example)".to_owned(),
        format!("signature: 0 GET {addr}/actor"),
    ] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {head}");
    }
}

#[tokio::test]
async fn a_post_sends_its_body_once_and_follows_no_redirect() {
    let addr = serve(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            assert!(head.starts_with("POST /inbox HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("\r\ncontent-length: 5\r\n"), "{head}");
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"hello");
            stream.write_all(redirect("/elsewhere").as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut post = request(Method::POST, format!("http://{addr}/inbox"));
    post.body = Bytes::from_static(b"hello");
    let answer = client(local()).send(post).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers[LOCATION], "/elsewhere");
}

#[tokio::test]
async fn connections_are_kept_and_a_broken_one_is_replaced() {
    // Every connection breaks with its third request.
    let addr = serve(|mut stream, number| async move {
        for _ in 0..2 {
            read_head(&mut stream).await;
            stream.write_all(ok(&number.to_string()).as_bytes()).await.unwrap();
        }
        read_head(&mut stream).await;
    })
    .await;
    let client = client(local());
    for expected in ["0", "0", "1", "1", "2"] {
        let answer = client.get(&format!("http://{addr}/"), "*/*", None).await.expect("an answer");
        assert_eq!(answer.body, expected.as_bytes());
    }
}

#[tokio::test]
async fn redirects_are_followed_and_signed_anew() {
    let addr = answering(|head| {
        let path = head.split(' ').nth(1).expect("a path");
        match path {
            "/a" => redirect("b"),
            "/b" => redirect("/c?d"),
            "/c?d" => redirect("/e#f"),
            _ => ok(head),
        }
    })
    .await;
    let signer = Numbering::default();
    let answer = client(local()).get(&format!("http://{addr}/a"), "*/*", Some(&signer)).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.final_url, format!("http://{addr}/e"));
    let head = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(head.contains(&format!("\r\nsignature: 3 GET {addr}/e\r\n")), "{head}");
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let addr = answering(move |_| {
        *count.lock().unwrap() += 1;
        redirect("/again")
    })
    .await;
    let failure = client(local()).get(&format!("http://{addr}/"), "*/*", None).await.unwrap_err();
    assert!(matches!(failure, ClientError::TooManyRedirects { limit: 3, .. }), "{failure}");
    assert_eq!(failure.class(), FailureClass::BadAnswer);
    assert_eq!(*seen.lock().unwrap(), 4);
}

#[tokio::test]
async fn a_redirect_must_lead_to_where_we_would_go() {
    for location in
        ["https://u:secret@example.org/", "ftp://example.org/", "http://a:0/", "http://["]
    {
        let addr = answering(move |_| redirect(location)).await;
        let failure = client(local()).get(&format!("http://{addr}/"), "*/*", None).await;
        let failure = failure.unwrap_err();
        assert!(matches!(failure, ClientError::RedirectRefused { .. }), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
    let addr = answering(|_| "HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n".to_owned()).await;
    let answer = client(local()).get(&format!("http://{addr}/"), "*/*", None).await;
    assert_eq!(answer.expect("no Location, no redirect").status, StatusCode::MOVED_PERMANENTLY);
}

#[tokio::test]
async fn a_failing_signer_stops_the_request() {
    struct Failing;
    impl SignRequest for Failing {
        fn sign<'a>(
            &'a self,
            _: &'a Method,
            _: &'a hyper::Uri,
            _: Option<&'a [u8]>,
            _: &'a mut HeaderMap,
        ) -> futures::future::BoxFuture<'a, Result<(), SignError>> {
            Box::pin(async { Err("no key".into()) })
        }
    }
    let addr = closed_port().await;
    let failure = client(local()).get(&format!("http://{addr}/"), "*/*", Some(&Failing)).await;
    let failure = failure.unwrap_err();
    assert!(matches!(failure, ClientError::Sign(_)), "{failure}");
    assert_eq!(failure.class(), FailureClass::Local);
}
