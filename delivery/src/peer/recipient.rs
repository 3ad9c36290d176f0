//! What a recipient's document says about sending to it.

use fedsx_kernel::address::same_origin;
use fedsx_kernel::origin_of;
use serde_json::Value;

use crate::ledger::Signing;

/// Where RFC 9421 is announced (FEP-844e).
const RFC9421: &str = "https://datatracker.ietf.org/doc/html/rfc9421";

/// A recipient, as far as sends need it.
#[derive(Clone, Debug)]
pub(super) struct Recipient {
    /// The inbox for everyone on the peer, where it has one.
    pub shared: Option<String>,
    /// Its own.
    pub personal: Option<String>,
    /// How it wants requests to be signed.
    pub announced: Option<Signing>,
    /// Whether its server can check proofs.
    pub knows_proofs: bool,
}

impl Recipient {
    /// What is read of a document.
    pub fn of(document: &Value, peer: &str) -> Self {
        Self {
            shared: shared_inbox(document, peer).map(str::to_owned),
            personal: personal_inbox(document).map(str::to_owned),
            announced: announced(document),
            knows_proofs: knows_proofs(document),
        }
    }
}

/// The inbox for everyone on the peer; only where it is of the peer itself.
fn shared_inbox<'a>(actor: &'a Value, peer: &str) -> Option<&'a str> {
    let inbox = actor.get("endpoints")?.get("sharedInbox")?.as_str()?;
    same_origin(peer, inbox).then_some(inbox)
}

fn personal_inbox(actor: &Value) -> Option<&str> {
    actor.get("inbox").and_then(Value::as_str).filter(|inbox| origin_of(inbox).is_some())
}

/// Whether the server of an actor can check a proof, which is to be expected where it shows a key for
/// one (FEP-521a). Others could only refuse what is forwarded to them.
fn knows_proofs(actor: &Value) -> bool {
    let methods = actor.get("assertionMethod");
    let one = methods.map(std::slice::from_ref).unwrap_or_default();
    let methods = methods.and_then(Value::as_array).map_or(one, Vec::as_slice);
    methods.iter().any(|key| key.get("type").and_then(Value::as_str) == Some("Multikey"))
}

/// How the peer says that it wants requests to be signed, in an actor's `generator` (FEP-844e).
fn announced(actor: &Value) -> Option<Signing> {
    let implements = actor.get("generator")?.get("implements")?;
    let one = std::slice::from_ref(implements);
    let listed = implements.as_array().map_or(one, Vec::as_slice);
    let hrefs = listed
        .iter()
        .filter_map(|entry| entry.as_str().or_else(|| entry.get("href").and_then(Value::as_str)));
    let mut known = hrefs.filter(|href| href.starts_with(RFC9421)).peekable();
    known.peek()?;
    let ed25519 = known.any(|href| href.contains("eddsa") || href.contains("ed25519"));
    let methods = actor.get("assertionMethod").and_then(Value::as_array);
    let multikey = methods.into_iter().flatten().any(|key| {
        let text = key.get("publicKeyMultibase").and_then(Value::as_str);
        text.is_some_and(|text| text.starts_with("z6Mk"))
    });
    Some(if ed25519 || multikey { Signing::Rfc9421Ed25519 } else { Signing::Rfc9421 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn announcements() {
        let multikey = json!([{"type": "Multikey", "publicKeyMultibase": "z6MkfooBar"}]);
        let says = |implements: Value, methods: Value| {
            announced(&json!({
                "generator": {"implements": implements}, "assertionMethod": methods
            }))
        };
        let ours = json!([{"href": RFC9421, "name": "RFC-9421"}]);
        assert_eq!(says(ours.clone(), multikey.clone()), Some(Signing::Rfc9421Ed25519));
        assert_eq!(says(ours, json!([])), Some(Signing::Rfc9421));
        let eddsa = format!("{RFC9421}#name-eddsa-using-curve-edwards25");
        assert_eq!(says(json!({"href": eddsa}), json!(null)), Some(Signing::Rfc9421Ed25519));
        assert_eq!(says(json!([{"href": "https://other.example"}]), multikey), None);
        assert_eq!(announced(&json!({"generator": "https://a.example/app"})), None);
        assert_eq!(announced(&json!({})), None);
    }

    #[test]
    fn proofs_are_for_those_who_have_keys_for_them() {
        assert!(knows_proofs(&json!({"assertionMethod": [{"type": "Multikey"}]})));
        assert!(knows_proofs(&json!({"assertionMethod": {"type": "Multikey"}})));
        for none in [json!({}), json!({"assertionMethod": []}), json!({"publicKey": {}})] {
            assert!(!knows_proofs(&none), "{none}");
        }
    }

    #[test]
    fn inboxes() {
        let actor = json!({
            "inbox": "https://a.example/u/1/inbox",
            "endpoints": {"sharedInbox": "https://a.example/inbox"}
        });
        assert_eq!(shared_inbox(&actor, "https://a.example"), Some("https://a.example/inbox"));
        assert_eq!(shared_inbox(&actor, "https://b.example"), None);
        assert_eq!(personal_inbox(&actor), Some("https://a.example/u/1/inbox"));
        assert_eq!(personal_inbox(&json!({"inbox": "ftp://x"})), None);
    }
}
