//! The network between the instances: links with latency that can be cut in one or both
//! directions, and mischief with whole requests.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fedsx_delivery::client::{BoxedStream, Dial};
use fedsx_http::{Accepting, Connection, Listener};
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::dice::Dice;
use super::trace::Trace;

/// Bytes that a connection holds in each direction.
const BUFFER: usize = 256 * 1024;
/// How long the network holds back what cannot pass before it loses it.
const HELD: Duration = Duration::from_secs(120);

/// A connection on its way to a listener.
pub type Incoming = (Box<dyn Connection>, SocketAddr);

/// The network.
pub struct Net {
    trace: Arc<Trace>,
    dice: Dice,
    links: Mutex<Vec<Vec<Link>>>,
    changed: watch::Sender<u64>,
    doors: Mutex<Vec<Option<Door>>>,
    /// Percent of requests that something is done to.
    mischief: AtomicI64,
    /// Copies of requests that are still to come.
    copies: AtomicUsize,
    /// Pushed activities by sender and receiver, in the order in which they first arrived.
    arrived: Mutex<Vec<(usize, usize, String)>>,
}

#[derive(Clone, Copy, Default)]
struct Link {
    /// How many faults keep it closed.
    closed: u32,
    latency_ms: u64,
}

/// Where an instance listens while it lives.
#[derive(Clone)]
pub struct Door {
    pub listener: mpsc::UnboundedSender<Incoming>,
    pub life: watch::Receiver<bool>,
}

/// What the network does with a request.
#[derive(Clone, Debug)]
enum Fate {
    Pass,
    /// The connection breaks before the request arrives.
    CutBefore,
    /// It breaks in the middle of the request.
    CutWithin,
    /// The request is processed, but its answer never comes.
    CutAnswer,
    /// The very same request arrives again, after so long.
    Copies(Vec<Duration>),
    /// The request arrives much later.
    Held(Duration),
}

pub fn host(node: usize) -> String {
    format!("n{node}.example")
}

impl Net {
    pub fn new(nodes: usize, seed: u64, trace: Arc<Trace>) -> Arc<Self> {
        let dice = Dice::new(seed, "net");
        let link = |_| Link { closed: 0, latency_ms: dice.between(1, 120) };
        let links = (0..nodes).map(|_| (0..nodes).map(link).collect()).collect();
        Arc::new(Self {
            trace,
            links: Mutex::new(links),
            dice,
            changed: watch::Sender::new(0),
            doors: Mutex::new(vec![None; nodes]),
            mischief: AtomicI64::new(0),
            copies: AtomicUsize::new(0),
            arrived: Mutex::default(),
        })
    }

    pub fn open_door(&self, node: usize, door: Option<Door>) {
        self.doors.lock().unwrap()[node] = door;
    }

    pub fn door(&self, node: usize) -> Option<Door> {
        self.doors.lock().unwrap()[node].clone()
    }

    /// Closes one direction; it opens when as many faults have ended as began.
    pub fn close(&self, from: usize, to: usize) {
        self.links.lock().unwrap()[from][to].closed += 1;
    }

    pub fn open(&self, from: usize, to: usize) {
        let mut links = self.links.lock().unwrap();
        let link = &mut links[from][to];
        link.closed = link.closed.saturating_sub(1);
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub fn mischief(&self, percent: i64) {
        self.mischief.fetch_add(percent, Ordering::SeqCst);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        for link in self.links.lock().unwrap().iter_mut().flatten() {
            link.closed = 0;
        }
        self.mischief.store(0, Ordering::SeqCst);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Whether copies of old requests are still to come.
    pub fn is_quiet(&self) -> bool {
        self.copies.load(Ordering::SeqCst) == 0
    }

    /// The place of a pushed activity among all that arrived; copies do not count.
    pub fn arrival(&self, from: usize, to: usize, cid: &str) -> Option<usize> {
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().position(|(f, t, held)| *f == from && *t == to && held == cid)
    }

    pub fn dialler(self: &Arc<Self>, from: usize, life: watch::Receiver<bool>) -> Arc<dyn Dial> {
        Arc::new(SimDial { net: self.clone(), from, life })
    }

    /// One way through a link; false where it stays closed for too long.
    async fn travel(&self, from: usize, to: usize) -> bool {
        let latency_ms = self.links.lock().unwrap()[from][to].latency_ms;
        sleep(self.dice.millis(latency_ms, latency_ms * 3 / 2 + 1)).await;
        let mut changed = self.changed.subscribe();
        let opens = async {
            loop {
                changed.mark_unchanged();
                if self.links.lock().unwrap()[from][to].closed == 0 {
                    return;
                }
                // The sender lives as long as the network.
                let _ = changed.changed().await;
            }
        };
        timeout(HELD, opens).await.is_ok()
    }

    fn fate(&self) -> Fate {
        let percent = u64::try_from(self.mischief.load(Ordering::SeqCst)).unwrap_or(0);
        if !self.dice.chance(percent.min(90)) || percent == 0 {
            return Fate::Pass;
        }
        match self.dice.below(6) {
            0 => Fate::CutBefore,
            1 => Fate::CutWithin,
            2 => Fate::CutAnswer,
            3 => Fate::Held(self.dice.seconds(2, 90)),
            _ => {
                let copies = 1 + self.dice.below(3);
                let delay = |_| match self.dice.below(3) {
                    0 => self.dice.millis(0, 50),
                    1 => self.dice.seconds(1, 60),
                    _ => self.dice.seconds(60, 14 * 3600),
                };
                Fate::Copies((0..copies).map(delay).collect())
            }
        }
    }

    fn arrive(&self, from: usize, to: usize, stream: DuplexStream) -> io::Result<Door> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let door = self.door(to).ok_or_else(refused)?;
        let port = 40_000 + u16::try_from(from).unwrap();
        let address = SocketAddr::from(([10, 0, 0, u8::try_from(from).unwrap()], port));
        door.listener.send((Box::new(stream), address)).map_err(|_| refused())?;
        Ok(door)
    }

    /// Delivers a copy of a request over a connection of its own.
    fn copy(self: &Arc<Self>, from: usize, to: usize, bytes: Vec<u8>, after: Duration) {
        let net = self.clone();
        self.copies.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            sleep(after).await;
            let (mut ours, theirs) = duplex(BUFFER);
            let status = match net.arrive(from, to, theirs) {
                Err(_) => "nobody there".to_owned(),
                Ok(_) => {
                    let mut answer = vec![0; 64];
                    let exchange = async {
                        ours.write_all(&bytes).await?;
                        ours.read(&mut answer).await
                    };
                    match timeout(Duration::from_secs(60), exchange).await {
                        Ok(Ok(_)) => status_of(&answer),
                        _ => "no answer".to_owned(),
                    }
                }
            };
            net.trace.request(&format!("n{from}->n{to} copy {} => {status}", summary(&bytes)));
            net.copies.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

struct SimDial {
    net: Arc<Net>,
    from: usize,
    life: watch::Receiver<bool>,
}

impl Dial for SimDial {
    fn dial<'a>(&'a self, name: &'a str, _: u16) -> BoxFuture<'a, io::Result<BoxedStream>> {
        Box::pin(async move {
            let (net, from) = (&self.net, self.from);
            let nodes = net.doors.lock().unwrap().len();
            let Some(to) = (0..nodes).find(|node| host(*node) == name) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            if !*self.life.borrow() {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            if !net.travel(from, to).await || !net.travel(to, from).await {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let (ours, near) = duplex(BUFFER);
            let (far, theirs) = duplex(BUFFER);
            let door = net.arrive(from, to, theirs)?;
            let wire = Wire { net: net.clone(), from, to };
            let (mut here, mut there) = (self.life.clone(), door.life.clone());
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    // Whoever loses power says no more.
                    _ = here.wait_for(|alive| !*alive) => {}
                    _ = there.wait_for(|alive| !*alive) => {}
                    () = wire.carry(near, far) => {}
                }
            });
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

/// One connection.
struct Wire {
    net: Arc<Net>,
    from: usize,
    to: usize,
}

impl Wire {
    async fn carry(&self, near: DuplexStream, far: DuplexStream) {
        let (near_in, near_out) = split(near);
        let (far_in, far_out) = split(far);
        // Turns true where the answer to the last request must not arrive.
        let cut = watch::Sender::new(false);
        let mut told = cut.subscribe();
        tokio::select! {
            biased;
            _ = async {
                let up = self.up(near_in, far_out, &cut);
                let down = self.down(far_in, near_out, cut.subscribe());
                // The network goes on with what it holds after the client has given up.
                tokio::join!(up, down)
            } => {}
            _ = async {
                let _ = told.wait_for(|cut| *cut).await;
                // Long enough for the request to be processed.
                sleep(Duration::from_secs(20)).await;
            } => {}
        }
    }

    /// Requests, one at a time and whole.
    async fn up(
        &self,
        mut input: ReadHalf<DuplexStream>,
        mut output: WriteHalf<DuplexStream>,
        cut: &watch::Sender<bool>,
    ) {
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            while let Some(length) = request_length(&buffer) {
                let rest = buffer.split_off(length);
                let request = std::mem::replace(&mut buffer, rest);
                if !self.request(request, &mut output, cut).await {
                    // Both halves are dropped by the end of the wire.
                    cut.send_replace(true);
                    return;
                }
            }
            match input.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            }
        }
        // The server closes when it has answered.
        let _ = output.shutdown().await;
    }

    /// False where the connection breaks.
    async fn request(
        &self,
        bytes: Vec<u8>,
        output: &mut WriteHalf<DuplexStream>,
        cut: &watch::Sender<bool>,
    ) -> bool {
        let (net, from, to) = (&self.net, self.from, self.to);
        let fate = net.fate();
        if let Fate::Held(time) = &fate {
            sleep(*time).await;
        }
        let passed = net.travel(from, to).await;
        let lost = if passed { String::new() } else { " lost".to_owned() };
        net.trace.request(&format!("n{from}->n{to} {} {fate:?}{lost}", summary(&bytes)));
        if !passed {
            return false;
        }
        if !matches!(fate, Fate::CutBefore | Fate::CutWithin)
            && let Some((_, cid)) = activity_in(&bytes)
        {
            net.arrived.lock().unwrap().push((from, to, cid));
        }
        match fate {
            Fate::Pass | Fate::Held(_) => output.write_all(&bytes).await.is_ok(),
            Fate::CutBefore => false,
            Fate::CutWithin => {
                let part = 1 + net.dice.below(bytes.len() - 1);
                let _ = output.write_all(&bytes[..part]).await;
                false
            }
            Fate::CutAnswer => {
                cut.send_replace(true);
                output.write_all(&bytes).await.is_ok()
            }
            Fate::Copies(delays) => {
                let written = output.write_all(&bytes).await.is_ok();
                for delay in delays {
                    net.copy(from, to, bytes.clone(), delay);
                }
                written
            }
        }
    }

    /// Answers, as they come.
    async fn down(
        &self,
        mut input: ReadHalf<DuplexStream>,
        mut output: WriteHalf<DuplexStream>,
        cut: watch::Receiver<bool>,
    ) {
        let (net, from, to) = (&self.net, self.from, self.to);
        let mut chunk = vec![0; 16 * 1024];
        loop {
            let count = match input.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if *cut.borrow() || !net.travel(to, from).await {
                net.trace.note(&format!("n{to}->n{from} answer lost"));
                break;
            }
            if chunk.starts_with(b"HTTP/") {
                net.trace.note(&format!("n{to}->n{from} {}", status_of(&chunk[..count])));
            }
            // A client that gave up hears nothing.
            let _ = output.write_all(&chunk[..count]).await;
        }
        let _ = output.shutdown().await;
    }
}

/// The length of the first request in the buffer, once it is whole.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let body = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    (buffer.len() >= head + body).then_some(head + body)
}

/// Type and last part of the id of the activity in a request.
fn activity_in(bytes: &[u8]) -> Option<(String, String)> {
    let body = std::str::from_utf8(bytes).ok()?.split_once("\r\n\r\n")?.1;
    let activity: serde_json::Value = serde_json::from_str(body).ok()?;
    let name = activity["id"].as_str()?.rsplit('/').next()?.to_owned();
    Some((activity["type"].as_str()?.to_owned(), name))
}

/// Method, path and a hash of everything.
fn summary(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let what = line.trim_end_matches(" HTTP/1.1");
    let kind = activity_in(bytes).map(|(kind, name)| format!(" {kind} {name}"));
    let hash = blake3::hash(bytes).to_hex();
    format!("{what}{} #{}", kind.unwrap_or_default(), &hash[..8])
}

fn status_of(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).split(' ').nth(1).unwrap_or("nothing").to_owned()
}

/// Where an instance takes its connections from.
pub struct SimListener(pub mpsc::UnboundedReceiver<Incoming>);

impl Listener for SimListener {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            match self.0.recv().await {
                Some(incoming) => Ok(incoming),
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([10, 0, 0, 1], 80)))
    }
}
