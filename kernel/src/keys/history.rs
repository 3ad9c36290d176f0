use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{KeyError, PublicKey};
use crate::order::Order;

/// The most keys that one author's history holds.
pub const MAX_KEYS: usize = 256;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Proofs on activities.
    SignActivity,
    /// Proofs on the activities that introduce or supersede keys.
    RotateKey,
    /// Signatures on HTTP requests.
    HttpSignature,
}

/// The public key as text, in the member under which it is published.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Material {
    /// A Multikey (FEP-521a).
    Multikey {
        /// `z` and base58btc of the multicodec prefix and the key.
        #[serde(rename = "publicKeyMultibase")]
        public_key_multibase: String,
    },
    /// PEM, as `publicKey` of an actor has it.
    Pem {
        /// `SubjectPublicKeyInfo` or PKCS#1.
        #[serde(rename = "publicKeyPem")]
        public_key_pem: String,
    },
}

/// One key of an author and the interval of statements for which it may sign.
///
/// The interval is one of the author's own numbering, not of self-declared time, so that a
/// stolen old key cannot sign new statements with an old date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// The URL that proofs and HTTP signatures name.
    pub id: String,
    /// The id of the actor whose key it is.
    pub controller: String,
    /// The public key.
    #[serde(flatten)]
    pub material: Material,
    /// What it may be used for.
    pub purposes: Vec<Purpose>,
    /// When it was made (RFC 3339), as its owner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The first statement that it may sign.
    pub valid_from: Order,
    /// When it was superseded (RFC 3339), as its owner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// The last statement that it may sign; none while it is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Order>,
    /// Whether that end is our assumption: the key was listed no more, and no history that could be
    /// read said until when it held.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_is_assumed: bool,
}

impl Key {
    /// Reads the key material.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        match &self.material {
            Material::Multikey { public_key_multibase } => {
                PublicKey::from_multibase(public_key_multibase)
            }
            Material::Pem { public_key_pem } => PublicKey::from_pem(public_key_pem),
        }
    }

    /// Whether nothing superseded it.
    pub fn is_current(&self) -> bool {
        self.valid_until.is_none() && self.revoked.is_none()
    }

    /// Whether it may sign the statement at this place.
    pub fn valid_at(&self, at: Order) -> bool {
        self.valid_from <= at && self.valid_until.is_none_or(|last| at <= last)
    }

    /// Whether it has this purpose.
    pub fn serves(&self, purpose: Purpose) -> bool {
        self.purposes.contains(&purpose)
    }
}

/// Every key that an author ever had, in the order in which they were introduced. Clones share them
/// until one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Key>", into = "Vec<Key>")]
pub struct KeyHistory(Arc<Vec<Key>>);

/// Why a key may not be used so, or the history may not change so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The author never had a key with this id.
    #[error("the author has no key {0}")]
    UnknownKey(String),
    /// The key exists, but not for this.
    #[error("the key {0} does not have the purpose that this needs")]
    WrongPurpose(String),
    /// The statement lies outside of the interval of the key.
    #[error("the key {0} was not valid at this place in the author's statements")]
    NotValidThen(String),
    /// The id was given to a key before.
    #[error("the key id {0} was used before")]
    IdInUse(String),
    /// The key was superseded before.
    #[error("the key {0} was superseded before")]
    AlreadySuperseded(String),
    /// The history is full.
    #[error("an author has at most {MAX_KEYS} keys")]
    TooMany,
}

impl KeyHistory {
    /// All keys.
    pub fn all(&self) -> &[Key] {
        &self.0
    }

    /// The key with this id.
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// The highest epoch in which a key was introduced or superseded.
    pub fn last_epoch(&self) -> u64 {
        let orders = self.0.iter().flat_map(|key| [Some(key.valid_from), key.valid_until]);
        orders.flatten().map(|order| order.epoch).max().unwrap_or(0)
    }

    /// The keys for a purpose that nothing superseded.
    pub fn current(&self, purpose: Purpose) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.is_current() && key.serves(purpose))
    }

    /// Adds a key. Ids are never used twice, not even for the same key.
    pub fn introduce(&mut self, key: Key) -> Result<(), HistoryError> {
        if self.find(&key.id).is_some() {
            return Err(HistoryError::IdInUse(key.id));
        }
        if self.0.len() >= MAX_KEYS {
            return Err(HistoryError::TooMany);
        }
        Arc::make_mut(&mut self.0).push(key);
        Ok(())
    }

    /// Ends the interval of a key with the statement at `at`, which it may still sign. `when`
    /// is the time that the author gives (RFC 3339).
    pub fn supersede(&mut self, old_id: &str, at: Order, when: &str) -> Result<(), HistoryError> {
        let key = Arc::make_mut(&mut self.0)
            .iter_mut()
            .find(|key| key.id == old_id)
            .ok_or_else(|| HistoryError::UnknownKey(old_id.to_owned()))?;
        if !key.is_current() && !key.end_is_assumed {
            return Err(HistoryError::AlreadySuperseded(old_id.to_owned()));
        }
        if at < key.valid_from {
            return Err(HistoryError::NotValidThen(old_id.to_owned()));
        }
        key.valid_until = Some(at);
        key.revoked = Some(when.to_owned());
        key.end_is_assumed = false;
        Ok(())
    }

    /// Ends the interval of a key with the last statement that was seen, since its author lists it no
    /// more. What the author says later about its end takes the place of that.
    pub fn assume_superseded(
        &mut self,
        old_id: &str,
        seen: Order,
        when: &str,
    ) -> Result<(), HistoryError> {
        self.supersede(old_id, seen, when)?;
        for key in Arc::make_mut(&mut self.0).iter_mut().filter(|key| key.id == old_id) {
            key.end_is_assumed = true;
        }
        Ok(())
    }

    /// The key with this id, if it may sign for this purpose at this place.
    pub fn signer_at(&self, id: &str, purpose: Purpose, at: Order) -> Result<&Key, HistoryError> {
        let key = self.find(id).ok_or_else(|| HistoryError::UnknownKey(id.to_owned()))?;
        if !key.serves(purpose) {
            return Err(HistoryError::WrongPurpose(id.to_owned()));
        }
        if !key.valid_at(at) {
            return Err(HistoryError::NotValidThen(id.to_owned()));
        }
        Ok(key)
    }

    /// The key with this id, if it may sign a change of keys at this place.
    ///
    /// Where the author has a key for rotation, now or at that place, only such a key may;
    /// asking for both keeps a stolen everyday key from rotating at a place before the rotation
    /// key came.
    pub fn may_rotate(&self, key_id: &str, at: Order) -> Result<&Key, HistoryError> {
        let guarded = self
            .0
            .iter()
            .any(|key| key.serves(Purpose::RotateKey) && (key.is_current() || key.valid_at(at)));
        let purpose = if guarded { Purpose::RotateKey } else { Purpose::SignActivity };
        self.signer_at(key_id, purpose, at)
    }
}

impl TryFrom<Vec<Key>> for KeyHistory {
    type Error = HistoryError;

    fn try_from(keys: Vec<Key>) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for key in keys {
            history.introduce(key)?;
        }
        Ok(history)
    }
}

impl From<KeyHistory> for Vec<Key> {
    fn from(history: KeyHistory) -> Self {
        Arc::unwrap_or_clone(history.0)
    }
}
