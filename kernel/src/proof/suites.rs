use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::ProofError;
use super::eddsa_jcs_2022::EddsaJcs2022;
use super::head::{ProofHead, select};
use crate::keys::PublicKey;
use crate::metrics;

/// A way to verify Data Integrity proofs.
pub trait Suite: Send + Sync + 'static {
    /// The name that stands in `cryptosuite`.
    fn name(&self) -> &'static str;

    /// Whether `proof` was made with the key over `document`, whose `proof` member does not count.
    fn verify(
        &self,
        document: &Map<String, Value>,
        proof: &Map<String, Value>,
        key: &PublicKey,
    ) -> Result<(), ProofError>;
}

/// The suites that are known here, by name.
#[derive(Clone)]
pub struct Suites(BTreeMap<&'static str, Arc<dyn Suite>>);

impl Suites {
    /// A registry with `eddsa-jcs-2022`.
    pub fn standard() -> Self {
        let mut suites = Self(BTreeMap::new());
        suites.register(Arc::new(EddsaJcs2022));
        suites
    }

    /// Adds a suite, in place of one with the same name.
    pub fn register(&mut self, suite: Arc<dyn Suite>) {
        self.0.insert(suite.name(), suite);
    }

    /// The names of the suites, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().copied().collect()
    }

    /// Whether a suite is known.
    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The head of the proof that [`Self::verify`] would check: the first Data Integrity proof of
    /// a known suite, else the first of an unknown one. `None` where the document has no proof, or
    /// only proofs of other types (such as Mastodon's old LD signatures).
    ///
    /// # Errors
    /// The proof lacks a member that Data Integrity demands, or its purpose is not
    /// `assertionMethod`.
    pub fn head(&self, document: &Map<String, Value>) -> Result<Option<ProofHead>, ProofError> {
        select(document, self)?.map(ProofHead::of).transpose()
    }

    /// Checks that the document's proof was made with this key over this document.
    ///
    /// # Errors
    /// [`ProofError::Missing`] without a proof, [`ProofError::UnknownSuite`] where none is of
    /// a known suite, [`ProofError::Invalid`] where the signature does not hold.
    pub fn verify(&self, document: &Map<String, Value>, key: &PublicKey) -> Result<(), ProofError> {
        let proof = select(document, self)?.ok_or(ProofError::Missing)?;
        let head = ProofHead::of(proof)?;
        match self.0.get(head.cryptosuite.as_str()) {
            Some(suite) => {
                let verdict = suite.verify(document, proof, key);
                let outcome = if verdict.is_ok() { "valid" } else { "invalid" };
                metrics::SIGNATURES.count(1, &["data-integrity", outcome]);
                verdict
            }
            None => Err(ProofError::UnknownSuite(head.cryptosuite)),
        }
    }
}

impl Default for Suites {
    fn default() -> Self {
        Self::standard()
    }
}

impl fmt::Debug for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Suites").field(&self.names()).finish()
    }
}
