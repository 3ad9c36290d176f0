//! Archives: everything of one actor in one file that needs no fedsx to be read.
//!
//! A file is a CAR of version 1 (IPLD). Its blocks are the stored DAG-CBOR envelopes of the
//! activities, each under its CID, then [`Chunk`]s that list them, and one [`Root`] that lists the
//! chunks. `fedsx export` writes one, `fedsx verify FILE` checks one without any database, and
//! `fedsx import` appends one to a data directory of the same instance.

pub mod car;
mod chunks;
mod entries;
mod export;
pub mod format;
mod import;
mod verify;

use std::path::PathBuf;

use clap::Args;
use fedsx_kernel::ActorName;

pub use chunks::ChunkWriter;
pub use format::{Checkpoint, Chunk, Erased, FORMAT, Root, StreamList, Streams, VERSION};
pub use verify::Verified;

/// Options of `fedsx export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The data directory; no server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// The name of the actor.
    #[arg(long, value_name = "NAME")]
    pub actor: ActorName,
    /// The file to make, usually with the extension .car. It holds what the actor published to
    /// few people and to whom, too: keep it like a mailbox.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also what the actor received.
    #[arg(long)]
    pub with_inbox: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fedsx import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The data directory, of the instance that the actor is from; it is made where there is
    /// none. No server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// The archive.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

pub use export::run as export;
pub use import::run as import;
pub use verify::run as verify;
