//! `fedsx define`: definitions in files, tried on a log before they are published.

mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use fedsx_genesis::definition::{Definition, Kind};
use fedsx_kernel::json;
use serde_json::{Map, Value, json};

use crate::api::{Api, ApiArgs};

/// Options of `fedsx define`.
#[derive(Debug, Args)]
pub struct DefineArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DefineCommand,
}

/// The commands of `fedsx define`.
#[derive(Debug, Subcommand)]
pub enum DefineCommand {
    /// Say what definitions would mean: whether they can take effect, and what of a log they
    /// would have taken, refused and folded. Nothing is published.
    Check(CheckArgs),
    /// Publish definitions, in the order of the files.
    Publish(PublishArgs),
}

/// Options of `fedsx define check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files with a definition, a `Define*` activity, or a list of them.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// A data directory to try them on; no server may be running on it. Without one, only what
    /// the genesis bundle defines is known.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fedsx define publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Files with a definition, a `Define*` activity, or a list of them.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The running instance; the token needs the scopes publish and define.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Runs the command.
pub fn run(args: &DefineArgs) -> Result<ExitCode> {
    match &args.command {
        DefineCommand::Check(check) => trial::run(check),
        DefineCommand::Publish(publish) => self::publish(publish),
    }
}

/// One request to publish a definition, and where it was read.
struct Request {
    place: String,
    content: Map<String, Value>,
}

impl Request {
    /// The definition in it.
    fn definition(&self) -> Result<Definition> {
        let kind = self.content.get("type").and_then(Value::as_str).unwrap_or_default();
        let object = self.content.get("object").unwrap_or(&Value::Null);
        Definition::published(kind, object).with_context(|| self.place.clone())
    }
}

/// The definitions in files, in order.
fn requests(files: &[PathBuf]) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    for file in files {
        let documents = match read(file)? {
            Value::Array(documents) => documents,
            one => vec![one],
        };
        let several = documents.len() > 1;
        for (n, document) in documents.into_iter().enumerate() {
            let place = match several {
                true => format!("{} #{}", file.display(), n + 1),
                false => file.display().to_string(),
            };
            requests.push(request(place, document)?);
        }
    }
    Ok(requests)
}

fn read(file: &Path) -> Result<Value> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    json::parse(&bytes).with_context(|| file.display().to_string())
}

/// A definition by itself is published as it is; an activity keeps its audience.
fn request(place: String, document: Value) -> Result<Request> {
    let Value::Object(members) = document else { bail!("{place}: a definition is an object") };
    let kind = members.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if Kind::of_type(&kind).is_none() {
        bail!("{place}: type: {kind:?} defines nothing");
    }
    if members.contains_key("name") {
        let content = json!({ "type": kind, "object": members });
        let Value::Object(content) = content else { bail!("{place}: not an object") };
        return Ok(Request { place, content });
    }
    Ok(Request { place, content: members })
}

fn publish(args: &PublishArgs) -> Result<ExitCode> {
    let requests = requests(&args.files)?;
    // All are read before the first is published.
    let definitions: Vec<Definition> =
        requests.iter().map(Request::definition).collect::<Result<_>>()?;
    let api = Api::new(&args.api)?;
    for (request, definition) in requests.into_iter().zip(definitions) {
        let answer = api
            .post("/activity", &Value::Object(request.content))
            .with_context(|| request.place.clone())?;
        let id = answer.get("id").and_then(Value::as_str).unwrap_or_default();
        println!("{}  {} {}  {id}", definition.cid(), definition.kind(), definition.name());
    }
    Ok(ExitCode::SUCCESS)
}
