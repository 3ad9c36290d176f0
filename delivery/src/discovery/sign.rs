//! Signing requests as one of our actors.

use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::keys::{Algorithm, Purpose, RingError, SecretKey};
use fedsx_kernel::runtime::{BlockingFailed, Lane, Runtime};
use fedsx_kernel::state::StateError;
use futures::future::BoxFuture;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use thiserror::Error;

use super::DiscoveryParts;
use super::memory::Memory;
use crate::client::{SignError, SignRequest};
use crate::ledger::{Signing, signing_of};
use crate::signature::{self, Ask, BodyDigest, RequestToSign, Scheme, Signer};

/// Keys, and actors, that are kept.
const KEPT: u64 = 256;
/// For how long.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// RSA signatures that a thread makes before it tells those who wait. Each may then go on at once with what the others
/// do, and one thread is woken for all of them. A post to a thousand instances asks for a thousand at once.
const TOGETHER: usize = 8;

/// Why requests cannot be signed as an actor.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The actor is unknown here or has no current key for HTTP signatures.
    #[error("{0} has no key for HTTP signatures here")]
    NoKey(String),
    /// The private half could not be had.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The admission state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The blocking pool is gone.
    #[error(transparent)]
    Blocking(#[from] BlockingFailed),
    /// The request or the key does not allow a signature.
    #[error(transparent)]
    Sign(#[from] signature::SignError),
}

/// Private keys that were opened a short while ago, and who signs with them; opening one costs more than a
/// signature, and reading which ones are current more than most signatures.
pub(super) struct Secrets {
    opened: Memory<SecretKey>,
    /// With the end of the log when the state was read: until it grows, nobody has another key.
    signers: Memory<(u64, KeySigner)>,
    /// Where RSA signs.
    lane: Lane,
}

impl Secrets {
    pub fn new(runtime: &Runtime) -> Self {
        let opened = Memory::new(KEPT, KEPT_FOR, runtime.clock.clone());
        let signers = Memory::new(KEPT, KEPT_FOR, runtime.clock.clone());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { opened, signers, lane: Lane::new(threads, TOGETHER) }
    }

    /// The current keys of an actor of ours, where they were read since the log grew last.
    pub fn kept(&self, parts: &DiscoveryParts, actor: &str) -> Option<KeySigner> {
        let head = parts.log.head();
        self.signers.get(actor).filter(|(at, _)| *at == head).map(|(_, signer)| signer)
    }

    /// The current keys of an actor of ours. Blocks.
    pub fn signer(&self, parts: &DiscoveryParts, actor: &str) -> Result<KeySigner, SignerError> {
        let head = parts.log.head();
        if let Some(signer) = self.kept(parts, actor) {
            return Ok(signer);
        }
        let history = parts.rules.keys(parts.log.state(), actor)?.unwrap_or_default();
        let mut keys = Keys::default();
        for key in history.current(Purpose::HttpSignature) {
            let secret = match self.opened.get(&key.id) {
                Some(secret) => secret,
                None => match parts.ring.secret(&key.id) {
                    Ok(secret) => {
                        self.opened.put(&key.id, secret.clone());
                        secret
                    }
                    // The actor itself keeps the private half.
                    Err(RingError::Missing(_)) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            let named = Some((key.id.clone(), secret));
            match named.as_ref().map(|(_, secret)| secret.algorithm()) {
                Some(Algorithm::RsaV15Sha256) => keys.rsa = named,
                _ => keys.ed25519 = named,
            }
        }
        if keys.rsa.is_none() && keys.ed25519.is_none() {
            return Err(SignerError::NoKey(actor.to_owned()));
        }
        let (runtime, lane) = (parts.runtime.clone(), self.lane.clone());
        let signer = KeySigner { keys: Arc::new(keys), runtime, lane };
        self.signers.put(actor, (head, signer.clone()));
        Ok(signer)
    }
}

#[derive(Debug, Default)]
struct Keys {
    rsa: Option<(String, SecretKey)>,
    ed25519: Option<(String, SecretKey)>,
}

/// Signs requests with the keys of one actor. As a [`SignRequest`] it signs the way that most
/// servers understand.
#[derive(Clone)]
pub struct KeySigner {
    keys: Arc<Keys>,
    runtime: Runtime,
    lane: Lane,
}

impl KeySigner {
    /// Signs a request in the given way, or as near to it as the actor's keys allow, and as the
    /// receiver asked for it. `headers` holds `Host`.
    ///
    /// # Errors
    /// Where the request cannot be signed.
    pub async fn sign_as(
        &self,
        way: Signing,
        method: &Method,
        uri: &Uri,
        digest: Option<&BodyDigest>,
        headers: &mut HeaderMap,
        ask: Option<&Ask>,
    ) -> Result<(), SignerError> {
        let (rsa, ed25519) = (self.keys.rsa.as_ref(), self.keys.ed25519.as_ref());
        let key = match way {
            Signing::Rfc9421Ed25519 => ed25519.or(rsa),
            Signing::Cavage | Signing::Rfc9421 => rsa.or(ed25519),
        };
        let (key_id, key) = key.ok_or_else(|| SignerError::NoKey(String::new()))?;
        // Nobody takes Ed25519 with draft-cavage.
        let scheme = match (way, key.algorithm()) {
            (Signing::Cavage, Algorithm::RsaV15Sha256) => Scheme::Cavage,
            _ => Scheme::Rfc9421,
        };
        let nonce = format!("{:032x}", u128::from_be_bytes(self.runtime.random.bytes()));
        if key.algorithm() == Algorithm::Ed25519 {
            // This takes less than the way to the blocking pool and back.
            let now = self.runtime.clock.now();
            let request = RequestToSign { method, uri, digest, now, nonce: &nonce };
            let (signer, random) = (Signer { key_id, key }, &*self.runtime.random);
            return Ok(signature::sign_asked(scheme, &request, &signer, headers, random, ask)?);
        }
        let (method, uri, digest) = (method.clone(), uri.clone(), digest.cloned());
        let (key_id, key, ask) = (key_id.clone(), key.clone(), ask.cloned());
        let (mut signed, runtime) = (std::mem::take(headers), self.runtime.clone());
        let work = move || {
            let request = RequestToSign {
                method: &method,
                uri: &uri,
                digest: digest.as_ref(),
                now: runtime.clock.now(),
                nonce: &nonce,
            };
            let signer = Signer { key_id: &key_id, key: &key };
            let (random, ask) = (&*runtime.random, ask.as_ref());
            signature::sign_asked(scheme, &request, &signer, &mut signed, random, ask)?;
            Ok::<_, SignerError>(signed)
        };
        *headers = self.runtime.run_in(&self.lane, work).await??;
        Ok(())
    }
}

impl SignRequest for KeySigner {
    fn sign<'a>(
        &'a self,
        method: &'a Method,
        uri: &'a Uri,
        body: Option<&'a [u8]>,
        headers: &'a mut HeaderMap,
    ) -> BoxFuture<'a, Result<(), SignError>> {
        Box::pin(async move {
            let digest = body.map(BodyDigest::of);
            let signed =
                self.sign_as(Signing::Cavage, method, uri, digest.as_ref(), headers, None).await;
            signed.map_err(|error| Box::new(error) as SignError)
        })
    }
}

/// Signs requests as a server asked for it.
pub(crate) struct AskedSigner<'s> {
    signer: &'s KeySigner,
    ask: Ask,
}

impl KeySigner {
    /// Signs as a server asked for it.
    pub(crate) fn asked(&self, ask: Ask) -> AskedSigner<'_> {
        AskedSigner { signer: self, ask }
    }
}

impl SignRequest for AskedSigner<'_> {
    fn sign<'a>(
        &'a self,
        method: &'a Method,
        uri: &'a Uri,
        body: Option<&'a [u8]>,
        headers: &'a mut HeaderMap,
    ) -> BoxFuture<'a, Result<(), SignError>> {
        let way = signing_of(&self.ask, None);
        Box::pin(async move {
            let (digest, ask) = (body.map(BodyDigest::of), Some(&self.ask));
            let signed = self.signer.sign_as(way, method, uri, digest.as_ref(), headers, ask);
            signed.await.map_err(|error| Box::new(error) as SignError)
        })
    }
}
