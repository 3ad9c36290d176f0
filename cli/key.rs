//! `fedsx key`: the master key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use fedsx_http::capability::Capabilities;
use fedsx_kernel::keys::{MasterKey, Vault, reseal};
use fedsx_kernel::log::Storage as _;
use fedsx_kernel::runtime::Runtime;
use serde_json::json;

use crate::{data, node};

/// The variable that holds the next master key, where the present one is in a variable.
const NEW_KEY_VARIABLE: &str = "FEDSX_NEW_MASTER_KEY";

/// Options of `fedsx key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// The commands of `fedsx key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Give the data a new master key: every private key is sealed anew. Issued tokens end; those of
    /// the configuration stay. Where the present key comes from FEDSX_MASTER_KEY, the new one is
    /// read from FEDSX_NEW_MASTER_KEY.
    RotateMaster(RotateArgs),
}

/// Options of `fedsx key rotate-master`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The data directory; no server may be running on it.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where the new master key stands while the old one is still needed.
enum Next {
    /// In a file beside the old one, whose place it takes in the end.
    File(PathBuf),
    /// In a variable, of which the operator takes care.
    Variable,
}

/// Runs the command.
///
/// # Errors
/// Where the directory is in use, or a master key is missing or not the right one. After an error
/// the command can be given again; until it has come to its end, no server starts.
pub fn run(args: &KeyArgs) -> Result<ExitCode> {
    let KeyCommand::RotateMaster(args) = &args.command;
    let directory = &args.data;
    data::refuse_backup(directory)?;
    let storage = data::open_offline(directory)?;
    let runtime = Runtime::system();
    let old = data::existing_master_key(directory)?
        .with_context(|| format!("{} has no master key yet", directory.display()))?;
    let (new, next) = next(directory, &runtime)?;
    let (ledgers, clock) = (storage.ledgers(), runtime.clock.clone());
    let (from, to) = (Vault::new(old.clone()), Vault::new(new));
    let resealed = reseal(ledgers.as_ref(), &from, &to, runtime.random.as_ref())
        .context("the master key is not the one of this data")?;
    // Tokens are looked up, and capabilities signed, with keys that come from the master key.
    let tokens = node::tokens(&storage, &old, clock)?.revoke_all()?;
    let capabilities = Capabilities::forget(ledgers.as_ref())?;
    // From here on the new key is all that is needed.
    storage.settle()?;
    if let Next::File(path) = &next {
        let place = directory.join(data::MASTER_KEY_FILE);
        data::put_in_place(path, &place).with_context(|| place.display().to_string())?;
    }
    if args.json {
        let done = json!({
            "data": directory, "keys": resealed.keys, "keys_before": resealed.before,
            "tokens_ended": tokens, "capabilities_ended": capabilities,
        });
        println!("{done}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} private keys are sealed with a new master key; {tokens} issued tokens and \
         {capabilities} capabilities ended, those of the configuration stay",
        resealed.keys + resealed.before
    );
    match next {
        Next::File(_) => {
            println!("keep a copy of the new master.key apart from backups of the data")
        }
        Next::Variable => println!("start with the new key in {}", data::MASTER_KEY_VARIABLE),
    }
    println!("backups from before need the old key. Old bytes stay in the file until:");
    println!("  fedsx compact --data {}", directory.display());
    println!("a way in: fedsx token issue NAME --scope admin --data {}", directory.display());
    Ok(ExitCode::SUCCESS)
}

/// The new master key: that of an interrupted run, or another one.
fn next(directory: &Path, runtime: &Runtime) -> Result<(MasterKey, Next)> {
    if std::env::var_os(data::MASTER_KEY_VARIABLE).is_some() {
        let Ok(text) = std::env::var(NEW_KEY_VARIABLE) else {
            bail!(
                "the master key comes from {}: put the new one, 64 hexadecimal digits, into \
                 {NEW_KEY_VARIABLE}",
                data::MASTER_KEY_VARIABLE
            );
        };
        let key = MasterKey::from_hex(&text).context(NEW_KEY_VARIABLE)?;
        return Ok((key, Next::Variable));
    }
    let path = directory.join(data::NEXT_KEY_FILE);
    let (key, _) = MasterKey::load_or_create(&path, runtime.random.as_ref())?;
    Ok((key, Next::File(path)))
}
