//! Commands that speak to a running instance: for who operates it, and for who publishes.

pub mod actor;
pub mod dead_letter;
pub mod delivery;
pub mod moderation;
pub mod peer;
pub mod publish;
pub mod read;
pub mod token;

use anyhow::{Result, ensure};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::api::ApiArgs;

/// What all of these commands take.
#[derive(Args, Clone, Debug)]
pub struct OnlineArgs {
    /// The running instance.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Print what the instance answered as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A member of an answer as a person reads it; `-` where there is none.
fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => shown(text),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| text(item, "")).collect();
            items.join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// A text from elsewhere on one line, without what would steer a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The items of an answer.
fn items(answer: &Value) -> &[Value] {
    answer.pointer("/items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Prints a table, one column for each pair of title and pointer into an item.
fn print_table(columns: &[(&str, &str)], items: &[Value]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointer)| text(item, pointer)));
    }
    for line in table.lines() {
        println!("{}", line.trim());
    }
}

/// A text as one segment of a path or a value of a query.
fn quoted(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The name of a local actor, as a path segment.
fn name(text: &str) -> Result<&str> {
    let parsed: Result<fedsx_kernel::ActorName, _> = text.parse();
    ensure!(parsed.is_ok(), "{text:?} is not the name of an actor of the instance");
    Ok(text)
}
