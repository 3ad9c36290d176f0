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
mod deliver;
mod dice;
mod foreign;
mod life;
mod load;
mod owed;
mod peer;
mod publish;
mod records;
mod restore;
mod selfcheck;
mod settle;
mod storm;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use fedsx_kernel::runtime::{OsRandom, Random};

use dice::Dice;
use life::Life;
use restore::Taken;

/// The most rounds of one life: the checks of a round read everything.
const LIFE: u64 = 20;
/// The most storms over one store.
const STORMS: u64 = 40;

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
        let random: &dyn Random = &OsRandom;
        u64::from(u32::from_be_bytes(random.bytes()))
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
