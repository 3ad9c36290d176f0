//! `fedsx actor`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::moderation::{self, How};
use super::peer::all;
use super::{OnlineArgs, name, print_table, text};
use crate::api::Api;

/// Options of `fedsx actor`.
#[derive(Debug, Args)]
pub struct ActorArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ActorCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// The commands of `fedsx actor`.
#[derive(Debug, Subcommand)]
pub enum ActorCommand {
    /// Create an actor on the instance: its keys are made there, and its first activity published.
    Create {
        /// The name, as it stands in its id.
        name: String,
        /// Person, Service, Group or Application.
        #[arg(long = "type", value_name = "TYPE", default_value = "Person")]
        kind: String,
        /// The name that people see.
        #[arg(long, value_name = "TEXT")]
        display_name: Option<String>,
        /// What it says about itself.
        #[arg(long, value_name = "TEXT")]
        summary: Option<String>,
    },
    /// Show the actors of the instance.
    List,
    /// Suspend an actor: it says and receives nothing, and is not shown. Its keys are untouched.
    Suspend {
        /// The name.
        name: String,
        /// Why, for those who operate the instance.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lift the suspension of an actor.
    Unsuspend {
        /// The name.
        name: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Show one actor's document.
    Show {
        /// The name.
        name: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &ActorArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let json = args.online.json;
    match &args.command {
        ActorCommand::Create { name: of, kind, display_name, summary } => {
            let wish = json!({
                "actor": name(of)?,
                "type": kind,
                "name": display_name.as_ref().unwrap_or(of),
                "summary": summary,
            });
            let created = api.post("/admin/actors", &wish)?;
            if json {
                println!("{created}");
            } else {
                println!("{} was created: {}", text(&created, "/object"), text(&created, "/id"));
                println!("give it a token: fedsx token issue {of}");
            }
        }
        ActorCommand::List => {
            let actors = all(&api, "/admin/actors")?;
            if json {
                println!("{}", Value::Array(actors));
            } else {
                let columns = [
                    ("NAME", "/actor"),
                    ("TYPE", "/type"),
                    ("CREATED", "/created"),
                    ("STATE", "/state"),
                    ("ID", "/id"),
                ];
                print_table(&columns, &actors);
            }
        }
        ActorCommand::Suspend { name: of, reason } => {
            let how = How { reason: reason.clone(), ..How::default() };
            moderation::said(&api, json, "suspend", Some(name(of)?), &how)?;
        }
        ActorCommand::Unsuspend { name: of, reason } => {
            moderation::undo(&api, json, name(of)?, Some("suspend"), reason.as_deref())?;
        }
        ActorCommand::Show { name: of } => {
            let document = api.get(&format!("/actors/{}", name(of)?))?;
            if json {
                println!("{document}");
            } else {
                println!("{}", serde_json::to_string_pretty(&document)?);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
