//! RSA keys. Two libraries share the work, and the types of both stay in this module: `rsa` makes
//! keys, reads them and verifies; `ring` signs, in a quarter of the time and in one that does not
//! depend on the key, which that of the other may (RUSTSEC-2023-0071).

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
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

/// An RSA private key, ready to sign, and its encoding. The encoding is wiped when it is dropped; `ring`
/// does not wipe what it computes with, so a key is read once and shared.
pub(super) struct RsaSecret {
    pair: RsaKeyPair,
    public: RsaPublic,
    der: Zeroizing<Vec<u8>>,
}

impl RsaSecret {
    pub(super) fn generate(random: &dyn Random) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::new(&mut RandomCore(random), OWN_BITS)
            .map_err(|e| KeyError::Generate(e.to_string()))?;
        let der = key.to_pkcs8_der().map_err(|e| KeyError::Generate(e.to_string()))?;
        Self::ready(&key, Zeroizing::new(der.as_bytes().to_vec()))
    }

    /// A key that was made or checked by the one library, read by the other.
    fn ready(key: &RsaPrivateKey, der: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(&der)
            .map_err(|_| KeyError::Unsupported("an RSA private key of an unusual kind"))?;
        Ok(Self { pair, public: RsaPublic(key.to_public_key()), der })
    }

    pub(super) fn public(&self) -> RsaPublic {
        self.public.clone()
    }

    /// A signature over SHA-256 of the message. The same message has the same signature always.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        // This padding takes no randomness; the library asks for a source all the same.
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError::Sign("the parts of the key do not fit together".to_owned()))?;
        Ok(signature)
    }

    /// PKCS#8 DER.
    pub(super) fn to_der(&self) -> Zeroizing<Vec<u8>> {
        self.der.clone()
    }

    /// Reads PKCS#8 DER: two primes of the same length, a modulus of 4096 bits at most and a public
    /// exponent of at least 65537, as all keys have that were made here.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::from_pkcs8_der(der)
            .map_err(|_| KeyError::Malformed("not an RSA private key in PKCS#8"))?;
        check_size(key.n().bits())?;
        Self::ready(&key, Zeroizing::new(der.to_vec()))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::SeededRandom;

    #[test]
    fn signatures_are_those_of_the_other_library_byte_by_byte() {
        for seed in 0..4 {
            let random = SeededRandom::new(seed);
            let secret = RsaSecret::generate(&random).unwrap();
            let other = RsaPrivateKey::from_pkcs8_der(&secret.to_der()).unwrap();
            for length in [0, 1, 55, 64, 400, 5000] {
                let mut message = vec![0; length];
                random.fill(&mut message);
                let padding = Pkcs1v15Sign::new::<Sha256>();
                let digest = Sha256::digest(&message);
                let expected =
                    other.sign_with_rng(&mut RandomCore(&random), padding, &digest).unwrap();
                assert_eq!(secret.sign(&message).unwrap(), expected, "{seed}, {length} bytes");
                secret.public().verify(&message, &expected).unwrap();
            }
        }
    }

    #[test]
    fn keys_that_cannot_sign_are_refused_when_they_are_read() {
        let random = SeededRandom::new(1);
        let small = RsaPrivateKey::new(&mut RandomCore(&random), 1024).unwrap();
        let small = small.to_pkcs8_der().unwrap();
        assert_eq!(RsaSecret::from_der(small.as_bytes()).err(), Some(KeyError::Size(1024)));
        let short = BigUint::from(257_u16);
        let odd = RsaPrivateKey::new_with_exp(&mut RandomCore(&random), OWN_BITS, &short).unwrap();
        let odd = odd.to_pkcs8_der().unwrap();
        let refused = RsaSecret::from_der(odd.as_bytes()).err();
        assert!(matches!(refused, Some(KeyError::Unsupported(_))), "{refused:?}");
    }
}
