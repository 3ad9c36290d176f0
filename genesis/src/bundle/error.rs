//! What can be wrong with a bundle.

use std::fmt;
use std::path::PathBuf;

use fedsx_kernel::Cid;
use thiserror::Error;

use crate::definition::DefinitionError;
use crate::manifest::ManifestError;

/// Why a bundle could not be read or is not what it should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file, or the number of files, is beyond the limits.
    #[error("{path}: {reason}")]
    Limit {
        /// Relative to the genesis directory.
        path: String,
        /// Which limit.
        reason: String,
    },
    /// There is no manifest.
    #[error(
        "bundle/manifest.json is missing; restore it, or write it with `fedsx genesis manifest`"
    )]
    NoManifest,
    /// The manifest cannot be read.
    #[error("bundle/manifest.json: {0}")]
    Manifest(ManifestError),
    /// Files that are not what the manifest says, all of them.
    #[error("the genesis bundle is not what its manifest says:{}", lines(.0))]
    Differs(Vec<Difference>),
}

/// One file that is not what the manifest says.
#[derive(Debug)]
pub struct Difference {
    /// The file, relative to the genesis directory.
    pub path: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with one file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Wrong {
    /// Its content is another.
    #[error("changed: the manifest lists {listed}, the content is {found}")]
    Changed {
        /// The CID in the manifest.
        listed: Cid,
        /// The CID of the content.
        found: Cid,
    },
    /// The manifest lists it, but it is not there.
    #[error("missing")]
    Missing,
    /// It is there, but the manifest does not list it.
    #[error("not in the manifest")]
    Unlisted,
    /// It is not acceptable JSON.
    #[error("not readable: {0}")]
    Unreadable(String),
    /// It is as listed, but not a definition.
    #[error("not a definition: {0}")]
    Definition(DefinitionError),
    /// It lies in a folder of another kind.
    #[error("belongs into {belongs}")]
    Misplaced {
        /// The right folder.
        belongs: String,
    },
    /// Another file defines the same name.
    #[error("defines what {other} defines")]
    Double {
        /// The other file.
        other: String,
    },
    /// The manifest's own CID does not fit its list of files.
    #[error("the bundle CID {listed} is not that of the listed files, {computed}")]
    BundleCid {
        /// The CID in the manifest.
        listed: Cid,
        /// The CID of its list.
        computed: Cid,
    },
}

impl Difference {
    pub(super) fn new(path: &str, wrong: Wrong) -> Self {
        Self { path: path.to_owned(), wrong }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.wrong)
    }
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}
