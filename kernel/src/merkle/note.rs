//! Signed notes (C2SP signed-note) with Ed25519 keys.
//!
//! A key of an actor becomes a note key without anything added: take `publicKeyMultibase` of a
//! key in `/actors/<name>/keys`, drop the `z`, decode base58btc and drop the first two bytes
//! (0xed01). These 32 bytes are the public key; its name is the origin of the actor's log,
//! `<host[:port]>/actors/<name>/log`. The verifier key is then
//! `<name>+<hex of the key ID>+<base64 of 0x01 and the 32 bytes>`, with the key ID being the first
//! four bytes of `SHA-256(<name> || 0x0A || 0x01 || <32 bytes>)`.
//!
//! The same keys sign proofs and HTTP requests. Their messages cannot be taken for each other: a
//! note is text that begins with the host, the base of an HTTP signature begins with `"` or `(`,
//! and a proof signs two SHA-256 digests, which nobody can make into text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use multibase::Base;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::keys::{KeyError, PublicKey, SecretKey};
use crate::runtime::Random;

/// The largest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// The most signatures of a note that is read.
pub const MAX_SIGNATURES: usize = 64;
/// The signature type of Ed25519.
const ED25519: u8 = 0x01;
/// Multicodec prefix of an Ed25519 public key.
const MULTICODEC_ED25519: [u8; 2] = [0xed, 0x01];

/// Why a note or a verifier key cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The text is not a signed note.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// The text is not a verifier key.
    #[error("not a verifier key: {0}")]
    MalformedKey(&'static str),
    /// None of the keys signed it.
    #[error("it is not signed by a known key")]
    UnknownSigner,
    /// The signature by a known key does not hold.
    #[error("the signature by {0} does not hold")]
    InvalidSignature(String),
    /// The key cannot be used for notes.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A public key with its name (a *vkey*).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
    key: PublicKey,
}

impl VerifierKey {
    /// The verifier key of an Ed25519 key under a name, which has no spaces and no `+`.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::MalformedKey("the name is empty or has a space or plus"));
        }
        let unsupported = NoteError::MalformedKey("the key is not of Ed25519");
        let Some(multikey) = key.to_multibase() else { return Err(unsupported) };
        let decoded = multibase::decode(multikey).map(|(_, bytes)| bytes).unwrap_or_default();
        let Some(bytes) = decoded.strip_prefix(&MULTICODEC_ED25519) else {
            return Err(unsupported);
        };
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(bytes)
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], bytes: bytes.to_vec(), key })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(&self.bytes);
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(typed))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let fail = NoteError::MalformedKey;
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(fail("it has three parts, joined by plus"));
        };
        let typed = STANDARD.decode(material).map_err(|_| fail("the last part is not base64"))?;
        let Some((&ED25519, bytes)) = typed.split_first() else {
            return Err(fail("it is not of Ed25519"));
        };
        let multikey = multibase::encode(Base::Base58Btc, [&MULTICODEC_ED25519, bytes].concat());
        let key = Self::new(name, PublicKey::from_multibase(&multikey)?)?;
        if hex::encode(key.id) == id { Ok(key) } else { Err(fail("the key ID does not fit")) }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.bytes().any(|byte| byte < 0x20 && byte != b'\n')
}

/// A text with its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl Note {
    /// Signs a text, which ends with a newline and has no other control characters.
    pub fn sign(
        text: &str,
        name: &str,
        key: &SecretKey,
        random: &dyn Random,
    ) -> Result<Self, NoteError> {
        if !is_text(text) {
            return Err(NoteError::Malformed("the text does not end with a newline"));
        }
        let signer = VerifierKey::new(name, key.public())?;
        let bytes = key.sign(text.as_bytes(), random)?;
        let signature = Signature { name: signer.name, id: signer.id, bytes };
        Ok(Self { text: text.to_owned(), signatures: vec![signature] })
    }

    /// The text, to be relied on only after [`Self::verify`].
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks the signatures by known keys and gives the first key that signed. Signatures by
    /// others are left aside.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<&'k VerifierKey, NoteError> {
        let mut signer = None;
        for signature in &self.signatures {
            let known =
                keys.iter().find(|key| key.name == signature.name && key.id == signature.id);
            let Some(key) = known else { continue };
            key.key
                .verify(self.text.as_bytes(), &signature.bytes)
                .map_err(|_| NoteError::InvalidSignature(key.name.clone()))?;
            signer = signer.or(Some(key));
        }
        signer.ok_or(NoteError::UnknownSigner)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for Signature { name, id, bytes } in &self.signatures {
            writeln!(f, "\u{2014} {name} {}", STANDARD.encode([id.as_slice(), bytes].concat()))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        let fail = NoteError::Malformed;
        if note.len() > MAX_NOTE_BYTES {
            return Err(fail("it is too long"));
        }
        if !is_text(note) {
            return Err(fail("control characters, or no newline at its end"));
        }
        // The last empty line stands before the signatures; the text may have others.
        let end = note.rfind("\n\n").ok_or_else(|| fail("there is no empty line"))?;
        let (text, rest) =
            note.split_at_checked(end + 1).ok_or_else(|| fail("there is no text"))?;
        let mut signatures = Vec::new();
        for line in rest.lines().skip(1) {
            let signature = read_signature(line).ok_or_else(|| fail("a signature line"))?;
            signatures.push(signature);
            if signatures.len() > MAX_SIGNATURES {
                return Err(fail("it has too many signatures"));
            }
        }
        if signatures.is_empty() {
            return Err(fail("it has no signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

fn read_signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded).ok()?;
    let (id, bytes) = decoded.split_first_chunk::<4>()?;
    let whole = is_name(name) && !bytes.is_empty();
    whole.then(|| Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}
