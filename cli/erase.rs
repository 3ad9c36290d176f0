//! `fedsx erase`: the content of a deleted object, taken out of the log of a running instance.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, ApiArgs};

/// Options of `fedsx erase`.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The id of the object, or the CID of an activity that states it. Its author must have
    /// deleted it.
    #[arg(value_name = "OBJECT")]
    pub object: String,
    /// Why, for the record in the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// The running instance.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &EraseArgs) -> Result<ExitCode> {
    let api = Api::new(&args.api)?;
    let erased = api.post("/admin/erase", &json!({ "object": args.object, "why": args.why }))?;
    if args.json {
        println!("{erased}");
        return Ok(ExitCode::SUCCESS);
    }
    let object = erased.get("object").and_then(Value::as_str).unwrap_or(&args.object);
    let activities = erased.get("erased").and_then(Value::as_array);
    let activities: Vec<&str> =
        activities.into_iter().flatten().filter_map(Value::as_str).collect();
    if activities.is_empty() {
        println!("nothing of {object} is left in the log");
    } else {
        println!("erased {object} from {} activities:", activities.len());
        activities.iter().for_each(|cid| println!("  {cid}"));
    }
    println!(
        "the database file keeps old bytes until it is compacted: stop the instance, then \
         fedsx compact --data DIR; backups made before hold the content, too"
    );
    Ok(ExitCode::SUCCESS)
}
