//! `fedsx moderation`: block lists of others, and reports.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::super::{items, print_table, text};
use crate::api::Api;

/// The largest file, in bytes: as a request it has to stay under a megabyte.
const MAX_FILE_BYTES: u64 = 900_000;

/// Which list of others.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Another instance, by its domain, origin or the id of its actor; with --csv a name of your own.
    pub source: String,
    /// A file in the form that Mastodon exports: domain, severity, reject_media, public_comment.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// The commands on block lists of others.
#[derive(Debug, Subcommand)]
pub enum BlocklistCommand {
    /// Show the lists that are followed, and those from which something was adopted.
    List,
    /// Follow the public decisions of another instance.
    Subscribe {
        /// Its domain, origin, or the id of its actor.
        source: String,
    },
    /// Follow them no longer; what was adopted stands.
    Unsubscribe {
        /// Its domain, origin, or the id of its actor.
        source: String,
    },
    /// Show what of a list is new here, and what differs.
    Review(ListArgs),
    /// Decide here what a list says, and what is not decided here yet.
    Adopt {
        /// Which list.
        #[command(flatten)]
        list: ListArgs,
        /// Only what is about this domain or actor. Repeatable.
        #[arg(long, value_name = "OBJECT")]
        only: Vec<String>,
        /// Take back what was adopted and is not in the list any more.
        #[arg(long)]
        drop_withdrawn: bool,
        /// Why; the list's own reasons without it.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Take back everything that was adopted from a list.
    Retract {
        /// The list, as it was named.
        source: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// The commands on reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Show what was reported, the newest first.
    List {
        /// Only those that are open, resolved, or forwards of ours.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Say that a report is dealt with.
    Resolve {
        /// Its CID.
        cid: String,
        /// How.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say that it is not dealt with after all.
    Reopen {
        /// Its CID.
        cid: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Tell the instances of what is reported, as this instance: the reporter is not named.
    Forward {
        /// Its CID.
        cid: String,
        /// What to say.
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
        /// Pass on what the reporter wrote, which may tell who that is.
        #[arg(long)]
        with_content: bool,
    },
}

fn print(json: bool, answer: &Value, line: impl FnOnce(&Value) -> String) {
    if json {
        println!("{answer}");
    } else {
        println!("{}", line(answer));
    }
}

fn wish(list: &ListArgs) -> Result<Map<String, Value>> {
    let mut wish = Map::new();
    wish.insert("source".into(), list.source.clone().into());
    if let Some(path) = &list.csv {
        wish.insert("csv".into(), read(path)?.into());
    }
    Ok(wish)
}

fn read(path: &Path) -> Result<String> {
    let named = || path.display().to_string();
    let length = std::fs::metadata(path).with_context(named)?.len();
    ensure!(length <= MAX_FILE_BYTES, "{}: at most {MAX_FILE_BYTES} bytes; cut it up", named());
    std::fs::read_to_string(path).with_context(named)
}

/// Runs a command on block lists.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub(super) fn blocklist(api: &Api, json: bool, command: &BlocklistCommand) -> Result<()> {
    const PATH: &str = "/admin/moderation/lists";
    let named = |source: &str| json!({ "source": source });
    match command {
        BlocklistCommand::List => {
            let found = api.get(PATH)?;
            if json {
                println!("{}", found.get("items").unwrap_or(&Value::Null));
            } else {
                let columns = [("LIST", "/source"), ("STATE", "/state"), ("ADOPTED", "/adopted")];
                print_table(&columns, items(&found));
            }
        }
        BlocklistCommand::Subscribe { source } => {
            let said = api.post(&format!("{PATH}/subscribe"), &named(source))?;
            print(json, &said, |said| text(said, "/id"));
        }
        BlocklistCommand::Unsubscribe { source } => {
            let said = api.post(&format!("{PATH}/unsubscribe"), &named(source))?;
            print(json, &said, |said| text(said, "/id"));
        }
        BlocklistCommand::Review(list) => {
            let found = api.post(&format!("{PATH}/review"), &Value::Object(wish(list)?))?;
            if json {
                println!("{found}");
                return Ok(());
            }
            let columns = [
                ("STATE", "/state"),
                ("WHAT", "/action"),
                ("ABOUT", "/subject"),
                ("OURS", "/ours"),
                ("WHY", "/reason"),
            ];
            print_table(&columns, items(&found));
            for one in found.get("skipped").and_then(Value::as_array).into_iter().flatten() {
                eprintln!("line {} was left out: {}", text(one, "/line"), text(one, "/why"));
            }
        }
        BlocklistCommand::Adopt { list, only, drop_withdrawn, reason } => {
            let mut wish = wish(list)?;
            if !only.is_empty() {
                wish.insert("only".into(), json!(only));
            }
            wish.insert("drop_withdrawn".into(), (*drop_withdrawn).into());
            wish.insert("reason".into(), json!(reason));
            let done = repeated(api, &format!("{PATH}/adopt"), wish, ["adopted", "dropped"])?;
            print(json, &done, |done| {
                format!("adopted {}, took back {}", text(done, "/adopted"), text(done, "/dropped"))
            });
        }
        BlocklistCommand::Retract { source, reason } => {
            let mut wish = Map::new();
            wish.insert("source".into(), source.clone().into());
            wish.insert("reason".into(), json!(reason));
            let done = repeated(api, &format!("{PATH}/retract"), wish, ["retracted", "dropped"])?;
            print(json, &done, |done| format!("took back {}", text(done, "/retracted")));
        }
    }
    Ok(())
}

/// Asks again until nothing remains, and adds up what was done.
fn repeated(api: &Api, path: &str, wish: Map<String, Value>, counts: [&str; 2]) -> Result<Value> {
    let wish = Value::Object(wish);
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut sums = [0; 2];
    loop {
        let mut done = api.post(path, &wish)?;
        let steps = counts.map(|name| number(&done, name));
        for (sum, step) in sums.iter_mut().zip(steps) {
            *sum += step;
        }
        // Where a request comes to nothing, the next one would not either.
        if number(&done, "remaining") > 0 && steps.iter().sum::<u64>() > 0 {
            continue;
        }
        if let Some(members) = done.as_object_mut() {
            for (name, sum) in counts.iter().zip(sums) {
                members.insert((*name).to_owned(), sum.into());
            }
        }
        return Ok(done);
    }
}

/// Runs a command on reports.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub(super) fn report(api: &Api, json: bool, command: &ReportCommand) -> Result<()> {
    let about = |cid: &str, what: &str| format!("/admin/reports/{}/{what}", super::quoted(cid));
    match command {
        ReportCommand::List { state } => {
            let state = state.as_deref().map(|state| format!("&state={}", super::quoted(state)));
            let path = format!("/admin/reports?limit=1000{}", state.unwrap_or_default());
            let found = api.get(&path)?;
            if json {
                println!("{}", found.get("items").unwrap_or(&Value::Null));
            } else {
                let columns = [
                    ("STATE", "/state"),
                    ("SINCE", "/published"),
                    ("BY", "/actor"),
                    ("ABOUT", "/objects"),
                    ("SAYS", "/content"),
                    ("CID", "/cid"),
                ];
                print_table(&columns, items(&found));
            }
        }
        ReportCommand::Resolve { cid, reason } => {
            let said = api.post(&about(cid, "resolve"), &json!({ "reason": reason }))?;
            print(json, &said, |said| text(said, "/cid"));
        }
        ReportCommand::Reopen { cid, reason } => {
            let said = api.post(&about(cid, "reopen"), &json!({ "reason": reason }))?;
            print(json, &said, |said| text(said, "/cid"));
        }
        ReportCommand::Forward { cid, comment, with_content } => {
            let wish = json!({ "comment": comment, "with_content": with_content });
            let said = api.post(&about(cid, "forward"), &wish)?;
            print(json, &said, |said| text(said, "/cid"));
        }
    }
    Ok(())
}
