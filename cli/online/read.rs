//! `fedsx feed` and `fedsx inbox`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::{OnlineArgs, items, name, print_table, text};
use crate::api::Api;

/// Options of `fedsx feed` and `fedsx inbox`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// How many, the newest first.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// How to reach the instance, and how to print.
    #[command(flatten)]
    pub online: OnlineArgs,
}

/// Shows what those said whom the token's actor follows.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn feed(args: &ReadArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let page = api.get(&format!("/projections/feed?order=desc&limit={}", args.limit))?;
    if args.online.json {
        println!("{page}");
    } else {
        let columns = [
            ("PUBLISHED", "/value/published"),
            ("BY", "/value/actor"),
            ("TYPE", "/value/type"),
            ("CONTENT", "/value/object/content"),
            ("ID", "/value/id"),
        ];
        print_table(&columns, items(&page));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what was delivered to the token's actor.
///
/// # Errors
/// Where the instance cannot be asked, or refuses.
pub fn inbox(args: &ReadArgs) -> Result<ExitCode> {
    let api = Api::new(&args.online.api)?;
    let own = api.get("/token")?;
    let actor = text(&own, "/actor");
    let path = format!("/actors/{}/inbox?page=true&limit={}", name(&actor)?, args.limit);
    let page = api.get(&path)?;
    if args.online.json {
        println!("{page}");
    } else {
        let list = page.get("orderedItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let columns =
            [("PUBLISHED", "/published"), ("TYPE", "/type"), ("BY", "/actor"), ("ID", "/id")];
        print_table(&columns, &list);
    }
    Ok(ExitCode::SUCCESS)
}
