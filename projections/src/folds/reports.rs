//! `reports`: what was reported to those who operate the instance.

use fedsx_genesis::readers::is_confidential;
use fedsx_kernel::activity::ids_in;
use fedsx_kernel::log::Record;
use fedsx_kernel::state::{State, key};
use serde_json::{Value, json};

use super::common::is_local_record;
use crate::error::FoldError;
use crate::fold::{Context, Fold, Scope, Visibility};
use crate::reader::{Reader, Shown};

/// Keys `[time with 20 digits, cid]`, the time in milliseconds since 1970 as the author states it,
/// with `{id, cid, actor, objects, content, published, concerns_us}`: `objects` are ids,
/// `concerns_us` says whether any of them is of this instance. Shown to who operates the instance
/// only.
pub struct Reports;

impl Fold for Reports {
    fn name(&self) -> &'static str {
        "reports"
    }

    fn version(&self) -> u32 {
        1
    }

    fn scope(&self) -> Scope {
        Scope::EachCid
    }

    fn visibility(&self) -> Visibility {
        Visibility::Public
    }

    fn shown_to(&self, _: &[String], _: &Value, reader: &Reader) -> Shown {
        Shown::whole_if(reader.is_admin())
    }

    fn fold(
        &self,
        context: &Context,
        state: &mut dyn State,
        record: &Record,
    ) -> Result<(), FoldError> {
        let activity = &record.activity;
        if is_local_record(record) || !is_confidential(activity) {
            return Ok(());
        }
        let objects = ids_in(activity.object());
        if objects.is_empty() {
            return Err(FoldError::Undigestible("it names nothing that is reported".into()));
        }
        let report = json!({
            "id": activity.id(),
            "cid": activity.cid().to_string(),
            "actor": activity.actor(),
            "concerns_us": objects.iter().any(|id| context.base.is_local(id)),
            "objects": objects,
            "content": activity.get("content"),
            "published": activity.get("published"),
        });
        let time_ms = activity.published_ms().unwrap_or(0).max(0);
        state.put(&key(&[&format!("{time_ms:020}"), &activity.cid().to_string()]), report);
        Ok(())
    }
}
