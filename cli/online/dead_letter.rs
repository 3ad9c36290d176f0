//! `fedsx dead-letter`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::peer::all;
use super::{OnlineArgs, print_table, quoted, text};
use crate::api::Api;

/// Options of `fedsx dead-letter`.
#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLetterCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// The commands of `fedsx dead-letter`.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// Show what could not be delivered, and why.
    List,
    /// Try again, from the beginning of the schedule.
    Replay {
        /// The dead letter, by its id.
        #[arg(required_unless_present = "peer", conflicts_with = "peer")]
        id: Option<String>,
        /// All that were for this instance.
        #[arg(long, value_name = "ORIGIN")]
        peer: Option<String>,
    },
    /// Give up on one for good.
    Drop {
        /// Its id.
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &DeadLetterArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let json = args.online.json;
    let answer = match &args.command {
        DeadLetterCommand::List => {
            let letters = all(&api, "/admin/dead-letter")?;
            if json {
                println!("{}", Value::Array(letters));
            } else {
                let columns = [
                    ("ID", "/id"),
                    ("PEER", "/peer"),
                    ("REASON", "/reason"),
                    ("ACTIVITY", "/cid"),
                    ("FOR", "/recipients"),
                ];
                print_table(&columns, &letters);
            }
            return Ok(ExitCode::SUCCESS);
        }
        DeadLetterCommand::Replay { id: Some(id), .. } => {
            api.post(&format!("/admin/dead-letter/{}/replay", quoted(id)), &json!({}))?
        }
        DeadLetterCommand::Replay { peer, .. } => {
            let peer = peer.as_deref().unwrap_or_default();
            api.post(&format!("/admin/dead-letter/replay?peer={}", quoted(peer)), &json!({}))?
        }
        DeadLetterCommand::Drop { id } => {
            api.delete(&format!("/admin/dead-letter/{}", quoted(id)))?
        }
    };
    if json {
        println!("{answer}");
    } else if answer.get("dropped").is_some() {
        println!("dropped {}", text(&answer, "/dropped"));
    } else {
        println!("queued again: {}", text(&answer, "/replayed"));
    }
    Ok(ExitCode::SUCCESS)
}
