//! What moderation leaves of a row: nothing of whom this instance hides, nothing of the silenced to
//! those who do not follow them, and no media of those whose media it rejects.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use fedsx_genesis::fold::GRAPH;
use fedsx_genesis::graph::{Graph, Relation};
use fedsx_genesis::moderation::{self, Standing};
use fedsx_kernel::log::{Log, StoreError};
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{Base, Cid};
use serde_json::Value;

use crate::digest::store_error;
use crate::fold::{Fold, Visibility};
use crate::reader::Reader;

/// Members of documents that hold or refer to media.
const MEDIA: [&str; 4] = ["icon", "image", "preview", "images"];
/// Lists of media, among which an actor's document has its fields.
const ATTACHMENTS: [&str; 2] = ["attachment", "attachments"];
/// The type of such a field.
const FIELD: &str = "PropertyValue";

/// Whose words a row shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// This actor's.
    Actor(String),
    /// A statement of this actor, about whom the row is a profile.
    Profile(String),
    /// Those of the author of the activity with this CID.
    Statement(Cid),
    /// It tells that these two have to do with each other.
    Between(String, String),
    /// Nobody's.
    Nobody,
}

impl Speaker {
    /// Whose words a rendered value shows, by the members that rows have for that.
    pub fn of(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if let Some(actor) = text("actor").or_else(|| text("attributedTo")) {
            return Self::Actor(actor.to_owned());
        }
        let cid = text("cid").and_then(|cid| cid.parse().ok());
        cid.map_or(Self::Nobody, Self::Statement)
    }
}

/// Whether rows with somebody's words are kept from a reader.
pub type Hides<'a> = dyn FnMut(&Speaker) -> Result<bool, StateError> + 'a;

/// Moderation, for one reader of one projection.
pub(crate) struct Shield<'a> {
    base: &'a Base,
    log: &'a Log,
    reader: &'a Reader,
    /// Whether anything is decided about anybody.
    any: OnceCell<bool>,
    known: RefCell<HashMap<String, Standing>>,
}

impl<'a> Shield<'a> {
    pub(crate) fn new(base: &'a Base, log: &'a Log, reader: &'a Reader) -> Self {
        Self { base, log, reader, any: OnceCell::new(), known: RefCell::default() }
    }

    /// What is left of a rendered row that the reader may see otherwise; `None` where that is
    /// nothing.
    pub(crate) fn leaves(
        &self,
        fold: &dyn Fold,
        key: &[String],
        mut value: Value,
    ) -> Result<Option<Value>, StoreError> {
        if self.lets_all(fold)? {
            return Ok(Some(value));
        }
        let (speaker, is_profile) = match self.spoken(fold.speaker(key, &value))? {
            Speaker::Actor(actor) => (actor, false),
            Speaker::Profile(actor) => (actor, true),
            Speaker::Between(one, other) => {
                let shown = self.is_shown(&one, true)? && self.is_shown(&other, true)?;
                return Ok(shown.then_some(value));
            }
            Speaker::Nobody | Speaker::Statement(_) => return Ok(Some(value)),
        };
        if !self.is_shown(&speaker, is_profile)? {
            return Ok(None);
        }
        let announced = value.get("announced").and_then(|one| one.get("attributedTo"));
        if let Some(author) = announced.and_then(Value::as_str).map(str::to_owned) {
            if !self.is_shown(&author, false)? {
                return Ok(None);
            }
            if self.standing(&author)?.rejects_media
                && let Some(announced) = value.get_mut("announced")
            {
                without_media(announced);
            }
        }
        if self.standing(&speaker)?.rejects_media {
            without_media(&mut value);
        }
        Ok(Some(value))
    }

    /// A row that the reader may see, with what it counts of others as the reader may see those.
    pub(crate) fn recounted(
        &self,
        fold: &dyn Fold,
        state: &dyn StateView,
        key: &[String],
        value: Value,
    ) -> Result<Option<Value>, StoreError> {
        if self.lets_all(fold)? {
            return Ok(Some(value));
        }
        let mut hides = |speaker: &Speaker| match self.spoken(speaker.clone())? {
            Speaker::Actor(actor) => Ok(!self.is_shown(&actor, false)?),
            Speaker::Profile(actor) => Ok(!self.is_shown(&actor, true)?),
            Speaker::Between(one, other) => {
                Ok(!self.is_shown(&one, true)? || !self.is_shown(&other, true)?)
            }
            Speaker::Nobody | Speaker::Statement(_) => Ok(false),
        };
        fold.recounted(state, key, value, &mut hides).map_err(store_error)
    }

    /// Whether nothing is hidden here. Those who operate the instance see all of what is public.
    fn lets_all(&self, fold: &dyn Fold) -> Result<bool, StoreError> {
        let is_listing = fold.visibility() == Visibility::Public;
        Ok((self.reader.is_admin() && is_listing) || !self.any()?)
    }

    /// The author of a statement in place of the statement; what is not there is nobody's.
    fn spoken(&self, speaker: Speaker) -> Result<Speaker, StoreError> {
        let Speaker::Statement(cid) = speaker else { return Ok(speaker) };
        match self.log.activity(&cid) {
            Ok(Some(activity)) => Ok(Speaker::Actor(activity.actor().to_owned())),
            Ok(None) | Err(StoreError::Damaged { .. }) => Ok(Speaker::Nobody),
            Err(error) => Err(error),
        }
    }

    fn is_shown(&self, author: &str, is_profile: bool) -> Result<bool, StoreError> {
        if self.reader.is(author) {
            return Ok(true);
        }
        let standing = self.standing(author)?;
        if standing.is_hidden() {
            return Ok(false);
        }
        // A silence is about what somebody says, not about who that is.
        Ok(!standing.silenced || is_profile || self.follows(author)?)
    }

    fn follows(&self, author: &str) -> Result<bool, StoreError> {
        let Some(reader) = self.reader.id() else { return Ok(false) };
        let relation = Graph::new(GRAPH).relation(self.log.state(), reader, author);
        Ok(relation.map_err(store_error)? == Relation::Accepted)
    }

    fn any(&self) -> Result<bool, StoreError> {
        if let Some(any) = self.any.get() {
            return Ok(*any);
        }
        let found = moderation::page(self.log.state(), None, 1).map_err(store_error)?;
        Ok(*self.any.get_or_init(|| !found.is_empty()))
    }

    fn standing(&self, id: &str) -> Result<Standing, StoreError> {
        if let Some(known) = self.known.borrow().get(id) {
            return Ok(*known);
        }
        let found: Result<Standing, StateError> =
            moderation::standing(self.base, self.log.state(), id);
        let found = found.map_err(store_error)?;
        self.known.borrow_mut().insert(id.to_owned(), found);
        Ok(found)
    }
}

/// Takes everything out of a document that is, or refers to, a picture, sound or film. The depth of
/// documents is limited where they are read.
pub fn without_media(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !MEDIA.contains(&name.as_str()));
            for name in ATTACHMENTS {
                let Some(held) = members.get_mut(name) else { continue };
                let is_field = |item: &Value| item.get("type") == Some(&Value::from(FIELD));
                match held {
                    Value::Array(items) => items.retain(is_field),
                    one if is_field(one) => {}
                    one => *one = Value::Array(Vec::new()),
                }
            }
            members.values_mut().for_each(without_media);
        }
        Value::Array(items) => items.iter_mut().for_each(without_media),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use serde_json::json;

    use super::*;

    #[test]
    fn media_go_and_fields_stay() {
        let mut value = json!({
            "type": "Person",
            "icon": { "type": "Image", "url": "https://x.example/a.png" },
            "attachment": [
                { "type": "PropertyValue", "name": "Site", "value": "x" },
                { "type": "Image", "url": "https://x.example/b.png" },
            ],
            "tag": [{ "type": "Emoji", "name": ":a:", "icon": { "url": "https://x.example/c" } }],
            "latest": { "attachments": { "type": "Video" }, "content": "text" },
        });
        without_media(&mut value);
        assert_eq!(
            value,
            json!({
                "type": "Person",
                "attachment": [{ "type": "PropertyValue", "name": "Site", "value": "x" }],
                "tag": [{ "type": "Emoji", "name": ":a:" }],
                "latest": { "attachments": [], "content": "text" },
            })
        );
    }
}
