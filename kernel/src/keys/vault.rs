//! Private keys at rest.
//!
//! A sealed key is one version byte, a random nonce of 24 bytes, then XChaCha20-Poly1305 of one
//! algorithm byte and the key. Version and key id are authenticated with it, so that a sealed key
//! cannot stand in for another.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Algorithm, KeyError, SecretKey};
use crate::runtime::Random;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const ED25519: u8 = 1;
const RSA: u8 = 2;
/// The longest master key file that is read, in bytes; 64 digits and a line end are expected.
const MAX_FILE_BYTES: u64 = 256;

/// Why a master key cannot be had, or a private key cannot be sealed or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The file could not be read or written.
    #[error("the master key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error(
        "the master key file {path} has mode {mode:04o} and can be used by others; if nobody has \
         read it, run: chmod 600 {path}"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a master key.
    #[error("a master key is 64 hexadecimal digits (32 bytes) and nothing else")]
    NotAMasterKey,
    /// The bytes are not a sealed key of a version that is known here.
    #[error("not a sealed private key, or one of a newer version")]
    Format,
    /// Authentication failed.
    #[error(
        "the private key of {0} cannot be opened: it was sealed with another master key, for \
         another key id, or is damaged"
    )]
    Sealed(String),
    /// The key could not be encrypted.
    #[error("the private key of {0} could not be encrypted")]
    Seal(String),
    /// What was sealed is not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The key that encrypts private keys at rest: 32 bytes, wiped when dropped, never shown.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A new key.
    pub fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut());
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    pub fn from_hex(text: &str) -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut()).map_err(|_| VaultError::NotAMasterKey)?;
        Ok(Self(bytes))
    }

    /// Reads a file of 64 hexadecimal digits that nobody but its owner may use.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        check_mode(&file, path)?;
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize + 1));
        match file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text) {
            Ok(_) => Self::from_hex(&text),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(VaultError::NotAMasterKey),
            Err(e) => Err(failed(e)),
        }
    }

    /// Reads the file, or makes a key and writes it with mode 0600 where there is no file. The
    /// key is on disk before this returns; the answer says whether it is new. Where the process or
    /// the power ends on the way there is a whole file or none: half a key would block every later
    /// start. The caller sees to it that nobody else does the same at the same time.
    pub fn load_or_create(path: &Path, random: &dyn Random) -> Result<(Self, bool), VaultError> {
        let failed = |source| VaultError::File { path: path.to_owned(), source };
        if path.try_exists().map_err(failed)? {
            return Self::load(path).map(|key| (key, false));
        }
        let key = Self::generate(random);
        key.write(path).map_err(failed)?;
        Ok((key, true))
    }

    /// A key for another use, from which this one cannot be found. `purpose` names the use and
    /// is unique in the program.
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, self.0.as_ref()))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut digits = Zeroizing::new([0; 64]);
        hex::encode_to_slice(*self.0, digits.as_mut()).map_err(io::Error::other)?;
        let whole = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&whole)?;
        // One that was left may be of another mode.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.write_all(digits.as_ref())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&whole, path)?;
        #[cfg(unix)]
        {
            let directory = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

#[cfg(unix)]
fn check_mode(file: &File, path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata =
        file.metadata().map_err(|source| VaultError::File { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(VaultError::Exposed { path: path.to_owned(), mode })
    }
}

#[cfg(not(unix))]
fn check_mode(_: &File, _: &Path) -> Result<(), VaultError> {
    Ok(())
}

/// Seals and opens private keys under one master key.
#[derive(Clone)]
pub struct Vault(MasterKey);

impl Vault {
    /// A vault under this master key.
    pub fn new(master: MasterKey) -> Self {
        Self(master)
    }

    /// Encrypts a private key for storage under the id of the key.
    pub fn seal(
        &self,
        key_id: &str,
        key: &SecretKey,
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        let secret = key.to_secret_bytes();
        let mut plain = Zeroizing::new(Vec::with_capacity(1 + secret.len()));
        plain.push(match key.algorithm() {
            Algorithm::Ed25519 => ED25519,
            Algorithm::RsaV15Sha256 => RSA,
        });
        plain.extend_from_slice(&secret);
        self.encrypt(key_id, &plain, random)
    }

    /// Decrypts what [`Self::seal`] gave for the same key id.
    pub fn open(&self, key_id: &str, sealed: &[u8]) -> Result<SecretKey, VaultError> {
        let plain = self.decrypt(key_id, sealed)?;
        let (&algorithm, secret) = plain.split_first().ok_or(VaultError::Format)?;
        let algorithm = match algorithm {
            ED25519 => Algorithm::Ed25519,
            RSA => Algorithm::RsaV15Sha256,
            _ => return Err(VaultError::Format),
        };
        Ok(SecretKey::from_secret_bytes(algorithm, secret)?)
    }

    /// Whether something was sealed with this master key, for this key id; the key itself is not
    /// looked at.
    pub fn check(&self, key_id: &str, sealed: &[u8]) -> Result<(), VaultError> {
        self.decrypt(key_id, sealed).map(drop)
    }

    /// The same private key, sealed in another vault.
    pub fn reseal(
        &self,
        key_id: &str,
        sealed: &[u8],
        other: &Self,
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        other.encrypt(key_id, &self.decrypt(key_id, sealed)?, random)
    }

    fn encrypt(
        &self,
        key_id: &str,
        plain: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        let nonce: [u8; NONCE_BYTES] = random.bytes();
        let payload = Payload { msg: plain, aad: &associated(key_id) };
        let sealed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| VaultError::Seal(key_id.to_owned()))?;
        let mut whole = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        whole.push(VERSION);
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    fn decrypt(&self, key_id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (&version, rest) = sealed.split_first().ok_or(VaultError::Format)?;
        if version != VERSION {
            return Err(VaultError::Format);
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(VaultError::Format)?;
        let payload = Payload { msg: sealed, aad: &associated(key_id) };
        self.cipher()
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Sealed(key_id.to_owned()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0.0).into())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(hidden)")
    }
}

fn associated(key_id: &str) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(key_id.as_bytes());
    bytes
}
