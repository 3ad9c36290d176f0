//! How a case is written.
//!
//! Strings are templates: `{alice}` and the like are put in by the scene. In a document the
//! object `{"$repeat": N, "of": X}` stands for an array of N copies of X, in which `{i}` is the
//! number of the copy, and `{"$text": N}` for a text of N letters.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One hostile delivery and what must become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is tried.
    pub case: String,
    /// Who says it, and signs it unless something else is asked for.
    #[serde(default = "mallory")]
    pub by: String,
    /// The path that it is sent to.
    #[serde(default = "inbox")]
    pub inbox: String,
    /// Members in place of the usual ones; `null` takes one away.
    #[serde(default)]
    pub activity: Map<String, Value>,
    #[serde(default)]
    pub form: Form,
    #[serde(default)]
    pub proof: Option<Proof>,
    /// Changes of the signed document (RFC 7396), which its proof does not cover.
    #[serde(default)]
    pub after: Option<Value>,
    /// The body as it is, in place of a document.
    #[serde(default)]
    pub raw: Option<String>,
    /// The same in hexadecimal digits.
    #[serde(default)]
    pub hex: Option<String>,
    #[serde(default = "activity_json")]
    pub content_type: String,
    /// The HTTP signature; none where there is a proof, RSA where there is none.
    #[serde(default)]
    pub http: Option<Http>,
    /// How often the very same request is sent; the last answer counts.
    #[serde(default = "once")]
    pub times: u32,
    /// The case whose activity was sent just before is sent again by this one, signed anew.
    #[serde(default)]
    pub again: bool,
    pub status: u16,
    /// The kind of problem; none for a success.
    #[serde(default)]
    pub slug: Option<String>,
    #[serde(default)]
    pub effect: Effect,
    /// Facts of the scene that may change.
    #[serde(default)]
    pub may_change: Vec<String>,
}

/// What a delivery leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing is appended.
    #[default]
    Nothing,
    /// It is kept, but changes nothing of anybody else.
    Kept,
}

/// How the document is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Numbered, with the id that follows from its content and a proof.
    #[default]
    Sealed,
    /// With an id of its own and without a proof.
    Plain,
}

/// A proof other than the usual one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Whose key signs.
    pub key: Option<String>,
    /// The key id that the proof names.
    pub method: Option<String>,
    /// Whether the proof is left out.
    #[serde(default)]
    pub none: bool,
}

/// An HTTP signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub scheme: Scheme,
    /// Whose key signs.
    pub key: Option<String>,
    /// The key id that the signature names.
    pub key_id: Option<String>,
    /// What is covered, in place of the usual.
    pub covers: Option<Vec<String>>,
    /// What is signed in place of the real path.
    pub path: Option<String>,
    /// What is signed in place of the real method.
    pub method: Option<String>,
    /// What is signed in place of the real host.
    pub host: Option<String>,
    /// How long ago it was signed, in seconds; negative for the future.
    #[serde(default)]
    pub age_s: i64,
    /// When it expires, in seconds from now.
    pub expires_in_s: Option<i64>,
    /// The body that the digest is of, in place of the real one.
    pub digest_of: Option<String>,
    /// The algorithm that is named.
    pub algorithm: Option<String>,
    /// Headers that are changed after signing; `null` takes one away.
    #[serde(default)]
    pub replace: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    None,
    Cavage,
    Rfc9421,
}

fn mallory() -> String {
    "mallory".to_owned()
}

fn inbox() -> String {
    "/actors/alice/inbox".to_owned()
}

fn activity_json() -> String {
    crate::support::ACTIVITY_JSON.to_owned()
}

fn once() -> u32 {
    1
}

/// Every case with the name of its file, files in the order of their names.
pub fn all() -> Vec<(String, Case)> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let cases: Vec<Case> =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        all.extend(cases.into_iter().map(|case| (name.clone(), case)));
    }
    all
}

/// Puts values into the templates of a text.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in values {
        if filled.contains('{') {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
    }
    filled
}

/// The same in all texts of a document, where repetitions are written out.
pub fn fill_all(document: &Value, values: &BTreeMap<String, String>) -> Value {
    match document {
        Value::String(text) => Value::String(fill(text, values)),
        Value::Array(items) => items.iter().map(|item| fill_all(item, values)).collect(),
        Value::Object(members) => {
            if let Some(count) = members.get("$repeat").and_then(Value::as_u64) {
                let mut values = values.clone();
                return (0..count)
                    .map(|index| {
                        values.insert("i".to_owned(), index.to_string());
                        fill_all(&members["of"], &values)
                    })
                    .collect();
            }
            if let Some(length) = members.get("$text").and_then(Value::as_u64) {
                return Value::String("a".repeat(usize::try_from(length).expect("a length")));
            }
            let filled =
                |(name, member): (&String, &Value)| (name.clone(), fill_all(member, values));
            Value::Object(members.iter().map(filled).collect())
        }
        other => other.clone(),
    }
}

/// Applies changes to a document (RFC 7396).
pub fn merge(document: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *document = changes.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let members = document.as_object_mut().expect("members");
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}
