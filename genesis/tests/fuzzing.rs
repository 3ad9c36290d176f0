//! The fuzz targets, as properties over random bytes and over changed cases of the corpus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedsx_genesis::fuzzing;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every schema of the corpus, with an instance.
fn corpus() -> Vec<Vec<u8>> {
    let files = [include_str!("schemas/hostile.json"), include_str!("schemas/taken.json")]
        .map(|text| serde_json::from_str::<Vec<Value>>(text).unwrap());
    let bytes = |case: &Value| json!([case["schema"], case["instance"]]).to_string().into_bytes();
    files.iter().flatten().map(bytes).filter(|bytes| bytes.len() < 4096).collect()
}

/// Scripts that use what scripts can do.
const SCRIPTS: [&str; 4] = [
    "state.count += 1; state.list.push(activity.type); state",
    "let all = []; for tag in activity.tag { all.push(tag + \"!\"); } all",
    "fn twice(x) { x + x } twice(state.map.a.to_string())",
    "if activity.content == \"x\" { #{ a: [1, 2, 3], b: () } } else { throw \"no\" }",
];

/// A case in which some bytes are others, are gone, or stand there twice.
fn changed(cases: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits =
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..6);
    (proptest::sample::select(cases), edits).prop_map(|(mut bytes, edits)| {
        for (place, byte, how) in edits {
            if bytes.is_empty() {
                break;
            }
            let place = place.index(bytes.len());
            match how {
                0 => bytes[place] = byte,
                1 => {
                    bytes.remove(place);
                }
                _ => bytes.insert(place, bytes[place]),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn schemas(data in changed(corpus())) {
        fuzzing::schema(&data);
    }

    #[test]
    fn scripts(data in changed(SCRIPTS.map(|text| text.as_bytes().to_vec()).to_vec())) {
        fuzzing::script(&data);
    }

    #[test]
    fn noise(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        fuzzing::schema(&data);
        fuzzing::script(&data);
    }
}
