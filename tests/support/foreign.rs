//! Actors of other servers: their keys and documents, and what they say.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderMap;
use fedsx_delivery::signature::Scheme;
use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::OsRandom;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::PUBLIC;
use super::client::Answer;
use super::node::Node;
use super::signing::{fetch_signed, send, signed_by};

/// How a delivery of a foreign actor is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Not at all.
    Bare,
    /// RFC 9421 with Ed25519.
    Ed25519,
    /// RFC 9421 with RSA.
    Rsa,
    /// draft-cavage with RSA.
    Cavage,
}

/// An actor of another server, with its keys.
pub struct Foreign {
    pub id: String,
    pub name: String,
    pub base: String,
    pub key: SecretKey,
    pub key_id: String,
    pub rsa_id: String,
    seq: AtomicU64,
}

/// One RSA key for all foreign actors of a process, because making one is slow.
pub fn rsa() -> &'static SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| SecretKey::generate_rsa(&OsRandom).expect("an RSA key"))
}

/// The present time as activities state it.
pub fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time").to_string()
}

/// A new Ed25519 key and the id under which an actor has it.
pub fn new_key(actor: &str) -> (String, SecretKey) {
    let key = SecretKey::generate_ed25519(&OsRandom);
    let multikey = key.public().to_multibase().expect("a Multikey");
    (format!("{actor}#{multikey}"), key)
}

/// A key as `assertionMethod` lists it.
pub fn multikey(actor: &str, id: &str, key: &SecretKey) -> Value {
    json!({
        "id": id,
        "type": "Multikey",
        "controller": actor,
        "publicKeyMultibase": key.public().to_multibase().expect("a Multikey"),
    })
}

impl Foreign {
    pub fn new(base: &str, name: &str) -> Self {
        let id = format!("{base}/actors/{name}");
        let (key_id, key) = new_key(&id);
        let rsa_id = format!("{id}#main-key");
        Self {
            id,
            name: name.to_owned(),
            base: base.to_owned(),
            key,
            key_id,
            rsa_id,
            seq: AtomicU64::new(1),
        }
    }

    /// The actor document, with both keys.
    pub fn document(&self) -> Value {
        json!({
            "@context": [
                "https://www.w3.org/ns/activitystreams",
                "https://w3id.org/security/v1",
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/multikey/v1",
            ],
            "id": self.id,
            "type": "Person",
            "preferredUsername": self.name,
            "inbox": format!("{}/inbox", self.id),
            "outbox": format!("{}/outbox", self.id),
            "followers": format!("{}/followers", self.id),
            "following": format!("{}/following", self.id),
            "assertionMethod": [multikey(&self.id, &self.key_id, &self.key)],
            "publicKey": {
                "id": self.rsa_id,
                "owner": self.id,
                "publicKeyPem": rsa().public().to_pem().expect("PEM"),
            },
        })
    }

    /// The place of the next statement of this actor.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::SeqCst)
    }

    /// The members of an activity of this actor, without identity.
    pub fn content(&self, kind: &str, object: Value, more: Value) -> Map<String, Value> {
        let mut content = Map::new();
        content.insert("@context".into(), json!("https://www.w3.org/ns/activitystreams"));
        content.insert("type".into(), kind.into());
        content.insert("actor".into(), self.id.clone().into());
        content.insert("published".into(), now().into());
        content.insert("epoch".into(), 0.into());
        content.insert("seq".into(), self.next_seq().into());
        content.insert("salt".into(), format!("{:032x}", unique()).into());
        content.insert("object".into(), object);
        for (name, value) in more.as_object().into_iter().flatten() {
            content.insert(name.clone(), value.clone());
        }
        content
    }

    /// A sealed activity with a proof by the actor's key.
    pub fn sealed(&self, content: Map<String, Value>) -> Value {
        self.sealed_by(content, &self.key_id, &self.key)
    }

    /// A sealed activity with a proof by some key.
    pub fn sealed_by(&self, content: Map<String, Value>, key_id: &str, key: &SecretKey) -> Value {
        let activity = Activity::seal(content).expect("an activity");
        let options = SignOptions { verification_method: key_id, created: Timestamp::now() };
        let proof = proof::sign(activity.document(), key, &options, &OsRandom).expect("a proof");
        activity.with_proof(proof).to_value()
    }

    /// A signed activity to everyone in `to`.
    pub fn activity(&self, kind: &str, object: Value, to: &[&str]) -> Value {
        self.sealed(self.content(kind, object, json!({ "to": to })))
    }

    /// A signed `Create` with a new Note.
    pub fn note(&self, content: &str, to: &[&str]) -> Value {
        self.activity("Create", self.note_object(content), to)
    }

    /// A new Note of this actor.
    pub fn note_object(&self, content: &str) -> Value {
        json!({
            "id": format!("{}/objects/{:032x}", self.base, unique()),
            "type": "Note",
            "attributedTo": self.id,
            "published": now(),
            "to": [PUBLIC],
            "content": content,
        })
    }

    /// An activity as servers without proofs send it: an id of its own, no numbering.
    pub fn plain(&self, kind: &str, object: Value, to: &[&str]) -> Value {
        json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{}/plain/{:032x}", self.base, unique()),
            "type": kind,
            "actor": self.id,
            "published": now(),
            "to": to,
            "object": object,
        })
    }

    /// Follows an actor of a node and waits until it counts.
    #[track_caller]
    pub fn follows(&self, node: &Node, name: &str) {
        let target = node.actor(name);
        let follow = self.activity("Follow", json!(target), &[&target]);
        let answer = self.deliver(node, &format!("/actors/{name}/inbox"), &follow, Sign::Bare);
        answer.expect(202, "a Follow");
        node.lists(name, "followers", &self.id);
    }

    /// Delivers to an inbox of a node.
    pub fn deliver(&self, node: &Node, path: &str, activity: &Value, sign: Sign) -> Answer {
        self.deliver_bytes(node, path, activity.to_string().into_bytes(), sign)
    }

    pub fn deliver_bytes(&self, node: &Node, path: &str, body: Vec<u8>, sign: Sign) -> Answer {
        let headers = self.signed_headers(&format!("{}{path}", node.base), &body, sign);
        send(node.client(), path, &headers, body)
    }

    /// Fetches from a node, the request signed by this actor.
    pub fn fetch(&self, node: &Node, path: &str, accept: &str) -> Answer {
        fetch_signed(node, path, accept, Scheme::Cavage, (&self.rsa_id, rsa()))
    }

    /// The headers of a signed delivery.
    pub fn signed_headers(&self, url: &str, body: &[u8], sign: Sign) -> HeaderMap {
        let (scheme, key_id, key) = match sign {
            Sign::Bare => return HeaderMap::new(),
            Sign::Ed25519 => (Scheme::Rfc9421, &self.key_id, &self.key),
            Sign::Rsa => (Scheme::Rfc9421, &self.rsa_id, rsa()),
            Sign::Cavage => (Scheme::Cavage, &self.rsa_id, rsa()),
        };
        signed_by(url, body, scheme, key_id, key)
    }
}

pub fn unique() -> u128 {
    let random: &dyn fedsx_kernel::runtime::Random = &OsRandom;
    u128::from_be_bytes(random.bytes())
}
