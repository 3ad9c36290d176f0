#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod hostile;
mod limits;
mod requests;
mod transport;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fedsx_kernel::runtime::SystemClock;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Options for servers on this machine. The times are long enough for a loaded machine; tests of
/// a time limit shorten them.
fn local() -> ClientOptions {
    ClientOptions { allow_private_network: true, allow_http: true, ..ClientOptions::default() }
}

fn client(options: ClientOptions) -> Client {
    let dial = TcpDial { allow_private_network: options.allow_private_network };
    Client::new(options, Arc::new(dial), Arc::new(SystemClock))
}

fn request(method: Method, url: String) -> Request {
    Request { method, url, headers: HeaderMap::new(), body: Bytes::new() }
}

/// The head of the next request on a connection; `None` where the client is done.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).expect("the head is text"))
}

/// A server that hands every connection to `handler`, with its number.
async fn serve<F, R>(handler: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(handler(stream, number));
        }
    });
    addr
}

/// A server that answers each request with what `answer` makes of its head.
async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    serve(move |mut stream, _| {
        let answer = Arc::clone(&answer);
        async move {
            while let Some(head) = read_head(&mut stream).await {
                if stream.write_all(answer(&head).as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

/// A port on which nobody listens.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address")
}

/// Signs with the number of the request and the path that it signed.
#[derive(Default)]
struct Numbering(AtomicUsize);

impl SignRequest for Numbering {
    fn sign<'a>(
        &'a self,
        method: &'a Method,
        uri: &'a hyper::Uri,
        body: Option<&'a [u8]>,
        headers: &'a mut HeaderMap,
    ) -> futures::future::BoxFuture<'a, Result<(), SignError>> {
        assert!(body.is_none());
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let host = headers.get(HOST).expect("the host is set before signing").to_str()?;
            let signature = format!("{number} {method} {host}{}", uri.path());
            headers.insert("signature", signature.parse()?);
            Ok(())
        })
    }
}
