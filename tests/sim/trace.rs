//! What happened, in order, and a hash over it: the same seed must give the same hash.

use std::sync::Mutex;

use tokio::time::Instant;

/// The trace of one run.
pub struct Trace {
    began: Instant,
    echo: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    hasher: blake3::Hasher,
    lines: Vec<String>,
    requests: u64,
    appends: u64,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    pub requests: u64,
    pub appends: u64,
}

impl Trace {
    /// With `echo`, every line is printed as it comes.
    pub fn new(echo: bool) -> Self {
        Self { began: Instant::now(), echo, inner: Mutex::default() }
    }

    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub fn note(&self, line: &str) {
        let ms = self.elapsed_ms();
        let line = format!("{:>7}.{:03} {line}", ms / 1000, ms % 1000);
        if self.echo {
            println!("{line}");
        }
        let mut inner = self.inner.lock().unwrap();
        inner.hasher.update(line.as_bytes());
        inner.lines.push(line);
    }

    pub fn request(&self, line: &str) {
        self.inner.lock().unwrap().requests += 1;
        self.note(line);
    }

    pub fn append(&self, line: &str) {
        self.inner.lock().unwrap().appends += 1;
        self.note(line);
    }

    pub fn amount(&self) -> Amount {
        let inner = self.inner.lock().unwrap();
        Amount { requests: inner.requests, appends: inner.appends }
    }

    pub fn hash(&self) -> String {
        self.inner.lock().unwrap().hasher.finalize().to_hex().to_string()
    }

    pub fn lines(&self) -> Vec<String> {
        self.inner.lock().unwrap().lines.clone()
    }
}
