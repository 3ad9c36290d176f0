//! Whom this instance hides, for listings of many actors.

use std::collections::{HashMap, HashSet};

use fedsx_kernel::Base;
use fedsx_kernel::address::origin_of;
use fedsx_kernel::state::{StateError, StateView};

use super::{record, standing};

/// What [`standing`] says of whether actors are hidden, with few look-ups for many of them.
pub struct Hidden<'a> {
    base: &'a Base,
    state: &'a dyn StateView,
    /// Whether anything is decided about anybody.
    decided: bool,
    /// About whom something is decided by their ids.
    actors: HashSet<String>,
    origins: HashMap<String, bool>,
}

impl<'a> Hidden<'a> {
    /// For a state.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn new(base: &'a Base, state: &'a dyn StateView) -> Result<Self, StateError> {
        let decided = !record::page(state, None, 1)?.is_empty();
        let actors = if decided { record::actors(state)? } else { HashSet::new() };
        Ok(Self { base, state, decided, actors, origins: HashMap::new() })
    }

    /// Whether nobody is shown anything of the actor with this id.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn has(&mut self, id: &str) -> Result<bool, StateError> {
        if !self.decided {
            return Ok(false);
        }
        if self.actors.contains(id) {
            return Ok(standing(self.base, self.state, id)?.is_hidden());
        }
        if self.base.is_local(id) {
            return Ok(false);
        }
        // Of whom nothing is said by its id, the origin says all.
        let origin = origin_of(id).unwrap_or_default();
        if let Some(known) = self.origins.get(&origin) {
            return Ok(*known);
        }
        let hidden = standing(self.base, self.state, &origin)?.is_hidden();
        self.origins.insert(origin, hidden);
        Ok(hidden)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fedsx_kernel::state::MemoryState;

    use super::super::record::{Stands, put, row};
    use super::super::{Action, Subject};
    use super::*;

    #[test]
    fn it_says_what_stands() {
        let base: Base = "https://here.example".parse().unwrap();
        let ids = [
            "https://here.example/actors/ann",
            "https://here.example/actors/bob",
            "https://evil.example/u/a",
            "https://sub.evil.example/u/b",
            "https://good.evil.example/u/c",
            "https://good.evil.example/u/d",
            "https://fine.example/u/e",
            "HTTPS://fine.example/u/f",
            "https://fine.example:8443/u/g",
        ];
        let decisions = [
            (Action::Suspend, ids[0]),
            (Action::Silence, ids[1]),
            (Action::Block, "evil.example"),
            (Action::Allow, "good.evil.example"),
            (Action::Block, ids[5]),
            (Action::Block, ids[7]),
            (Action::Block, "fine.example:8443"),
        ];
        let mut state = MemoryState::default();
        let agrees = |state: &MemoryState| {
            let mut hidden = Hidden::new(&base, state).unwrap();
            // Twice, as it remembers.
            for id in ids.iter().chain(&ids) {
                let expected = standing(&base, state, id).unwrap().is_hidden();
                assert_eq!(hidden.has(id).unwrap(), expected, "{id}");
            }
        };
        agrees(&state);
        for (action, subject) in decisions {
            let subject: Subject = subject.parse().unwrap();
            let mut row = row(&state, &subject).unwrap();
            let stands = Stands { cid: "c".into(), id: "i".into(), source: None };
            row.entry(action).or_default().push(stands);
            put(&mut state, &subject, &row).unwrap();
            agrees(&state);
        }
        let mut hidden = Hidden::new(&base, &state).unwrap();
        let all: Vec<bool> = ids.iter().map(|id| hidden.has(id).unwrap()).collect();
        assert_eq!(all, [true, false, true, true, false, true, false, true, true]);
        let subject: Subject = "https://here.example".parse().unwrap();
        let stands = Stands { cid: "c".into(), id: "i".into(), source: None };
        put(&mut state, &subject, &[(Action::AllowList, vec![stands])].into()).unwrap();
        agrees(&state);
    }
}
