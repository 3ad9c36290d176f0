//! `fedsx config`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{RELOADED, ServeArgs, example};

/// Options of `fedsx config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands of `fedsx config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read flags, variables and the file as `fedsx serve` would, and start nothing.
    Check {
        /// What would be given to `fedsx serve`.
        #[command(flatten)]
        serve: Box<ServeArgs>,
        /// Print what was settled as JSON (no secrets).
        #[arg(long)]
        json: bool,
    },
    /// Print a configuration file with every option, commented out.
    Example,
}

/// Runs the command.
///
/// # Errors
/// Where the configuration is impossible.
pub fn run(args: ConfigArgs) -> Result<ExitCode> {
    match args.command {
        ConfigCommand::Check { serve, json } => {
            let config = serve.settle()?;
            if json {
                let tokens: Vec<_> = config
                    .tokens
                    .iter()
                    .map(|token| json!({ "actor": token.actor, "scopes": token.scopes }))
                    .collect();
                let settled = json!({
                    "data": config.data,
                    "listen": config.listen,
                    "base_url": config.base_url.as_ref().map(ToString::to_string),
                    "tokens": tokens,
                    "reloaded": RELOADED,
                });
                println!("{settled}");
            } else {
                println!(
                    "the configuration is possible: data in {}, listening at {}, {} tokens",
                    config.data.display(),
                    config.listen,
                    config.tokens.len()
                );
            }
        }
        ConfigCommand::Example => print!("{}", example::example()),
    }
    Ok(ExitCode::SUCCESS)
}
