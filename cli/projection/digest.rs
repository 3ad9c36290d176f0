//! `fedsx projection digest`.

use std::process::ExitCode;

use anyhow::Result;

use super::{ProjectionArgs, items, listed, text};
use crate::api::Api;

pub(super) fn run(args: &ProjectionArgs, name: Option<&str>) -> Result<ExitCode> {
    let page = listed(&Api::new(&args.api)?, name, true)?;
    if args.json {
        println!("{page}");
        return Ok(ExitCode::SUCCESS);
    }
    for item in items(&page) {
        println!(
            "{}  {} at {}, {} entries, {} set aside",
            text(item, "/digest/digest"),
            text(item, "/projection/name"),
            text(item, "/digest/global_seq"),
            text(item, "/digest/entries"),
            text(item, "/digest/set_aside")
        );
    }
    Ok(ExitCode::SUCCESS)
}
