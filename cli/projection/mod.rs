//! `fedsx projection`: look after projections, of a running instance or offline.

mod digest;
mod list;
mod rebuild;
mod set_aside;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::ApiArgs;

/// Options of `fedsx projection`.
#[derive(Debug, Args)]
pub struct ProjectionArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ProjectionCommand,
    /// The running instance.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands of `fedsx projection`.
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// Show every projection and how far it is.
    List,
    /// Show the digests of projections.
    Digest {
        /// Only this one.
        name: Option<String>,
    },
    /// Show the records that a projection could not digest, or decide about one.
    SetAside(SetAsideArgs),
    /// Build the state of projections anew from the log; exit code 1 where it was another one.
    Rebuild(RebuildArgs),
}

/// Options of `fedsx projection set-aside`.
#[derive(Debug, Args)]
pub struct SetAsideArgs {
    /// The projection.
    pub name: String,
    /// The record to decide about, by its position.
    #[arg(requires = "decision")]
    pub global_seq: Option<u64>,
    /// Fold it again, now.
    #[arg(long, group = "decision", requires = "global_seq")]
    pub retry: bool,
    /// Leave it out.
    #[arg(long, group = "decision", requires = "global_seq")]
    pub skip: bool,
    /// Why; it is kept with the decision.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
}

/// Options of `fedsx projection rebuild`.
#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// The projection.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub name: Option<String>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
    /// The data directory on which no server runs, in place of a running instance.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Do not wait for the end (running instance).
    #[arg(long, conflicts_with = "data")]
    pub no_wait: bool,
}

/// Runs the command.
pub fn run(args: &ProjectionArgs) -> Result<ExitCode> {
    match &args.command {
        ProjectionCommand::List => list::run(args),
        ProjectionCommand::Digest { name } => digest::run(args, name.as_deref()),
        ProjectionCommand::SetAside(of) => set_aside::run(args, of),
        ProjectionCommand::Rebuild(of) => rebuild::run(args, of),
    }
}

/// A member of a document of the server, by its path.
fn member<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

/// A member as a person reads it.
fn text(value: &Value, path: &str) -> String {
    match member(value, path) {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The items of a page.
fn items(page: &Value) -> &[Value] {
    member(page, "/items").as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The path of the admin route of a projection; a name has only characters that stand in paths.
fn path(name: &str, what: &str) -> Result<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b':');
    anyhow::ensure!(!name.is_empty() && name.bytes().all(plain), "{name:?} is no projection");
    Ok(format!("/admin/projections/{name}/{what}"))
}

/// The projections with a name, or all, as the server lists them.
fn listed(api: &crate::api::Api, name: Option<&str>, digests: bool) -> Result<Value> {
    let mut path_and_query = format!("/admin/projections?digest={digests}");
    if let Some(name) = name {
        path(name, "")?;
        path_and_query.push_str(&format!("&name={name}"));
    }
    api.get(&path_and_query)
}
