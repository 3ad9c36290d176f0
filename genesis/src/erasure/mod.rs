//! Erasing the content of objects that their authors deleted.
//!
//! A `Delete` tombstones an object: nobody is shown it any more, but the log still holds what was
//! said. Erasure takes that out of the log. [`stub`] says what is left of an activity, [`survey`]
//! finds the activities, and [`Eraser`] does it, on request or where a Delete asks for it
//! ([`follow`]). What the database file still holds is gone after it was compacted.

mod follow;
mod stub;
mod survey;

use std::collections::BTreeSet;
use std::sync::Arc;

use fedsx_kernel::activity::ActivityError;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::state::{StateError, StateView, key};
use fedsx_kernel::{Activity, Cid, Kernel};
use serde::Serialize;
use tokio::sync::Mutex;

pub(crate) use follow::ERASE;
pub use follow::{Wishes, follow};
pub use stub::{shown, stub_of};
pub use survey::{Found, survey};

/// How often the end of the log is looked at again, for what came in meanwhile.
const ROUNDS: usize = 4;

/// Whether the content of an object was erased here.
///
/// # Errors
/// Where the state cannot be read.
pub fn is_erased(state: &dyn StateView, object: &str) -> Result<bool, StateError> {
    Ok(state.get(&place(object))?.is_some())
}

/// Where the admission state notes that an object was erased.
pub(crate) fn place(object: &str) -> String {
    key(&["erased", object])
}

/// What was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// The object.
    pub object: String,
    /// The activities of which a stub is left now.
    pub activities: Vec<Cid>,
    /// The position of the last record that says so; where nothing was left to erase, the end of
    /// the log.
    pub global_seq: u64,
}

/// Erases the content of objects, one after the other; cheap to clone.
#[derive(Clone)]
pub struct Eraser {
    kernel: Kernel,
    turn: Arc<Mutex<()>>,
}

impl Eraser {
    /// Erases through this kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, turn: Arc::default() }
    }

    /// Erases the content of an object. `what` is its id, or the CID of an activity that states
    /// it. What is erased already stays so: asked again, it takes out what came since.
    ///
    /// # Errors
    /// `not-found` where the log knows nothing of it, `not-deleted` where its author did not delete
    /// it, `invalid-parameter` for a CID of something else.
    pub async fn erase(&self, what: &str, by: &str, why: &str) -> Result<Erased, Refusal> {
        let object = self.object(what)?;
        let erased = self.sweep(BTreeSet::from([object.clone()]), by, why).await?;
        match erased.into_iter().next() {
            Some(outcome) => outcome,
            None => Err(Refusal::new(Problem::Internal, format!("{object} was not looked for"))),
        }
    }

    fn object(&self, what: &str) -> Result<String, Refusal> {
        let Ok(cid) = what.parse::<Cid>() else { return Ok(what.to_owned()) };
        let activity = self.kernel.log().activity(&cid)?.ok_or_else(|| {
            Refusal::new(Problem::NotFound, format!("the activity {cid} is not held here"))
        })?;
        let stated = activity.object_id().filter(|_| {
            matches!(activity.kind(), "Create" | "Update" | "Delete")
                && activity.object_id() != Some(activity.actor())
        });
        stated.map(str::to_owned).ok_or_else(|| {
            let detail = format!("object: {cid} is a {} and states no object", activity.kind());
            Refusal::new(Problem::InvalidParameter, detail).with("parameter", "object")
        })
    }

    /// Erases several objects in one pass over the log; gives what became of each.
    async fn sweep(
        &self,
        objects: BTreeSet<String>,
        by: &str,
        why: &str,
    ) -> Result<Vec<Result<Erased, Refusal>>, Refusal> {
        let _turn = self.turn.lock().await;
        let (mut found, mut seen) = self.survey(objects.clone(), 0).await?;
        let mut outcomes = Vec::new();
        let mut erasing = BTreeSet::new();
        for object in &objects {
            let known = found.remove(object).unwrap_or_default();
            if let Err(refusal) = self.may_erase(object, &known) {
                outcomes.push(Err(refusal));
                continue;
            }
            let mut erased =
                Erased { object: object.clone(), activities: Vec::new(), global_seq: 0 };
            self.take_out(&mut erased, known.carriers, by, why).await?;
            erasing.insert(object.clone());
            outcomes.push(Ok(erased));
        }
        // What came in while the log was looked through.
        for _ in 0..ROUNDS {
            if erasing.is_empty() || self.kernel.log().head() <= seen {
                break;
            }
            let (mut more, last) = self.survey(erasing.clone(), seen).await?;
            seen = last;
            for erased in outcomes.iter_mut().flatten() {
                let more = more.remove(&erased.object).unwrap_or_default();
                self.take_out(erased, more.carriers, by, why).await?;
            }
        }
        for erased in outcomes.iter_mut().flatten().filter(|erased| erased.global_seq == 0) {
            erased.global_seq = self.kernel.log().head();
        }
        Ok(outcomes)
    }

    async fn survey(
        &self,
        objects: BTreeSet<String>,
        after: u64,
    ) -> Result<(std::collections::BTreeMap<String, Found>, u64), Refusal> {
        let log = self.kernel.log().clone();
        let surveyed = self.kernel.runtime().run(move || survey(log.store(), &objects, after));
        let surveyed =
            surveyed.await.map_err(|e| Refusal::new(Problem::Internal, e.to_string()))?;
        Ok(surveyed?)
    }

    fn may_erase(&self, object: &str, found: &Found) -> Result<(), Refusal> {
        if !found.is_known() {
            let detail = format!("nothing of {object} is held here");
            return Err(Refusal::new(Problem::NotFound, detail));
        }
        if !found.is_deleted(self.kernel.log().store())? {
            let detail = format!("{object} was not deleted by its author");
            return Err(Refusal::new(Problem::NotDeleted, detail).with("object", object));
        }
        Ok(())
    }

    async fn take_out(
        &self,
        erased: &mut Erased,
        carriers: Vec<Cid>,
        by: &str,
        why: &str,
    ) -> Result<(), Refusal> {
        for cid in carriers {
            let Some(stub) = self.stub(&cid, &erased.object)? else { continue };
            if let Some(position) = self.kernel.erase(stub, &erased.object, by, why).await? {
                tracing::info!(%cid, object = %erased.object, by, "a body was erased");
                erased.activities.push(cid);
                erased.global_seq = position;
            }
        }
        Ok(())
    }

    fn stub(&self, cid: &Cid, object: &str) -> Result<Option<Activity>, Refusal> {
        let Some(activity) = self.kernel.log().activity(cid)? else { return Ok(None) };
        stub_of(&activity, object)
            .map_err(|e: ActivityError| Refusal::new(Problem::Internal, e.to_string()))
    }
}

impl From<&Erased> for serde_json::Value {
    fn from(erased: &Erased) -> Self {
        let activities: Vec<String> = erased.activities.iter().map(Cid::to_string).collect();
        serde_json::json!({
            "object": erased.object,
            "erased": activities,
            "global_seq": erased.global_seq,
        })
    }
}
