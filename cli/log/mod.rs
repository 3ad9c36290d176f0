//! `fedsx log`: the Merkle logs of actors, from outside and at home.

mod check;
mod rebuild;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use fedsx_kernel::merkle::note::VerifierKey;

/// Options of `fedsx log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LogCommand,
}

/// The commands of `fedsx log`.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Check that an actor's history only grew since the last check.
    Check(CheckArgs),
    /// Compute the kept Merkle tiles of all outboxes anew (offline).
    Rebuild(RebuildArgs),
}

/// Options of `fedsx log check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The actor, for example https://example.org/actors/alice.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// Where the last checkpoint is kept; made by the first check.
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// Trust this verifier key (name+id+key) in place of the keys that the server names.
    #[arg(long, value_name = "VKEY")]
    pub vkey: Option<VerifierKey>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fedsx log rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// The data directory; no server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
}

/// Runs the command.
pub fn run(args: &LogArgs) -> Result<ExitCode> {
    match &args.command {
        LogCommand::Check(args) => check::run(args),
        LogCommand::Rebuild(args) => rebuild::run(args),
    }
}
