//! Asks a running instance for a backup of itself, and watches it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_kernel::backup::{BackupState, BackupStatus};
use serde_json::{Value, json};

use super::BackupArgs;
use crate::api::Api;
use crate::progress::Progress;

/// Where backups are asked for and shown.
const PATH: &str = "/admin/backup";
/// How often the instance is asked how far it is.
const PAUSE: Duration = Duration::from_millis(250);
/// How often in a row it may not answer.
const MOST_FAILURES: u32 = 20;

/// Begins a backup and waits for its end; gives where its log ends.
pub(super) fn backup(args: &BackupArgs, directory: &Path) -> Result<u64> {
    let api = Api::new(&args.api)
        .context("to back up a data directory on which no instance runs, give --data")?;
    let wish = json!({ "directory": directory, "with_master_key": args.with_master_key });
    let begun = status(api.post(PATH, &wish)?)?;
    let bar = Progress::count("copying", 1);
    let mut failures = 0;
    loop {
        api.pause(PAUSE);
        let status = match api.get(PATH).and_then(status) {
            Ok(status) => status,
            Err(_) if failures < MOST_FAILURES => {
                failures += 1;
                continue;
            }
            Err(error) => return Err(error.context("the instance does not answer any more")),
        };
        failures = 0;
        if status.directory != directory || status.started != begun.started {
            bail!("the instance has begun another backup meanwhile");
        }
        bar.expect(status.expected.max(1));
        bar.set(status.keys);
        match status.state {
            BackupState::Running => {}
            BackupState::Done => return Ok(status.global_seq.unwrap_or(0)),
            BackupState::Failed => {
                bail!("no backup was made: {}", status.error.unwrap_or_default())
            }
        }
    }
}

fn status(answer: Value) -> Result<BackupStatus> {
    serde_json::from_value(answer).context("the instance answered with something else")
}
