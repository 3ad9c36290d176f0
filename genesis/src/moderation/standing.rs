//! What follows from the decisions that stand. The precedence is the table of
//! `plans/moderation.md`.

use fedsx_kernel::Base;
use fedsx_kernel::state::{StateError, StateView};

use super::record::{Row, last_decision, row};
use super::{Action, Subject};
use crate::kept::{Keepable, Kept};

/// How this instance stands to an actor or a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Nothing is taken from it, sent to it, fetched from it or shown of it.
    pub blocked: bool,
    /// It is shown to those alone who follow it.
    pub silenced: bool,
    /// Its media are not shown.
    pub rejects_media: bool,
    /// It is an actor of this instance, and suspended.
    pub suspended: bool,
}

impl Standing {
    /// Whether nobody is shown anything of it.
    pub fn is_hidden(&self) -> bool {
        self.blocked || self.suspended
    }
}

/// Bytes of what is kept, about.
const KEPT_BYTES: u64 = 2 * 1024 * 1024;

impl Keepable for Standing {
    fn bytes(&self) -> usize {
        std::mem::size_of::<Self>()
    }
}

/// How this instance stands to those who were asked for last. Each delivery asks, and nothing of it
/// changes until something is decided.
pub struct Standings(Kept<Standing>);

impl Default for Standings {
    /// None yet.
    fn default() -> Self {
        Self(Kept::new(KEPT_BYTES))
    }
}

impl Standings {
    /// The same as [`standing`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn of(&self, base: &Base, state: &dyn StateView, id: &str) -> Result<Standing, StateError> {
        match last_decision(state)? {
            None => Ok(Standing::default()),
            Some(last) => self.0.of(id, last, |_| standing(base, state, id)),
        }
    }
}

fn has(row: &Row, action: Action) -> bool {
    row.contains_key(&action)
}

/// How this instance stands to the actor or origin with this id.
///
/// # Errors
/// Where the state cannot be read.
pub fn standing(base: &Base, state: &dyn StateView, id: &str) -> Result<Standing, StateError> {
    let mut standing = Standing::default();
    if base.is_local(id) {
        let row = row(state, &Subject::Actor(id.to_owned()))?;
        standing.suspended = has(&row, Action::Suspend);
        standing.silenced = has(&row, Action::Silence);
        standing.rejects_media = has(&row, Action::RejectMedia);
        return Ok(standing);
    }
    // Of domains that say whether it may be here at all, the nearest decides.
    let mut admitted = None;
    for subject in Subject::covering(id) {
        let row = row(state, &subject)?;
        if row.is_empty() {
            continue;
        }
        standing.silenced |= has(&row, Action::Silence);
        standing.rejects_media |= has(&row, Action::RejectMedia);
        match (has(&row, Action::Block), has(&row, Action::Allow)) {
            (true, _) if !subject.is_domain() => standing.blocked = true,
            (true, _) => admitted = admitted.or(Some(false)),
            (false, true) if subject.is_domain() => admitted = admitted.or(Some(true)),
            _ => {}
        }
    }
    standing.blocked |= match admitted {
        Some(admitted) => !admitted,
        None => allows_only_listed(base, state)?,
    };
    Ok(standing)
}

/// Whether only domains with an `Allow` are allowed.
///
/// # Errors
/// Where the state cannot be read.
pub fn allows_only_listed(base: &Base, state: &dyn StateView) -> Result<bool, StateError> {
    let Ok(itself) = base.as_str().parse::<Subject>() else { return Ok(false) };
    Ok(has(&row(state, &itself)?, Action::AllowList))
}

/// Whether an actor of this instance is suspended.
///
/// # Errors
/// Where the state cannot be read.
pub fn is_suspended(state: &dyn StateView, id: &str) -> Result<bool, StateError> {
    Ok(has(&row(state, &Subject::Actor(id.to_owned()))?, Action::Suspend))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use fedsx_kernel::state::MemoryState;

    use super::super::record::{Stands, put};
    use super::*;

    const BOB: &str = "https://a.evil.example:8443/bob";

    /// Decisions, each an action and a subject.
    type Decisions = &'static [(Action, &'static str)];

    /// What stands after these decisions, each an action and a subject.
    fn after(decisions: &[(Action, &str)], id: &str) -> Standing {
        let base: Base = "https://here.example".parse().unwrap();
        let mut state = MemoryState::default();
        for (action, subject) in decisions {
            let subject: Subject = subject.parse().unwrap();
            let mut row = row(&state, &subject).unwrap();
            let stands = Stands { cid: "c".into(), id: "i".into(), source: None };
            row.entry(*action).or_default().push(stands);
            put(&mut state, &subject, &row).unwrap();
        }
        standing(&base, &state, id).unwrap()
    }

    /// The rows of the table of access in `plans/moderation.md`, by their numbers.
    #[test]
    fn access_is_decided_as_the_table_says() {
        use Action::{Allow, AllowList, Block, Silence};
        const US: &str = "https://here.example";
        let rows: [(&str, Decisions, bool); 12] = [
            ("1 nothing stands", &[], false),
            ("2 a block of the actor", &[(Block, BOB)], true),
            ("2 over an allow of its domain", &[(Block, BOB), (Allow, "a.evil.example")], true),
            ("3 a block of the domain", &[(Block, "a.evil.example")], true),
            ("3 a block of a domain above", &[(Block, "evil.example")], true),
            ("3 of the port", &[(Block, "a.evil.example:8443")], true),
            ("3 of another port", &[(Block, "a.evil.example:9000")], false),
            (
                "4 a nearer allow is an exception",
                &[(Block, "evil.example"), (Allow, "a.evil.example")],
                false,
            ),
            (
                "4 a nearer block is one, too",
                &[(Allow, "evil.example"), (Block, "a.evil.example")],
                true,
            ),
            (
                "5 block over allow of the same domain",
                &[(Block, "evil.example"), (Allow, "evil.example")],
                true,
            ),
            ("6 not on the list", &[(AllowList, US), (Silence, "evil.example")], true),
            ("7 on the list", &[(AllowList, US), (Allow, "evil.example")], false),
        ];
        for (name, decisions, blocked) in rows {
            assert_eq!(after(decisions, BOB).blocked, blocked, "{name}");
        }
        assert!(!after(&[(AllowList, US)], "https://here.example/actors/ann").blocked);
    }

    /// The rows of the table of what is shown.
    #[test]
    fn what_is_shown_adds_up() {
        use Action::{Allow, Block, RejectMedia, Silence, Suspend};
        let of = |decisions: &[(Action, &str)]| {
            let s = after(decisions, BOB);
            (s.is_hidden(), s.silenced, s.rejects_media)
        };
        assert_eq!(of(&[(Silence, BOB)]), (false, true, false), "8");
        assert_eq!(of(&[(Silence, "evil.example")]), (false, true, false), "8");
        assert_eq!(of(&[(RejectMedia, "evil.example")]), (false, false, true), "9");
        let both = [(Silence, "evil.example"), (RejectMedia, BOB)];
        assert_eq!(of(&both), (false, true, true), "10");
        let allowed = [(Silence, "evil.example"), (Allow, "a.evil.example")];
        assert_eq!(of(&allowed), (false, true, false), "11: an allow lifts blocks alone");
        let blocked = [(Silence, BOB), (Block, "evil.example")];
        assert_eq!(of(&blocked), (true, true, false), "12: a block hides");
        let ann = "https://here.example/actors/ann";
        let standing = after(&[(Suspend, ann), (Block, "example")], ann);
        assert!(
            standing.suspended && !standing.blocked && standing.is_hidden(),
            "13: {standing:?}"
        );
    }
}
