//! `fedsx projection list`.

use std::process::ExitCode;

use anyhow::Result;

use super::{ProjectionArgs, items, listed, member, text};
use crate::api::Api;

pub(super) fn run(args: &ProjectionArgs) -> Result<ExitCode> {
    let page = listed(&Api::new(&args.api)?, None, false)?;
    if args.json {
        println!("{page}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{:<18}{:>11}{:>12}{:>12}{:>11}  state",
        "name", "version", "position", "head", "set aside"
    );
    for item in items(&page) {
        let of = |name: &str| text(item, &format!("/projection/{name}"));
        let state = if !member(item, "/projection/rebuilding").is_null() {
            format!("rebuilding, at {}", of("rebuilding/global_seq"))
        } else if member(item, "/projection/caught_up").as_bool() == Some(true) {
            "caught up".to_owned()
        } else {
            "behind".to_owned()
        };
        println!(
            "{:<18}{:>11}{:>12}{:>12}{:>11}  {state}",
            of("name"),
            of("version"),
            of("global_seq"),
            of("head"),
            of("set_aside")
        );
    }
    Ok(ExitCode::SUCCESS)
}
