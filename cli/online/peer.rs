//! `fedsx peer`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{OnlineArgs, print_table, quoted, text};
use crate::api::Api;

/// Options of `fedsx peer`.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PeerCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// The commands of `fedsx peer`.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Show every instance to which something was sent, and how that goes.
    List,
    /// Show one of them.
    Show {
        /// Its origin, such as https://social.example.
        peer: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &PeerArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let peers = all(&api, "/admin/peers")?;
    match &args.command {
        PeerCommand::List if args.online.json => println!("{}", Value::Array(peers)),
        PeerCommand::List => {
            let columns = [
                ("PEER", "/peer"),
                ("QUEUED", "/queued"),
                ("IN FLIGHT", "/in_flight"),
                ("FAILURES", "/failures"),
                ("BACK OFF UNTIL (ms)", "/backoff_until_ms"),
                ("SIGNATURES", "/scheme"),
            ];
            print_table(&columns, &peers);
        }
        PeerCommand::Show { peer } => {
            let wanted = peer.trim_end_matches('/');
            let Some(found) = peers.iter().find(|item| text(item, "/peer") == wanted) else {
                bail!("nothing was ever sent to {wanted}");
            };
            if args.online.json {
                println!("{found}");
            } else {
                println!("{}", serde_json::to_string_pretty(found)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All items of a listing that comes in pages.
pub(crate) fn all(api: &Api, path: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let page = match &next {
            Some(after) => api.get(&format!("{path}?after={}&limit=1000", quoted(after)))?,
            None => api.get(&format!("{path}?limit=1000"))?,
        };
        all.extend_from_slice(super::items(&page));
        next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() {
            return Ok(all);
        }
    }
}
