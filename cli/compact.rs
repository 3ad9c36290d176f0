//! `fedsx compact`: the store written anew, so that nothing is left of what was erased.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use fedsx_genesis::script::Scripts;
use fedsx_kernel::log::{Compacted, Copied, SledStorage, Storage as _};
use fedsx_projections::{Context, Fold, StoreSource, builtin, published, rebuild_stored};
use serde_json::json;

use crate::data;
use crate::progress::Progress;

/// Options of `fedsx compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// The data directory; no server may be running on it. The copy needs as much room again.
    #[arg(long, env = "FEDSX_DATA", value_name = "DIR")]
    pub data: PathBuf,
    /// Leave the projections to be built anew by the next start.
    #[arg(long)]
    pub no_projections: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &CompactArgs) -> Result<ExitCode> {
    let directory = &args.data;
    if !directory.join("format").exists() {
        bail!("{} is not a data directory of fedsx", directory.display());
    }
    let bar = Progress::count("writing the store anew", 1);
    let mut progress = |copied: Copied| {
        bar.expect(copied.expected);
        bar.set(copied.keys);
        ControlFlow::Continue(())
    };
    let compacted = SledStorage::compact(directory, &mut progress)?;
    drop(bar);
    let projections = match args.no_projections {
        true => 0,
        false => rebuild(directory)?,
    };
    print(args, &compacted, projections)?;
    Ok(ExitCode::SUCCESS)
}

fn print(args: &CompactArgs, compacted: &Compacted, projections: u64) -> Result<()> {
    let Compacted { global_seq, rows, bytes_before, bytes_after } = compacted;
    if args.json {
        let mut result = serde_json::to_value(compacted)?;
        if let Some(members) = result.as_object_mut() {
            members.insert("data".into(), json!(args.data));
            members.insert("projections".into(), projections.into());
        }
        println!("{result}");
        return Ok(());
    }
    println!(
        "compacted {}: {global_seq} entries, {rows} rows, {bytes_before} bytes before and \
         {bytes_after} now, {projections} projections built anew",
        args.data.display()
    );
    Ok(())
}

/// Builds the projections, which are not copied, from the log.
fn rebuild(directory: &Path) -> Result<u64> {
    let base = data::recorded_base(directory)?
        .with_context(|| format!("{} does not say whose it is", directory.display()))?;
    let storage = data::open_offline(directory)?;
    let log = storage.log();
    let mut folds = builtin();
    let found = published::published(&*log, &base, &Scripts::new())?;
    folds.extend(found.into_iter().map(|fold| fold as Arc<dyn Fold>));
    let (context, head) = (Context { base }, log.head()?);
    let mut count = 0;
    for fold in folds {
        let name = fold.name().to_owned();
        let bar = Progress::count(format!("building {name}"), head);
        let source = Arc::new(StoreSource(storage.log()));
        rebuild_stored(storage.projections(), source, fold, &context, &mut |at| bar.set(at))
            .with_context(|| format!("building {name}"))?;
        count += 1;
    }
    storage.settle()?;
    Ok(count)
}
