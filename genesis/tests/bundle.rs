//! The genesis bundle as it ships: verified, complete, and true to what servers really send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fedsx_genesis::bundle::{Bundle, BundleError, Difference, Entry, Verified, Wrong};
use fedsx_genesis::definition::{AudienceToken, Definition, Kind, RefersTo};
use fedsx_genesis::manifest::{MANIFEST_PATH, Manifest};
use fedsx_genesis::schema::{SchemaError, Schemas};
use serde_json::{Value, json};
use tempfile::TempDir;

fn genesis() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn verified() -> Verified {
    Bundle::embedded().verify().expect("run `cargo run -p fedsx-genesis --example manifest`")
}

fn entries() -> Vec<Entry> {
    let Verified { definitions, runtime, .. } = verified();
    definitions.into_iter().chain(runtime).collect()
}

/// A copy of the genesis files that a test may spoil.
fn copy() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut folders = vec!["bundle".to_owned(), "runtime-verbs".to_owned()];
    while let Some(folder) = folders.pop() {
        fs::create_dir_all(dir.path().join(&folder)).unwrap();
        for entry in fs::read_dir(genesis().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(name);
            } else {
                fs::copy(entry.path(), dir.path().join(name)).unwrap();
            }
        }
    }
    dir
}

fn differences(dir: &TempDir) -> Vec<Difference> {
    match Bundle::from_dir(dir.path()).unwrap().verify() {
        Err(BundleError::Differs(differences)) => differences,
        other => panic!("{:?}", other.map(|verified| verified.cid)),
    }
}

fn edit(dir: &TempDir, path: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.path().join(path);
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut document);
    fs::write(path, document.to_string()).unwrap();
}

fn remake_manifest(dir: &TempDir) {
    let manifest = Bundle::from_dir(dir.path()).unwrap().make_manifest().unwrap();
    fs::write(dir.path().join(MANIFEST_PATH), manifest.to_json().unwrap()).unwrap();
}

#[test]
fn the_embedded_bundle_is_the_one_on_disk() {
    let from_dir = Bundle::from_dir(genesis()).unwrap().verify().unwrap();
    let embedded = verified();
    assert_eq!(embedded.cid, from_dir.cid);
    assert_eq!(embedded.definitions, from_dir.definitions);
    assert_eq!(embedded.runtime, from_dir.runtime);
    let manifest = Bundle::embedded().make_manifest().unwrap();
    assert_eq!(manifest.bundle, embedded.cid);
    assert_eq!(manifest.files.len(), embedded.definitions.len() + embedded.runtime.len());
    let text = fs::read(genesis().join(MANIFEST_PATH)).unwrap();
    assert_eq!(Manifest::parse(&text).unwrap(), manifest);
}

#[test]
fn it_holds_what_an_instance_starts_with() {
    let mut names: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
    for entry in verified().definitions {
        let definition = entry.definition;
        names.entry(definition.kind()).or_default().insert(definition.name().to_owned());
    }
    let expect = |kind: Kind, list: &str| {
        let expected: BTreeSet<_> = list.split_whitespace().map(str::to_owned).collect();
        assert_eq!(names.get(&kind), Some(&expected), "{kind}");
    };
    expect(
        Kind::ActivityTypes,
        "Create Update Delete Follow Accept Reject Undo Block Moderate Like Move Add Remove Flag EmojiReact
         Subscribe DefineActivity DefineObject DefineValidator DefineProjection DefineAudience
         DefineSubscription DefineTrigger DefineType SubtypeOf DecideSetAside",
    );
    expect(
        Kind::ObjectTypes,
        "Person Service Group Application Organization Article Image Document Video Audio Page
         Event Question Tombstone Collection OrderedCollection Link Mention Hashtag",
    );
    expect(
        Kind::Projections,
        "actor-state key-history follower-graph feed objects define-registry peer-actors
         delivery-state announces endorsements reports replies reactions collections hashtags",
    );
    expect(Kind::Codecs, "json dag-cbor");
    expect(Kind::SignatureSuites, "eddsa-jcs-2022");
    expect(Kind::Audiences, "Public Followers Direct");
    expect(Kind::Validators, "envelope");
    assert_eq!(names.get(&Kind::Triggers), None);

    let runtime: BTreeMap<String, Kind> = verified()
        .runtime
        .iter()
        .map(|entry| (entry.definition.name().to_owned(), entry.definition.kind()))
        .collect();
    let expected = [
        ("Announce", Kind::ActivityTypes),
        ("Endorse", Kind::ActivityTypes),
        ("Note", Kind::ObjectTypes),
    ];
    assert_eq!(runtime, expected.map(|(name, kind)| (name.to_owned(), kind)).into());
}

#[test]
fn verbs_know_their_audience() {
    use AudienceToken::{Followers, Object, ObjectActor, ObjectAttributedTo, Public};
    let all = entries();
    let verb = |name: &str| -> &Definition {
        &all.iter().find(|entry| entry.definition.name() == name).expect(name).definition
    };
    for name in ["Create", "Update", "Delete", "Announce", "Endorse", "Move", "DefineActivity"] {
        assert_eq!(verb(name).audience(), [Public, Followers], "{name}");
    }
    assert_eq!(verb("Like").audience(), [ObjectAttributedTo, Followers]);
    assert_eq!(verb("Follow").audience(), [Object]);
    assert_eq!(verb("Accept").audience(), [ObjectActor]);
    assert!(verb("Block").audience().is_empty() && verb("Flag").audience().is_empty());
    for name in ["Announce", "Like", "EmojiReact", "Endorse", "Update", "Delete", "Add", "Remove"] {
        assert_eq!(verb(name).refers_to(), RefersTo::Object, "{name}");
    }
    for name in ["Undo", "Accept", "Reject", "Create"] {
        assert_eq!(verb(name).refers_to(), RefersTo::Activity, "{name}");
    }
}

#[test]
fn a_changed_file_is_named() {
    let dir = copy();
    edit(&dir, "bundle/activity-types/like.json", |like| like["audience"] = json!([]));
    edit(&dir, "runtime-verbs/note.json", |note| note["object"]["summary"] = json!("other"));
    let found = differences(&dir);
    let paths: Vec<_> = found.iter().map(|difference| difference.path.as_str()).collect();
    assert_eq!(paths, ["bundle/activity-types/like.json", "runtime-verbs/note.json"]);
    assert!(found.iter().all(|difference| matches!(difference.wrong, Wrong::Changed { .. })));
    // Only the formatting: no change.
    let dir = copy();
    edit(&dir, "bundle/activity-types/like.json", |_| ());
    assert!(Bundle::from_dir(dir.path()).unwrap().verify().is_ok());
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let dir = copy();
    let root = dir.path();
    fs::remove_file(root.join("bundle/codecs/json.json")).unwrap();
    fs::write(root.join("bundle/codecs/extra.json"), b"{}").unwrap();
    fs::write(root.join("runtime-verbs/note.json~"), b"").unwrap();
    fs::write(root.join("bundle/audiences/direct.json"), b"{\"a\":1,\"a\":2}").unwrap();
    edit(&dir, "bundle/activity-types/move.json", |verb| verb["name"] = json!("Shift"));
    let error = Bundle::from_dir(root).unwrap().verify().unwrap_err().to_string();
    for line in [
        "\n  bundle/codecs/json.json: missing",
        "\n  bundle/codecs/extra.json: not in the manifest",
        "\n  runtime-verbs/note.json~: not in the manifest",
        "\n  bundle/audiences/direct.json: not readable: ",
        "\n  bundle/activity-types/move.json: changed: ",
    ] {
        assert!(error.contains(line), "{line} is not in {error}");
    }
    assert_eq!(error.lines().count(), 6, "{error}");
}

#[test]
fn a_changed_manifest_is_named() {
    let dir = copy();
    edit(&dir, MANIFEST_PATH, |manifest| {
        manifest["files"]["bundle/codecs/none.json"] = manifest["bundle"].clone();
    });
    let found = differences(&dir);
    let named = |path: &str| found.iter().find(|difference| difference.path == path).unwrap();
    assert!(matches!(named(MANIFEST_PATH).wrong, Wrong::BundleCid { .. }));
    assert!(matches!(named("bundle/codecs/none.json").wrong, Wrong::Missing));
    assert_eq!(found.len(), 2);

    fs::write(dir.path().join(MANIFEST_PATH), b"{").unwrap();
    let error = Bundle::from_dir(dir.path()).unwrap().verify().unwrap_err();
    assert!(matches!(error, BundleError::Manifest(_)), "{error}");
    fs::remove_file(dir.path().join(MANIFEST_PATH)).unwrap();
    let error = Bundle::from_dir(dir.path()).unwrap().verify().unwrap_err();
    assert!(matches!(error, BundleError::NoManifest), "{error}");
}

#[test]
fn what_the_manifest_lists_must_also_make_sense() {
    let dir = copy();
    let root = dir.path();
    fs::copy(root.join("bundle/codecs/json.json"), root.join("bundle/audiences/json.json"))
        .unwrap();
    fs::copy(root.join("bundle/codecs/json.json"), root.join("bundle/codecs/json2.json")).unwrap();
    edit(&dir, "bundle/activity-types/add.json", |verb| verb["audience"] = json!(["all"]));
    edit(&dir, "runtime-verbs/note.json", |note| note["type"] = json!("DefineActivity"));
    remake_manifest(&dir);
    let found = differences(&dir);
    let text = |path: &str| {
        found.iter().find(|difference| difference.path == path).expect(path).to_string()
    };
    assert!(text("bundle/audiences/json.json").ends_with("belongs into bundle/codecs"));
    assert!(
        text("bundle/codecs/json2.json").ends_with("defines what bundle/codecs/json.json defines")
    );
    assert!(text("bundle/activity-types/add.json").contains("\"all\" is not one of"));
    assert!(text("runtime-verbs/note.json").contains("the activity says"));
    assert_eq!(found.len(), 4);
}

#[test]
fn every_schema_can_be_used() {
    let schemas = Schemas::new();
    for entry in entries() {
        let needs_one = matches!(
            entry.definition.kind(),
            Kind::ActivityTypes | Kind::ObjectTypes | Kind::Validators
        );
        assert_eq!(entry.definition.schema().is_some(), needs_one, "{}", entry.path);
        if let Some(schema) = entry.definition.schema() {
            schemas.accepts(schema).unwrap_or_else(|error| panic!("{}: {error}", entry.path));
            assert!(schema.get("$schema").is_some(), "{}", entry.path);
        }
        assert!(entry.definition.summary().is_some_and(|s| s.ends_with('.')), "{}", entry.path);
    }
}

/// Checks a document with every schema that applies to it: the envelope, its verb, and the type
/// of what it embeds.
fn check(document: &Value) -> Result<(), String> {
    let schemas = Schemas::new();
    let all = entries();
    let with = |kind: Kind, name: &str, instance: &Value| -> Result<(), String> {
        let definition = all
            .iter()
            .map(|entry| &entry.definition)
            .find(|definition| definition.kind() == kind && definition.name() == name);
        // Unknown types are kept as they are.
        let Some(definition) = definition else { return Ok(()) };
        match schemas.check(definition.cid(), definition.schema().unwrap(), instance) {
            Ok(()) => Ok(()),
            Err(SchemaError::Violations(found)) => {
                let first = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                Err(format!("{name} {first}"))
            }
            Err(other) => panic!("{name}: {other}"),
        }
    };
    let type_of = |value: &Value| value["type"].as_str().unwrap_or_default().to_owned();
    if document.get("actor").is_some() {
        with(Kind::Validators, "envelope", document)?;
        with(Kind::ActivityTypes, &type_of(document), document)?;
        let object = &document["object"];
        with(Kind::ObjectTypes, &type_of(object), object)
    } else {
        with(Kind::ObjectTypes, &type_of(document), document)
    }
}

#[test]
fn what_servers_send_is_taken() {
    for (name, document) in documents::real() {
        check(&document).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for (expected, document) in documents::malformed() {
        let error = check(&document).expect_err(expected);
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}
