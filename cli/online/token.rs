//! `fedsx token`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use fedsx_http::capability::{self, Narrowing};
use fedsx_kernel::keys::{Vault, check_master_key};
use fedsx_kernel::log::Storage as _;
use fedsx_kernel::runtime::{OsRandom, Random, Runtime};
use fedsx_kernel::tokens::NewToken;
use serde_json::{Map, Value, json};

use super::{OnlineArgs, items, name, print_table, quoted, text};
use crate::api::Api;
use crate::config::values::ValueError;
use crate::{data, node};

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
        /// Make one that its holder can narrow offline (a Biscuit).
        #[arg(long)]
        capability: bool,
        /// Write it into this data directory, on which no server runs: the way back in for who lost
        /// the last token that may operate the instance.
        #[arg(long, value_name = "DIR", conflicts_with = "capability")]
        data: Option<PathBuf>,
    },
    /// Show every token, without its secret, and when it was last used; without the scope admin
    /// those of the own actor that may be ended.
    List,
    /// End a token at once; without the scope admin one of the own actor: this one, what was
    /// narrowed from it, or one that allows no more.
    Revoke {
        /// Its id, as `fedsx token list` shows it.
        id: String,
    },
    /// Show what the token of this command stands for.
    Show,
    /// Make a narrower token of a capability, offline; what is not named stays as it is.
    Narrow(NarrowArgs),
    /// Show what the blocks of a capability say, offline.
    Inspect,
}

/// Options of `fedsx token narrow`.
#[derive(Debug, Args)]
pub struct NarrowArgs {
    /// Publish activities of this type alone. Repeatable.
    #[arg(long, value_name = "TYPE")]
    pub verb: Vec<String>,
    /// Publish embedded objects of this type alone. Repeatable.
    #[arg(long, value_name = "TYPE")]
    pub object_type: Vec<String>,
    /// Publish to this reader alone: an id, public, or default for requests that name nobody.
    /// Repeatable.
    #[arg(long, value_name = "READER")]
    pub audience: Vec<String>,
    /// Only this of publish, read, define, admin. Repeatable.
    #[arg(long, value_name = "SCOPE")]
    pub operation: Vec<String>,
    /// Nothing after this time, such as 12h.
    #[arg(long, value_name = "TIME", value_parser = long_time)]
    pub expires: Option<Duration>,
    /// This many publishes.
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
}

/// Prints a narrower token.
#[allow(clippy::disallowed_methods, reason = "a person means the time of this machine")]
fn narrowed(token: &str, args: &NarrowArgs) -> Result<()> {
    let until = match args.expires {
        None => None,
        Some(expires) => Some(jiff::Timestamp::now().checked_add(expires)?),
    };
    let random: &dyn Random = &OsRandom;
    let wish = Narrowing {
        verbs: args.verb.clone(),
        object_types: args.object_type.clone(),
        audience: args.audience.clone(),
        operations: args.operation.clone(),
        until,
        count: args.count.map(|count| (count, hex::encode(random.bytes::<16>()))),
    };
    println!("{}", capability::narrow(token, &wish)?);
    Ok(())
}

fn inspected(token: &str, json: bool) -> Result<()> {
    let blocks = capability::inspect(token)?;
    if json {
        let items = blocks.iter().map(|(id, says)| json!({ "revocation_id": id, "says": says }));
        println!("{}", Value::Array(items.collect()));
        return Ok(());
    }
    for (block, (id, says)) in blocks.iter().enumerate() {
        println!("block {block}, revoked by {id}");
        says.lines().for_each(|line| println!("  {}", super::shown(line)));
    }
    Ok(())
}

/// Tokens live longer than what other options wait for.
fn long_time(text: &str) -> Result<Duration, ValueError> {
    humantime::parse_duration(text).map_err(|e| ValueError::Time(text.to_owned(), e))
}

/// Where the tokens are that the token of this command may see: all of them, or its actor's.
fn list_of(api: &Api) -> Result<&'static str> {
    let own = api.get("/token")?;
    let scopes = own.get("scopes").and_then(Value::as_array);
    let operates = scopes.is_some_and(|all| all.iter().any(|scope| scope == "admin"));
    Ok(if operates { "/admin/tokens" } else { "/tokens" })
}

/// Makes a token in a data directory on which no server runs.
fn offline(directory: &Path, new: NewToken) -> Result<Value> {
    data::refuse_backup(directory)?;
    let storage = data::open_offline(directory)?;
    let runtime = Runtime::system();
    let master_key = data::existing_master_key(directory)?
        .with_context(|| format!("{} has no master key yet", directory.display()))?;
    check_master_key(storage.ledgers().as_ref(), &Vault::new(master_key.clone()))?;
    let tokens = node::tokens(&storage, &master_key, runtime.clock.clone())?;
    let issued = tokens.issue(new, runtime.random.as_ref())?;
    storage.settle()?;
    let mut shown = json!(issued.info);
    if let Value::Object(members) = &mut shown {
        members.insert("secret".into(), issued.secret.into());
    }
    Ok(shown)
}

fn print_issued(issued: &Value, json: bool) {
    if json {
        println!("{issued}");
        return;
    }
    // The secret alone goes to standard output, so that a script can take it.
    let id = if issued.get("token_id").is_some() { "/token_id" } else { "/revocation_ids/0" };
    eprintln!(
        "token {} for {} may {}; it ends: {}. This is shown once:",
        text(issued, id),
        text(issued, "/actor"),
        text(issued, "/scopes"),
        text(issued, "/expires")
    );
    println!("{}", text(issued, "/secret"));
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &TokenArgs) -> Result<ExitCode> {
    let json = args.online.json;
    match &args.command {
        TokenCommand::Narrow(wish) => {
            narrowed(&args.online.api.secret()?, wish)?;
            return Ok(ExitCode::SUCCESS);
        }
        TokenCommand::Inspect => {
            inspected(&args.online.api.secret()?, json)?;
            return Ok(ExitCode::SUCCESS);
        }
        TokenCommand::Issue { actor, scope, expires, label, data: Some(data), .. } => {
            let expires = expires
                .map(|expires| Runtime::system().clock.now().checked_add(expires))
                .transpose()?;
            let scopes = scope.iter().map(|scope| scope.parse()).collect::<Result<_, _>>()?;
            let actor = name(actor)?.parse()?;
            print_issued(
                &offline(data, NewToken { actor, scopes, label: label.clone(), expires })?,
                json,
            );
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let api = Api::new(&args.online.api)?;
    match &args.command {
        TokenCommand::Narrow(_) | TokenCommand::Inspect => {}
        TokenCommand::Issue { actor, scope, expires, label, capability, data: _ } => {
            let mut wish = Map::new();
            wish.insert("actor".into(), name(actor)?.into());
            wish.insert("scopes".into(), json!(scope));
            wish.insert("label".into(), label.as_str().into());
            wish.insert("capability".into(), (*capability).into());
            if let Some(expires) = expires {
                ensure!(expires.as_secs() > 0, "--expires: a second at least");
                wish.insert("expires_in".into(), expires.as_secs().into());
            }
            let issued = api.post("/admin/tokens", &Value::Object(wish))?;
            print_issued(&issued, json);
        }
        TokenCommand::List => {
            let answer = api.get(list_of(&api)?)?;
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
            let revoked = api.delete(&format!("{}/{}", list_of(&api)?, quoted(id)))?;
            if json {
                println!("{revoked}");
            } else {
                println!("{id} ended at {}", text(&revoked, "/revoked"));
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
