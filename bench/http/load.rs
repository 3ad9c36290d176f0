//! The load: requests that were made before, sent over connections that stay open.
//!
//! *Closed*: each client sends its next request when it has the answer to the last one; that
//! finds what the server can do. *Open*: requests are due at a fixed rate whether or not the
//! server keeps up, and a latency counts from when its request was due, so that a server that
//! stops for a moment is charged for all that came meanwhile (coordinated omission).
//!
//! One thread does all of it, since it shares the processors with the server. Of the connections
//! that are free it takes the one that was used last, as pools of clients do: so many are in use as are
//! needed. Open, it looks at what is due and what has come once in a [`TICK`]; closed, when an answer comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use mio::{Events, Poll};

use crate::wire::Connection;

/// The longest latency that is told apart, in microseconds.
const LONGEST_US: u64 = 120_000_000;
/// How often it is looked at what is due, where requests are due at a rate.
const TICK: Duration = Duration::from_micros(200);
/// Connections of which is told at a time that something came.
const TOLD: usize = 1024;
/// What is read of a connection at a time, in bytes.
const READ: usize = 64 * 1024;

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

    /// What was taken, each second.
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    pub fn per_second(&self) -> f64 {
        self.taken as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends the requests to a port of this machine.
pub fn run(port: u16, requests: &Requests, arrivals: Arrivals) -> Result<Outcome> {
    let mut course = Course::new(port, requests, arrivals)?;
    course.run()?;
    let Course { mut outcome, began, first_failure, .. } = course;
    outcome.elapsed = began.elapsed();
    if outcome.failed > 0 {
        let status = first_failure.unwrap_or_default();
        eprintln!("{} failed; the first answer of them was {status}", outcome.failed);
    }
    Ok(outcome)
}

/// One place for a request that is under way.
struct Line {
    /// None where it is to be opened.
    connection: Option<Connection>,
    /// The request that is under way, and when it was to be sent.
    asked: Option<(usize, Instant)>,
}

/// A load that runs.
struct Course<'a> {
    port: u16,
    requests: &'a Requests,
    arrivals: Arrivals,
    poll: Poll,
    lines: Vec<Line>,
    /// Lines without a request. The one that was used last is last.
    free: Vec<usize>,
    memory: Vec<u8>,
    began: Instant,
    /// The number of the next request.
    next: usize,
    outcome: Outcome,
    first_failure: Option<u16>,
}

impl<'a> Course<'a> {
    fn new(port: u16, requests: &'a Requests, arrivals: Arrivals) -> Result<Self> {
        let (Arrivals::Closed(most) | Arrivals::Open { connections: most, .. }) = arrivals;
        let poll = Poll::new()?;
        let mut lines = Vec::with_capacity(most);
        for number in 0..most {
            let connection = Some(Connection::open(port, poll.registry(), number)?);
            lines.push(Line { connection, asked: None });
        }
        Ok(Self {
            port,
            requests,
            arrivals,
            poll,
            lines,
            free: (0..most).rev().collect(),
            memory: vec![0; READ],
            began: Instant::now(),
            next: 0,
            outcome: Outcome::new()?,
            first_failure: None,
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(TOLD);
        loop {
            let now = Instant::now();
            while self.next_is_due(now) {
                let Some(line) = self.free.pop() else { break };
                self.ask(line)?;
            }
            let is_over = !self.lasts(self.next);
            if is_over && self.free.len() == self.lines.len() {
                return Ok(());
            }
            // An answer is what comes next where all lines wait for one, or where none is due any more.
            let waits =
                is_over || self.free.is_empty() || matches!(self.arrivals, Arrivals::Closed(_));
            self.poll.poll(&mut events, if waits { None } else { Some(Duration::ZERO) })?;
            let is_idle = events.is_empty();
            for event in &events {
                self.happened(event.token().0, event.is_writable())?;
            }
            if is_idle && !waits {
                let next = self.due(self.next).saturating_duration_since(Instant::now());
                // The system's sleep is finer than a wait for connections.
                std::thread::sleep(next.max(TICK));
            }
        }
    }

    /// Whether there is another request, and its time has come.
    fn next_is_due(&self, now: Instant) -> bool {
        self.lasts(self.next)
            && match self.arrivals {
                Arrivals::Closed(_) => true,
                Arrivals::Open { .. } => self.due(self.next) <= now,
            }
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

    /// When a request is to be sent.
    fn due(&self, number: usize) -> Instant {
        match self.arrivals {
            Arrivals::Closed(_) => Instant::now(),
            Arrivals::Open { per_second, .. } => {
                self.began + Duration::from_secs_f64(as_f64(number) / per_second)
            }
        }
    }

    /// Sends the next request.
    fn ask(&mut self, number: usize) -> Result<()> {
        let (asked, due) = (self.next, self.due(self.next));
        self.next += 1;
        let bytes = bytes(self.requests, asked)?;
        let line = self.lines.get_mut(number).context("no such line")?;
        line.asked = Some((asked, due));
        let connection = match &mut line.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.port, self.poll.registry(), number)?),
        };
        if connection.send(bytes).is_err() {
            self.answered(number, None, true);
        }
        Ok(())
    }

    /// Something came, or there is room to send.
    fn happened(&mut self, number: usize, has_room: bool) -> Result<()> {
        let line = self.lines.get_mut(number).context("no such line")?;
        let Some(connection) = &mut line.connection else { return Ok(()) };
        let received = match line.asked {
            Some((asked, _)) if has_room => connection
                .go_on(bytes(self.requests, asked)?)
                .and_then(|()| connection.receive(&mut self.memory)),
            _ => connection.receive(&mut self.memory),
        };
        match received {
            Ok(None) => {}
            Ok(Some(answer)) => self.answered(number, Some(answer.status), answer.is_last),
            // The server gave up a connection on which nothing was asked.
            Err(_) if line.asked.is_none() => line.connection = None,
            Err(_) => self.answered(number, None, true),
        }
        Ok(())
    }

    fn answered(&mut self, number: usize, status: Option<u16>, is_over: bool) {
        let Some(line) = self.lines.get_mut(number) else { return };
        if is_over {
            line.connection = None;
        }
        let Some((_, due)) = line.asked.take() else { return };
        self.free.push(number);
        let failed = self.outcome.failed;
        self.outcome.add(status, due.elapsed());
        if self.outcome.failed > failed {
            self.first_failure.get_or_insert(status.unwrap_or(0));
        }
    }
}

/// The bytes of a request.
fn bytes(requests: &Requests, number: usize) -> Result<&[u8]> {
    let (Requests::Once(all) | Requests::Again(all, _)) = requests;
    all.get(number % all.len().max(1)).map(Vec::as_slice).context("no request")
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn as_f64(number: usize) -> f64 {
    number as f64
}
