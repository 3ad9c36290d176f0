//! Signing requests as one of our actors.

use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::keys::{Algorithm, Purpose, RingError, SecretKey};
use fedsx_kernel::runtime::{BlockingFailed, Clock, Runtime};
use fedsx_kernel::state::StateError;
use futures::future::BoxFuture;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use thiserror::Error;

use super::DiscoveryParts;
use super::memory::Memory;
use crate::client::{SignError, SignRequest};
use crate::ledger::{Signing, signing_of};
use crate::signature::{self, Ask, RequestToSign, Scheme, Signer};

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

/// Private keys that were opened a short while ago; opening one costs more than a signature.
pub(super) struct Secrets(Memory<SecretKey>);

impl Secrets {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Memory::new(256, Duration::from_secs(300), clock))
    }

    /// The current keys of an actor of ours. Blocks.
    pub fn signer(&self, parts: &DiscoveryParts, actor: &str) -> Result<KeySigner, SignerError> {
        let history = parts.rules.keys(parts.log.state(), actor)?.unwrap_or_default();
        let mut keys = Keys::default();
        for key in history.current(Purpose::HttpSignature) {
            let secret = match self.0.get(&key.id) {
                Some(secret) => secret,
                None => match parts.ring.secret(&key.id) {
                    Ok(secret) => {
                        self.0.put(&key.id, secret.clone());
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
        Ok(KeySigner { keys, runtime: parts.runtime.clone() })
    }
}

#[derive(Clone, Debug, Default)]
struct Keys {
    rsa: Option<(String, SecretKey)>,
    ed25519: Option<(String, SecretKey)>,
}

/// Signs requests with the keys of one actor. As a [`SignRequest`] it signs the way that most
/// servers understand.
#[derive(Clone)]
pub struct KeySigner {
    keys: Keys,
    runtime: Runtime,
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
        body: Option<&[u8]>,
        headers: &mut HeaderMap,
        ask: Option<&Ask>,
    ) -> Result<(), SignerError> {
        let (rsa, ed25519) = (self.keys.rsa.clone(), self.keys.ed25519.clone());
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
        let (method, uri, body) = (method.clone(), uri.clone(), body.map(<[u8]>::to_vec));
        let (mut signed, runtime, ask) = (headers.clone(), self.runtime.clone(), ask.cloned());
        let work = move || {
            let request = RequestToSign {
                method: &method,
                uri: &uri,
                body: body.as_deref(),
                now: runtime.clock.now(),
                nonce: &nonce,
            };
            let signer = Signer { key_id: &key_id, key: &key };
            let (random, ask) = (&*runtime.random, ask.as_ref());
            signature::sign_asked(scheme, &request, &signer, &mut signed, random, ask)?;
            Ok::<_, SignerError>(signed)
        };
        *headers = self.runtime.run(work).await??;
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
            let signed = self.sign_as(Signing::Cavage, method, uri, body, headers, None).await;
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
            let signed = self.signer.sign_as(way, method, uri, body, headers, Some(&self.ask));
            signed.await.map_err(|error| Box::new(error) as SignError)
        })
    }
}
