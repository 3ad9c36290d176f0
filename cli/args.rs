//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::archive::{ExportArgs, ImportArgs};
use crate::backup::BackupArgs;
use crate::compact::CompactArgs;
use crate::config::ServeArgs;
use crate::config::command::ConfigArgs;
use crate::define::DefineArgs;
use crate::doctor::DoctorArgs;
use crate::erase::EraseArgs;
use crate::init::InitArgs;
use crate::key::KeyArgs;
use crate::log::LogArgs;
use crate::online::actor::ActorArgs;
use crate::online::dead_letter::DeadLetterArgs;
use crate::online::delivery::DeliveryArgs;
use crate::online::moderation::ModerationArgs;
use crate::online::peer::PeerArgs;
use crate::online::publish::{FollowArgs, PublishArgs};
use crate::online::read::ReadArgs;
use crate::online::token::TokenArgs;
use crate::projection::ProjectionArgs;
use crate::recover::RecoverArgs;
use crate::resolve::ResolveArgs;
use crate::restore::RestoreArgs;
use crate::shell::{CompletionsArgs, ManArgs};

/// A federated, event-sourced actor kernel.
#[derive(Debug, Parser)]
#[command(name = "fedsx", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make what an instance needs before its first start: configuration, master key, token.
    Init(InitArgs),
    /// Run an instance.
    Serve(Box<ServeArgs>),
    /// Publish an activity as the token's actor.
    Publish(PublishArgs),
    /// Follow an actor, here or elsewhere, as the token's actor.
    Follow(FollowArgs),
    /// Show what those said whom the token's actor follows.
    Feed(ReadArgs),
    /// Show what was delivered to the token's actor.
    Inbox(ReadArgs),
    /// Create actors on a running instance, and look at them.
    Actor(ActorArgs),
    /// Issue tokens, list and revoke them.
    Token(TokenArgs),
    /// See where a published activity is now.
    Delivery(DeliveryArgs),
    /// Look after what could not be delivered.
    DeadLetter(DeadLetterArgs),
    /// See how other instances are reached; block, allow and probe them.
    Peer(PeerArgs),
    /// Decide how others, and actors of the instance, are treated; see what was decided.
    Moderation(ModerationArgs),
    /// Check everything that a data directory (offline) or an exported actor holds.
    Verify(VerifyArgs),
    /// Write everything of one actor into a file (CAR) that needs no fedsx to be read (offline).
    Export(ExportArgs),
    /// Append an exported actor to a data directory of the same instance (offline).
    Import(ImportArgs),
    /// Copy everything of an instance into a directory, while it runs or offline.
    Backup(BackupArgs),
    /// Make a data directory of a backup; its epoch rises.
    Restore(RestoreArgs),
    /// Save what can be read of a damaged data directory into a new one (offline).
    Recover(RecoverArgs),
    /// Take the content of a deleted object out of the log of a running instance.
    Erase(EraseArgs),
    /// Ask the host of an account which actor it is.
    Resolve(ResolveArgs),
    /// Write the store anew, so that nothing is left of what was erased (offline).
    Compact(CompactArgs),
    /// Try definitions on a log, and publish them.
    Define(DefineArgs),
    /// Check a configuration, or print an example of one.
    Config(ConfigArgs),
    /// Look after the genesis bundle.
    Genesis(GenesisArgs),
    /// Check an actor's Merkle log, or compute the own ones anew.
    Log(LogArgs),
    /// Look after the master key, which private keys are sealed with (offline).
    Key(KeyArgs),
    /// Look for what is wrong with an instance, and say what to do.
    Doctor(DoctorArgs),
    /// Print a script that completes these commands in a shell.
    Completions(CompletionsArgs),
    /// Print the manual, or write a page for each command.
    Man(ManArgs),
    /// Look after projections: list, digests, records set aside, rebuild.
    Projection(ProjectionArgs),
}

/// Options of `fedsx verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The data directory; no server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR", required_unless_present = "file")]
    pub data: Option<PathBuf>,
    /// An exported actor (CAR), to be checked in place of a data directory.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the counts as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fedsx genesis`.
#[derive(Debug, Args)]
pub struct GenesisArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: GenesisCommand,
}

/// The commands of `fedsx genesis`.
#[derive(Debug, Subcommand)]
pub enum GenesisCommand {
    /// Check a bundle against its manifest.
    Verify {
        /// The directory of the bundle; the built-in one without it.
        #[arg(long, env = "FEDSX_GENESIS", value_name = "DIR")]
        genesis: Option<PathBuf>,
    },
    /// Print the manifest that the files of a bundle have.
    Manifest {
        /// The directory of the bundle.
        #[arg(long, env = "FEDSX_GENESIS", value_name = "DIR")]
        genesis: PathBuf,
    },
}
