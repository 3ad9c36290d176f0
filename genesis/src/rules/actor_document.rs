//! Actor documents of our actors: made by `Create`, changed by `Update`.

use fedsx_kernel::keys::{Algorithm, Key, Material, Purpose, SecretKey};
use fedsx_kernel::pipeline::seconds;
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::{KeyWish, NewKey, Preparing};
use fedsx_kernel::{ActorName, Base};
use serde_json::{Map, Value, json};

use super::moving;
use crate::actors::ActorState;

/// Members that the server gives; a client cannot change them.
const GIVEN: [&str; 17] = [
    "id",
    "inbox",
    "outbox",
    "followers",
    "following",
    "liked",
    "featured",
    "endpoints",
    "publicKey",
    "assertionMethod",
    "keys",
    "preferredUsername",
    "url",
    "published",
    "generator",
    "webfinger",
    "@context",
];

/// The contexts that an embedded actor document needs.
pub(super) fn contexts() -> Vec<Value> {
    vec![
        json!("https://w3id.org/security/v1"),
        // Where `assertionMethod` is defined (FEP-521a).
        json!("https://www.w3.org/ns/did/v1"),
        json!("https://w3id.org/security/multikey/v1"),
        json!({
            "toot": "http://joinmastodon.org/ns#",
            "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
            "featured": { "@id": "toot:featured", "@type": "@id" },
            "alsoKnownAs": { "@id": "as:alsoKnownAs", "@type": "@id" },
            "movedTo": { "@id": "as:movedTo", "@type": "@id" },
            "keys": { "@id": "fedsx:keys", "@type": "@id" },
            "purposes": "fedsx:purposes",
            "implements": { "@id": "https://w3id.org/fep/844e/implements", "@type": "@id" },
            // FEP-2c59.
            "webfinger": "https://purl.archive.org/socialweb/webfinger#webfinger",
            "patch": { "@id": "fedsx:patch", "@type": "@json" },
        }),
    ]
}

/// The document of a new actor.
pub(super) fn new(
    with: &Preparing<'_>,
    request: &Map<String, Value>,
    kind: &str,
) -> Result<Map<String, Value>, Refusal> {
    for (member, most) in [("name", 500), ("summary", 5_000)] {
        let fits = match request.get(member) {
            None => true,
            Some(Value::String(text)) => text.chars().count() <= most,
            Some(_) => false,
        };
        if !fits {
            return Err(Refusal::new(
                Problem::InvalidActivity,
                format!("object.{member}: must be a text of at most {most} characters"),
            ));
        }
    }
    let wished = request.get("preferredUsername").and_then(Value::as_str);
    if wished.is_some_and(|wished| wished != with.name.as_str()) {
        return Err(Refusal::new(
            Problem::NotAuthorised,
            format!("object.preferredUsername: the token acts for {}", with.name),
        ));
    }
    let mut document: Map<String, Value> = request
        .iter()
        .filter(|(name, _)| !GIVEN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    document.remove("movedTo");
    if let Some(aliases) = document.get("alsoKnownAs") {
        let aliases = moving::aliases(with, aliases)?;
        document.insert("alsoKnownAs".into(), aliases);
    }
    let of = |what: &str| json!(with.base.of_actor(with.name, what));
    for (name, value) in [
        ("id", json!(with.actor)),
        ("type", json!(kind)),
        ("preferredUsername", json!(with.name.as_str())),
        ("inbox", of("inbox")),
        ("outbox", of("outbox")),
        ("followers", of("followers")),
        ("following", of("following")),
        ("keys", of("keys")),
        ("liked", of("liked")),
        ("featured", of("featured")),
        ("url", json!(with.actor)),
        ("published", json!(seconds(with.now))),
        ("endpoints", endpoints(with)),
        ("generator", generator(with)),
        ("webfinger", json!(account(with.base, with.name))),
    ] {
        document.insert(name.into(), value);
    }
    let keys: Vec<Key> = with.new_keys.iter().map(|key| introduced(with, key)).collect();
    list_keys(&mut document, keys.iter());
    Ok(document)
}

/// The account of an actor as WebFinger answers for it, without `acct:` (FEP-2c59).
pub fn account(base: &Base, name: &ActorName) -> String {
    format!("{name}@{}", base.authority().to_ascii_lowercase())
}

/// Where clients and other servers find what is not the actor's own (ActivityPub, section 4.1).
fn endpoints(with: &Preparing<'_>) -> Value {
    let proxy = format!("{}/proxy", with.base);
    json!({ "sharedInbox": with.base.shared_inbox(), "proxyUrl": proxy })
}

/// What this server can do, for others to see (FEP-844e).
fn generator(with: &Preparing<'_>) -> Value {
    json!({
        "type": "Application",
        "name": "fedsx",
        "url": with.base.as_str(),
        "implements": [
            { "href": "https://datatracker.ietf.org/doc/html/rfc9421", "name": "RFC-9421: HTTP Message Signatures" },
            { "href": "https://w3id.org/fep/8b32", "name": "FEP-8b32: Object Integrity Proofs" },
        ],
    })
}

fn introduced(with: &Preparing<'_>, key: &NewKey) -> Key {
    Key {
        id: key.id.clone(),
        controller: with.actor.to_owned(),
        material: match key.public.to_multibase() {
            Some(public_key_multibase) => Material::Multikey { public_key_multibase },
            None => Material::Pem { public_key_pem: key.public.to_pem().unwrap_or_default() },
        },
        purposes: key.wish.purposes.clone(),
        created: Some(seconds(with.now)),
        valid_from: Default::default(),
        revoked: None,
        valid_until: None,
        end_is_assumed: false,
    }
}

/// Lists current keys where other servers look for them.
fn list_keys<'k>(document: &mut Map<String, Value>, keys: impl Iterator<Item = &'k Key>) {
    let (mut multikeys, mut pem) = (Vec::new(), None);
    for key in keys {
        match &key.material {
            Material::Multikey { public_key_multibase } => {
                multikeys.push(multikey(key, public_key_multibase));
            }
            Material::Pem { public_key_pem } => {
                pem = Some(json!({
                    "id": key.id,
                    "owner": key.controller,
                    "publicKeyPem": public_key_pem,
                }));
            }
        }
    }
    document.insert("assertionMethod".into(), Value::Array(multikeys));
    match pem {
        Some(pem) => document.insert("publicKey".into(), pem),
        None => document.remove("publicKey"),
    };
}

fn multikey(key: &Key, public_key_multibase: &str) -> Value {
    json!({
        "id": key.id,
        "type": "Multikey",
        "controller": key.controller,
        "publicKeyMultibase": public_key_multibase,
        "purposes": key.purposes,
    })
}

/// The key that a rotation request asks the server to generate, or brings.
pub(super) fn rotation_wish(request: &Map<String, Value>) -> Result<Vec<KeyWish>, Refusal> {
    let add = request.get("patch").and_then(|patch| patch.get("add_publicKey"));
    let updates = request.get("type").and_then(Value::as_str) == Some("Update");
    let generate =
        add.is_some_and(|add| add == "generate" || add.get("generate") == Some(&json!(true)));
    let given = add.filter(|_| updates && !generate).map(given_key).transpose()?.flatten();
    if !updates || !(generate || given.is_some()) {
        return Ok(Vec::new());
    }
    let purposes = match add.and_then(|add| add.get("purposes")) {
        None => vec![Purpose::SignActivity, Purpose::HttpSignature],
        Some(purposes) => serde_json::from_value(purposes.clone()).map_err(|_| {
            Refusal::new(
                Problem::InvalidActivity,
                "patch.add_publicKey.purposes: a list of sign-activity, rotate-key, http-signature",
            )
        })?,
    };
    let algorithm = match add.and_then(|add| add.get("algorithm")).and_then(Value::as_str) {
        None | Some("ed25519") => Algorithm::Ed25519,
        Some("rsa") if purposes == [Purpose::HttpSignature] => Algorithm::RsaV15Sha256,
        Some(_) => {
            return Err(Refusal::new(
                Problem::InvalidActivity,
                "patch.add_publicKey.algorithm: ed25519, or rsa for http-signature alone",
            ));
        }
    };
    if given.as_ref().is_some_and(|given| given.algorithm() != algorithm) {
        return Err(Refusal::new(
            Problem::InvalidActivity,
            "patch.add_publicKey.algorithm: a key that is brought is of ed25519",
        ));
    }
    Ok(vec![KeyWish { algorithm, purposes, given }])
}

/// The private key that a client brings, with the public half to compare where that is there too.
/// What is wrong is said without showing any of it.
fn given_key(add: &Value) -> Result<Option<SecretKey>, Refusal> {
    let fail = |detail: String| {
        Refusal::new(Problem::InvalidActivity, format!("patch.add_publicKey: {detail}"))
    };
    let Some(text) = add.get("secretKeyMultibase") else { return Ok(None) };
    let text = text.as_str().ok_or_else(|| fail("secretKeyMultibase must be a text".into()))?;
    let key = SecretKey::from_multibase(text).map_err(|e| fail(e.to_string()))?;
    let public = add.get("publicKeyMultibase").and_then(Value::as_str);
    if public.is_some_and(|public| key.public().to_multibase().as_deref() != Some(public)) {
        return Err(fail("publicKeyMultibase is not the public half of the secret key".into()));
    }
    Ok(Some(key))
}

/// What an `Update` of the actor itself publishes.
pub(super) struct Updated {
    /// The whole new document.
    pub document: Map<String, Value>,
    /// What changed, keys included.
    pub patch: Option<Value>,
    /// The key that must sign, where it is not the current signing key.
    pub signing_key: Option<String>,
}

/// Settles an `Update` of the actor itself.
pub(super) fn updated(
    with: &Preparing<'_>,
    known: &ActorState,
    object: Option<&Value>,
    patch: Option<&Value>,
) -> Result<Updated, Refusal> {
    let fail = |detail: &str| Refusal::new(Problem::InvalidActivity, detail);
    let mut document = known.document.as_object().cloned().unwrap_or_default();
    let empty = Map::new();
    let patch = match patch {
        None => &empty,
        Some(Value::Object(patch)) => patch,
        Some(_) => return Err(fail("patch: must be an object")),
    };
    let changes = object.and_then(Value::as_object).into_iter().flatten().chain(patch);
    let mut published_patch = Map::new();
    for (name, value) in changes {
        match name.as_str() {
            "add_publicKey" | "supersede" => continue,
            "type" if document.get("type") != Some(value) => {
                return Err(fail("object.type: an actor keeps its type"));
            }
            given if GIVEN.contains(&given) || given == "type" => continue,
            // What an actor moved to is said by a Move; an Update can only take it back.
            "movedTo" if document.get("movedTo") == Some(value) => continue,
            "movedTo" if !value.is_null() => return Err(fail("movedTo: publish a Move")),
            _ => {}
        }
        let aliases = match name.as_str() {
            "alsoKnownAs" if !value.is_null() => Some(moving::aliases(with, value)?),
            _ => None,
        };
        let value = aliases.as_ref().unwrap_or(value);
        if patch.contains_key(name) {
            published_patch.insert(name.clone(), value.clone());
        }
        if value.is_null() {
            document.remove(name);
        } else {
            document.insert(name.clone(), value.clone());
        }
    }
    document.insert("updated".into(), seconds(with.now).into());
    document.insert("webfinger".into(), account(with.base, with.name).into());
    // Documents of earlier versions lack what came later.
    for name in ["liked", "featured"] {
        document.insert(name.into(), with.base.of_actor(with.name, name).into());
    }
    document.insert("endpoints".into(), endpoints(with));

    let mut signing_key = None;
    let rotates = patch.contains_key("add_publicKey") || patch.contains_key("supersede");
    if rotates {
        let (added, old) = rotation(with, known, patch)?;
        let mut keys: Vec<Key> =
            known.keys.all().iter().filter(|key| key.is_current()).cloned().collect();
        if let Some(old) = &old {
            keys.retain(|key| key.id != *old);
        }
        if let Some(key) = &added {
            keys.push(key.clone());
        }
        if !keys.iter().any(|key| key.serves(Purpose::SignActivity)) {
            return Err(fail("patch.supersede: an actor keeps at least one key that signs"));
        }
        list_keys(&mut document, keys.iter());
        if let Some(key) = &added {
            let value = match &key.material {
                Material::Multikey { public_key_multibase } => multikey(key, public_key_multibase),
                Material::Pem { public_key_pem } => json!({
                    "id": key.id,
                    "owner": key.controller,
                    "publicKeyPem": public_key_pem,
                    "purposes": key.purposes,
                }),
            };
            published_patch.insert("add_publicKey".into(), value);
        }
        if let Some(old) = old {
            let new = added.as_ref().map(|key| key.id.clone());
            published_patch.insert("supersede".into(), json!({ "old": old, "new": new }));
        }
        signing_key = rotation_key(known);
    }
    let patch = (!published_patch.is_empty()).then_some(Value::Object(published_patch));
    Ok(Updated { document, patch, signing_key })
}

/// The key that signs a rotation: one for that purpose where there is one.
fn rotation_key(known: &ActorState) -> Option<String> {
    known.keys.current(Purpose::RotateKey).last().map(|key| key.id.clone())
}

/// The key that is added and the id of the one that is superseded.
fn rotation(
    with: &Preparing<'_>,
    known: &ActorState,
    patch: &Map<String, Value>,
) -> Result<(Option<Key>, Option<String>), Refusal> {
    let fail = |detail: String| Refusal::new(Problem::InvalidActivity, detail);
    let added = match (patch.get("add_publicKey"), with.new_keys.first()) {
        (_, Some(new)) => Some(introduced(with, new)),
        (Some(given), None) => {
            let mut given = given.clone();
            if let Some(given) = given.as_object_mut() {
                // The client names the material; id and owner follow from it.
                let multikey = given.get("publicKeyMultibase").and_then(Value::as_str);
                let id = multikey.map(|multikey| format!("{}#{multikey}", with.actor));
                given.insert("controller".into(), with.actor.into());
                if let Some(id) = id {
                    given.insert("id".into(), id.into());
                }
            }
            let now = seconds(with.now);
            let key = crate::actor_keys::key_in(&given, with.actor, Default::default(), Some(&now));
            let key = key.ok_or_else(|| {
                fail("patch.add_publicKey: a Multikey, or {\"generate\": true}".into())
            })?;
            // What this server signs by a key needs the private half.
            if key.serves(Purpose::SignActivity) || key.serves(Purpose::RotateKey) {
                return Err(fail(
                    "patch.add_publicKey: a key that signs activities or rotations is generated here, \
                     or brought with its secretKeyMultibase"
                        .into(),
                ));
            }
            Some(key)
        }
        (None, None) => None,
    };
    if let Some(key) = &added
        && known.keys.find(&key.id).is_some()
    {
        return Err(fail(format!("patch.add_publicKey: {} was used before", key.id)));
    }
    let old = match patch.get("supersede") {
        None => None,
        Some(Value::String(old)) => Some(old.clone()),
        Some(supersede) => match supersede.get("old").and_then(Value::as_str) {
            Some(old) => Some(old.to_owned()),
            // Without a name, the key that the new one takes the place of.
            None => added.as_ref().and_then(|key| {
                let purpose = *key.purposes.first()?;
                let same = |old: &&Key| {
                    std::mem::discriminant(&old.material) == std::mem::discriminant(&key.material)
                };
                known.keys.current(purpose).filter(same).last().map(|old| old.id.clone())
            }),
        },
    };
    if let Some(old) = &old {
        match known.keys.find(old) {
            None => return Err(fail(format!("patch.supersede: there is no key {old}"))),
            Some(key) if !key.is_current() => {
                return Err(fail(format!("patch.supersede: {old} was superseded before")));
            }
            Some(_) => {}
        }
    }
    Ok((added, old))
}
