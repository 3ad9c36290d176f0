//! One running instance: the built binary, a port that the system picked, data of its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::Pid;
pub use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;
use super::poll::{PATIENCE, eventually};

/// The built binary.
pub const FEDSX: &str = env!("CARGO_BIN_EXE_fedsx");
/// Lines of the log that a failing test shows.
const LOG_LINES: usize = 80;

/// The secret of an actor's token.
pub fn secret(name: &str) -> String {
    format!("{name}-secret-0123456789")
}

/// The processes that a process started, where the system tells.
pub fn children(process: u32) -> Vec<Pid> {
    let listed = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(listed).unwrap_or_default();
    let numbers = listed.split_whitespace().filter_map(|number| number.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// A command that sees no configuration of the surroundings.
pub fn command() -> Command {
    let mut command = Command::new(FEDSX);
    for (name, _) in std::env::vars() {
        if name.starts_with("FEDSX_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// How an instance is started.
#[derive(Clone)]
pub struct Spec {
    pub tokens: Vec<String>,
    pub args: Vec<String>,
    pub envs: Vec<(String, String)>,
    /// Whether plain http and private addresses are allowed.
    pub development: bool,
    /// A program and its arguments that the binary is run under.
    pub under: Vec<String>,
}

impl Default for Spec {
    fn default() -> Self {
        let names = ["alice", "bob", "carol", "dave"];
        let mut tokens: Vec<_> =
            names.iter().map(|name| format!("{name}={}", secret(name))).collect();
        tokens.push(format!("operator={}:publish,read,define,admin", secret("operator")));
        Self {
            tokens,
            args: vec!["--delivery-schedule".into(), "200ms,400ms,800ms".into()],
            envs: Vec::new(),
            development: true,
            under: Vec::new(),
        }
    }
}

impl Spec {
    pub fn token(mut self, token: &str) -> Self {
        self.tokens.push(token.to_owned());
        self
    }

    /// With other pauses between attempts to deliver.
    pub fn schedule(mut self, schedule: &str) -> Self {
        self.args = vec!["--delivery-schedule".into(), schedule.into()];
        self
    }

    pub fn start(self) -> Node {
        self.start_in(tempfile::tempdir().expect("a directory"))
    }

    /// With a data directory that is there already.
    pub fn start_in(self, data: TempDir) -> Node {
        Node::run(self, data, None)
    }
}

/// A running instance; killed when it is dropped.
pub struct Node {
    spec: Spec,
    data: Option<TempDir>,
    child: Option<Child>,
    log: Arc<Mutex<VecDeque<String>>>,
    /// `http://localhost:<port>`.
    pub base: String,
    /// The first line of standard output.
    pub first_line: String,
    client: Client,
}

impl Node {
    /// An instance with tokens for alice, bob, carol, dave and operator.
    pub fn start() -> Self {
        Spec::default().start()
    }

    fn run(spec: Spec, data: TempDir, port: Option<u16>) -> Self {
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (child, first_line) = spawn(&spec, data.path(), port, &log);
        let mut node = Self {
            spec,
            data: Some(data),
            child: Some(child),
            log,
            base: String::new(),
            first_line,
            client: Client::new(""),
        };
        let address = node.first_line.rsplit(' ').next().unwrap_or_default().trim().to_owned();
        let port = address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let Some(port) = port else { panic!("no address in {:?}", node.first_line) };
        node.base = format!("http://localhost:{port}");
        node.client = Client::new(&node.base);
        eventually(PATIENCE, "/readyz answers 200", || {
            if node.exited().is_some() {
                panic!("the instance ended before it was ready");
            }
            let ready = node.client.get("/readyz");
            // On a full disk it serves what there is.
            (ready.status == 200 || ready.text().contains("disk-low")).then_some(())
        });
        node
    }

    pub fn data(&self) -> &Path {
        self.data.as_ref().expect("the data is there").path()
    }

    pub fn port(&self) -> u16 {
        self.base.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// A client without a token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client with the token of an actor.
    pub fn as_actor(&self, name: &str) -> Client {
        self.client.with_secret(&secret(name))
    }

    /// A client that may operate the instance.
    pub fn admin(&self) -> Client {
        self.as_actor("operator")
    }

    /// The id of a hosted actor.
    pub fn actor(&self, name: &str) -> String {
        format!("{}/actors/{name}", self.base)
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("the child can be asked"))
    }

    /// Ends the instance with a signal and waits for it; gives the exit code.
    pub fn stop_with(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// Waits until the instance has ended; gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let status = eventually(PATIENCE, "the instance ends", || self.exited());
        self.child = None;
        status.code()
    }

    /// Ends the instance with SIGTERM and checks that it exits with 0.
    pub fn stop(&mut self) {
        assert_eq!(self.stop_with(Signal::TERM), Some(0), "exit code after SIGTERM");
    }

    /// Small systems have no program for that.
    pub fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(process.expect("a process"), signal).expect("the signal is sent");
    }

    /// Ends the instance without any warning, as a crash would.
    pub fn crash(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Starts the instance again, on the same port and data; stops it first where it runs.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        let port = self.port();
        let data = self.data.take().expect("the data is there");
        let next = Self::run(self.spec.clone(), data, Some(port));
        let previous = std::mem::replace(self, next);
        drop(previous);
    }

    /// Gives up the running instance but keeps its data.
    pub fn into_data(mut self) -> TempDir {
        if self.child.is_some() {
            self.stop();
        }
        self.data.take().expect("the data is there")
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log.lock().expect("the log");
        log.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that runs under strace goes on without it.
            for process in children(child.id()) {
                let _ = kill_process(process, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() && self.data.is_some() {
            eprintln!("--- log of {} ---\n{}\n---", self.base, self.log_tail());
        }
    }
}

/// Starts the binary and waits for the first line of its standard output.
fn spawn(
    spec: &Spec,
    data: &Path,
    port: Option<u16>,
    log: &Arc<Mutex<VecDeque<String>>>,
) -> (Child, String) {
    let mut command = command();
    if let Some((program, args)) = spec.under.split_first() {
        command = Command::new(program);
        command.args(args).arg(FEDSX).stdin(Stdio::null());
    }
    command.arg("serve").arg("--data").arg(data);
    command.args(["--listen", &format!("127.0.0.1:{}", port.unwrap_or(0))]);
    if let Some(port) = port {
        command.args(["--base-url", &format!("http://localhost:{port}")]);
    }
    for token in &spec.tokens {
        command.args(["--token", token]);
    }
    if spec.development {
        command.args(["--allow-http", "--allow-private-network"]);
    }
    command.args(&spec.args);
    for (name, value) in &spec.envs {
        command.env(name, value);
    }
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("fedsx starts");
    let (first, receive) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().expect("standard output"));
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = first.send(line);
        }
    });
    let (stderr, kept) =
        (BufReader::new(child.stderr.take().expect("standard error")), log.clone());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let mut kept = kept.lock().expect("the log");
            if kept.len() == LOG_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    });
    match receive.recv_timeout(Duration::from_secs(60)) {
        Ok(line) => (child, line),
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            let log = log.lock().expect("the log");
            panic!(
                "no address line ({e}); log:\n{}",
                log.iter().cloned().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

/// The result of a command that ends by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn all(&self) -> String {
        format!("exit {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end, which must come before the deadline.
pub fn run_to_end(mut command: Command) -> Ended {
    let out = tempfile::NamedTempFile::new().expect("a file");
    let err = tempfile::NamedTempFile::new().expect("a file");
    let mut child = command
        .stdout(out.reopen().expect("a handle"))
        .stderr(err.reopen().expect("a handle"))
        .spawn()
        .expect("fedsx starts");
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(Duration::from_secs(60), "the command ends by itself", || {
            child.try_wait().expect("the child can be asked")
        })
    }));
    let status = ended.unwrap_or_else(|panic| {
        let _ = child.kill();
        let _ = child.wait();
        std::panic::resume_unwind(panic)
    });
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    Ended {
        code: status.code(),
        stdout: read(out.path().to_owned()),
        stderr: read(err.path().to_owned()),
    }
}

/// `fedsx verify` on a data directory.
pub fn verify(data: &Path) -> Ended {
    let mut command = command();
    command.arg("verify").arg("--data").arg(data);
    run_to_end(command)
}

/// `fedsx token narrow`, which asks nobody.
pub fn narrowed(token: &str, args: &[&str]) -> String {
    let mut command = command();
    command.env("FEDSX_PROFILES", "/nonexistent/profiles.toml").env("FEDSX_TOKEN", token);
    command.args(["token", "narrow"]).args(args);
    let ended = run_to_end(command);
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.all());
    ended.stdout.trim().to_owned()
}
