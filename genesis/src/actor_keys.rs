//! Keys as actor documents and rotations state them.
//!
//! An actor document lists current keys: Multikeys in `assertionMethod` (FEP-521a) and one PEM
//! key in `publicKey`. A rotation is an `Update` of the actor whose `patch` names what is added
//! and what is superseded.

use fedsx_kernel::keys::{HistoryError, Key, KeyHistory, Material, Purpose};
use fedsx_kernel::pipeline::seconds;
use fedsx_kernel::{Activity, Order};
use serde_json::Value;

use crate::actors::is_actor_type;

/// A change of keys in the `patch` of an Update.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rotation {
    /// The key that is added.
    pub add: Option<Value>,
    /// The key that is superseded.
    pub old: Option<String>,
}

/// The change of keys that an activity states, if it does.
pub fn rotation(activity: &Activity) -> Option<Rotation> {
    let patch = activity.get("patch")?.as_object()?;
    let add = patch.get("add_publicKey").cloned();
    let old = patch.get("supersede").and_then(|supersede| match supersede {
        Value::String(old) => Some(old.clone()),
        other => other.get("old").and_then(Value::as_str).map(str::to_owned),
    });
    (add.is_some() || old.is_some()).then_some(Rotation { add, old })
}

/// Whether an activity is about its own author as an actor.
pub fn concerns_author(activity: &Activity) -> bool {
    activity.object_id() == Some(activity.actor())
}

/// The keys that a `Create` of its own actor introduces.
pub fn introduced(activity: &Activity) -> Vec<Key> {
    let creates = activity.kind() == "Create" && concerns_author(activity);
    match activity.object() {
        Some(document) if creates => {
            in_document(document, activity.actor(), activity.order(), activity.get("published"))
        }
        _ => Vec::new(),
    }
}

/// The keys that an actor document lists; each must belong to that actor.
pub fn in_document(
    document: &Value,
    actor: &str,
    valid_from: Order,
    created: Option<&Value>,
) -> Vec<Key> {
    let is_actor =
        document.as_object().and_then(fedsx_kernel::activity::kind_of).is_some_and(is_actor_type);
    if !is_actor && document.get("publicKey").is_none() {
        return Vec::new();
    }
    let created = created.and_then(Value::as_str).map(str::to_owned);
    ["assertionMethod", "publicKey"]
        .into_iter()
        .flat_map(|member| match document.get(member) {
            Some(Value::Array(items)) => items.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        })
        .filter_map(|value| key_in(value, actor, valid_from, created.as_deref()))
        .collect()
}

/// Reads one key; `None` where it is of a kind that is not used here or is not the actor's.
pub fn key_in(value: &Value, actor: &str, valid_from: Order, created: Option<&str>) -> Option<Key> {
    let text = |member: &str| value.get(member).and_then(Value::as_str);
    let id = text("id")?;
    let controller = text("controller").or_else(|| text("owner"))?;
    if controller != actor || !fedsx_kernel::address::same_origin(id, actor) {
        return None;
    }
    let (material, usual) = if let Some(multikey) = text("publicKeyMultibase") {
        let material = Material::Multikey { public_key_multibase: multikey.to_owned() };
        (material, vec![Purpose::SignActivity, Purpose::HttpSignature])
    } else {
        let material = Material::Pem { public_key_pem: text("publicKeyPem")?.to_owned() };
        (material, vec![Purpose::HttpSignature])
    };
    let purposes = value
        .get("purposes")
        .and_then(|purposes| serde_json::from_value(purposes.clone()).ok())
        .unwrap_or(usual);
    let key = Key {
        id: id.to_owned(),
        controller: controller.to_owned(),
        material,
        purposes,
        created: text("created").or(created).map(str::to_owned),
        valid_from,
        revoked: None,
        valid_until: None,
        end_is_assumed: false,
    };
    key.public().is_ok().then_some(key)
}

/// Changes a history by what an activity of its author states about keys.
pub fn fold_keys(history: &mut KeyHistory, activity: &Activity) -> Result<(), String> {
    for key in introduced(activity) {
        if history.find(&key.id).is_none() {
            history.introduce(key).map_err(|e| e.to_string())?;
        }
    }
    if activity.kind() != "Update" || !concerns_author(activity) {
        return Ok(());
    }
    let Some(Rotation { add, old }) = rotation(activity) else { return Ok(()) };
    let at = activity.order();
    let when = activity.get("published").and_then(Value::as_str).unwrap_or_default();
    let next = Order { seq: at.seq.saturating_add(1), ..at };
    let added = add.and_then(|value| key_in(&value, activity.actor(), next, Some(when)));
    // A rotation that was learnt from the served history already changes nothing.
    if let Some(key) = added
        && history.find(&key.id).is_none()
    {
        history.introduce(key).map_err(|e| e.to_string())?;
    }
    if let Some(old) = old
        && history.find(&old).is_none_or(|key| key.is_current() || key.end_is_assumed)
    {
        history.supersede(&old, at, when).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The key that may sign an activity at its place.
///
/// A change of keys is for a key that may rotate. Where one is in force by now but the change
/// lies before it, the change must be one that the history knows already: else a stolen everyday
/// key could rotate at a place in the past.
///
/// # Errors
/// Where the key is unknown, was not valid at that place, or is not for this.
pub fn signer<'k>(
    keys: &'k KeyHistory,
    key_id: &str,
    activity: &Activity,
) -> Result<&'k Key, HistoryError> {
    let at = activity.order();
    let rotation =
        rotation(activity).filter(|_| activity.kind() == "Update" && concerns_author(activity));
    let Some(Rotation { add, old }) = rotation else {
        return keys.signer_at(key_id, Purpose::SignActivity, at);
    };
    let refused = match keys.may_rotate(key_id, at) {
        Ok(key) => return Ok(key),
        Err(refused) => refused,
    };
    let next = Order { seq: at.seq.saturating_add(1), ..at };
    let added_is_known = add.is_none_or(|value| {
        let key = key_in(&value, activity.actor(), next, None);
        key.is_some_and(|key| {
            keys.find(&key.id)
                .is_some_and(|known| known.material == key.material && known.valid_from == next)
        })
    });
    let end_is_known =
        old.is_none_or(|old| keys.find(&old).is_some_and(|known| known.valid_until == Some(at)));
    if added_is_known && end_is_known {
        return keys.signer_at(key_id, Purpose::SignActivity, at);
    }
    Err(refused)
}

/// Merges what a fetch showed into what was known: served intervals win, keys that are listed
/// no more end with the last statement that was seen.
pub fn merge_fetched(
    known: &KeyHistory,
    served: Option<Vec<Key>>,
    document: &Value,
    actor: &str,
    latest: Order,
    fetched: jiff::Timestamp,
) -> KeyHistory {
    let listed = in_document(document, actor, Order::default(), None);
    let mut merged = KeyHistory::default();
    let served = served.unwrap_or_default();
    let own = |key: &Key| {
        key.controller == actor
            && fedsx_kernel::address::same_origin(&key.id, actor)
            && key.public().is_ok()
    };
    for key in served.into_iter().filter(own) {
        let key = Key { end_is_assumed: false, ..key };
        // An error means a double id or too many keys; the first ones count.
        let _ = merged.introduce(key);
    }
    for key in listed {
        let known_as = known.find(&key.id).filter(|old| old.material == key.material);
        if merged.find(&key.id).is_none() {
            let _ = merged.introduce(known_as.cloned().map_or(key, listed_again));
        }
    }
    for key in known.all() {
        if merged.find(&key.id).is_none() {
            let _ = merged.introduce(key.clone());
            if key.is_current() {
                let last = latest.max(key.valid_from);
                let _ = merged.assume_superseded(&key.id, last, &seconds(fetched));
            }
        }
    }
    merged
}

/// A key whose end was only assumed holds again when its author lists it again.
fn listed_again(key: Key) -> Key {
    if key.end_is_assumed {
        Key { revoked: None, valid_until: None, end_is_assumed: false, ..key }
    } else {
        key
    }
}
