//! One life: rounds of load and death on one data directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::runtime::{OsRandom, Random};

use crate::check::{Checker, OPERATOR};
use crate::child::{Child, Spec};
use crate::dice::Dice;
use crate::foreign::Foreign;
use crate::load::{ACTORS, Load, World, actor_name, secret};
use crate::peer::Peer;
use crate::restore::{self, Cut};
use crate::{Args, Total};

/// Actors of the peer.
const FOREIGN: usize = 4;
/// A round ends when it had its time and a number of answers, at most so many.
const MOST_ANSWERS: usize = 25;
/// How long these answers are waited for.
const BUSY: Duration = Duration::from_secs(15);
/// Findings of a kind that are printed for a life.
const SHOWN: usize = 10;

/// One data directory, from its first start to its last check.
pub struct Life {
    pub home: PathBuf,
    pub child: Child,
    world: World,
    checker: Checker,
    dice: Dice,
    verbose: bool,
}

impl Life {
    pub fn new(
        args: &Args,
        directory: &Path,
        number: u64,
        powercut: Option<PathBuf>,
        dice: Dice,
    ) -> Result<Self> {
        let home = directory.join(format!("life-{number}"));
        if home.exists() {
            fs::remove_dir_all(&home)?;
        }
        let mut tokens: Vec<String> = (0..ACTORS)
            .map(|actor| format!("{}={}", actor_name(actor), secret(&actor_name(actor))))
            .collect();
        tokens.push(format!("{OPERATOR}={}:read,admin", secret(OPERATOR)));
        let (port, peer_port) = (free_port()?, free_port()?);
        let fedsx = args.fedsx.canonicalize().with_context(|| args.fedsx.display().to_string())?;
        let child = Child::new(Spec { fedsx, powercut, home: home.clone(), port, tokens })?;
        let peer_base = format!("http://127.0.0.1:{peer_port}");
        let foreign = (0..FOREIGN)
            .map(|number| Foreign::new(&peer_base, &format!("foreign{number}")).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let peer = Peer::start(peer_port, &foreign)?;
        // Large activities make what is not synced yet span several of sled's segments.
        let large = if dice.percent(40) { 20 } else { 3 };
        let world = World::new(&child.base(), &format!("life{number}"), foreign, peer, large);
        let checker = Checker::default();
        Ok(Self { home, child, world, checker, dice, verbose: args.verbose })
    }

    pub fn run(&mut self, rounds: u64, total: &mut Total) -> Result<()> {
        for round in 0..rounds {
            total.rounds += 1;
            self.round(round, total).with_context(|| format!("round {}", total.rounds))?;
            if self.verbose {
                let findings = &self.checker.findings;
                println!(
                    "round {}: acknowledged {}, found {}, owed {}, arrived {}",
                    total.rounds,
                    findings.acknowledged,
                    findings.found,
                    findings.owed,
                    findings.arrived
                );
            }
            if !self.checker.findings.is_well() {
                return Ok(());
            }
        }
        if !self.child.runs() {
            self.child.start()?;
        }
        self.checker.settle(&self.world).context("settling")?;
        self.child.stop()?;
        self.child.verify()
    }

    pub fn born(&mut self, total: &mut Total) -> Result<()> {
        self.interrupt(total)?;
        while self.dice.percent(40) {
            self.interrupt(total)?;
        }
        self.child.start()?;
        self.child.stop()?;
        self.child.verify()
    }

    fn round(&mut self, round: u64, total: &mut Total) -> Result<()> {
        if !self.child.runs() {
            // At its first start, the instance may be killed before it is ready.
            while round == 0 && self.dice.percent(30) {
                self.interrupt(total)?;
            }
            self.child.start()?;
        }
        let load_for = self.dice.millis(300, 2000);
        // On a busy machine that time alone may pass before anything is answered.
        let answers = self.world.books.acknowledged() + 1 + self.dice.index(MOST_ANSWERS);
        // The peer must have been asked for the keys of its actors once.
        let calm = round == 0;
        std::thread::scope(|scope| -> Result<()> {
            let load = Load::start(scope, &self.world, &self.dice, calm);
            std::thread::sleep(load_for);
            let began = Instant::now();
            while self.world.books.acknowledged() < answers && began.elapsed() < BUSY {
                std::thread::sleep(Duration::from_millis(5));
            }
            let killed = self.child.kill();
            load.stop()?;
            killed
        })?;
        total.kills += 1;
        self.cut(total)?;
        while self.dice.percent(25) {
            self.interrupt(total)?;
        }
        let verify_first = self.dice.percent(50);
        if verify_first {
            self.child.verify()?;
        }
        self.child.start()?;
        self.checker.check(&self.world)?;
        if !verify_first {
            self.child.stop()?;
            self.child.verify()?;
        }
        let blobs = self.child.blobs()?;
        if !blobs.is_empty() {
            bail!("sled wrote files of their own, which it does not sync: {blobs:?}");
        }
        Ok(())
    }

    /// Starts the instance and kills it while it starts.
    fn interrupt(&mut self, total: &mut Total) -> Result<()> {
        self.child.spawn()?;
        std::thread::sleep(self.dice.millis(0, 350));
        self.child.kill().context("killed while starting")?;
        total.kills += 1;
        self.cut(total)
    }

    /// After a kill: perhaps the power went too.
    fn cut(&mut self, total: &mut Total) -> Result<()> {
        let Some(journal) = self.child.journal() else {
            return Ok(());
        };
        let uncovered = restore::uncovered(&journal)?;
        if !uncovered.is_empty() {
            bail!("changes that the simulated power cut does not cover: {uncovered:?}");
        }
        let cut = match self.dice.below(100) {
            // The page cache survives a kill, and is still not durable.
            0..25 => return restore::trim(&journal),
            25..60 => Cut::All,
            60..80 => Cut::Some { sector: 4096 },
            _ => Cut::Some { sector: 512 },
        };
        let taken = restore::cut(&self.child.data(), &journal, cut, &self.dice)
            .with_context(|| format!("a power cut ({cut:?})"))?;
        if self.verbose {
            println!("  {cut:?}: {taken:?}");
        }
        total.cuts += 1;
        total.taken.writes += taken.writes;
        total.taken.bytes += taken.bytes;
        total.taken.names += taken.names;
        Ok(())
    }

    /// Adds the life to the total; keeps its data where something was amiss.
    pub fn close(mut self, outcome: Result<()>, before: u64, total: &mut Total) -> Result<()> {
        // Its process must be gone before its data.
        let ended = self.child.kill();
        let findings = &mut self.checker.findings;
        for error in [outcome, ended].into_iter().filter_map(Result::err) {
            findings.wrong.insert(format!("{error:#}"));
        }
        total.acknowledged += findings.acknowledged;
        total.found += findings.found;
        total.lost += findings.lost.len() as u64;
        total.doubled += findings.doubled.len() as u64;
        total.wrong += findings.wrong.len() as u64;
        total.owed += findings.owed;
        total.arrived += findings.arrived;
        total.again += findings.again;
        if findings.is_well() {
            fs::remove_dir_all(&self.home)?;
            return Ok(());
        }
        println!(
            "torture: rounds {} to {} failed; kept: {}",
            before + 1,
            total.rounds,
            self.home.display()
        );
        show("lost", &findings.lost);
        show("doubled", &findings.doubled);
        show("wrong", &findings.wrong);
        Ok(())
    }
}

fn show(kind: &str, findings: &BTreeSet<String>) {
    for finding in findings.iter().take(SHOWN) {
        println!("  {kind}: {finding}");
    }
    if findings.len() > SHOWN {
        println!("  {kind}: and {} more", findings.len() - SHOWN);
    }
}

/// A port that nobody listens at, outside of the range from which the system gives ports to
/// connections: the instance must get it again after each kill.
/// Not by the seed, since two runs may have the same one.
fn free_port() -> Result<u16> {
    let random: &dyn Random = &OsRandom;
    for _ in 0..1000 {
        let port = 20_000 + u16::from_be_bytes(random.bytes()) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("no port is free")
}
