//! Kept connections.
//!
//! A connection is moved forward by whoever waits for an answer on it, in the same task: a request costs no
//! second task to wake. While nobody uses it, nobody looks at it; whether it is still there is seen when it is
//! taken up again.
//!
//! Where all connections to a host are in use, a request waits a moment for one of them before it opens
//! another. A host that answers at once is thus sent everything over few connections, and one that is far away
//! gets as many as there are requests.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Connector;
use super::dial::BoxedStream;
use super::error::ClientError;

/// Kept connections are given up before the 5 s after which common servers close them, so that
/// a request seldom meets a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How many idle connections to one host are kept: as many as delivery uses at once.
const MAX_IDLE_PER_HOST: usize = 16;
/// How long a request waits for a connection that is in use before another one is opened.
const PATIENCE: Duration = Duration::from_millis(100);

/// A request as it is sent.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// Whom connections lead to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub scheme: Scheme,
    pub authority: Authority,
}

/// The connections of a client; cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    builder: Builder,
    hosts: Mutex<HashMap<Host, Kept>>,
    /// Whether a task waits to close what stays idle.
    tended: AtomicBool,
}

/// What there is of one host.
#[derive(Default)]
struct Kept {
    /// Connections that nobody uses, those used last at the end.
    idle: Vec<(Link, Instant)>,
    /// How many there are, those included that are being opened.
    open: usize,
    /// Who waits for one, in order; `None` says to open another one.
    waiting: VecDeque<oneshot::Sender<Option<Lease>>>,
}

/// A connection.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Box<Connection<TokioIo<BoxedStream>, Full<Bytes>>>>,
}

impl Link {
    /// Moves the connection forward.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(&mut **connection).poll(cx).is_ready()
        {
            // What waits for it learns from this that it has ended.
            self.connection = None;
        }
    }

    /// Whether it can take the next request.
    async fn is_ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// A connection in use, or the right to open one. It counts until it is dropped.
struct Lease {
    pool: Arc<Inner>,
    host: Host,
    link: Option<Link>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut hosts = self.pool.hosts();
        let Some(kept) = hosts.get_mut(&self.host) else { return };
        kept.open = kept.open.saturating_sub(1);
        // Whoever waits for it opens one instead.
        while let Some(next) = kept.waiting.pop_front() {
            if next.send(None).is_ok() {
                break;
            }
        }
        if kept.open == 0 && kept.waiting.is_empty() {
            hosts.remove(&self.host);
        }
    }
}

/// An answer that has begun.
pub(super) struct Answer {
    pub head: hyper::http::response::Parts,
    body: Incoming,
    lease: Lease,
}

impl Answer {
    /// The least number of bytes that the body has.
    pub fn least_bytes(&self) -> u64 {
        self.body.size_hint().lower()
    }

    /// The next part of the body; `None` at its end.
    pub async fn frame(&mut self) -> Option<hyper::Result<Frame<Bytes>>> {
        let Self { body, lease, .. } = self;
        poll_fn(|cx| {
            let frame = Pin::new(&mut *body).poll_frame(cx);
            if frame.is_ready() {
                return frame;
            }
            if let Some(link) = &mut lease.link {
                link.drive(cx);
            }
            Pin::new(&mut *body).poll_frame(cx)
        })
        .await
    }

    /// Leaves the connection to others, where the body was read to its end.
    pub async fn finish(self) -> hyper::http::response::Parts {
        let Self { head, body, lease } = self;
        if body.is_end_stream() {
            lease.give_back().await;
        }
        head
    }
}

impl Pool {
    pub fn new(connector: Connector, builder: Builder) -> Self {
        let (hosts, tended) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(Inner { connector, builder, hosts, tended }))
    }

    /// Sends a request, whose address is only the path, and returns when the answer begins.
    pub async fn request(&self, host: &Host, mut request: Outgoing) -> Result<Answer, ClientError> {
        loop {
            let (mut lease, reused) = self.0.clone().lease(host).await?;
            let Some(link) = &mut lease.link else {
                return Err(ClientError::InvalidRequest("no connection".to_owned()));
            };
            let mut answer = pin!(link.sender.try_send_request(request));
            let sent = poll_fn(|cx| {
                link.drive(cx);
                answer.as_mut().poll(cx)
            });
            match sent.await {
                Ok(answer) => {
                    let (head, body) = Response::into_parts(answer);
                    return Ok(Answer { head, body, lease });
                }
                // The server closed a kept connection before any of the request was sent.
                Err(mut error) => match error.take_message().filter(|_| reused) {
                    Some(unsent) => request = unsent,
                    None => return Err(ClientError::from_exchange(&error.into_error(), None)),
                },
            }
        }
    }
}

impl Inner {
    fn hosts(&self) -> MutexGuard<'_, HashMap<Host, Kept>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, and whether it was used before.
    async fn lease(self: Arc<Self>, host: &Host) -> Result<(Lease, bool), ClientError> {
        while let Some(mut lease) = self.idle(host) {
            if let Some(link) = &mut lease.link
                && link.is_ready().await
            {
                return Ok((lease, true));
            }
        }
        if let Some(mut turn) = self.queue(host) {
            let came = timeout(PATIENCE, &mut turn).await.ok().and_then(Result::ok);
            let came = came.or_else(|| {
                turn.close();
                turn.try_recv().ok()
            });
            if let Some(lease) = came.flatten() {
                return Ok((lease, true));
            }
            self.hosts().entry(host.clone()).or_default().open += 1;
        }
        let mut lease = Lease { pool: self.clone(), host: host.clone(), link: None };
        let io = self.connector.open(host).await?;
        let (sender, connection) = self
            .builder
            .handshake(io)
            .await
            .map_err(|error| ClientError::from_exchange(&error, None))?;
        lease.link = Some(Link { sender, connection: Some(Box::new(connection)) });
        Ok((lease, false))
    }

    /// The idle connection that was used last.
    fn idle(self: &Arc<Self>, host: &Host) -> Option<Lease> {
        let (link, _) = self.hosts().get_mut(host)?.idle.pop()?;
        Some(Lease { pool: self.clone(), host: host.clone(), link: Some(link) })
    }

    /// Where all connections are in use, a place in the queue for one of them; else the connection counts that is
    /// now to be opened.
    fn queue(&self, host: &Host) -> Option<oneshot::Receiver<Option<Lease>>> {
        let mut hosts = self.hosts();
        let kept = hosts.entry(host.clone()).or_default();
        if kept.open == 0 {
            kept.open = 1;
            return None;
        }
        let (turn, wait) = oneshot::channel();
        kept.waiting.retain(|waiting| !waiting.is_closed());
        kept.waiting.push_back(turn);
        Some(wait)
    }

    /// Closes what nobody has used for a while; ends when nothing is left that may be closed later.
    fn tend(self: &Arc<Self>) {
        if self.tended.swap(true, Ordering::SeqCst) {
            return;
        }
        let pool: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(IDLE_TIMEOUT / 4).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut stale = Vec::new();
                let mut hosts = pool.hosts();
                hosts.retain(|_, kept| {
                    let old = kept.idle.partition_point(|(_, at)| at.elapsed() >= IDLE_TIMEOUT);
                    kept.open = kept.open.saturating_sub(old);
                    stale.extend(kept.idle.drain(..old));
                    kept.open > 0 || !kept.waiting.is_empty()
                });
                if hosts.values().all(|kept| kept.idle.is_empty()) {
                    pool.tended.store(false, Ordering::SeqCst);
                    return;
                }
            }
        });
    }
}

impl Lease {
    /// Hands the connection to who waits for one, or keeps it for later.
    async fn give_back(mut self) {
        let Some(link) = &mut self.link else { return };
        if !link.is_ready().await {
            return;
        }
        let pool = self.pool.clone();
        let mut lease = self;
        loop {
            let next = {
                let mut hosts = pool.hosts();
                let Some(kept) = hosts.get_mut(&lease.host) else { return };
                let next = kept.waiting.pop_front();
                if next.is_none() && kept.idle.len() < MAX_IDLE_PER_HOST {
                    let Some(link) = lease.link.take() else { return };
                    kept.idle.push((link, Instant::now()));
                    // It goes on counting.
                    kept.open += 1;
                }
                next
            };
            let Some(next) = next else { break };
            // Who has given up leaves it to the next.
            match next.send(Some(lease)) {
                Err(Some(back)) => lease = back,
                _ => return,
            }
        }
        pool.tend();
    }
}
