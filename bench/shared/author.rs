//! Actors of another server, with their keys.

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, Method, Uri, header};
use fedsx_delivery::signature::{self, BodyDigest, RequestToSign, Scheme, Signer};
use fedsx_kernel::Activity;
use fedsx_kernel::keys::SecretKey;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::Runtime;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Everyone.
pub const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

/// An actor that signs what it says.
pub struct Author {
    /// Its id.
    pub id: String,
    /// Its Ed25519 key.
    pub key: SecretKey,
    base: String,
    key_id: String,
    seq: u64,
    around: Runtime,
}

impl Author {
    /// An actor at `BASE/PATH` with a new Ed25519 key.
    pub fn new(around: &Runtime, base: &str, path: &str) -> Result<Self> {
        let id = format!("{base}/{path}");
        let key = SecretKey::generate_ed25519(around.random.as_ref());
        let multikey = key.public().to_multibase().context("a Multikey")?;
        let key_id = format!("{id}#{multikey}");
        Ok(Self { id, key, base: base.to_owned(), key_id, seq: 0, around: around.clone() })
    }

    /// Its document, with its Ed25519 key, and an RSA key where it has one.
    pub fn document(&self, rsa: Option<&SecretKey>) -> Result<Map<String, Value>> {
        let document = json!({
            "@context": [
                "https://www.w3.org/ns/activitystreams",
                "https://w3id.org/security/v1",
                "https://w3id.org/security/multikey/v1",
            ],
            "id": self.id,
            "type": "Person",
            "inbox": format!("{}/inbox", self.id),
            "outbox": format!("{}/outbox", self.id),
            "followers": format!("{}/followers", self.id),
            "assertionMethod": [{
                "id": self.key_id,
                "type": "Multikey",
                "controller": self.id,
                "publicKeyMultibase": self.key.public().to_multibase(),
            }],
        });
        let Value::Object(mut document) = document else { anyhow::bail!("not an object") };
        if let Some(rsa) = rsa {
            let key = json!({
                "id": self.rsa_id(), "owner": self.id, "publicKeyPem": rsa.public().to_pem(),
            });
            document.insert("publicKey".into(), key);
        }
        Ok(document)
    }

    /// What it says next, sealed and with a proof.
    pub fn say(&mut self, kind: &str, object: Value, to: &[&str]) -> Result<Value> {
        self.seq += 1;
        let content = json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "type": kind,
            "actor": self.id,
            "published": self.now()?,
            "epoch": 0,
            "seq": self.seq,
            "salt": self.unique(),
            "to": to,
            "object": object,
        });
        let Value::Object(content) = content else { anyhow::bail!("not an object") };
        let activity = Activity::seal(content)?;
        let options =
            SignOptions { verification_method: &self.key_id, created: self.around.clock.now() };
        let random = self.around.random.as_ref();
        let proof = proof::sign(activity.document(), &self.key, &options, random)?;
        Ok(activity.with_proof(proof).to_value())
    }

    /// A new Note of some 300 characters.
    pub fn note(&mut self, to: &[&str]) -> Result<Value> {
        let object = json!({
            "id": format!("{}/objects/{}", self.base, self.unique()),
            "type": "Note",
            "attributedTo": self.id,
            "published": self.now()?,
            "to": to,
            "content": format!("<p>note {} {}</p>", self.seq, "as long as such remarks are, ".repeat(10)),
        });
        self.say("Create", object, to)
    }

    /// The headers of a delivery that it signs by RFC 9421 with its Ed25519 key.
    pub fn rfc9421(&self, url: &str, body: &[u8]) -> Result<HeaderMap> {
        self.headers(Scheme::Rfc9421, &Signer { key_id: &self.key_id, key: &self.key }, url, body)
    }

    /// The headers of a delivery that it signs by draft-cavage with an RSA key.
    pub fn cavage(&self, rsa: &SecretKey, url: &str, body: &[u8]) -> Result<HeaderMap> {
        self.headers(Scheme::Cavage, &Signer { key_id: &self.rsa_id(), key: rsa }, url, body)
    }

    fn headers(
        &self,
        scheme: Scheme,
        signer: &Signer<'_>,
        url: &str,
        body: &[u8],
    ) -> Result<HeaderMap> {
        let uri: Uri = url.parse()?;
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, uri.authority().context("no host")?.as_str().parse()?);
        let (now, nonce) = (self.around.clock.now(), self.unique());
        let digest = Some(&BodyDigest::of(body));
        let request =
            RequestToSign { method: &Method::POST, uri: &uri, digest, now, nonce: &nonce };
        signature::sign(scheme, &request, signer, &mut headers, self.around.random.as_ref())?;
        Ok(headers)
    }

    fn rsa_id(&self) -> String {
        format!("{}#main-key", self.id)
    }

    /// The present time as activities state it.
    fn now(&self) -> Result<String> {
        Ok(Timestamp::from_second(self.around.clock.now().as_second())?.to_string())
    }

    /// 128 random bits.
    fn unique(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.around.random.bytes()))
    }
}
