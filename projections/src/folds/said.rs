//! What authors said of an object, as the row of `objects` keeps it.
//!
//! The row of an object of which one author spoke is an array: who (without the origin of the
//! object), flags, versions, and CID and place of the newest version; then, where the newest
//! statement is not that version, its CID and place. Of several authors it is an array of these.

use fedsx_kernel::order::Order;
use fedsx_kernel::state::StateError;
use serde_json::{Value, json};

use super::common::{Stamp, beside, beside_whole};

/// Authors of one object that are kept; of more, those with the smallest ids.
const MAX_AUTHORS: usize = 16;

const CREATED: u64 = 1;
const DELETED: u64 = 2;
const PUBLIC: u64 = 4;

/// What one author said of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) author: String,
    created: bool,
    pub(super) deleted: bool,
    /// Whether anyone may read the newest version.
    pub(super) public: bool,
    pub(super) versions: u64,
    /// The newest version.
    pub(super) newest: Option<Stamp>,
    /// The newest of creations, changes and deletions.
    pub(super) latest: Stamp,
}

/// What everyone said of an object, in the order of authors.
#[derive(Default)]
pub(super) struct AllSaid(Vec<Said>);

impl Said {
    /// Takes a creation or a change.
    pub(super) fn version(&mut self, stamp: &Stamp, created: bool, public: bool) {
        self.created |= created;
        self.versions = self.versions.saturating_add(1);
        if self.newest.as_ref().is_none_or(|newest| newest < stamp) {
            self.newest = Some(stamp.clone());
            self.public = public;
        }
        self.latest = self.latest.clone().max(stamp.clone());
    }

    /// Takes a deletion.
    pub(super) fn end(&mut self, stamp: &Stamp) {
        self.deleted = true;
        self.latest = self.latest.clone().max(stamp.clone());
    }

    fn to_row(&self, id: &str) -> Value {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        let flags =
            flag(self.created, CREATED) | flag(self.deleted, DELETED) | flag(self.public, PUBLIC);
        let mut row = vec![beside(&self.author, id).into(), flags.into(), self.versions.into()];
        match &self.newest {
            Some(newest) => row.extend([newest.cid.as_str().into(), place(newest.order)]),
            None => row.extend([Value::Null, Value::Null]),
        }
        if self.newest.as_ref() != Some(&self.latest) {
            row.extend([self.latest.cid.as_str().into(), place(self.latest.order)]);
        }
        Value::Array(row)
    }

    fn of_row(id: &str, row: &[Value]) -> Option<Self> {
        let (author, flags, versions, cid, order, rest) = match row {
            [author, flags, versions, cid, order, rest @ ..] => {
                (author.as_str()?, flags.as_u64()?, versions.as_u64()?, cid, order, rest)
            }
            _ => return None,
        };
        let newest = match cid {
            Value::Null => None,
            cid => Some(stamp(cid, order)?),
        };
        let latest = match rest {
            [] => newest.clone()?,
            [cid, order] => stamp(cid, order)?,
            _ => return None,
        };
        Some(Self {
            author: beside_whole(author, id),
            created: flags & CREATED != 0,
            deleted: flags & DELETED != 0,
            public: flags & PUBLIC != 0,
            versions,
            newest,
            latest,
        })
    }
}

impl AllSaid {
    /// What an author said, to be changed; `None` where it is not kept.
    pub(super) fn by(&mut self, author: &str) -> Option<&mut Said> {
        let at = match self.0.binary_search_by(|said| said.author.as_str().cmp(author)) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, Said { author: author.to_owned(), ..Said::default() });
                self.0.truncate(MAX_AUTHORS);
                at
            }
        };
        self.0.get_mut(at)
    }

    /// What the owner said: the first who created it, or the first of all.
    pub(super) fn owner(&self) -> Option<&Said> {
        self.0.iter().find(|said| said.created).or(self.0.first())
    }

    pub(super) fn to_row(&self, id: &str) -> Value {
        match self.0.as_slice() {
            [said] => said.to_row(id),
            all => all.iter().map(|said| said.to_row(id)).collect(),
        }
    }
}

/// Reads the row of an object.
pub(super) fn of_row(id: &str, row: &Value) -> Result<AllSaid, StateError> {
    let rows = row.as_array().map(Vec::as_slice).unwrap_or_default();
    let all: Option<Vec<Said>> = match rows {
        [] => None,
        [Value::String(_), ..] => Said::of_row(id, rows).map(|said| vec![said]),
        rows => rows.iter().map(|row| Said::of_row(id, row.as_array()?)).collect(),
    };
    let reason = || "no statements about an object".to_owned();
    all.map(AllSaid).ok_or_else(|| StateError::Shape { key: id.to_owned(), reason: reason() })
}

/// Whether anyone may read what the owner said last, as the row of an object tells.
pub(super) fn is_public(row: &Value) -> bool {
    let flags = |row: &Value| row.get(1).and_then(Value::as_u64).unwrap_or(0);
    let flags = match row.as_array().map(Vec::as_slice) {
        None | Some([]) => 0,
        Some([Value::String(_), ..]) => flags(row),
        Some(all @ [first, ..]) => {
            let created = all.iter().map(flags).find(|flags| flags & CREATED != 0);
            created.unwrap_or_else(|| flags(first))
        }
    };
    flags & PUBLIC != 0
}

/// A place in an author's order; most are a position in the first epoch.
fn place(order: Order) -> Value {
    match order {
        Order { epoch: 0, seq, time_ms: 0 } => seq.into(),
        Order { epoch, seq, time_ms } => json!([epoch, seq, time_ms]),
    }
}

fn stamp(cid: &Value, place: &Value) -> Option<Stamp> {
    let order = match place {
        Value::Array(parts) => match parts.as_slice() {
            [epoch, seq, time_ms] => {
                Order { epoch: epoch.as_u64()?, seq: seq.as_u64()?, time_ms: time_ms.as_i64()? }
            }
            _ => return None,
        },
        seq => Order::numbered(0, seq.as_u64()?),
    };
    Some(Stamp { order, cid: cid.as_str()?.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_round_trip() {
        let id = "https://a.example/objects/1";
        let stamp = |order, cid: &str| Stamp { order, cid: cid.to_owned() };
        let mut all = AllSaid::default();
        let said = all.by("https://a.example/actors/b").unwrap();
        said.version(&stamp(Order::numbered(0, 7), "x"), true, true);
        assert_eq!(all.to_row(id), json!(["/actors/b", 5, 1, "x", 7]));
        assert_eq!(of_row(id, &all.to_row(id)).unwrap().0, all.0);
        all.by("https://A.example/actors/a").unwrap().end(&stamp(Order::timed(-5), "y"));
        all.by("https://a.example/actors/b").unwrap().end(&stamp(Order::numbered(2, 1), "z"));
        assert_eq!(of_row(id, &all.to_row(id)).unwrap().0, all.0);
        assert_eq!(all.owner().unwrap().author, "https://a.example/actors/b");
        assert!(all.owner().unwrap().public && is_public(&all.to_row(id)));
        all.by("https://a.example/actors/b").unwrap().public = false;
        assert!(!is_public(&all.to_row(id)) && !is_public(&json!([])));
        for odd in [json!(null), json!(["/a"]), json!([["/a", 1, 1, "x", [1]]])] {
            assert!(of_row(id, &odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn the_first_authors_are_kept_whoever_comes_first() {
        let id = "https://a.example/objects/1";
        let stamp = Stamp { order: Order::numbered(0, 1), cid: "x".into() };
        let (mut up, mut down) = (AllSaid::default(), AllSaid::default());
        for number in 10..40 {
            for (all, number) in [(&mut up, number), (&mut down, 49 - number)] {
                if let Some(said) = all.by(&format!("https://a.example/{number}")) {
                    said.end(&stamp);
                }
            }
        }
        assert_eq!(up.0.len(), MAX_AUTHORS);
        assert_eq!(up.to_row(id), down.to_row(id));
    }
}
