//! `fedsx token`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{OnlineArgs, items, name, print_table, quoted, text};
use crate::api::Api;
use crate::config::values::ValueError;

/// Options of `fedsx token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// The commands of `fedsx token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; its secret is printed this once.
    Issue {
        /// The actor that it acts for.
        actor: String,
        /// What it allows: publish, read, define, admin.
        #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "publish,read")]
        scope: Vec<String>,
        /// After what time it ends, such as 12h or 90d; never without it.
        #[arg(long, value_name = "TIME", value_parser = long_time)]
        expires: Option<Duration>,
        /// What it is for.
        #[arg(long, value_name = "TEXT", default_value = "")]
        label: String,
    },
    /// Show every token, without its secret, and when it was last used.
    List,
    /// End a token at once.
    Revoke {
        /// Its id, as `fedsx token list` shows it.
        id: String,
    },
    /// Show what the token of this command stands for.
    Show,
}

/// Tokens live longer than what other options wait for.
fn long_time(text: &str) -> Result<Duration, ValueError> {
    humantime::parse_duration(text).map_err(|e| ValueError::Time(text.to_owned(), e))
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &TokenArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let json = args.online.json;
    match &args.command {
        TokenCommand::Issue { actor, scope, expires, label } => {
            let mut wish = Map::new();
            wish.insert("actor".into(), name(actor)?.into());
            wish.insert("scopes".into(), json!(scope));
            wish.insert("label".into(), label.as_str().into());
            if let Some(expires) = expires {
                ensure!(expires.as_secs() > 0, "--expires: a second at least");
                wish.insert("expires_in".into(), expires.as_secs().into());
            }
            let issued = api.post("/admin/tokens", &Value::Object(wish))?;
            if json {
                println!("{issued}");
            } else {
                // The secret alone goes to standard output, so that a script can take it.
                eprintln!(
                    "token {} for {} may {}; it ends: {}. This is shown once:",
                    text(&issued, "/token_id"),
                    text(&issued, "/actor"),
                    text(&issued, "/scopes"),
                    text(&issued, "/expires")
                );
                println!("{}", text(&issued, "/secret"));
            }
        }
        TokenCommand::List => {
            let answer = api.get("/admin/tokens")?;
            if json {
                println!("{answer}");
            } else {
                let columns = [
                    ("ID", "/token_id"),
                    ("ACTOR", "/actor"),
                    ("SCOPES", "/scopes"),
                    ("ORIGIN", "/origin"),
                    ("EXPIRES", "/expires"),
                    ("LAST USED", "/last_used"),
                    ("REVOKED", "/revoked"),
                    ("LABEL", "/label"),
                ];
                print_table(&columns, items(&answer));
            }
        }
        TokenCommand::Revoke { id } => {
            let revoked = api.delete(&format!("/admin/tokens/{}", quoted(id)))?;
            if json {
                println!("{revoked}");
            } else {
                println!(
                    "token {} ended at {}",
                    text(&revoked, "/token_id"),
                    text(&revoked, "/revoked")
                );
            }
        }
        TokenCommand::Show => {
            let own = api.get("/token")?;
            if json {
                println!("{own}");
            } else {
                println!(
                    "token {} acts for {} and may {}",
                    text(&own, "/token_id"),
                    text(&own, "/id"),
                    text(&own, "/scopes")
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
