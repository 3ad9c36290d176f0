//! `fedsx moderation`.

mod others;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

pub use others::{BlocklistCommand, ListArgs, ReportCommand};

use super::peer::all;
use super::{OnlineArgs, items, print_table, quoted, text};
use crate::api::Api;

/// Options of `fedsx moderation`.
#[derive(Debug, Args)]
pub struct ModerationArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModerationCommand,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// Whom a decision is about, and what is said of it.
#[derive(Args, Clone, Debug)]
pub struct About {
    /// A domain (with its subdomains), a domain with a port, or the id of an actor.
    pub object: String,
    /// How it is decided.
    #[command(flatten)]
    pub how: How,
}

/// What is said of a decision.
#[derive(Args, Clone, Debug, Default)]
pub struct How {
    /// Why, for those who operate the instance.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Let anyone read the decision, without who made it and why.
    #[arg(long)]
    pub public: bool,
    /// Let anyone read why, too.
    #[arg(long, requires = "public", requires = "reason")]
    pub public_reason: bool,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Only listed domains.
    On,
    /// All that are not blocked.
    Off,
}

/// The commands of `fedsx moderation`.
#[derive(Debug, Subcommand)]
pub enum ModerationCommand {
    /// Show the decisions that stand.
    List {
        /// Only of this kind: block, allow, silence, reject-media, suspend or allow-list.
        #[arg(long, value_name = "KIND")]
        action: Option<String>,
    },
    /// Take nothing from a domain or actor, send nothing, fetch nothing, show nothing of it.
    Block(About),
    /// Show it to those alone who follow it.
    Silence(About),
    /// Show no pictures, sounds and films of it.
    RejectMedia(About),
    /// Except a domain from a block above it, or list it where only listed domains are allowed.
    Allow(About),
    /// Allow listed domains only, or all that are not blocked.
    AllowList {
        /// Which of both.
        mode: Switch,
        /// How it is decided.
        #[command(flatten)]
        how: How,
    },
    /// Take back a decision, or all that stand about a domain or actor.
    Undo {
        /// The CID or id of the decision, a domain, or an actor.
        what: String,
        /// Of all about it, only this kind.
        #[arg(long, value_name = "KIND")]
        action: Option<String>,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Show everything that was decided and taken back, the newest first.
    History {
        /// Only about this domain or actor.
        object: Option<String>,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Look after block lists of others: follow, review, adopt and retract them.
    Lists {
        /// What to do.
        #[command(subcommand)]
        command: BlocklistCommand,
    },
    /// Look after what was reported.
    Reports {
        /// What to do.
        #[command(subcommand)]
        command: ReportCommand,
    },
    /// Show what a decision would have hit in the log.
    Simulate {
        /// A domain or actor (for a block), or KIND:OBJECT such as silence:social.example; the kind
        /// allow-list stands alone.
        rule: String,
    },
}

/// Runs the command.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn run(args: &ModerationArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let json = args.online.json;
    match &args.command {
        ModerationCommand::List { action } => {
            let found = match action {
                Some(action) => paged(&api, &format!("action={}", quoted(action)))?,
                None => all(&api, "/admin/moderation")?,
            };
            if json {
                println!("{}", Value::Array(found));
            } else {
                print_table(&COLUMNS, &found);
            }
        }
        ModerationCommand::Block(about) => decide(&api, json, "block", about)?,
        ModerationCommand::Silence(about) => decide(&api, json, "silence", about)?,
        ModerationCommand::RejectMedia(about) => decide(&api, json, "reject-media", about)?,
        ModerationCommand::Allow(about) => decide(&api, json, "allow", about)?,
        ModerationCommand::AllowList { mode: Switch::On, how } => {
            said(&api, json, "allow-list", None, how)?;
        }
        ModerationCommand::AllowList { mode: Switch::Off, how } => {
            let wish = json!({ "action": "allow-list", "reason": how.reason });
            undone(json, &api.post("/admin/moderation/undo", &wish)?);
        }
        ModerationCommand::Undo { what, action, reason } => {
            undo(&api, json, what, action.as_deref(), reason.as_deref())?;
        }
        ModerationCommand::History { object, limit } => {
            let mut path = format!("/admin/moderation/history?limit={limit}");
            if let Some(object) = object {
                path.push_str(&format!("&object={}", quoted(object)));
            }
            let page = api.get(&path)?;
            if json {
                println!("{page}");
            } else {
                let mut columns = COLUMNS.to_vec();
                columns.push(("TAKES BACK", "/undoes"));
                print_table(&columns, items(&page));
            }
        }
        ModerationCommand::Lists { command } => others::blocklist(&api, json, command)?,
        ModerationCommand::Reports { command } => others::report(&api, json, command)?,
        ModerationCommand::Simulate { rule } => simulate(&api, json, rule)?,
    }
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [(&str, &str); 7] = [
    ("WHAT", "/action"),
    ("ABOUT", "/subject"),
    ("SINCE", "/published"),
    ("BY", "/by"),
    ("PUBLIC", "/public"),
    ("WHY", "/reason"),
    ("CID", "/cid"),
];

/// All items of the listing with this query.
fn paged(api: &Api, query: &str) -> Result<Vec<Value>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/admin/moderation?{query}&limit=1000{after}"))?;
        found.extend_from_slice(items(&page));
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", quoted(next)),
            None => return Ok(found),
        }
    }
}

fn decide(api: &Api, json: bool, action: &str, about: &About) -> Result<()> {
    said(api, json, action, Some(&about.object), &about.how)
}

/// Decides, and prints what was decided.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub(super) fn said(
    api: &Api,
    json: bool,
    action: &str,
    object: Option<&str>,
    how: &How,
) -> Result<()> {
    let mut wish = Map::new();
    wish.insert("action".into(), action.into());
    wish.insert("object".into(), json!(object));
    wish.insert("reason".into(), json!(how.reason));
    wish.insert("public".into(), how.public.into());
    wish.insert("public_reason".into(), how.public_reason.into());
    let decided = api.post("/admin/moderation", &Value::Object(wish))?;
    if json {
        println!("{decided}");
    } else {
        println!(
            "{} {}: {}",
            text(&decided, "/action"),
            text(&decided, "/subject"),
            text(&decided, "/cid")
        );
    }
    Ok(())
}

/// Takes back one decision or all about a subject, and prints which.
///
/// # Errors
/// Where the instance cannot be asked, refuses, or nothing of the kind stands.
pub(super) fn undo(
    api: &Api,
    json: bool,
    what: &str,
    action: Option<&str>,
    reason: Option<&str>,
) -> Result<()> {
    let is_decision = what.parse::<fedsx_kernel::Cid>().is_ok() || what.contains("/activities/");
    let member = if is_decision { "decision" } else { "object" };
    let wish = Map::from_iter([
        (member.to_owned(), json!(what)),
        ("action".to_owned(), json!(action)),
        ("reason".to_owned(), json!(reason)),
    ]);
    undone(json, &api.post("/admin/moderation/undo", &Value::Object(wish))?);
    Ok(())
}

/// Prints what was taken back.
pub(super) fn undone(json: bool, answer: &Value) {
    if json {
        println!("{answer}");
        return;
    }
    for one in answer.get("undone").and_then(Value::as_array).into_iter().flatten() {
        println!("took back {}", text(one, "/decision"));
    }
}

fn simulate(api: &Api, json: bool, rule: &str) -> Result<()> {
    const KINDS: [&str; 5] = ["block", "allow", "silence", "reject-media", "suspend"];
    let query = match rule.split_once(':') {
        _ if rule == "allow-list" => "action=allow-list".to_owned(),
        Some((kind, object)) if KINDS.contains(&kind) => {
            format!("action={kind}&object={}", quoted(object))
        }
        _ => format!("object={}", quoted(rule)),
    };
    let found = api.get(&format!("/admin/moderation/simulate?{query}"))?;
    if json {
        println!("{found}");
        return Ok(());
    }
    println!(
        "{} {} would have hit {} activities by {} actors, and {} of ours that name them",
        text(&found, "/action"),
        text(&found, "/subject"),
        text(&found, "/hits/activities"),
        text(&found, "/hits/actors"),
        text(&found, "/hits/addressed"),
    );
    let loudest = found.pointer("/hits/loudest").and_then(Value::as_array);
    print_table(&[("ACTOR", "/0"), ("ACTIVITIES", "/1")], loudest.map_or(&[], Vec::as_slice));
    let last = found.pointer("/hits/last").and_then(Value::as_array);
    let columns = [("POSITION", "/global_seq"), ("TYPE", "/type"), ("BY", "/actor"), ("ID", "/id")];
    print_table(&columns, last.map_or(&[], Vec::as_slice));
    Ok(())
}
