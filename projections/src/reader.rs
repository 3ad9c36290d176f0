//! Who reads, and what of a row each reader is shown.

use fedsx_genesis::readers::{self, ReaderError};
use fedsx_kernel::log::{Log, StoreError, Stream};
use fedsx_kernel::state::StateView;
use fedsx_kernel::{Base, Cid};
use serde_json::Value;

use crate::digest::store_error;
use crate::fold::{Fold, Visibility};
use crate::render::{Rendered, UpTo};
use crate::shield::Shield;

/// Who reads a projection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reader {
    /// Nobody in particular.
    #[default]
    Anyone,
    /// The actor with this id, who proved to be that.
    Actor(String),
    /// Who operates the instance, and the actor for whom that person may read besides.
    Admin(Option<String>),
}

impl Reader {
    /// The id of the reading actor.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Admin(None) => None,
            Self::Actor(id) | Self::Admin(Some(id)) => Some(id),
        }
    }

    /// Whether this actor reads.
    pub fn is(&self, id: &str) -> bool {
        self.id() == Some(id)
    }

    /// Whether who operates the instance reads.
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::Admin(_))
    }
}

/// What of a row a reader is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// This in place of the value.
    Part(Value),
    /// All of it to those who may see the activity with this CID, nothing to others.
    ToAudienceOf(Cid),
    /// Nothing, as if the row was not there.
    Hidden,
}

impl Shown {
    /// All of it or nothing.
    pub fn whole_if(shown: bool) -> Self {
        if shown { Self::Whole } else { Self::Hidden }
    }

    /// What those see who may see the activity that a value names as its `cid`.
    pub fn to_audience_in(value: &Value) -> Self {
        let cid = value.get("cid").and_then(Value::as_str).and_then(|cid| cid.parse().ok());
        cid.map_or(Self::Hidden, Self::ToAudienceOf)
    }
}

/// The one place that decides what of a row is shown, for queries, past state and live streams.
pub(crate) struct Judge<'a> {
    pub(crate) fold: &'a dyn Fold,
    pub(crate) base: &'a Base,
    pub(crate) log: &'a Log,
    pub(crate) reader: &'a Reader,
    pub(crate) shield: Shield<'a>,
}

impl Judge<'_> {
    /// A row of a state as the reader may see it; `None` where it is hidden from it. What the row
    /// refers to is looked up in the log up to position `last`.
    pub(crate) fn row(
        &self,
        state: &dyn StateView,
        last: u64,
        key: &[String],
        held: Value,
    ) -> Result<Option<Value>, StoreError> {
        if self.is_foreign(key) {
            return Ok(None);
        }
        let rendered = Rendered { fold: self.fold, state, bodies: &UpTo { log: self.log, last } };
        match rendered.row(key, held).map_err(store_error)? {
            Some(value) => self.counted(state, key, value),
            None => Ok(None),
        }
    }

    /// The same of a rendered value, or of null for a row that was removed.
    pub(crate) fn counted(
        &self,
        state: &dyn StateView,
        key: &[String],
        value: Value,
    ) -> Result<Option<Value>, StoreError> {
        match self.view(key, value)? {
            Some(value) => self.shield.recounted(self.fold, state, key, value),
            None => Ok(None),
        }
    }

    /// A rendered value, or null for a row that was removed, as the reader may see it; `None`
    /// where the row is hidden from it. What it counts is not looked at ([`Judge::counted`]).
    pub(crate) fn view(&self, key: &[String], value: Value) -> Result<Option<Value>, StoreError> {
        if self.is_foreign(key) {
            return Ok(None);
        }
        let shown = match self.fold.shown_to(key, &value, self.reader) {
            Shown::Whole => Some(value),
            Shown::Part(part) => Some(part),
            Shown::ToAudienceOf(cid) => self.may_see(&cid)?.then_some(value),
            Shown::Hidden => None,
        };
        match shown {
            Some(value) => self.shield.leaves(self.fold, key, value),
            None => Ok(None),
        }
    }

    /// Whether the row is of the private state of another than the reader.
    fn is_foreign(&self, key: &[String]) -> bool {
        self.fold.visibility() == Visibility::Private && !self.owns(key)
    }

    fn owns(&self, key: &[String]) -> bool {
        let name = self.reader.id().and_then(|id| self.base.name_of(id));
        name.is_some_and(|name| key.first().is_some_and(|owner| owner == name.as_str()))
    }

    /// Whether the reader may read the activity.
    fn may_see(&self, cid: &Cid) -> Result<bool, StoreError> {
        let Some(id) = self.reader.id() else { return Ok(false) };
        if let Some(name) = self.base.name_of(id)
            && self.log.store().position(&Stream::Inbox(name), cid)?.is_some()
        {
            return Ok(true);
        }
        let record = match self.log.first(cid) {
            Ok(Some(record)) => record,
            // What was erased or is damaged is shown to nobody; `verify` tells the two apart.
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let read = readers::may_read(self.base, self.log.state(), self.log, Some(id), &record);
        read.map_err(|error| match error {
            ReaderError::Store(error) => error,
            other => StoreError::Io(other.to_string()),
        })
    }
}

/// What of a stored row makes up what anyone sees, without looking anything up.
pub(crate) fn public_part(fold: &dyn Fold, key: &[String], held: &Value) -> Option<Value> {
    if fold.visibility() == Visibility::Private { None } else { fold.public_part(key, held) }
}
