use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use multibase::Base;

use super::rsa_key::RsaPublic;
use super::{Algorithm, KeyError, pem};

/// Multicodec prefix of an Ed25519 public key (0xed as a varint).
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];
/// The longest Multikey text that is read, in bytes; base58 takes quadratic time.
const MAX_MULTIBASE_BYTES: usize = 128;
/// `SubjectPublicKeyInfo` of an Ed25519 key up to the 32 bytes of the key (RFC 8410, section 4).
const SPKI_ED25519: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key that passed the checks of its algorithm.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    Ed25519(Box<VerifyingKey>),
    Rsa(Box<RsaPublic>),
}

impl PublicKey {
    pub(super) fn from_ed25519(key: VerifyingKey) -> Self {
        Self(Inner::Ed25519(Box::new(key)))
    }

    pub(super) fn from_rsa(key: RsaPublic) -> Self {
        Self(Inner::Rsa(Box::new(key)))
    }

    /// The algorithm of the key.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Inner::Ed25519(_) => Algorithm::Ed25519,
            Inner::Rsa(_) => Algorithm::RsaV15Sha256,
        }
    }

    /// Checks a signature: 64 bytes for Ed25519, as long as the modulus for RSA.
    ///
    /// Ed25519 signatures are checked strictly: no keys or points of small order and only the
    /// canonical form, so that nobody can turn one valid signature into another.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        match &self.0 {
            Inner::Ed25519(key) => {
                let signature =
                    Signature::from_slice(signature).map_err(|_| KeyError::InvalidSignature)?;
                key.verify_strict(message, &signature).map_err(|_| KeyError::InvalidSignature)
            }
            Inner::Rsa(key) => key.verify(message, signature),
        }
    }

    /// Reads the `publicKeyMultibase` of a Multikey (W3C Controlled Identifiers, section 2.2.2):
    /// `z`, then base58btc of 0xed01 and the 32 bytes of an Ed25519 key.
    pub fn from_multibase(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_MULTIBASE_BYTES {
            return Err(KeyError::Malformed("the Multikey is too long"));
        }
        let (base, bytes) = multibase::decode(text)
            .map_err(|_| KeyError::Malformed("the Multikey is not multibase"))?;
        if base != Base::Base58Btc {
            return Err(KeyError::Unsupported("a Multikey in another base than base58btc"));
        }
        let key = bytes
            .strip_prefix(&MULTICODEC_ED25519)
            .ok_or(KeyError::Unsupported("a Multikey that is not of Ed25519"))?;
        Self::from_ed25519_bytes(key)
    }

    /// The Multikey form; `None` for RSA, which travels as PEM.
    pub fn to_multibase(&self) -> Option<String> {
        match &self.0 {
            Inner::Ed25519(key) => {
                let mut bytes = MULTICODEC_ED25519.to_vec();
                bytes.extend_from_slice(key.as_bytes());
                Some(multibase::encode(Base::Base58Btc, bytes))
            }
            Inner::Rsa(_) => None,
        }
    }

    /// Reads PEM: `PUBLIC KEY` (SubjectPublicKeyInfo of RSA or Ed25519) or `RSA PUBLIC KEY`
    /// (PKCS#1). RSA keys have 2048 to 8192 bits.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode(text)?;
        match label {
            "PUBLIC KEY" => match der.strip_prefix(&SPKI_ED25519) {
                Some(key) => Self::from_ed25519_bytes(key),
                None => RsaPublic::from_spki(&der).map(Self::from_rsa),
            },
            "RSA PUBLIC KEY" => RsaPublic::from_pkcs1(&der).map(Self::from_rsa),
            _ => Err(KeyError::Unsupported("a PEM block that is no public key")),
        }
    }

    /// SubjectPublicKeyInfo as PEM with `\n` line ends; `None` for Ed25519, which travels as a
    /// Multikey.
    pub fn to_pem(&self) -> Option<String> {
        match &self.0 {
            Inner::Ed25519(_) => None,
            Inner::Rsa(key) => Some(pem::encode("PUBLIC KEY", &key.to_spki()?)),
        }
    }

    fn from_ed25519_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes =
            bytes.try_into().map_err(|_| KeyError::Malformed("an Ed25519 key has 32 bytes"))?;
        let key = VerifyingKey::from_bytes(bytes)
            .map_err(|_| KeyError::Malformed("not a point of the curve"))?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self::from_ed25519(key)) }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_multibase().or_else(|| self.to_pem()) {
            Some(text) => write!(f, "PublicKey({text})"),
            None => write!(f, "PublicKey({})", self.algorithm()),
        }
    }
}
