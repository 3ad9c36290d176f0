//! The envelope: one activity with its identity.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::address::{MAX_URL_BYTES, origin_of};
use crate::canonical::{self, CanonicalError, Without};
use crate::cid::Cid;
use crate::order::Order;

/// The most recipients that an activity names.
pub const MAX_RECIPIENTS: usize = 2000;

/// An activity (ActivityStreams 2.0, section 4.2) as it stands on the wire, and its CID.
///
/// The CID is that of the canonical DAG-CBOR without `proof`, and without `id` where the id is
/// `<origin of actor>/activities/<CID>`: such an activity certifies itself.
///
/// Of an activity whose body was erased only a stub is left, under the same CID and with the same
/// place in its author's order; see [`Activity::is_erased`].
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    document: Map<String, Value>,
    cid: Cid,
    certifies_itself: bool,
    erased: bool,
    /// What the document takes in memory, in bytes, about.
    weight: usize,
}

/// How an activity is stored: the hashed block, and what is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Canonical DAG-CBOR; its hash is the CID, unless the body was erased.
    #[serde(with = "serde_bytes_vec")]
    pub block: Vec<u8>,
    /// Whether the id follows from origin and CID, and is therefore not in the block.
    pub certifies_itself: bool,
    /// JSON text of the proof, if there is one.
    pub proof: Option<String>,
    /// The CID, where the body was erased: then the block is a stub, and nothing proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Cid>,
}

/// What a value takes in a tree of values beside its text, in bytes, about.
const NODE_BYTES: usize = 64;

fn members_weight(members: &Map<String, Value>) -> usize {
    let member = |(name, value): (&String, &Value)| name.len() + NODE_BYTES + weight(value);
    members.iter().map(member).sum()
}

/// What a value takes in memory, in bytes, about.
pub(crate) fn weight(value: &Value) -> usize {
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(members) => members_weight(members),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

mod serde_bytes_vec {
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        d.deserialize_byte_buf(Bytes)
    }
}

/// Why a document is not an activity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ActivityError {
    /// Not a JSON object.
    #[error("an activity is a JSON object")]
    NotAnObject,
    /// A member that every activity has is missing or of the wrong kind.
    #[error("{0}: {1}")]
    Member(&'static str, &'static str),
    /// No canonical encoding exists.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The stored proof is not JSON.
    #[error("the stored proof is not JSON: {0}")]
    StoredProof(serde_json::Error),
    /// What is to be left of an erased activity is not the same statement.
    #[error("a stub keeps {0} as it was")]
    Stub(&'static str),
}

impl Activity {
    /// Reads an activity as received; the document must be in normal form ([`crate::json`]).
    ///
    /// A linked data signature is left out: see [`remove_linked_data_signature`].
    pub fn from_document(document: Value) -> Result<Self, ActivityError> {
        let Value::Object(mut document) = document else { return Err(ActivityError::NotAnObject) };
        remove_linked_data_signature(&mut document);
        let id = string_member(&document, "id")
            .ok_or(ActivityError::Member("id", "must be a string"))?
            .to_owned();
        if origin_of(&id).is_none() {
            return Err(ActivityError::Member("id", "must be an http or https URL"));
        }
        check_shape(&document)?;
        let actor = actor_of(&document).unwrap_or_default();
        let without_id = cid_of(Without::new(&document, &["proof", "id"]))?;
        let certifies_itself = origin_of(actor)
            .is_some_and(|origin| id == format!("{origin}/activities/{without_id}"));
        let cid = if certifies_itself {
            without_id
        } else {
            cid_of(Without::new(&document, &["proof"]))?
        };
        let weight = members_weight(&document);
        Ok(Self { document, cid, certifies_itself, erased: false, weight })
    }

    /// Gives a new activity of ours its identity. `content` has neither `id` nor `proof`.
    pub fn seal(mut content: Map<String, Value>) -> Result<Self, ActivityError> {
        content.remove("id");
        content.remove("proof");
        remove_linked_data_signature(&mut content);
        check_shape(&content)?;
        let cid = cid_of(Without::new(&content, &[]))?;
        let origin = origin_of(actor_of(&content).unwrap_or_default())
            .ok_or(ActivityError::Member("actor", "must be an http or https URL"))?;
        content.insert("id".into(), Value::String(format!("{origin}/activities/{cid}")));
        let weight = members_weight(&content);
        Ok(Self { document: content, cid, certifies_itself: true, erased: false, weight })
    }

    /// The same activity with its proof; the proof is not part of the identity.
    #[must_use]
    pub fn with_proof(mut self, proof: Value) -> Self {
        self.document.insert("proof".into(), proof);
        self.weight = members_weight(&self.document);
        self
    }

    /// Reads a stored body back. The caller compares the CID with the one that it asked for, which
    /// shows that the block is what was stored.
    pub fn from_body(body: &Body) -> Result<Self, ActivityError> {
        let Value::Object(mut document) = canonical::decode_own(&body.block)? else {
            return Err(ActivityError::NotAnObject);
        };
        let cid = body.erased.unwrap_or_else(|| Cid::of_block(&body.block));
        if body.certifies_itself {
            let origin = origin_of(actor_of(&document).unwrap_or_default())
                .ok_or(ActivityError::Member("actor", "must be an http or https URL"))?;
            document.insert("id".into(), Value::String(format!("{origin}/activities/{cid}")));
        }
        if let Some(proof) = &body.proof {
            let proof = serde_json::from_str(proof).map_err(ActivityError::StoredProof)?;
            document.insert("proof".into(), proof);
        }
        let erased = body.erased.is_some();
        let weight = members_weight(&document);
        Ok(Self { document, cid, certifies_itself: body.certifies_itself, erased, weight })
    }

    /// The form in which the activity is stored.
    pub fn to_body(&self) -> Result<Body, ActivityError> {
        let proof = self.proof().map(serde_json::to_string).transpose();
        let proof = proof.map_err(ActivityError::StoredProof)?;
        let apart: &[&str] = if self.certifies_itself { &["proof", "id"] } else { &["proof"] };
        let block = canonical::members_to_dag_cbor(Without::new(&self.document, apart))?;
        let erased = self.erased.then_some(self.cid);
        Ok(Body { block, certifies_itself: self.certifies_itself, proof, erased })
    }

    /// What is left of this activity once its body is erased. The stub stands for the same
    /// statement: author, verb, id, object and place in the author's order are as they were, so
    /// that everything that is ordered or counted by them stays as it is. Salt and proof are gone.
    ///
    /// # Errors
    /// [`ActivityError::Stub`] where `left` is another statement.
    pub fn stub(&self, mut left: Map<String, Value>) -> Result<Self, ActivityError> {
        for secret in ["salt", "proof"] {
            left.remove(secret);
        }
        left.insert("id".into(), self.id().into());
        check_shape(&left)?;
        let stub = Self {
            weight: members_weight(&left),
            document: left,
            cid: self.cid,
            certifies_itself: self.certifies_itself,
            erased: true,
        };
        let kept = [
            ("actor", stub.actor() == self.actor()),
            ("type", stub.kind() == self.kind()),
            ("object", stub.object_id() == self.object_id()),
            ("epoch and seq", stub.position() == self.position()),
            ("published and updated", stub.order() == self.order()),
        ];
        match kept.iter().find(|(_, same)| !same) {
            Some((name, _)) => Err(ActivityError::Stub(name)),
            None => Ok(stub),
        }
    }

    /// Whether the body was erased: what is left is a stub, which no proof vouches for.
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// What it takes in memory, in bytes, about.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The identity.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Whether the id follows from the content.
    pub fn certifies_itself(&self) -> bool {
        self.certifies_itself
    }

    /// All members as on the wire.
    pub fn document(&self) -> &Map<String, Value> {
        &self.document
    }

    /// The wire form as a JSON value.
    pub fn to_value(&self) -> Value {
        Value::Object(self.document.clone())
    }

    /// A member by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.document.get(name)
    }

    /// The `id`.
    pub fn id(&self) -> &str {
        string_member(&self.document, "id").unwrap_or_default()
    }

    /// The verb: `type`, or the first of several.
    pub fn kind(&self) -> &str {
        kind_of(&self.document).unwrap_or_default()
    }

    /// The id of the author.
    pub fn actor(&self) -> &str {
        actor_of(&self.document).unwrap_or_default()
    }

    /// The `object` as it stands; in a list of one, that one.
    pub fn object(&self) -> Option<&Value> {
        self.document.get("object").map(one)
    }

    /// The document in the plainest of the ways in which JSON-LD lets it be written: without
    /// members that are null, with author, object and times out of lists of one, and of several
    /// types the first; in activity and object. For judging the shape of what others wrote.
    pub fn plain(&self) -> Value {
        let mut document = self.document.clone();
        plain_members(&mut document);
        if let Some(Value::Object(object)) = document.get_mut("object") {
            plain_members(object);
        }
        Value::Object(document)
    }

    /// The id of the object, whether it is embedded or only named.
    pub fn object_id(&self) -> Option<&str> {
        self.object().and_then(id_of)
    }

    /// The proof, if there is one.
    pub fn proof(&self) -> Option<&Value> {
        self.document.get("proof")
    }

    /// `(epoch, seq)` where the author numbers statements.
    pub fn position(&self) -> Option<(u64, u64)> {
        if !self.certifies_itself {
            return None;
        }
        let seq = self.document.get("seq")?.as_u64()?;
        let epoch = self.document.get("epoch").and_then(Value::as_u64).unwrap_or(0);
        Some((epoch, seq))
    }

    /// `published` in milliseconds since 1970.
    pub fn published_ms(&self) -> Option<i64> {
        time_ms(self.document.get("published"))
    }

    /// Where this statement stands among those of its author.
    pub fn order(&self) -> Order {
        match self.position() {
            Some((epoch, seq)) => Order::numbered(epoch, seq),
            None => {
                let of_object = self.object().and_then(|object| {
                    time_ms(object.get("updated")).or_else(|| time_ms(object.get("published")))
                });
                let own = time_ms(self.document.get("updated")).or_else(|| self.published_ms());
                Order::timed(of_object.max(own).unwrap_or(0))
            }
        }
    }

    /// Everyone named in `to` and `cc`, in order, each once.
    pub fn audience(&self) -> Vec<&str> {
        let (mut audience, mut seen) = (Vec::new(), HashSet::new());
        for member in ["to", "cc", "audience"] {
            for id in ids_in(self.document.get(member)) {
                if seen.insert(id) {
                    audience.push(id);
                }
            }
        }
        audience
    }
}

/// Removes a `signature` of the kind `RsaSignature2017`, which older servers attach beside or
/// instead of a proof. Nobody here checks it, it is made anew for each attempt to deliver, and it
/// is attached after the proof (Fedify 2.3), which therefore does not cover it: as a part of the
/// activity it would break the proof and give one activity many CIDs.
fn remove_linked_data_signature(document: &mut Map<String, Value>) {
    let kind = document.get("signature").and_then(Value::as_object).and_then(kind_of);
    if kind.is_some_and(|kind| kind.trim_start_matches("sec:") == "RsaSignature2017") {
        document.remove("signature");
    }
}

/// The id of a value that is a string or an object with an `id`.
pub fn id_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(id) => Some(id),
        Value::Object(members) => string_member(members, "id"),
        _ => None,
    }
}

/// The `type` of an object, or the first of several.
pub fn kind_of(members: &Map<String, Value>) -> Option<&str> {
    match members.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => kinds.iter().find_map(Value::as_str),
        _ => None,
    }
}

/// The ids in a member that is absent, one value or an array.
pub fn ids_in(value: Option<&Value>) -> Vec<&str> {
    match value {
        None => Vec::new(),
        Some(Value::Array(items)) => items.iter().filter_map(id_of).collect(),
        Some(one) => id_of(one).into_iter().collect(),
    }
}

fn plain_members(members: &mut Map<String, Value>) {
    members.retain(|_, value| !value.is_null());
    for name in ["actor", "object", "published", "updated"] {
        if let Some(value) = members.get_mut(name) {
            *value = one(value).clone();
        }
    }
    if let Some(kind) = kind_of(members).map(str::to_owned) {
        members.insert("type".into(), kind.into());
    }
}

/// The value, or of a list of one that one: JSON-LD lets either be written for the other.
fn one(value: &Value) -> &Value {
    match value {
        Value::Array(items) => match items.as_slice() {
            [one] => one,
            _ => value,
        },
        _ => value,
    }
}

/// Reads an RFC 3339 time as milliseconds since 1970.
pub fn time_ms(value: Option<&Value>) -> Option<i64> {
    one(value?).as_str()?.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond())
}

fn string_member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

fn actor_of(members: &Map<String, Value>) -> Option<&str> {
    members.get("actor").map(one).and_then(id_of)
}

fn check_shape(members: &Map<String, Value>) -> Result<(), ActivityError> {
    let kind = kind_of(members).ok_or(ActivityError::Member("type", "must be a string"))?;
    if kind.is_empty() || kind.len() > 128 {
        return Err(ActivityError::Member("type", "must have 1 to 128 bytes"));
    }
    let actor = actor_of(members).ok_or(ActivityError::Member("actor", "must be an id"))?;
    if origin_of(actor).is_none() {
        return Err(ActivityError::Member("actor", "must be an http or https URL"));
    }
    let mut recipients = 0;
    for name in ["to", "cc", "bto", "bcc", "audience"] {
        recipients += match members.get(name) {
            None => 0,
            Some(Value::Array(items)) => items.len(),
            Some(_) => 1,
        };
        if recipients > MAX_RECIPIENTS {
            return Err(ActivityError::Member("to", "there are more than 2000 recipients"));
        }
        let fits = match members.get(name) {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.iter().all(|item| id_of(item).is_some()),
            Some(one) => id_of(one).is_some(),
        };
        if !fits {
            return Err(ActivityError::Member("to", "to, cc, bto, bcc and audience hold ids"));
        }
    }
    for name in ["seq", "epoch"] {
        if members.get(name).is_some_and(|value| value.as_u64().is_none()) {
            return Err(ActivityError::Member("seq", "seq and epoch are whole numbers from 0"));
        }
    }
    for name in ["published", "updated"] {
        let stated = members.get(name).filter(|value| !value.is_null());
        if stated.is_some() && time_ms(stated).is_none() {
            return Err(ActivityError::Member("published", "must be an RFC 3339 time"));
        }
    }
    if members.get("object").map(one).and_then(id_of).is_some_and(|id| id.len() > MAX_URL_BYTES) {
        return Err(ActivityError::Member("object", "the id is too long"));
    }
    Ok(())
}

fn cid_of(members: Without<'_>) -> Result<Cid, CanonicalError> {
    Ok(Cid::of_block(&canonical::members_to_dag_cbor(members)?))
}
