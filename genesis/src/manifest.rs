//! The manifest of the genesis bundle: which files belong to it, and their CIDs.

use std::collections::BTreeMap;

use fedsx_kernel::canonical::CanonicalError;
use fedsx_kernel::json::{self, JsonError};
use fedsx_kernel::{Cid, canonical};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The only format of manifests so far.
pub const FORMAT: u32 = 1;
/// Where the manifest lies, relative to the genesis directory.
pub const MANIFEST_PATH: &str = "bundle/manifest.json";

/// Paths and CIDs of all genesis files, and the CID of the whole.
///
/// Paths are relative to the genesis directory and use `/`: `bundle/activity-types/create.json`.
/// A file's CID is that of its parsed JSON, so that its formatting does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The CID of `files` as a JSON object from path to CID text.
    pub bundle: Cid,
    /// CID by path.
    pub files: BTreeMap<String, Cid>,
}

/// Why a manifest could not be read or made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not acceptable JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not a manifest.
    #[error("not a manifest: {0}")]
    Shape(serde_json::Error),
    /// Written by another version of the program.
    #[error("format {0} is not known; this program reads format {FORMAT}")]
    Format(u32),
    /// The list of files has no canonical encoding.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

impl Manifest {
    /// The manifest of these files.
    pub fn of(files: BTreeMap<String, Cid>) -> Result<Self, ManifestError> {
        Ok(Self { format: FORMAT, bundle: bundle_cid(&files)?, files })
    }

    /// Reads a manifest. Whether `bundle` fits `files` is not checked here.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self =
            serde_json::from_value(json::parse(bytes)?).map_err(ManifestError::Shape)?;
        if manifest.format == FORMAT {
            Ok(manifest)
        } else {
            Err(ManifestError::Format(manifest.format))
        }
    }

    /// The text of the file: one line for each entry, in path order.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        let mut text = serde_json::to_string_pretty(self).map_err(ManifestError::Shape)?;
        text.push('\n');
        Ok(text)
    }

    /// The CID that `bundle` must have for these files.
    pub fn computed_bundle(&self) -> Result<Cid, CanonicalError> {
        bundle_cid(&self.files)
    }
}

fn bundle_cid(files: &BTreeMap<String, Cid>) -> Result<Cid, CanonicalError> {
    let members =
        files.iter().map(|(path, cid)| (path.clone(), Value::String(cid.to_string()))).collect();
    Ok(Cid::of_block(&canonical::to_dag_cbor(&Value::Object(members))?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn sample() -> Manifest {
        let cid = Cid::of(&json!({"a": 1})).unwrap();
        Manifest::of(BTreeMap::from([("bundle/x/a.json".to_owned(), cid)])).unwrap()
    }

    #[test]
    fn text_and_back() {
        let manifest = sample();
        let text = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
        assert_eq!(manifest.computed_bundle().unwrap(), manifest.bundle);
        let files = json!({"bundle/x/a.json": manifest.files["bundle/x/a.json"].to_string()});
        assert_eq!(manifest.bundle, Cid::of(&files).unwrap());
    }

    #[test]
    fn other_formats_are_refused() {
        let text = sample().to_json().unwrap();
        let newer = text.replace("\"format\": 1", "\"format\": 2");
        assert!(matches!(Manifest::parse(newer.as_bytes()), Err(ManifestError::Format(2))));
        let unknown = text.replace("\"format\"", "\"more\": 0, \"format\"");
        assert!(matches!(Manifest::parse(unknown.as_bytes()), Err(ManifestError::Shape(_))));
        assert!(matches!(Manifest::parse(b"{"), Err(ManifestError::Json(_))));
    }
}
