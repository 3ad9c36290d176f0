//! What a verb's definition says about recipients and references.

use serde_json::Value;

/// Who receives an activity whose author names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AudienceToken {
    /// Everyone (`as:Public`).
    Public,
    /// The author's followers.
    Followers,
    /// The object, where it is an actor.
    Object,
    /// The actor of the activity that is the object.
    ObjectActor,
    /// The object of the activity that is the object.
    ObjectObject,
    /// The author of the object.
    ObjectAttributedTo,
    /// Everyone whom the activity that is the object was addressed to.
    ObjectTo,
}

impl AudienceToken {
    /// Every token.
    pub const ALL: [AudienceToken; 7] = [
        Self::Public,
        Self::Followers,
        Self::Object,
        Self::ObjectActor,
        Self::ObjectObject,
        Self::ObjectAttributedTo,
        Self::ObjectTo,
    ];

    /// The token as it stands in a definition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Followers => "Followers",
            Self::Object => "object",
            Self::ObjectActor => "object.actor",
            Self::ObjectObject => "object.object",
            Self::ObjectAttributedTo => "object.attributedTo",
            Self::ObjectTo => "object.to",
        }
    }

    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        Self::ALL.into_iter().find(|token| token.as_str() == text)
    }
}

/// What a bare CID in `object` stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RefersTo {
    /// The activity with that CID.
    #[default]
    Activity,
    /// The object that the activity with that CID created.
    Object,
}
