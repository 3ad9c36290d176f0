#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;

use super::*;

#[test]
fn folders_of_paths() {
    assert_eq!(folder_of("bundle/codecs/json.json"), "bundle/codecs");
    assert_eq!(folder_of("runtime-verbs/note.json"), "runtime-verbs");
    assert_eq!(folder_of("x"), "");
}

#[test]
fn an_empty_directory_has_no_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = Bundle::from_dir(dir.path()).unwrap();
    assert!(matches!(bundle.verify(), Err(BundleError::NoManifest)));
    assert!(bundle.make_manifest().unwrap().files.is_empty());
}

#[test]
fn a_directory_is_read_within_limits() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("bundle/codecs");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("big.json"), vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
    let error = Bundle::from_dir(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("bundle/codecs/big.json: has more than"), "{error}");
    fs::remove_file(folder.join("big.json")).unwrap();
    fs::create_dir_all(folder.join("1/2/3/4/5")).unwrap();
    assert!(matches!(Bundle::from_dir(dir.path()), Err(BundleError::Limit { .. })));
}

#[test]
fn formatting_does_not_matter() {
    let manifest = |text: &str| {
        let files = BTreeMap::from([("bundle/x/a.json".to_owned(), Cow::Owned(text.into()))]);
        Bundle::of_files(files).make_manifest().unwrap()
    };
    assert_eq!(manifest(r#"{"a":1,"b":[2]}"#), manifest("{ \"b\": [2.0],\n\"a\": 1 }\n"));
    assert_ne!(manifest(r#"{"a":1}"#), manifest(r#"{"a":2}"#));
}
