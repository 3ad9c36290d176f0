use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::hash::TreeHash;
use super::note::{Note, NoteError, VerifierKey};
use crate::keys::SecretKey;
use crate::runtime::Random;

/// Why a checkpoint cannot be relied on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note around it is malformed or not signed by a known key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// It is about another log than the one whose key signed it.
    #[error("it is about {found}, but signed as {signer}")]
    OtherOrigin {
        /// What it is about.
        found: String,
        /// The name of the key.
        signer: String,
    },
}

/// What a log says of itself (C2SP tlog-checkpoint): the root at a size.
///
/// We write no extension lines: the specification advises against them, and the epoch stands in
/// each signed activity, where a leaf covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the URL of the log without its scheme.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// Further lines, which are kept and mean nothing here.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Signs it with a key of the log; the key is named like the origin.
    pub fn sign(&self, key: &SecretKey, random: &dyn Random) -> Result<Note, NoteError> {
        Note::sign(&self.to_string(), &self.origin, key, random)
    }

    /// Reads a checkpoint from a note, once one of the keys is found to have signed it.
    pub fn open<'k>(
        note: &Note,
        keys: &'k [VerifierKey],
    ) -> Result<(Self, &'k VerifierKey), CheckpointError> {
        let signer = note.verify(keys)?;
        let checkpoint: Self = note.text().parse()?;
        if checkpoint.origin == signer.name() {
            return Ok((checkpoint, signer));
        }
        let signer = signer.name().to_owned();
        Err(CheckpointError::OtherOrigin { found: checkpoint.origin, signer })
    }
}

/// The origin line of the log at a URL: the URL without scheme and without a slash at its end.
pub fn origin_of_log(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let fail = CheckpointError::Malformed;
        let text = text.strip_suffix('\n').ok_or_else(|| fail("no newline at its end"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(fail("it has less than three lines"));
        };
        let extensions: Vec<_> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(fail("a line is empty"));
        }
        let number: u64 = size.parse().map_err(|_| fail("the size is not a number"))?;
        if number.to_string() != size {
            return Err(fail("the size is not in its shortest form"));
        }
        let root = root.parse().map_err(|_| fail("the root is not 32 bytes in base64"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root, extensions })
    }
}
