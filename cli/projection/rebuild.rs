//! `fedsx projection rebuild`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fedsx_genesis::script::Scripts;
use fedsx_kernel::log::Storage as _;
use fedsx_projections::{Context, Fold, StoreSource, builtin, published, rebuild_stored};
use serde_json::{Value, json};

use super::{ProjectionArgs, RebuildArgs, items, listed, member, path, text};
use crate::api::Api;
use crate::data;
use crate::progress::Progress;

/// How often the instance is asked how far it is.
const PAUSE: Duration = Duration::from_millis(250);

/// How one rebuild ended.
struct Outcome {
    name: String,
    is_same: bool,
    digests: Value,
}

pub(super) fn run(args: &ProjectionArgs, of: &RebuildArgs) -> Result<ExitCode> {
    let outcomes = match &of.data {
        Some(directory) => offline(directory, of.name.as_deref())?,
        None => match online(args, of)? {
            Some(outcomes) => outcomes,
            None => return Ok(ExitCode::SUCCESS),
        },
    };
    let all_same = outcomes.iter().all(|outcome| outcome.is_same);
    if args.json {
        let items = outcomes.iter().map(|Outcome { name, is_same, digests }| {
            json!({ "name": name, "is_same": is_same, "digests": digests })
        });
        println!("{}", json!({ "items": items.collect::<Vec<_>>() }));
    } else {
        for Outcome { name, is_same, digests } in &outcomes {
            let digest = text(digests, "/after/digest");
            let at = text(digests, "/after/global_seq");
            let what = match (is_same, member(digests, "/before").is_null()) {
                (true, false) => "the same as before",
                (true, true) => "before, of an older version or with what was erased since",
                (false, _) => "the state before differed from what the log gives",
            };
            println!("{digest}  {name} at {at}: {what}");
        }
    }
    Ok(if all_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn offline(directory: &Path, name: Option<&str>) -> Result<Vec<Outcome>> {
    data::refuse_backup(directory)?;
    let base = data::recorded_base(directory)?
        .with_context(|| format!("{} does not say whose it is", directory.display()))?;
    let storage = data::open_offline(directory)?;
    let (context, head) = (Context { base }, storage.log().head()?);
    let published = published::published(&*storage.log(), &context.base, &Scripts::new())?;
    let published = published.into_iter().map(|fold| fold as Arc<dyn Fold>);
    let mut outcomes = Vec::new();
    for fold in builtin().into_iter().chain(published) {
        if name.is_some_and(|name| name != fold.name()) {
            continue;
        }
        let name = fold.name().to_owned();
        let bar = Progress::count(format!("rebuilding {name}"), head);
        let source = Arc::new(StoreSource(storage.log()));
        let table = storage.projections();
        let rebuilt = rebuild_stored(table, source, fold, &context, &mut |at| bar.set(at))
            .with_context(|| format!("rebuilding {name}"))?;
        storage.settle()?;
        let digests = serde_json::to_value(&rebuilt)?;
        outcomes.push(Outcome { name, is_same: rebuilt.is_same(), digests });
    }
    if outcomes.is_empty() {
        bail!("there is no projection {:?}", name.unwrap_or_default());
    }
    Ok(outcomes)
}

/// `None` where nobody waits for the end.
fn online(args: &ProjectionArgs, of: &RebuildArgs) -> Result<Option<Vec<Outcome>>> {
    let api = Api::new(&args.api)?;
    let names = match &of.name {
        Some(name) => vec![name.clone()],
        None => {
            let all = listed(&api, None, false)?;
            items(&all).iter().map(|item| text(item, "/projection/name")).collect()
        }
    };
    let mut outcomes = Vec::new();
    for name in names {
        let begun = api.post(&path(&name, "rebuild")?, &json!({}))?;
        if of.no_wait {
            eprintln!("{name} is being rebuilt");
            continue;
        }
        let head = member(&begun, "/projection/head").as_u64().unwrap_or(0);
        outcomes.push(ended(&api, name, head)?);
    }
    Ok((!of.no_wait).then_some(outcomes))
}

/// Waits until a rebuild has ended.
fn ended(api: &Api, name: String, head: u64) -> Result<Outcome> {
    let bar = Progress::count(format!("rebuilding {name}"), head);
    loop {
        let page = listed(api, Some(&name), false)?;
        let item = items(&page).first().with_context(|| format!("{name} is gone"))?;
        let rebuilt = member(item, "/rebuilt");
        match member(item, "/projection/rebuilding/global_seq").as_u64() {
            Some(at) => bar.set(at),
            None if rebuilt.is_null() => {
                bail!("the instance was restarted while {name} was rebuilt; it goes on with that")
            }
            None => {
                let is_same = member(rebuilt, "/is_same").as_bool().unwrap_or(false);
                return Ok(Outcome { name, is_same, digests: member(rebuilt, "/digests").clone() });
            }
        }
        api.pause(PAUSE);
    }
}
