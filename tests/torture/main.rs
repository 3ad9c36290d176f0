//! Crash torture: an instance under load is killed again and again, half of the time with a
//! simulated power cut, and must never lose, double or disorder what it acknowledged.
//!
//! `scripts/torture.sh [rounds]` builds everything and runs this. A *life* is one data directory;
//! it sees a number of rounds, and at its end everything that it owes to the peer must arrive.
//! What is checked after each round is in `check.rs`, what a power cut takes in `restore.rs`.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a driver of tests, which lives in real time"
)]

mod books;
mod check;
mod child;
mod dice;
mod foreign;
mod load;
mod peer;
mod restore;
mod selfcheck;
mod storm;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use check::{Checker, OPERATOR};
use child::{Child, Spec};
use dice::Dice;
use foreign::Foreign;
use load::{ACTORS, Load, World, actor_name, secret};
use peer::Peer;
use restore::{Cut, Taken};

/// Actors of the peer.
const FOREIGN: usize = 4;
/// The most rounds of one life: the checks of a round read everything.
const LIFE: u64 = 20;
/// The most storms over one store.
const STORMS: u64 = 40;
/// Findings of a kind that are printed for a life.
const SHOWN: usize = 10;

/// Kills an instance under load again and again, and checks what it acknowledged.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Makes the same choices again; picked at random without it.
    #[arg(long)]
    seed: Option<u64>,
    /// The fedsx program.
    #[arg(long)]
    fedsx: PathBuf,
    /// The library that simulates power cuts, built from powercut.c; without it there are only
    /// kills.
    #[arg(long)]
    powercut: Option<PathBuf>,
    /// Where data directories are made; removed afterwards, but for lives that failed.
    #[arg(long)]
    dir: PathBuf,
    /// Print a line for each round.
    #[arg(long)]
    verbose: bool,
    /// Storms over the store alone; five for each round without it.
    #[arg(long)]
    storms: Option<u64>,
    /// Interrupted first starts; one for four rounds without it.
    #[arg(long)]
    births: Option<u64>,
    /// Used by the check of the power cut library.
    #[arg(long, hide = true)]
    scribble: Option<PathBuf>,
    /// Used by the storms.
    #[arg(long, hide = true)]
    pour: Option<PathBuf>,
}

/// What all lives came to.
#[derive(Default)]
struct Total {
    storms: u64,
    stormed: u64,
    births: u64,
    rounds: u64,
    kills: u64,
    cuts: u64,
    taken: Taken,
    acknowledged: u64,
    found: u64,
    lost: u64,
    doubled: u64,
    wrong: u64,
    owed: u64,
    arrived: u64,
    again: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (&args.scribble, &args.pour) {
        (Some(directory), _) => selfcheck::scribble(directory).map(|()| true),
        (_, Some(directory)) => storm::pour(directory, args.seed.unwrap_or(0)).map(|()| true),
        _ => run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| {
        let bytes: &dyn fedsx_kernel::runtime::Random = &fedsx_kernel::runtime::OsRandom;
        u64::from(u32::from_be_bytes(bytes.bytes()))
    });
    println!("torture: seed {seed}, {} rounds", args.rounds);
    fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    let directory = args.dir.canonicalize()?;
    let began = Instant::now();
    let dice = Dice::new(seed);
    let mut total = Total::default();
    if let Some(library) = &args.powercut {
        selfcheck::run(library, &directory.join("selfcheck"))?;
        storms(args, library, &directory, &dice.fork(), &mut total)?;
        births(args, library, &directory, &dice.fork(), &mut total)?;
    }
    let length = args.rounds.div_ceil(2).clamp(1, LIFE);
    for number in 0.. {
        let left = args.rounds.saturating_sub(total.rounds);
        if left == 0 {
            break;
        }
        let before = total.rounds;
        let powercut = args.powercut.clone().filter(|_| number % 2 == 0);
        let mut life = Life::new(args, &directory, number, powercut, dice.fork())?;
        let outcome = life.run(length.min(left), &mut total);
        life.close(outcome, before, &mut total)?;
    }
    let Total { rounds, kills, cuts, taken, acknowledged, found, lost, doubled, wrong, .. } = total;
    println!(
        "torture: rounds {rounds}, acknowledged {acknowledged}, found {found}, lost {lost}, \
         doubled {doubled}, wrong {wrong} (seed {seed}; kills {kills}, power cuts {cuts} that took \
         back {} writes of {} bytes and {} names; owed to the peer {}, arrived {}, sent again {}; \
         {} storms over the store alone, {} entries; {} first starts; {} s)",
        taken.writes,
        taken.bytes,
        taken.names,
        total.owed,
        total.arrived,
        total.again,
        total.storms,
        total.stormed,
        total.births,
        began.elapsed().as_secs(),
    );
    Ok(lost == 0 && doubled == 0 && wrong == 0)
}

/// The store alone, in stores that live for a number of storms each.
fn storms(
    args: &Args,
    library: &Path,
    directory: &Path,
    dice: &Dice,
    total: &mut Total,
) -> Result<()> {
    let library = library.canonicalize()?;
    let mut left = args.storms.unwrap_or(args.rounds.saturating_mul(5));
    let mut number = 0;
    while left > 0 {
        let home = directory.join(format!("storm-{number}"));
        let storms = storm::run(&library, &home, left.min(STORMS), &dice.fork())?;
        left = left.saturating_sub(storms.storms);
        number += 1;
        total.storms += storms.storms;
        total.stormed += storms.acknowledged;
        for failure in storms.failed {
            total.wrong += 1;
            println!("torture: {failure}; kept: {}", home.display());
        }
        if args.verbose {
            println!("store {number}: {} entries, {:?}", storms.acknowledged, storms.taken);
        }
    }
    Ok(())
}

/// First starts alone: an instance that is interrupted while it makes its files must start the
/// next time.
fn births(
    args: &Args,
    library: &Path,
    directory: &Path,
    dice: &Dice,
    total: &mut Total,
) -> Result<()> {
    for number in 0..args.births.unwrap_or(args.rounds.div_ceil(4)) {
        let mut life = Life::new(args, directory, number, Some(library.to_owned()), dice.fork())?;
        let born = life.born(total).with_context(|| format!("first start {number}"));
        let ended = life.child.kill();
        total.births += 1;
        match born.and(ended) {
            Ok(()) => fs::remove_dir_all(&life.home)?,
            Err(error) => {
                total.wrong += 1;
                let kept = directory.join(format!("birth-{number}"));
                fs::rename(&life.home, &kept)?;
                println!("torture: {error:#}; kept: {}", kept.display());
            }
        }
    }
    Ok(())
}

/// One data directory, from its first start to its last check.
struct Life {
    home: PathBuf,
    child: Child,
    world: World,
    checker: Checker,
    dice: Dice,
    verbose: bool,
}

impl Life {
    fn new(
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
        let (port, peer_port) = (free_port(&dice)?, free_port(&dice)?);
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

    fn run(&mut self, rounds: u64, total: &mut Total) -> Result<()> {
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

    fn born(&mut self, total: &mut Total) -> Result<()> {
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
        // The peer must have been asked for the keys of its actors once.
        let calm = round == 0;
        std::thread::scope(|scope| -> Result<()> {
            let load = Load::start(scope, &self.world, &self.dice, calm);
            std::thread::sleep(load_for);
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
        let Some(journal) = self.child.journal() else { return Ok(()) };
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
    fn close(mut self, outcome: Result<()>, before: u64, total: &mut Total) -> Result<()> {
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
fn free_port(dice: &Dice) -> Result<u16> {
    for _ in 0..1000 {
        let port = u16::try_from(20_000 + dice.below(12_000))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("no port is free")
}
