//! The least that the log needs to be told about what activities mean.

use fedsx_kernel::keys::KeyHistory;
use fedsx_kernel::log::Record;
use fedsx_kernel::rules::{Direction, Hosted, Judgement, KeyWish, Prepared, Preparing, Rules};
use fedsx_kernel::state::{State, StateError, StateView, get_as, put_as};
use fedsx_kernel::{Activity, ActorName, Base, Problem, Refusal};
use serde_json::{Map, Value};

use crate::samples::BASE;

/// Everything is admissible. Whoever is addressed here receives. The state counts.
pub struct Open {
    base: Base,
}

impl Default for Open {
    fn default() -> Self {
        Self { base: BASE.parse().unwrap() }
    }
}

/// How many bodies the state has seen.
pub fn counted(state: &dyn StateView) -> u64 {
    get_as(state, "count").unwrap().unwrap_or(0)
}

fn unused() -> Refusal {
    Refusal::new(Problem::Internal, "not part of these tests")
}

impl Rules for Open {
    fn keys_wanted(
        &self,
        _: &dyn StateView,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Vec<KeyWish>, Refusal> {
        Ok(Vec::new())
    }

    fn prepare(&self, _: &Preparing<'_>, _: Map<String, Value>) -> Result<Prepared, Refusal> {
        Err(unused())
    }

    fn judge(&self, _: &dyn StateView, _: &Activity, _: Direction) -> Result<Judgement, Refusal> {
        Ok(Judgement::default())
    }

    fn confirm(
        &self,
        _: &dyn StateView,
        _: &Activity,
        _: Direction,
        earlier: &Judgement,
    ) -> Result<Judgement, Refusal> {
        Ok(earlier.clone())
    }

    fn fold(&self, state: &mut dyn State, record: &Record) -> Result<(), StateError> {
        let count = counted(state) + 1;
        put_as(state, "count", &count)?;
        put_as(state, &format!("at\n{}", record.entry.cid), &record.entry.global_seq)
    }

    fn recipients(
        &self,
        _: &dyn StateView,
        activity: &Activity,
        hidden: &[String],
    ) -> Result<Vec<ActorName>, StateError> {
        let all = activity.audience().into_iter().chain(hidden.iter().map(String::as_str));
        Ok(all.filter_map(|id| self.base.name_of(id)).collect())
    }

    fn keys(&self, _: &dyn StateView, _: &str) -> Result<Option<KeyHistory>, StateError> {
        Ok(None)
    }

    fn hosted(&self, _: &dyn StateView, _: &ActorName) -> Result<Hosted, StateError> {
        Ok(Hosted::Active)
    }

    fn sender(&self, _: &dyn StateView, _: &str, _: Option<&str>) -> Result<(), Refusal> {
        Ok(())
    }

    fn ignorable(&self, _: &dyn StateView, _: &Activity) -> Result<bool, StateError> {
        Ok(false)
    }

    fn subjects<'a>(&self, activity: &'a Activity) -> Vec<&'a str> {
        vec![activity.id()]
    }
}
