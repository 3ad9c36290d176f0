//! Actors of another server: their documents, what they say, and how they sign it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, Method, Uri, header};
use fedsx_delivery::signature::{self, BodyDigest, RequestToSign, Scheme, Signer};
use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::{OsRandom, Random};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::dice::Dice;

pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

/// How a delivery is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Not at all: the proof stands for itself.
    Bare,
    /// RFC 9421 with Ed25519.
    Ed25519,
    /// RFC 9421 with RSA.
    Rsa,
    /// draft-cavage with RSA.
    Cavage,
}

impl Sign {
    pub fn any(dice: &Dice) -> Self {
        [Self::Bare, Self::Ed25519, Self::Rsa, Self::Cavage]
            .get(dice.index(4))
            .copied()
            .unwrap_or(Self::Ed25519)
    }
}

/// An actor of the peer, with its keys.
pub struct Foreign {
    pub id: String,
    pub name: String,
    base: String,
    key: SecretKey,
    key_id: String,
    rsa_id: String,
    seq: AtomicU64,
}

/// One RSA key for all of them, because making one is slow.
fn rsa() -> Result<&'static SecretKey> {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let key = SecretKey::generate_rsa(&OsRandom)?;
    Ok(KEY.get_or_init(|| key))
}

/// The present time as activities state it.
fn now() -> Result<String> {
    Ok(Timestamp::from_second(Timestamp::now().as_second())?.to_string())
}

pub fn unique() -> String {
    let random: &dyn Random = &OsRandom;
    format!("{:032x}", u128::from_be_bytes(random.bytes()))
}

impl Foreign {
    pub fn new(base: &str, name: &str) -> Result<Self> {
        let id = format!("{base}/actors/{name}");
        let key = SecretKey::generate_ed25519(&OsRandom);
        let multikey = key.public().to_multibase().context("a Multikey")?;
        Ok(Self {
            key_id: format!("{id}#{multikey}"),
            rsa_id: format!("{id}#main-key"),
            id,
            name: name.to_owned(),
            base: base.to_owned(),
            key,
            seq: AtomicU64::new(0),
        })
    }

    pub fn document(&self) -> Result<Value> {
        Ok(json!({
            "@context": [
                "https://www.w3.org/ns/activitystreams",
                "https://w3id.org/security/v1",
                "https://w3id.org/security/multikey/v1",
            ],
            "id": self.id,
            "type": "Person",
            "preferredUsername": self.name,
            "inbox": format!("{}/inbox", self.id),
            "outbox": format!("{}/outbox", self.id),
            "followers": format!("{}/followers", self.id),
            "following": format!("{}/following", self.id),
            "endpoints": { "sharedInbox": format!("{}/inbox", self.base) },
            "generator": {
                "type": "Application",
                "implements": [{ "href": "https://datatracker.ietf.org/doc/html/rfc9421" }],
            },
            "assertionMethod": [{
                "id": self.key_id,
                "type": "Multikey",
                "controller": self.id,
                "publicKeyMultibase": self.key.public().to_multibase(),
            }],
            "publicKey": {
                "id": self.rsa_id,
                "owner": self.id,
                "publicKeyPem": rsa()?.public().to_pem(),
            },
        }))
    }

    /// An activity with a proof.
    pub fn says(&self, kind: &str, object: Value, to: &[String]) -> Result<Activity> {
        let mut content = Map::new();
        content.insert("@context".into(), json!("https://www.w3.org/ns/activitystreams"));
        content.insert("type".into(), kind.into());
        content.insert("actor".into(), self.id.clone().into());
        content.insert("published".into(), now()?.into());
        content.insert("epoch".into(), 0.into());
        content.insert("seq".into(), self.seq.fetch_add(1, Ordering::SeqCst).into());
        content.insert("salt".into(), unique().into());
        content.insert("to".into(), json!(to));
        content.insert("object".into(), object);
        let activity = Activity::seal(content)?;
        let options = SignOptions { verification_method: &self.key_id, created: Timestamp::now() };
        let proof = proof::sign(activity.document(), &self.key, &options, &OsRandom)?;
        Ok(activity.with_proof(proof))
    }

    /// An activity as servers without proofs send it, for which only the request vouches.
    pub fn says_plainly(&self, kind: &str, object: Value, to: &[String]) -> Result<Activity> {
        Ok(Activity::from_document(json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{}/plain/{}", self.base, unique()),
            "type": kind,
            "actor": self.id,
            "published": now()?,
            "to": to,
            "object": object,
        }))?)
    }

    pub fn note(&self, content: &str) -> Result<Value> {
        Ok(json!({
            "id": format!("{}/objects/{}", self.base, unique()),
            "type": "Note",
            "attributedTo": self.id,
            "published": now()?,
            "to": [PUBLIC],
            "content": content,
        }))
    }

    /// The headers of a delivery, signed anew.
    pub fn headers(&self, url: &str, body: &[u8], sign: Sign) -> Result<Vec<(String, String)>> {
        let (scheme, key_id, key) = match sign {
            Sign::Bare => return Ok(Vec::new()),
            Sign::Ed25519 => (Scheme::Rfc9421, &self.key_id, &self.key),
            Sign::Rsa => (Scheme::Rfc9421, &self.rsa_id, rsa()?),
            Sign::Cavage => (Scheme::Cavage, &self.rsa_id, rsa()?),
        };
        let uri: Uri = url.parse()?;
        let mut headers = HeaderMap::new();
        let authority = uri.authority().context("a host")?.as_str();
        headers.insert(header::HOST, authority.parse()?);
        let request = RequestToSign {
            method: &Method::POST,
            uri: &uri,
            digest: Some(&BodyDigest::of(body)),
            now: Timestamp::now(),
            nonce: &unique(),
        };
        signature::sign(scheme, &request, &Signer { key_id, key }, &mut headers, &OsRandom)?;
        headers.remove(header::HOST);
        let text = |value: &axum::http::HeaderValue| value.to_str().map(str::to_owned);
        headers
            .iter()
            .map(|(name, value)| Ok((name.to_string(), text(value)?)))
            .collect::<Result<Vec<_>>>()
    }
}
