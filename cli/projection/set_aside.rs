//! `fedsx projection set-aside`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{ProjectionArgs, SetAsideArgs, items, member, path, text};
use crate::api::Api;

pub(super) fn run(args: &ProjectionArgs, of: &SetAsideArgs) -> Result<ExitCode> {
    let api = Api::new(&args.api)?;
    match of.global_seq {
        Some(global_seq) => decide(&api, args.json, of, global_seq),
        None => list(&api, args.json, of),
    }
}

fn list(api: &Api, as_json: bool, of: &SetAsideArgs) -> Result<ExitCode> {
    let route = path(&of.name, "set-aside")?;
    let mut all = Vec::new();
    let mut after: Option<u64> = None;
    loop {
        let page = match after {
            Some(after) => api.get(&format!("{route}?after={after}"))?,
            None => api.get(&route)?,
        };
        after = items(&page).last().and_then(|item| member(item, "/global_seq").as_u64());
        all.extend_from_slice(items(&page));
        if after.is_none() {
            break;
        }
    }
    if as_json {
        println!("{}", json!({ "items": all }));
        return Ok(ExitCode::SUCCESS);
    }
    for item in &all {
        println!("{}", line(item));
    }
    let waiting = all.iter().filter(|item| member(item, "/status") == "waiting").count();
    println!("{} set aside {} records; {waiting} wait for a decision", of.name, all.len());
    Ok(ExitCode::SUCCESS)
}

fn decide(api: &Api, as_json: bool, of: &SetAsideArgs, global_seq: u64) -> Result<ExitCode> {
    let decision = if of.retry { "retry" } else { "skip" };
    let route = path(&of.name, &format!("set-aside/{global_seq}"))?;
    let answer = api.post(&route, &json!({ "decision": decision, "why": of.why }))?;
    if as_json {
        println!("{answer}");
    } else {
        println!("decided by {}", text(&answer, "/id"));
        println!("{}", line(member(&answer, "/item")));
    }
    // A retry that failed is not what was asked for.
    let waits = member(&answer, "/item/status") == "waiting";
    Ok(if waits { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(item: &Value) -> String {
    let mut line = format!(
        "{:>10}  {:<8} {}  {}",
        text(item, "/global_seq"),
        text(item, "/status"),
        text(item, "/cid"),
        text(item, "/reason")
    );
    let why = text(item, "/decided/why");
    if !member(item, "/decided").is_null() && !why.is_empty() {
        line.push_str(&format!(" ({}: {why})", text(item, "/decided/decision")));
    }
    line
}
