//! RSA keys. The library belongs to an older generation of its family than the rest of the
//! tree, so its types stay in this module.
//!
//! Only blinded signing is used and never decryption: the known timing leak of the library
//! (RUSTSEC-2023-0071) concerns operations without blinding.

use rsa::pkcs1::der::{Decode, Encode};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, SubjectPublicKeyInfoRef};
use rsa::sha2::{Digest, Sha256};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey, pkcs1};
use zeroize::Zeroizing;

use super::{KeyError, MAX_RSA_BITS, MIN_RSA_BITS};
use crate::runtime::{Random, RandomCore};

/// The size of keys made here, in bits.
const OWN_BITS: usize = 2048;

/// An RSA private key and its encoding; both are wiped when they are dropped.
pub(super) struct RsaSecret {
    key: RsaPrivateKey,
    der: Zeroizing<Vec<u8>>,
}

impl RsaSecret {
    pub(super) fn generate(random: &dyn Random) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::new(&mut RandomCore(random), OWN_BITS)
            .map_err(|e| KeyError::Generate(e.to_string()))?;
        let der = key.to_pkcs8_der().map_err(|e| KeyError::Generate(e.to_string()))?;
        Ok(Self { key, der: Zeroizing::new(der.as_bytes().to_vec()) })
    }

    pub(super) fn public(&self) -> RsaPublic {
        RsaPublic(self.key.to_public_key())
    }

    /// A signature over SHA-256 of the message, computed with blinding.
    pub(super) fn sign(&self, message: &[u8], random: &dyn Random) -> Result<Vec<u8>, KeyError> {
        let scheme = Pkcs1v15Sign::new::<Sha256>();
        self.key
            .sign_with_rng(&mut RandomCore(random), scheme, &Sha256::digest(message))
            .map_err(|e| KeyError::Sign(e.to_string()))
    }

    /// PKCS#8 DER.
    pub(super) fn to_der(&self) -> Zeroizing<Vec<u8>> {
        self.der.clone()
    }

    /// Reads PKCS#8 DER.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::from_pkcs8_der(der)
            .map_err(|_| KeyError::Malformed("not an RSA private key in PKCS#8"))?;
        check_size(key.n().bits())?;
        Ok(Self { key, der: Zeroizing::new(der.to_vec()) })
    }
}

/// An RSA public key of an accepted size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RsaPublic(RsaPublicKey);

impl RsaPublic {
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        self.0
            .verify(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message), signature)
            .map_err(|_| KeyError::InvalidSignature)
    }

    /// Reads the DER of a `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|_| KeyError::Malformed("not a SubjectPublicKeyInfo"))?;
        if spki.algorithm.oid != pkcs1::ALGORITHM_OID {
            return Err(KeyError::Unsupported("neither RSA nor Ed25519"));
        }
        let key = spki
            .subject_public_key
            .as_bytes()
            .ok_or(KeyError::Malformed("a public key has whole bytes"))?;
        Self::from_pkcs1(key)
    }

    /// Reads the DER of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let parts = pkcs1::RsaPublicKey::from_der(der)
            .map_err(|_| KeyError::Malformed("not an RSAPublicKey"))?;
        let modulus = BigUint::from_bytes_be(parts.modulus.as_bytes());
        let exponent = BigUint::from_bytes_be(parts.public_exponent.as_bytes());
        check_size(modulus.bits())?;
        RsaPublicKey::new_with_max_size(modulus, exponent, MAX_RSA_BITS)
            .map(Self)
            .map_err(|_| KeyError::Malformed("impossible RSA modulus or exponent"))
    }

    /// The DER of a `SubjectPublicKeyInfo`.
    pub(super) fn to_spki(&self) -> Option<Vec<u8>> {
        self.0.to_public_key_der().ok()?.to_der().ok()
    }
}

fn check_size(bits: usize) -> Result<(), KeyError> {
    if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) { Ok(()) } else { Err(KeyError::Size(bits)) }
}
