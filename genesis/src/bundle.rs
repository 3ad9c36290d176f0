//! The genesis bundle: the definitions that an instance starts with.
//!
//! Two folders of small JSON documents. `bundle/<kind>/` holds what is known from the first
//! moment; `runtime-verbs/` holds the contents of `Define*` activities that are published into the
//! log at first boot. `bundle/manifest.json` lists both. [`Bundle::verify`] stands between the files and
//! everybody who uses them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fedsx_kernel::{Cid, json};
use include_dir::{Dir, include_dir};
use serde_json::Value;

use crate::definition::{Definition, DefinitionError};
use crate::manifest::{MANIFEST_PATH, Manifest, ManifestError};

mod error;
mod files;
#[cfg(test)]
mod tests;

pub use error::{BundleError, Difference, Wrong};
pub use files::{MAX_FILE_BYTES, MAX_FILES};

/// The folder of the definitions that are known from the first moment.
pub const BUNDLE_FOLDER: &str = "bundle";
/// The folder of the definitions that are published at first boot.
pub const RUNTIME_FOLDER: &str = "runtime-verbs";

static EMBEDDED_BUNDLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/bundle");
static EMBEDDED_RUNTIME: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/runtime-verbs");

/// The genesis files as found, not yet verified.
#[derive(Clone, Debug)]
pub struct Bundle {
    files: BTreeMap<String, Cow<'static, [u8]>>,
    manifest: Option<Cow<'static, [u8]>>,
}

/// A genesis bundle whose every file is what its manifest says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The CID of the bundle, runtime verbs included.
    pub cid: Cid,
    /// The definitions of `bundle/`, in path order.
    pub definitions: Vec<Entry>,
    /// The definitions of `runtime-verbs/`, in path order.
    pub runtime: Vec<Entry>,
}

/// One file of a verified bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its path relative to the genesis directory.
    pub path: String,
    /// The CID of its content.
    pub cid: Cid,
    /// Its content: the definition, or in `runtime-verbs/` the content of the `Define*` activity
    /// which publishes it: `{"type": "Define...", "object": {...}}`.
    pub document: Value,
    /// The definition in it.
    pub definition: Definition,
}

impl Bundle {
    /// The bundle that was compiled into the program.
    pub fn embedded() -> Self {
        let mut files = BTreeMap::new();
        files::of_embedded(&EMBEDDED_BUNDLE, BUNDLE_FOLDER, &mut files);
        files::of_embedded(&EMBEDDED_RUNTIME, RUNTIME_FOLDER, &mut files);
        Self::of_files(files)
    }

    /// The bundle in a directory that holds `bundle/` and `runtime-verbs/`. Every file in them is
    /// read, so that none goes unseen by [`Bundle::verify`]. Blocks on the disk.
    pub fn from_dir(path: &Path) -> Result<Self, BundleError> {
        let mut files = BTreeMap::new();
        files::of_directory(path, BUNDLE_FOLDER, &mut files)?;
        files::of_directory(path, RUNTIME_FOLDER, &mut files)?;
        Ok(Self::of_files(files))
    }

    fn of_files(mut files: BTreeMap<String, Cow<'static, [u8]>>) -> Self {
        let manifest = files.remove(MANIFEST_PATH);
        Self { files, manifest }
    }

    /// The manifest that these files should have. Files that are not JSON are all named.
    pub fn make_manifest(&self) -> Result<Manifest, BundleError> {
        let mut cids = BTreeMap::new();
        let mut differences = Vec::new();
        for (path, bytes) in &self.files {
            match read(bytes) {
                Ok((_, cid)) => {
                    cids.insert(path.clone(), cid);
                }
                Err(reason) => differences.push(Difference::new(path, Wrong::Unreadable(reason))),
            }
        }
        if differences.is_empty() {
            Manifest::of(cids).map_err(BundleError::Manifest)
        } else {
            Err(BundleError::Differs(differences))
        }
    }

    /// Checks every file against the manifest and reads it. The error names every file that
    /// differs, is missing, is not listed, or is not a definition in its place.
    pub fn verify(&self) -> Result<Verified, BundleError> {
        let bytes = self.manifest.as_ref().ok_or(BundleError::NoManifest)?;
        let manifest = Manifest::parse(bytes).map_err(BundleError::Manifest)?;
        let mut differences = Vec::new();
        let computed = manifest
            .computed_bundle()
            .map_err(|e| BundleError::Manifest(ManifestError::Canonical(e)))?;
        if computed != manifest.bundle {
            let wrong = Wrong::BundleCid { listed: manifest.bundle, computed };
            differences.push(Difference::new(MANIFEST_PATH, wrong));
        }
        let mut entries = Vec::new();
        let paths: BTreeSet<&String> = self.files.keys().chain(manifest.files.keys()).collect();
        for path in paths {
            match self.entry(path, manifest.files.get(path)) {
                Ok(entry) => entries.push(entry),
                Err(wrong) => differences.push(Difference::new(path, wrong)),
            }
        }
        find_doubles(&entries, &mut differences);
        if !differences.is_empty() {
            return Err(BundleError::Differs(differences));
        }
        let (runtime, definitions) =
            entries.into_iter().partition(|entry| folder_of(&entry.path) == RUNTIME_FOLDER);
        Ok(Verified { cid: manifest.bundle, definitions, runtime })
    }

    #[allow(clippy::result_large_err, reason = "read once at boot; the two CIDs are the message")]
    fn entry(&self, path: &str, listed: Option<&Cid>) -> Result<Entry, Wrong> {
        let bytes = self.files.get(path).ok_or(Wrong::Missing)?;
        let listed = listed.ok_or(Wrong::Unlisted)?;
        let (document, cid) = read(bytes).map_err(Wrong::Unreadable)?;
        if cid != *listed {
            return Err(Wrong::Changed { listed: *listed, found: cid });
        }
        let definition = if folder_of(path) == RUNTIME_FOLDER {
            published(&document).map_err(Wrong::Definition)?
        } else {
            Definition::parse(&document).map_err(Wrong::Definition)?
        };
        let place = format!("{BUNDLE_FOLDER}/{}", definition.kind());
        if folder_of(path) == RUNTIME_FOLDER || folder_of(path) == place {
            Ok(Entry { path: path.to_owned(), cid, document, definition })
        } else {
            Err(Wrong::Misplaced { belongs: place })
        }
    }
}

fn read(bytes: &[u8]) -> Result<(Value, Cid), String> {
    let document = json::parse(bytes).map_err(|e| e.to_string())?;
    let cid = Cid::of(&document).map_err(|e| e.to_string())?;
    Ok((document, cid))
}

fn published(document: &Value) -> Result<Definition, DefinitionError> {
    let activity_type = document.get("type").and_then(Value::as_str).unwrap_or_default();
    Definition::published(activity_type, document.get("object").unwrap_or(&Value::Null))
}

/// The path without its last segment.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn find_doubles(entries: &[Entry], differences: &mut Vec<Difference>) {
    let mut seen = BTreeMap::new();
    for entry in entries {
        let name = (entry.definition.kind(), entry.definition.name());
        if let Some(first) = seen.insert(name, &entry.path) {
            let wrong = Wrong::Double { other: first.clone() };
            differences.push(Difference::new(&entry.path, wrong));
        }
    }
}
