use std::sync::Arc;

use thiserror::Error;

use super::{Algorithm, KeyError, SecretKey, Vault, VaultError};
use crate::log::{StoreError, Table};
use crate::runtime::Random;

/// Where sealed keys stand in the ledger.
pub(super) const PREFIX: &[u8] = b"key\0";

/// Makes private keys. Making an RSA key takes long, so a simulator brings keys that were made
/// before.
pub trait KeyMaker: Send + Sync + 'static {
    /// A new key. Blocks.
    ///
    /// # Errors
    /// Where the library cannot make one.
    fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError>;
}

/// Makes every key anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreshKeys;

impl KeyMaker for FreshKeys {
    fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => Ok(SecretKey::generate_ed25519(random)),
            Algorithm::RsaV15Sha256 => SecretKey::generate_rsa(random),
        }
    }
}

/// The private keys of an instance: sealed in the ledger, opened when something is to be signed.
#[derive(Clone)]
pub struct KeyRing {
    vault: Arc<Vault>,
    ledger: Arc<dyn Table>,
    maker: Arc<dyn KeyMaker>,
}

/// Why a private key could not be had or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RingError {
    /// There is no private half of this key here.
    #[error("the private half of {0} is not here")]
    Missing(String),
    /// The vault refused.
    #[error("{id}: {source}")]
    Vault {
        /// The key.
        id: String,
        /// Why.
        source: VaultError,
    },
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyRing {
    /// A ring over a ledger.
    pub fn new(vault: Vault, ledger: Arc<dyn Table>) -> Self {
        Self { vault: Arc::new(vault), ledger, maker: Arc::new(FreshKeys) }
    }

    /// The same ring with another maker of keys.
    #[must_use]
    pub fn with_maker(self, maker: Arc<dyn KeyMaker>) -> Self {
        Self { maker, ..self }
    }

    /// A new private key, which is kept nowhere yet. Blocks.
    ///
    /// # Errors
    /// Where the library cannot make one.
    pub fn make(&self, algorithm: Algorithm, random: &dyn Random) -> Result<SecretKey, KeyError> {
        self.maker.make(algorithm, random)
    }

    /// Seals and keeps a private key. Durable after the log's next sync.
    pub fn keep(&self, id: &str, key: &SecretKey, random: &dyn Random) -> Result<(), RingError> {
        let sealed = self
            .vault
            .seal(id, key, random)
            .map_err(|source| RingError::Vault { id: id.to_owned(), source })?;
        Ok(self.ledger.apply(vec![(place(id), Some(sealed))])?)
    }

    /// The private half of a key.
    pub fn secret(&self, id: &str) -> Result<SecretKey, RingError> {
        let sealed =
            self.ledger.get(&place(id))?.ok_or_else(|| RingError::Missing(id.to_owned()))?;
        self.vault
            .open(id, &sealed)
            .map_err(|source| RingError::Vault { id: id.to_owned(), source })
    }

    /// Whether a ledger holds the private half of a key.
    pub fn holds(ledger: &dyn Table, id: &str) -> Result<bool, StoreError> {
        Ok(ledger.get(&place(id))?.is_some())
    }

    /// Whether a ledger holds any sealed key.
    pub fn holds_any(ledger: &dyn Table) -> Result<bool, StoreError> {
        Ok(!ledger.scan(&place(""), None, 1)?.is_empty())
    }

    /// Destroys the private half of a key.
    pub fn destroy(&self, id: &str) -> Result<(), RingError> {
        Ok(self.ledger.apply(vec![(place(id), None)])?)
    }
}

fn place(id: &str) -> Vec<u8> {
    [PREFIX, id.as_bytes()].concat()
}
