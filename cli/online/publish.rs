//! `fedsx publish` and `fedsx follow`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{OnlineArgs, text};
use crate::api::Api;

/// Options of `fedsx publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// A file with the activity, or with a bare object; standard input for `-`.
    #[arg(required_unless_present = "note", conflicts_with = "note")]
    pub file: Option<PathBuf>,
    /// Publish a Note with this content.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// Options of `fedsx follow`.
#[derive(Debug, Args)]
pub struct FollowArgs {
    /// Whom: an account (acct:bob@social.example, @bob@social.example) or the id of an actor.
    pub whom: String,
    /// Ask for this many earlier activities, too.
    #[arg(long, value_name = "N")]
    pub backfill: Option<u32>,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// Publishes an activity.
///
/// # Errors
/// Where it cannot be read, or the instance refuses it.
pub fn publish(args: &PublishArgs) -> Result<ExitCode> {
    let request = match (&args.note, &args.file) {
        (Some(content), _) => {
            json!({ "type": "Create", "object": { "type": "Note", "content": content } })
        }
        (None, Some(path)) if path.as_os_str() == "-" => read(std::io::stdin().lock())?,
        (None, Some(path)) => {
            let file = File::open(path).with_context(|| path.display().to_string())?;
            read(file).with_context(|| path.display().to_string())?
        }
        (None, None) => anyhow::bail!("say what to publish"),
    };
    send(&args.online, &request)
}

/// Follows an actor, which is looked up by its account where that is given.
///
/// # Errors
/// Where nobody is found under the account, or the instance refuses.
pub fn follow(args: &FollowArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let id = if args.whom.starts_with("http://") || args.whom.starts_with("https://") {
        args.whom.clone()
    } else {
        let account = args.whom.trim_start_matches("acct:").trim_start_matches('@');
        let resource = super::quoted(&format!("acct:{account}"));
        let answer = api.get(&format!("/.well-known/webfinger?resource={resource}"))?;
        let links = answer.get("links").and_then(Value::as_array).map(Vec::as_slice);
        links
            .unwrap_or_default()
            .iter()
            .filter(|link| link.get("rel").and_then(Value::as_str) == Some("self"))
            .find_map(|link| link.get("href").and_then(Value::as_str))
            .with_context(|| format!("no actor is known under {}", args.whom))?
            .to_owned()
    };
    let mut request = json!({ "type": "Follow", "object": id });
    if let (Some(limit), Value::Object(members)) = (args.backfill, &mut request) {
        members.insert("backfill".into(), json!({ "mode": "last-N", "limit": limit }));
    }
    send(&args.online, &request)
}

fn send(online: &OnlineArgs, request: &Value) -> Result<ExitCode> {
    let published = Api::new(&online.api)?.post("/activity", request)?;
    if online.json {
        println!("{published}");
    } else {
        println!("{}", text(&published, "/id"));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(source: impl Read) -> Result<Value> {
    let limit = fedsx_kernel::json::MAX_BYTES as u64;
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= limit, "an activity has at most {limit} bytes");
    Ok(fedsx_kernel::json::parse(&bytes)?)
}
