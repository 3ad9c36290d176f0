//! What is known of the ways of signing that a peer takes ("double knock").
//!
//! The first request to a peer that nothing is known of is signed by draft-cavage, which everybody
//! takes: there are servers that answer 202 before they verify, so that trying RFC 9421 first would
//! lose what is sent without anyone noticing. A peer that says what it takes, in an actor's
//! `generator` (FEP-844e) or by `Accept-Signature` (RFC 9421, section 5), is believed. Where a
//! request is refused in a way that may be about its signature, it is sent once more with another
//! one, and what then works is tried first from there on.

use std::collections::BTreeMap;
use std::time::Duration;

use fedsx_kernel::keys::Algorithm;
use serde::{Deserialize, Serialize};

use crate::signature::Ask;

/// How long a way that was refused is not tried again by itself: servers learn.
const FORGIVEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// How requests to a peer are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signing {
    /// draft-cavage-http-signatures-12 with RSA.
    Cavage,
    /// RFC 9421 with RSA.
    Rfc9421,
    /// RFC 9421 with Ed25519.
    Rfc9421Ed25519,
}

/// Why a way of signing is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grounds {
    /// The peer asked for it by `Accept-Signature`.
    Asked,
    /// An actor there names it in its `generator` (FEP-844e).
    Announced,
    /// It worked before.
    Worked,
    /// Nothing better is known.
    Usual,
    /// Another one was refused.
    Refused,
}

/// What is remembered of the ways that a peer takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schemes {
    /// How the last request was signed that it took.
    #[serde(rename = "signing", default, skip_serializing_if = "Option::is_none")]
    pub took: Option<Signing>,
    /// Since when it takes that, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Why that was tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Grounds>,
    /// What it asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Ask>,
    /// What it refused while it took something else, and when, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<Signing, i64>,
}

/// One way to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Knock {
    pub signing: Signing,
    pub grounds: Grounds,
}

/// What one request taught.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lesson {
    /// What the peer took.
    pub took: Option<Knock>,
    /// What it refused, before it took that.
    pub refused: Option<Signing>,
    /// What it asked for.
    pub asked: Option<Ask>,
}

impl Schemes {
    /// The ways to sign a request: the first one, and the other where that is refused.
    /// `announced` is what the recipient's document says.
    pub(crate) fn knocks(&self, announced: Option<Signing>, now_ms: i64) -> [Knock; 2] {
        let asked = self.asked.as_ref().map(|ask| signing_of(ask, announced));
        let wishes = [(asked, Grounds::Asked), (announced, Grounds::Announced)];
        let wishes = wishes.into_iter().filter_map(|(signing, grounds)| Some((signing?, grounds)));
        let wishes = wishes.filter(|(signing, _)| !self.is_refused(*signing, now_ms));
        let known = self.took.map(|signing| (signing, Grounds::Worked));
        let (signing, grounds) =
            wishes.chain(known).next().unwrap_or((Signing::Cavage, Grounds::Usual));
        let other = match signing {
            Signing::Cavage => asked.or(announced).filter(|other| *other != Signing::Cavage),
            Signing::Rfc9421 | Signing::Rfc9421Ed25519 => Some(Signing::Cavage),
        };
        let other = other.unwrap_or(Signing::Rfc9421);
        [Knock { signing, grounds }, Knock { signing: other, grounds: Grounds::Refused }]
    }

    fn is_refused(&self, signing: Signing, now_ms: i64) -> bool {
        let forgiven_ms = i64::try_from(FORGIVEN_AFTER.as_millis()).unwrap_or(i64::MAX);
        self.refused.get(&signing).is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < forgiven_ms)
    }

    /// Whether nothing shows yet that the peer takes this way.
    pub(crate) fn is_untried(&self, signing: Signing) -> bool {
        self.took != Some(signing)
    }

    /// Takes in what a request taught.
    pub(crate) fn learn(&mut self, lesson: Lesson, now_ms: i64) {
        if let Some(Knock { signing, grounds }) = lesson.took {
            if self.took != Some(signing) {
                self.since_ms = Some(now_ms);
                self.because = Some(grounds);
            }
            self.took = Some(signing);
            self.refused.remove(&signing);
            if let Some(refused) = lesson.refused {
                self.refused.insert(refused, now_ms);
            }
        }
        if let Some(ask) = lesson.asked {
            self.asked = Some(ask.lasting());
        }
    }
}

/// The way that meets what a peer asks for.
pub(crate) fn signing_of(ask: &Ask, announced: Option<Signing>) -> Signing {
    match (ask.algorithm, announced) {
        (Some(Algorithm::Ed25519), _) | (None, Some(Signing::Rfc9421Ed25519)) => {
            Signing::Rfc9421Ed25519
        }
        _ => Signing::Rfc9421,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ED: Signing = Signing::Rfc9421Ed25519;
    const NOW_MS: i64 = 1_700_000_000_000;

    fn first(schemes: &Schemes, announced: Option<Signing>) -> (Signing, Signing) {
        let [first, other] = schemes.knocks(announced, NOW_MS);
        (first.signing, other.signing)
    }

    fn took(signing: Signing) -> Lesson {
        let took = Some(Knock { signing, grounds: Grounds::Refused });
        Lesson { took, ..Lesson::default() }
    }

    #[test]
    fn the_unknown_get_what_everybody_takes() {
        let schemes = Schemes::default();
        assert_eq!(first(&schemes, None), (Signing::Cavage, Signing::Rfc9421));
        assert_eq!(first(&schemes, Some(ED)), (ED, Signing::Cavage));
    }

    #[test]
    fn what_worked_is_tried_first() {
        let mut schemes = Schemes::default();
        schemes.learn(took(Signing::Rfc9421), NOW_MS);
        assert_eq!(first(&schemes, None), (Signing::Rfc9421, Signing::Cavage));
        assert_eq!((schemes.since_ms, schemes.because), (Some(NOW_MS), Some(Grounds::Refused)));
        schemes.learn(took(Signing::Rfc9421), NOW_MS + 5);
        assert_eq!(schemes.since_ms, Some(NOW_MS));
    }

    #[test]
    fn a_peer_that_says_what_it_takes_is_believed_until_it_refuses_that() {
        let mut schemes = Schemes::default();
        schemes.learn(took(Signing::Cavage), NOW_MS);
        assert_eq!(first(&schemes, Some(ED)), (ED, Signing::Cavage));
        let asked = Ask { algorithm: Some(Algorithm::Ed25519), ..Ask::default() };
        schemes.learn(Lesson { asked: Some(asked), ..Lesson::default() }, NOW_MS);
        assert_eq!(
            schemes.knocks(None, NOW_MS).map(|knock| knock.grounds).first(),
            Some(&Grounds::Asked)
        );
        assert_eq!(first(&schemes, None), (ED, Signing::Cavage));
        schemes.learn(Lesson { refused: Some(ED), ..took(Signing::Cavage) }, NOW_MS);
        assert_eq!(first(&schemes, Some(ED)), (Signing::Cavage, ED));
        let week_ms = 7 * 24 * 3600 * 1000;
        let [later, _] = schemes.knocks(Some(ED), NOW_MS + week_ms);
        assert_eq!(later.signing, ED);
    }

    #[test]
    fn what_older_versions_remembered_is_read() {
        let old: Schemes = serde_json::from_str(r#"{"signing": "rfc9421"}"#).unwrap();
        assert_eq!(old.took, Some(Signing::Rfc9421));
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"signing":"rfc9421"}"#);
    }
}
