//! The load: requests that were made before, sent over connections that stay open.
//!
//! *Closed*: each client sends its next request when it has the answer to the last one; that
//! finds what the server can do. *Open*: requests are due at a fixed rate whether or not the
//! server keeps up, and a latency counts from when its request was due, so that a server that
//! stops for a moment is charged for all that came meanwhile (coordinated omission).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use crate::wire::Connection;

/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 120_000_000;

/// Requests to send.
#[derive(Clone)]
pub enum Requests {
    /// Each once.
    Once(Arc<Vec<Vec<u8>>>),
    /// These in turn, for so long.
    Again(Arc<Vec<Vec<u8>>>, Duration),
}

/// When requests are sent.
#[derive(Clone, Copy)]
pub enum Arrivals {
    /// By so many clients, each after the answer to its last one.
    Closed(usize),
    /// At so many each second, over at most so many connections.
    Open {
        /// Requests a second.
        per_second: f64,
        /// Connections.
        connections: usize,
    },
}

/// What came of it.
pub struct Outcome {
    /// Answers of 200 to 299.
    pub taken: u64,
    /// Answers of 503 and 429.
    pub turned_away: u64,
    /// Other answers, and connections that broke.
    pub failed: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Latencies of what was taken, in microseconds.
    pub latency: Histogram<u64>,
    /// Latencies of what was turned away, in microseconds.
    pub refusal: Histogram<u64>,
}

impl Outcome {
    fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 3);
        Ok(Self {
            taken: 0,
            turned_away: 0,
            failed: 0,
            elapsed: Duration::ZERO,
            latency: histogram()?,
            refusal: histogram()?,
        })
    }

    fn add(&mut self, status: Option<u16>, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US).max(1);
        match status {
            Some(200..=299) => {
                self.taken += 1;
                self.latency.saturating_record(us);
            }
            Some(429 | 503) => {
                self.turned_away += 1;
                self.refusal.saturating_record(us);
            }
            _ => self.failed += 1,
        }
    }

    fn join(&mut self, other: &Self) -> Result<()> {
        self.taken += other.taken;
        self.turned_away += other.turned_away;
        self.failed += other.failed;
        self.latency.add(&other.latency)?;
        self.refusal.add(&other.refusal)?;
        Ok(())
    }

    /// What was taken, each second.
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn per_second(&self) -> f64 {
        self.taken as f64 / self.elapsed.as_secs_f64()
    }
}

/// What the clients share.
struct Course {
    port: u16,
    requests: Requests,
    arrivals: Arrivals,
    began: Instant,
    next: AtomicUsize,
    /// Requests that are due.
    due: Semaphore,
    first_failure: AtomicU64,
}

impl Course {
    /// The number of the next request, once it is due.
    async fn take(&self) -> Option<usize> {
        if matches!(self.arrivals, Arrivals::Open { .. }) {
            self.due.acquire().await.ok()?.forget();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lasts(number).then_some(number)
    }

    fn lasts(&self, number: usize) -> bool {
        match &self.requests {
            Requests::Once(all) => number < all.len(),
            Requests::Again(_, duration) => match self.arrivals {
                Arrivals::Closed(_) => self.began.elapsed() < *duration,
                Arrivals::Open { per_second, .. } => {
                    as_f64(number) < per_second * duration.as_secs_f64()
                }
            },
        }
    }

    fn bytes(&self, number: usize) -> Option<&[u8]> {
        let (Requests::Once(all) | Requests::Again(all, _)) = &self.requests;
        all.get(number % all.len().max(1)).map(Vec::as_slice)
    }

    /// When a request was to be sent.
    fn intended(&self, number: usize) -> Instant {
        match self.arrivals {
            Arrivals::Closed(_) => Instant::now(),
            Arrivals::Open { per_second, .. } => {
                self.began + Duration::from_secs_f64(as_f64(number) / per_second)
            }
        }
    }

    /// Tells when requests are due. The system's sleep is finer than the runtime's timer of 1 ms.
    fn announce(&self, per_second: f64) {
        let mut announced: usize = 0;
        while self.lasts(announced) {
            let elapsed = self.began.elapsed().as_secs_f64();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let due = (elapsed * per_second) as usize + 1;
            self.due.add_permits(due.saturating_sub(announced));
            announced = announced.max(due);
            let next = self.intended(announced);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.due.close();
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn as_f64(number: usize) -> f64 {
    number as f64
}

/// Sends the requests to a port of this machine.
pub async fn run(port: u16, requests: Requests, arrivals: Arrivals) -> Result<Outcome> {
    let (Arrivals::Closed(clients) | Arrivals::Open { connections: clients, .. }) = arrivals;
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Connection::open(port).await?);
    }
    let course = Arc::new(Course {
        port,
        requests,
        arrivals,
        began: Instant::now(),
        next: AtomicUsize::new(0),
        due: Semaphore::new(0),
        first_failure: AtomicU64::new(0),
    });
    let announcer = match arrivals {
        Arrivals::Closed(_) => None,
        Arrivals::Open { per_second, .. } => {
            let course = course.clone();
            Some(std::thread::spawn(move || course.announce(per_second)))
        }
    };
    let clients: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(client(course.clone(), connection)))
        .collect();
    let mut outcome = Outcome::new()?;
    for client in clients {
        outcome.join(&client.await??)?;
    }
    outcome.elapsed = course.began.elapsed();
    if let Some(announcer) = announcer {
        announcer.join().ok().context("the thread that tells the time ended")?;
    }
    let status = course.first_failure.load(Ordering::Relaxed);
    if outcome.failed > 0 {
        eprintln!("{} failed; the first answer of them was {status}", outcome.failed);
    }
    Ok(outcome)
}

async fn client(course: Arc<Course>, mut connection: Connection) -> Result<Outcome> {
    let mut outcome = Outcome::new()?;
    while let Some(number) = course.take().await {
        let Some(bytes) = course.bytes(number) else { break };
        let intended = course.intended(number);
        let status = connection.ask(bytes).await.ok();
        outcome.add(status, intended.elapsed());
        if !status.is_some_and(|status| matches!(status, 200..=299 | 429 | 503)) {
            let status = u64::from(status.unwrap_or(0));
            let _ = course.first_failure.compare_exchange(
                0,
                status,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        if connection.is_over() {
            connection = Connection::open(course.port).await?;
        }
    }
    Ok(outcome)
}
