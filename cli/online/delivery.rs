//! `fedsx delivery`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{OnlineArgs, items, print_table, quoted};
use crate::api::Api;

/// Options of `fedsx delivery`.
#[derive(Debug, Args)]
pub struct DeliveryArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeliveryCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// The commands of `fedsx delivery`.
#[derive(Debug, Subcommand)]
pub enum DeliveryCommand {
    /// Show where an activity is now, for each instance that it is for.
    Status {
        /// The CID of the activity.
        cid: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &DeliveryArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let DeliveryCommand::Status { cid } = &args.command;
    let answer = api.get(&format!("/admin/delivery/{}", quoted(cid)))?;
    if args.online.json {
        println!("{answer}");
    } else if items(&answer).is_empty() {
        println!("{cid} is for nobody elsewhere");
    } else {
        let columns = [
            ("PEER", "/peer"),
            ("STATUS", "/status"),
            ("ATTEMPTS", "/attempts"),
            ("RECIPIENTS", "/recipients"),
            ("NEXT (ms)", "/next_ms"),
        ];
        print_table(&columns, items(&answer));
    }
    Ok(ExitCode::SUCCESS)
}
