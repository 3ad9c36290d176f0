//! The program under measurement, as another process, and what the system says of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The secret of every token is this with the actor's name before it.
const SECRET: &str = "-secret-0123456789";
/// How long starting, and coming to rest, may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// An instance rests once it took less than [`RESTING`] of the processor in this time.
const PAUSE: Duration = Duration::from_millis(300);
const RESTING: Duration = Duration::from_millis(3);

/// A process that is measured; ended when it is dropped.
pub struct Node {
    child: Child,
    /// The port it listens at.
    pub port: u16,
    /// Its base.
    pub base: String,
    /// From its start to the line with its address.
    pub starting: Duration,
    agent: ureq::Agent,
}

impl Node {
    /// Starts an instance without limits by address and peer, with a token for each of the actors.
    pub fn start(program: &Path, data: &Path, actors: &[String], more: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--allow-http", "--allow-private-network", "--log", "error"])
            .args(["--requests-per-second", "0", "--actor-requests-per-second", "0"])
            .args(["--peer-deliveries-per-second", "0", "--concurrent-per-address", "0"])
            .args(["--peer-reads-per-second", "0"])
            .args(more)
            .arg("--data")
            .arg(data);
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for actor in actors {
            command.args(["--token", &format!("{actor}={}", secret(actor))]);
        }
        Self::run(command)
    }

    /// Starts any program that says `listening on http://ADDRESS:PORT` first.
    pub fn run(mut command: Command) -> Result<Self> {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().unwrap_or_default();
        let Ok(port) = port.parse() else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not start: {line:?}");
        };
        let agent = ureq::Agent::config_builder().proxy(None).build().into();
        let base = format!("http://localhost:{port}");
        Ok(Self { child, port, base, starting: began.elapsed(), agent })
    }

    /// Publishes as an actor; the answer.
    pub fn publish(&self, actor: &str, request: &Value) -> Result<Value> {
        self.post("/activity", Some(actor), &request.to_string())
    }

    /// Posts an activity; the answer.
    pub fn post(&self, path: &str, actor: Option<&str>, body: &str) -> Result<Value> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/activity+json");
        if let Some(actor) = actor {
            request = request.header("authorization", format!("Bearer {}", secret(actor)));
        }
        let mut answer = request.send(body).with_context(|| format!("POST {path}"))?;
        Ok(answer.body_mut().read_json()?)
    }

    /// Waits until it answers that it is ready; since its start.
    pub fn ready(&self, began: Instant) -> Result<Duration> {
        while began.elapsed() < PATIENCE {
            if self.agent.get(format!("{}/readyz", self.base)).call().is_ok() {
                return Ok(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("it is not ready")
    }

    /// The processor time that it took, in steps of 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit_once(')').context("/proc has another form")?.1;
        // Fields 14 and 15 of the line: in user space and in the kernel, in hundredths of a second.
        let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10))
    }

    /// What the threads that it has now took, exactly.
    pub fn busy(&self) -> Result<Duration> {
        busy(&format!("/proc/{}/task", self.child.id()))
    }

    /// Resident memory, in KiB: now, and at most so far.
    pub fn resident_kib(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// How often its threads left the processor by themselves.
    pub fn switches(&self) -> Result<u64> {
        let mut switches = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            switches += line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(switches)
    }

    /// Waits until what follows the log has caught up and nothing happens any more.
    pub fn rest(&self) -> Result<()> {
        let began = Instant::now();
        let mut before = self.busy()?;
        while began.elapsed() < PATIENCE {
            std::thread::sleep(PAUSE);
            let now = self.busy()?;
            if now.saturating_sub(before) < RESTING {
                return Ok(());
            }
            before = now;
        }
        bail!("it does not come to rest")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The secret of an actor's token.
pub fn secret(actor: &str) -> String {
    format!("{actor}{SECRET}")
}

/// What the calling thread used of a processor.
pub fn thread_cpu() -> Result<Duration> {
    nanoseconds("/proc/thread-self/schedstat")
}

/// What the threads of this process that still run used of the processors.
pub fn own_cpu() -> Result<Duration> {
    busy("/proc/self/task")
}

fn busy(tasks: &str) -> Result<Duration> {
    let mut taken = Duration::ZERO;
    for task in std::fs::read_dir(tasks)? {
        // A thread may have ended meanwhile.
        let path = task?.path().join("schedstat");
        taken += nanoseconds(&path.to_string_lossy()).unwrap_or_default();
    }
    Ok(taken)
}

/// Nanoseconds on the processor come first in a `schedstat`.
fn nanoseconds(path: &str) -> Result<Duration> {
    let text = std::fs::read_to_string(path)?;
    let first = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}
