//! `Accept-Signature` (RFC 9421, section 5): how a server wants requests to be signed.

use fedsx_kernel::keys::Algorithm;
use hyper::http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::fields;

/// The header's name.
pub const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

/// What this instance asks for where a request needs a signature.
pub const OURS: HeaderValue =
    HeaderValue::from_static(r#"sig1=("@method" "@target-uri" "content-digest");created;keyid"#);

/// What a signature that is made here can cover on demand.
const CAN_COVER: [&str; 11] = [
    "@method",
    "@target-uri",
    "@authority",
    "@scheme",
    "@request-target",
    "@path",
    "@query",
    "content-digest",
    "content-type",
    "date",
    "host",
];
/// The most signatures of one header that are looked at.
const MAX_ENTRIES: usize = 8;
/// The longest nonce or tag that is repeated, in bytes.
const MAX_ECHO_BYTES: usize = 256;
/// For how long a signature holds where the server wants it to end, in seconds.
pub(super) const EXPIRES_S: i64 = 300;

/// How a server wants a request to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What the signature is to cover.
    pub components: Vec<String>,
    /// The algorithm, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// To be repeated, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// To be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether the signature is to say when it ends.
    #[serde(default)]
    pub expires: bool,
}

impl Ask {
    /// The first signature of `Accept-Signature` that can be made here; `None` where nothing is
    /// asked for, or nothing that can be met.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = fields::bounded(headers, &ACCEPT_SIGNATURE).ok().flatten()?;
        let entries: Dictionary = Parser::new(&value).parse().ok()?;
        entries.values().take(MAX_ENTRIES).find_map(|entry| match entry {
            ListEntry::InnerList(list) => Self::read(list),
            ListEntry::Item(_) => None,
        })
    }

    /// The same without what holds for the next request alone.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { nonce: None, ..self }
    }

    fn read(list: &InnerList) -> Option<Self> {
        let mut ask = Self::default();
        for item in &list.items {
            let BareItem::String(name) = &item.bare_item else { return None };
            let name = name.as_str();
            if !item.params.is_empty() || !CAN_COVER.contains(&name) {
                return None;
            }
            if !ask.components.iter().any(|known| known == name) {
                ask.components.push(name.to_owned());
            }
        }
        let echo = |text: &str| (text.len() <= MAX_ECHO_BYTES).then(|| text.to_owned());
        for (name, value) in &list.params {
            match (name.as_str(), value) {
                ("alg", BareItem::String(alg)) => {
                    ask.algorithm = Some(match alg.as_str() {
                        "ed25519" => Algorithm::Ed25519,
                        "rsa-v1_5-sha256" => Algorithm::RsaV15Sha256,
                        _ => return None,
                    });
                }
                ("nonce", BareItem::String(nonce)) => ask.nonce = Some(echo(nonce.as_str())?),
                ("tag", BareItem::String(tag)) => ask.tag = Some(echo(tag.as_str())?),
                ("expires", BareItem::Boolean(true)) => ask.expires = true,
                // Which key it is for us to say; a time is always given.
                ("keyid" | "created", _) => {}
                _ => return None,
            }
        }
        Some(ask)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(value: &str) -> Option<Ask> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_SIGNATURE, value.parse().unwrap());
        Ask::of(&headers)
    }

    #[test]
    fn what_can_be_met_is_taken() {
        let ours = of(OURS.to_str().unwrap()).unwrap();
        assert_eq!(ours.components, ["@method", "@target-uri", "content-digest"]);
        assert_eq!((ours.algorithm, ours.nonce, ours.expires), (None, None, false));
        // RFC 9421, section 5.1, is about a response; the second entry can be met.
        let ask = of(concat!(
            r#"a=("@status");created, "#,
            r#"b=("@method" "@authority" "@method");alg="ed25519";nonce="n";tag="t";expires"#
        ));
        let ask = ask.unwrap();
        assert_eq!(ask.components, ["@method", "@authority"]);
        assert_eq!(ask.algorithm, Some(Algorithm::Ed25519));
        assert_eq!((ask.nonce.as_deref(), ask.tag.as_deref()), (Some("n"), Some("t")));
        assert!(ask.expires && ask.lasting().nonce.is_none());
    }

    #[test]
    fn what_cannot_be_met_is_left() {
        for bad in [
            "",
            "x",
            "sig1=:AAAA:",
            r#"sig1=("@method";req)"#,
            r#"sig1=("cookie")"#,
            r#"sig1=(x)"#,
            r#"sig1=("@method");alg="hmac-sha256""#,
            r#"sig1=("@method");alg=ed25519"#,
            r#"sig1=("@method");surprise"#,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let long = format!(r#"sig1=("@method");nonce="{}""#, "x".repeat(300));
        assert_eq!(of(&long), None);
        let many = (0..9).map(|n| format!(r#"s{n}=("@status")"#)).collect::<Vec<_>>().join(", ");
        assert_eq!(of(&format!(r#"{many}, ok=("@method")"#)), None);
    }
}
