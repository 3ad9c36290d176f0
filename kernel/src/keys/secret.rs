use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::rsa_key::RsaSecret;
use super::{Algorithm, KeyError, PublicKey};
use crate::runtime::Random;

/// The multicodec prefix `ed25519-priv` as a varint.
const MULTICODEC_ED25519_PRIVATE: [u8; 2] = [0x80, 0x26];
/// The longest text that is decoded.
const MAX_MULTIBASE_BYTES: usize = 128;

/// A private key. Its memory is wiped when the last clone is dropped, and [`fmt::Debug`] does not
/// show it.
#[derive(Clone)]
pub struct SecretKey(Inner);

#[derive(Clone)]
enum Inner {
    Ed25519(Arc<SigningKey>),
    Rsa(Arc<RsaSecret>),
}

impl SecretKey {
    /// A new Ed25519 key.
    pub fn generate_ed25519(random: &dyn Random) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(seed.as_mut());
        Self(Inner::Ed25519(Arc::new(SigningKey::from_bytes(&seed))))
    }

    /// A new RSA key of 2048 bits. Takes 80 ms and more: call it on the blocking pool.
    pub fn generate_rsa(random: &dyn Random) -> Result<Self, KeyError> {
        RsaSecret::generate(random).map(|key| Self(Inner::Rsa(Arc::new(key))))
    }

    /// Reads an Ed25519 key as `secretKeyMultibase` has it (W3C Controlled Identifiers 1.0, section
    /// 2.2.2): `z`, then base58btc of 0x8026 and the 32 bytes of the seed.
    ///
    /// # Errors
    /// Where it is anything else. The error does not show the text.
    pub fn from_multibase(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_MULTIBASE_BYTES {
            return Err(KeyError::Malformed("the secret key is too long"));
        }
        let (base, bytes) = multibase::decode(text)
            .map_err(|_| KeyError::Malformed("the secret key is not multibase"))?;
        let bytes = Zeroizing::new(bytes);
        if base != multibase::Base::Base58Btc {
            return Err(KeyError::Unsupported("a secret key in another base than base58btc"));
        }
        let seed = bytes
            .strip_prefix(&MULTICODEC_ED25519_PRIVATE)
            .ok_or(KeyError::Unsupported("a secret key that is not of Ed25519"))?;
        Self::from_secret_bytes(Algorithm::Ed25519, seed)
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Inner::Ed25519(_) => Algorithm::Ed25519,
            Inner::Rsa(_) => Algorithm::RsaV15Sha256,
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Inner::Ed25519(key) => PublicKey::from_ed25519(key.verifying_key()),
            Inner::Rsa(key) => PublicKey::from_rsa(key.public()),
        }
    }

    /// Signs a message: 64 bytes for Ed25519; PKCS#1 v1.5 over SHA-256 for RSA, as long as the
    /// modulus. Both depend on key and message alone; the randomness is for algorithms that need some.
    pub fn sign(&self, message: &[u8], _: &dyn Random) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Inner::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Inner::Rsa(key) => key.sign(message),
        }
    }

    /// The key as bytes, to be encrypted: the 32 byte seed for Ed25519, PKCS#8 DER for RSA.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        match &self.0 {
            Inner::Ed25519(key) => Zeroizing::new(key.as_bytes().to_vec()),
            Inner::Rsa(key) => key.to_der(),
        }
    }

    /// Reads what [`Self::to_secret_bytes`] gives.
    pub fn from_secret_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => {
                let seed = bytes
                    .try_into()
                    .map_err(|_| KeyError::Malformed("an Ed25519 seed has 32 bytes"))?;
                Ok(Self(Inner::Ed25519(Arc::new(SigningKey::from_bytes(seed)))))
            }
            Algorithm::RsaV15Sha256 => {
                RsaSecret::from_der(bytes).map(|key| Self(Inner::Rsa(Arc::new(key))))
            }
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({}, hidden)", self.algorithm())
    }
}
