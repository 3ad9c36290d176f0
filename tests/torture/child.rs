//! The instance under torture: one `fedsx serve` after the other on the same data and port.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wire::Wire;

/// How long the instance may take to become ready, to drain, and to be verified.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pauses between attempts to deliver: both ends are on this machine.
const SCHEDULE: &str = "50ms,100ms,200ms,400ms,800ms,1s,1s,1s";

/// Where the instance lives and how it is started.
pub struct Spec {
    pub fedsx: PathBuf,
    /// The library that simulates power cuts; `None` where this life only knows kills.
    pub powercut: Option<PathBuf>,
    pub home: PathBuf,
    pub port: u16,
    /// `NAME=SECRET:scopes`.
    pub tokens: Vec<String>,
}

pub struct Child {
    spec: Spec,
    process: Option<std::process::Child>,
}

impl Child {
    pub fn new(spec: Spec) -> Result<Self> {
        for directory in [spec.home.join("data"), spec.home.join("journal")] {
            fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        }
        Ok(Self { spec, process: None })
    }

    pub fn data(&self) -> PathBuf {
        self.spec.home.join("data")
    }

    pub fn journal(&self) -> Option<PathBuf> {
        self.spec.powercut.as_ref().map(|_| self.spec.home.join("journal"))
    }

    pub fn base(&self) -> String {
        format!("http://localhost:{}", self.spec.port)
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// A command of ours that sees no configuration of the surroundings.
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.spec.fedsx);
        for (name, _) in std::env::vars() {
            if name.starts_with("FEDSX_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        if let (Some(library), Some(journal)) = (&self.spec.powercut, self.journal()) {
            command.env("LD_PRELOAD", library);
            command.env("POWERCUT_DIR", self.data());
            command.env("POWERCUT_JOURNAL", journal);
        }
        Ok(command)
    }

    fn log(&self) -> Result<File> {
        let path = self.spec.home.join("log");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| path.display().to_string())
    }

    /// Starts the instance and does not wait.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = self.command()?;
        command.arg("serve").arg("--data").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.spec.port)]);
        command.args(["--base-url", &self.base(), "--allow-http", "--allow-private-network"]);
        command.args(["--requests-per-second", "0", "--actor-requests-per-second", "0"]);
        command.args(["--delivery-schedule", SCHEDULE]);
        // Little, so that it is moved into the database often.
        command.args(["--store-memory", "128KiB"]);
        for token in &self.spec.tokens {
            command.args(["--token", token]);
        }
        command.stdout(Stdio::null()).stderr(self.log()?);
        self.process = Some(command.spawn().context("fedsx serve")?);
        Ok(())
    }

    /// Starts the instance and waits until it is ready.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        let wire = Wire::new(&self.base(), Duration::from_secs(5));
        let began = Instant::now();
        loop {
            if let Ok(answer) = wire.send("GET", "/readyz", None, &[], None)
                && answer.status == 200
            {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("the instance does not start ({status}): {}", self.tail());
            }
            if began.elapsed() > PATIENCE {
                bail!("the instance is not ready after {PATIENCE:?}: {}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the process ended by itself, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(process) = &mut self.process else {
            return Ok(None);
        };
        let status = process.try_wait()?;
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    /// SIGKILL. Fails where the process had ended by itself: nothing may make it do so.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("the instance ended by itself ({status}): {}", self.tail());
        }
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits until it has drained.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        let id = Pid::from_raw(i32::try_from(process.id())?).context("a process")?;
        kill_process(id, Signal::TERM)?;
        let began = Instant::now();
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("it does not stop well ({status}): {}", self.tail()),
                None if began.elapsed() > PATIENCE => {
                    bail!("it does not stop within {PATIENCE:?}: {}", self.tail())
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// `fedsx verify` on the data of the stopped instance.
    pub fn verify(&self) -> Result<()> {
        let mut command = self.command()?;
        command.arg("verify").arg("--data").arg(self.data());
        let output = command.output().context("fedsx verify")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("fedsx verify ({}): {}", output.status, text.trim());
        }
        Ok(())
    }

    /// Values that sled would not keep in its database files, where alone they are synced.
    pub fn blobs(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for blobs in ["store/blobs", "projections/blobs"] {
            match fs::read_dir(self.data().join(blobs)) {
                Ok(entries) => {
                    for entry in entries {
                        found.push(entry?.path());
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(found)
    }

    /// The last lines of the log.
    fn tail(&self) -> String {
        tail(&self.spec.home.join("log"))
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(8)).copied().collect::<Vec<_>>().join("\n  ")
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended meanwhile.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
