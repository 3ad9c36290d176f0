//! `fedsx backup`: a running instance, or a data directory on which none runs.

mod online;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use fedsx_kernel::backup;
use fedsx_kernel::keys::MasterKey;
use fedsx_kernel::log::Copied;
use fedsx_kernel::runtime::Runtime;
use serde_json::json;

use crate::api::ApiArgs;
use crate::data;
use crate::progress::Progress;

/// Options of `fedsx backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the backup goes: a new or empty directory, on the machine of the instance.
    #[arg(value_name = "DIR", required_unless_present = "out", conflicts_with = "out")]
    pub directory: Option<PathBuf>,
    /// The same as DIR.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Back this data directory up, on which no server runs, in place of a running instance.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The running instance.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Put the master key beside the data. Without it, whoever finds the backup has no private
    /// keys, and a restore needs the master key from elsewhere.
    #[arg(long)]
    pub with_master_key: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &BackupArgs) -> Result<ExitCode> {
    let directory = args.directory.as_ref().or(args.out.as_ref());
    let directory = directory.context("say where the backup goes")?;
    let directory = std::path::absolute(directory)?;
    let global_seq = match &args.data {
        Some(data) => offline(data, &directory, args.with_master_key)?,
        None => online::backup(args, &directory)?,
    };
    if args.json {
        let result = json!({
            "directory": directory,
            "global_seq": global_seq,
            "with_master_key": args.with_master_key,
        });
        println!("{result}");
    } else {
        let directory = directory.display();
        println!("backup of {global_seq} entries in {directory}");
        println!("to use it: fedsx restore --from {directory} --data NEW");
        if !args.with_master_key {
            println!("it holds no master key: keep a copy of that apart, a restore needs it");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(
    source: &std::path::Path,
    directory: &std::path::Path,
    with_master_key: bool,
) -> Result<u64> {
    let storage = data::open_offline(source)?;
    // No one master key opens what is copied now.
    data::refuse_interrupted_change(source)?;
    if with_master_key {
        let key = MasterKey::load(&source.join(data::MASTER_KEY_FILE))?;
        data::seals(&key, &storage)
            .context("the master key is not the one of this data; put the right one back")?;
    }
    let bar = Progress::count("copying", 1);
    let mut progress = |copied: Copied| {
        bar.expect(copied.expected);
        bar.set(copied.keys);
        ControlFlow::Continue(())
    };
    let beside = data::BesideStore::new(source);
    let at = Runtime::system().clock.now();
    let head = backup::make(&storage, &beside, directory, at, with_master_key, &mut progress)?;
    Ok(head.map_or(0, |head| head.global_seq))
}
