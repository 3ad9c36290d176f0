//! Subscriptions: what actors subscribe to, and who did.
//!
//! `DefineSubscription {name, tag | topic, when}` is about activities that carry the tag and fit
//! `when`; with neither, its name is the tag, unless who subscribes names one: `Subscribe {object:
//! NAME, topic: TAG}`.

use fedsx_kernel::activity::Activity;
use fedsx_kernel::state::{StateError, StateView, prefix};
use serde_json::Value;

use super::{Seen, When};
use crate::definition::{Definition, DefinitionError};
use crate::script::{ScriptError, Scripts};

/// The longest topic, in bytes.
pub const MAX_TOPIC_BYTES: usize = 500;
/// The most tags of one activity that are looked at.
const MAX_TAGS: usize = 64;
/// Where subscribers stand in the admission state: `subscriber, name, topic, actor`.
pub(crate) const SUBSCRIBER: &str = "subscriber";

/// A subscription as its definition says.
#[derive(Clone)]
pub struct Subscription {
    name: String,
    tag: Option<String>,
    when: When,
    says_when: bool,
}

impl Subscription {
    /// Reads a definition, and compiles its scripts.
    ///
    /// # Errors
    /// Members that cannot be used.
    pub fn read(definition: &Definition, scripts: &Scripts) -> Result<Self, DefinitionError> {
        let when = When::read(definition, scripts)?;
        if when.subscription().is_some() {
            let reason = "subscription: one subscription is not made of others".into();
            return Err(DefinitionError::Member("when", reason));
        }
        let tag = definition.get("tag").or(definition.get("topic")).and_then(Value::as_str);
        Ok(Self {
            name: definition.name().to_owned(),
            tag: tag.map(topic),
            when,
            says_when: definition.get("when").is_some(),
        })
    }

    /// Whether an activity is what somebody here subscribed to.
    ///
    /// # Errors
    /// `Err` where the admission state cannot be read, `Ok(Err)` where the guard fails.
    pub fn reaches(
        &self,
        state: &dyn StateView,
        activity: &Activity,
        seen: &Seen,
    ) -> Result<Result<bool, ScriptError>, StateError> {
        let tags = tags(activity);
        if !self.when.fits(activity) || self.tag.as_ref().is_some_and(|tag| !tags.contains(tag)) {
            return Ok(Ok(false));
        }
        let anybody = |topic: &str| -> Result<bool, StateError> {
            Ok(!state.scan(&prefix(&[SUBSCRIBER, &self.name, topic]), None, 1)?.is_empty())
        };
        // Who names no topic means the one of the definition.
        let of_definition =
            self.tag.is_some() || self.says_when || tags.contains(&topic(&self.name));
        let mut wanted = of_definition && anybody("")?;
        for tag in &tags {
            wanted = wanted || anybody(tag)?;
        }
        Ok(if wanted { self.when.lets(seen) } else { Ok(false) })
    }
}

/// A topic or tag in the form in which they are compared: without `#`, in lower case (ASCII).
pub fn topic(text: &str) -> String {
    text.trim_start_matches('#').to_ascii_lowercase()
}

/// The tags of an activity and of the object in it: Hashtags in `tag` (ActivityStreams 2.0
/// Vocabulary, section 4), and plain texts there and in `tags`.
fn tags(activity: &Activity) -> Vec<String> {
    let object = activity.object();
    let within = |name: &str| {
        [activity.get(name), object.and_then(|object| object.get(name))].into_iter().flatten()
    };
    let mut tags: Vec<String> = Vec::new();
    for value in within("tag").chain(within("tags")) {
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for item in items {
            let text = match item {
                Value::String(text) => Some(text.as_str()),
                Value::Object(tag) if tag.get("type").is_none_or(|kind| kind == "Hashtag") => {
                    tag.get("name").and_then(Value::as_str)
                }
                _ => None,
            };
            let fits = |text: &&str| !text.is_empty() && text.len() <= MAX_TOPIC_BYTES;
            if let Some(text) = text.filter(fits).map(topic)
                && tags.len() < MAX_TAGS
                && !tags.contains(&text)
            {
                tags.push(text);
            }
        }
    }
    tags
}
