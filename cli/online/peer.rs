//! `fedsx peer`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::moderation::{self, About};
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
    /// Take nothing from a peer, send nothing, fetch nothing: what is queued for it waits.
    Block(About),
    /// Allow a peer: end blocks of it, and list it where only listed domains are allowed.
    Allow(About),
    /// Ask a peer whether it is there, and try what waits for it.
    Probe {
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
    let json = args.online.json;
    let peers = match &args.command {
        PeerCommand::List | PeerCommand::Show { .. } => all(&api, "/admin/peers")?,
        _ => Vec::new(),
    };
    match &args.command {
        PeerCommand::Block(about) => {
            moderation::said(&api, json, "block", Some(&about.object), &about.how)?;
        }
        PeerCommand::Allow(about) => allow(&api, json, about)?,
        PeerCommand::Probe { peer } => return probe(&api, json, peer),
        PeerCommand::List if args.online.json => println!("{}", Value::Array(peers)),
        PeerCommand::List => {
            let columns = [
                ("PEER", "/peer"),
                ("QUEUED", "/queued"),
                ("IN FLIGHT", "/in_flight"),
                ("FAILURES", "/failures"),
                ("BACK OFF UNTIL (ms)", "/backoff_until_ms"),
                ("BLOCKED", "/blocked"),
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

/// Ends the blocks of a peer; where none stood, it is listed as allowed.
fn allow(api: &Api, json: bool, about: &About) -> Result<()> {
    let wish = serde_json::json!({
        "object": about.object,
        "action": "block",
        "reason": about.how.reason,
    });
    match api.post("/admin/moderation/undo", &wish) {
        Ok(answer) => {
            moderation::undone(json, &answer);
            Ok(())
        }
        Err(error) if error.to_string().contains("(not-found)") => {
            moderation::said(api, json, "allow", Some(&about.object), &about.how)
        }
        Err(error) => Err(error),
    }
}

fn probe(api: &Api, json: bool, peer: &str) -> Result<ExitCode> {
    let path = format!("/admin/peers/probe?peer={}", quoted(peer));
    let found = api.post(&path, &Value::Object(serde_json::Map::new()))?;
    let reached = found.get("reached") == Some(&Value::Bool(true));
    if json {
        println!("{found}");
    } else if reached {
        println!("{} answers with status {}", text(&found, "/peer"), text(&found, "/status"));
    } else {
        println!("{} does not answer: {}", text(&found, "/peer"), text(&found, "/error"));
    }
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
