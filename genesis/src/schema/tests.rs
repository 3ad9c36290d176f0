#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::{Map, json};

use super::*;

fn check(schema: &Value, instance: &Value) -> Result<(), SchemaError> {
    Schemas::new().check(&Cid::of(schema).unwrap(), schema, instance)
}

fn invalid(schema: Value) -> String {
    match Schemas::new().accepts(&schema) {
        Err(SchemaError::Invalid(reason)) => reason,
        other => panic!("{schema}: {other:?}"),
    }
}

fn violations(schema: &Value, instance: &Value) -> Vec<Violation> {
    match check(schema, instance) {
        Ok(()) => Vec::new(),
        Err(SchemaError::Violations(violations)) => violations,
        other => panic!("{schema}: {other:?}"),
    }
}

#[test]
fn violations_say_where() {
    let schema = json!({
        "type": "object", "required": ["object"],
        "properties": {"tag": {"items": {"type": "string"}}, "name": {"maxLength": 2}}
    });
    assert!(check(&schema, &json!({"object": 1, "tag": ["a"], "more": {}})).is_ok());
    let found = violations(&schema, &json!({"tag": ["a", 1], "name": "secret"}));
    let paths: Vec<_> = found.iter().map(|v| v.instance_path.as_str()).collect();
    assert!(paths.contains(&"/tag/1") && paths.contains(&"") && paths.contains(&"/name"));
    let tag = found.iter().find(|v| v.instance_path == "/tag/1").unwrap();
    assert_eq!(tag.schema_path, "/properties/tag/items/type");
    let text = SchemaError::Violations(found).to_string();
    assert!(text.contains("/tag/1: the value is not of type"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn reports_are_bounded() {
    let schema = json!({"items": {"type": "string"}, "propertyNames": {"pattern": "^a"}});
    let many = Value::Array((0..100).map(Value::from).collect());
    assert_eq!(violations(&schema, &many).len(), MAX_VIOLATIONS);
    // Too much for a full report: the first one is enough.
    let huge = Value::Array((0..200_000).map(Value::from).collect());
    let found = violations(&schema, &huge);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance_path, "/0");
    // Branches report everything below them, so then only the verdict is given.
    let branches = json!({"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "null"}}]});
    let found = violations(&branches, &huge);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance_path, "");
    let long = json!({"x".repeat(2_000): 1});
    let found = violations(&json!({"additionalProperties": false}), &long);
    assert!(found[0].message.chars().count() <= MAX_MESSAGE_CHARS);
}

#[test]
fn invalid_schemas_are_named() {
    assert!(invalid(json!({"type": "nothing"})).contains("nothing"));
    assert!(invalid(json!("x")).contains("object"));
    assert!(
        invalid(json!({"$schema": "http://json-schema.org/draft-04/schema#"})).contains("$schema")
    );
    assert!(invalid(json!({"pattern": "(?=a)b"})).contains("regex"));
    assert!(invalid(json!({"pattern": "^[a-z]{1,1000}{1,1000}$"})).contains("regex"));
    assert!(invalid(json!({"enum": vec!["x"; 40_000]})).contains("bytes"));
    // The second check answers from the cache.
    let schemas = Schemas::new();
    let bad = json!({"type": "nothing"});
    for _ in 0..2 {
        let error = schemas.check(&Cid::of(&bad).unwrap(), &bad, &json!(1)).unwrap_err();
        assert!(matches!(error, SchemaError::Invalid(_)), "{error}");
    }
}

#[test]
fn nothing_is_fetched() {
    for target in [
        "https://example.org/s",
        "file:///etc/hosts",
        "other.json",
        "urn:x",
        "https://example.org/s#/$defs/a",
    ] {
        let reason = invalid(json!({"$ref": target, "$defs": {"a": true}}));
        assert!(reason.contains("only references into the same schema"), "{reason}");
    }
    // A base of its own does not open a way out either.
    let moved = json!({"properties": {"a": {"$id": "https://example.org/", "$ref": "#/x"}}});
    assert!(invalid(moved).contains("$id"));
    assert!(invalid(json!({"$ref": "#/$defs/none"})).contains("nothing there"));
    assert!(invalid(json!({"$dynamicRef": "#x"})).contains("nothing there"));
    assert!(invalid(json!({"$ref": "#name"})).contains("nothing there"));
    let twice = json!({"$defs": {"a": {"$anchor": "x"}, "b": {"$dynamicAnchor": "x"}}});
    assert!(invalid(twice).contains("twice"));
    // A member that is called $ref is only a name.
    let named = json!({"properties": {"$ref": {"type": "string"}}, "const": {"$ref": "x"}});
    assert!(Schemas::new().accepts(&named).is_ok());
    let top = json!({"$id": "https://example.org/pin", "$ref": "#/$defs/a", "$defs": {"a": true}});
    assert!(Schemas::new().accepts(&top).is_ok());
}

#[test]
fn references_of_all_kinds_are_followed() {
    for reference in [
        json!({"$ref": "#/$defs/a"}),
        json!({"$ref": "#/%24defs/a"}),
        json!({"$ref": "#word"}),
        json!({"$dynamicRef": "#word"}),
        json!({"$id": "https://example.org/s", "$ref": "https://example.org/s#/$defs/a"}),
        json!({"$id": "https://example.org/s", "$ref": "https://example.org/s#word"}),
    ] {
        let mut schema = reference.clone();
        schema["$defs"] = json!({"a": {"$anchor": "word", "type": "string"}});
        assert!(violations(&schema, &json!("x")).is_empty(), "{reference}");
        assert_eq!(violations(&schema, &json!(7)).len(), 1, "{reference}");
    }
}

#[test]
fn circles_that_stay_in_place_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}),
        json!({"anyOf": [{"type": "string"}, {"not": {"$ref": "#"}}]}),
        // The way through `b` goes down once, and once it does not.
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"properties": {"p": {"$ref": "#/$defs/b"}}, "allOf": [{"$ref": "#/$defs/b"}]},
            "b": {"if": {"$ref": "#/$defs/a"}},
        }}),
        json!({"$dynamicAnchor": "node", "dependentSchemas": {"a": {"$dynamicRef": "#node"}}}),
    ] {
        let reason = invalid(schema);
        assert!(reason.contains("refers to itself"), "{reason}");
    }
}

#[test]
fn schemas_may_refer_to_themselves_further_down() {
    let tree = json!({
        "type": "object", "required": ["value"],
        "properties": {"value": {"type": "integer"}, "children": {"items": {"$ref": "#"}}},
    });
    let good = json!({"value": 1, "children": [{"value": 2}, {"value": 3, "children": []}]});
    assert!(violations(&tree, &good).is_empty());
    let bad = json!({"value": 1, "children": [{"value": 2, "children": [{"value": "x"}]}]});
    let found = violations(&tree, &bad);
    assert_eq!(found[0].instance_path, "/children/0/children/0/value");
    let node = json!({
        "$dynamicAnchor": "node", "type": "object",
        "additionalProperties": {"$dynamicRef": "#node"},
    });
    assert!(violations(&node, &json!({"a": {"b": {}}})).is_empty());
    assert_eq!(violations(&node, &json!({"a": {"b": 7}})).len(), 1);
}

/// A document that is one object in another, `depth` times.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!({}), |inner, _| json!({"a": inner}))
}

#[test]
fn work_that_doubles_at_each_level_is_refused() {
    let doubling = json!({"allOf": [
        {"properties": {"a": {"$ref": "#"}}},
        {"properties": {"a": {"$ref": "#"}}},
    ]});
    assert!(violations(&doubling, &nested(5)).is_empty());
    let found = violations(&doubling, &nested(60));
    assert!(found[0].message.contains("steps"), "{found:?}");
}

#[test]
fn deep_schemas_over_deep_documents_fit_the_stack() {
    let mut inner = json!({"properties": {"a": {"$ref": "#"}}});
    for _ in 0..7 {
        inner = json!({"allOf": [{"anyOf": [inner]}]});
    }
    let run = move || violations(&inner, &nested(63));
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap();
    assert!(thread.join().unwrap().is_empty());
}

/// Each file of the corpus is a list of cases: `{name, schema, refused}` with a part of the reason,
/// or `{name, schema, instance, violations}` with the paths that are named.
#[test]
fn the_corpus_is_met() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas");
    let mut cases = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let list: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in list {
            cases += 1;
            let name = format!("{}: {}", path.display(), case["name"]);
            if let Some(reason) = case.get("refused").and_then(Value::as_str) {
                let found = invalid(case["schema"].clone());
                assert!(found.contains(reason), "{name}: {found}");
                continue;
            }
            let found = violations(&case["schema"], &case["instance"]);
            let paths: Vec<Value> = found.iter().map(|v| v.instance_path.clone().into()).collect();
            assert_eq!(Value::from(paths), case["violations"], "{name}: {found:?}");
            assert!(found.iter().all(|v| v.message.chars().count() <= MAX_MESSAGE_CHARS), "{name}");
        }
    }
    assert!(cases >= 30, "{cases} cases");
}

/// Definitions that each apply the next one `times` times.
fn chain(steps: usize, times: usize, keyword: &str) -> Value {
    let mut definitions = Map::new();
    for step in 0..steps {
        let next = json!({"$ref": format!("#/$defs/a{}", step + 1)});
        definitions.insert(format!("a{step}"), json!({keyword: vec![next; times]}));
    }
    definitions.insert(format!("a{steps}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/a0", "$defs": definitions})
}

#[test]
fn expensive_schemas_are_refused() {
    for keyword in ["allOf", "anyOf", "oneOf"] {
        assert!(invalid(chain(40, 2, keyword)).contains("costs too much"));
        assert!(Schemas::new().accepts(&chain(6, 2, keyword)).is_ok());
    }
    assert!(invalid(chain(1_000, 1, "allOf")).contains("deeper"));
    let patterns: Map<String, Value> = (0..100).map(|n| (format!("a{n}"), json!(true))).collect();
    assert!(invalid(json!({"patternProperties": patterns})).contains("costs too much"));
    let mut unevaluated = json!({"type": "string"});
    for _ in 0..10 {
        unevaluated = json!({"anyOf": [unevaluated], "unevaluatedProperties": false});
    }
    assert!(invalid(unevaluated).contains("costs too much"));
    let cost = |schema: Value| profile::measure(&schema).unwrap().cost;
    assert_eq!(cost(json!(true)), 1);
    assert!(cost(json!({"enum": [1, 2, 3]})) > cost(json!({"enum": [1]})));
    assert_eq!(cost(json!({"default": {"a": [1, 2, 3]}})), 0);
}

#[test]
fn patterns_run_in_linear_time() {
    let schema = json!({"pattern": "^(a|a|a)*$"});
    let evil = Value::from(format!("{}b", "a".repeat(50_000)));
    assert_eq!(violations(&schema, &evil).len(), 1);
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn keyword() -> impl Strategy<Value = String> {
        proptest::sample::select(vec![
            "$ref",
            "$dynamicRef",
            "$anchor",
            "$id",
            "$schema",
            "$defs",
            "properties",
            "items",
            "allOf",
            "not",
            "if",
            "type",
            "enum",
            "pattern",
            "required",
            "patternProperties",
            "unevaluatedItems",
            "x",
        ])
        .prop_map(String::from)
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            proptest::sample::select(vec![
                "#",
                "#x",
                "#/$defs/x",
                "#/items",
                "string",
                "(",
                "a+",
                ""
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(keyword(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_schema_gives_a_verdict(schema in anything(), instance in anything()) {
            let _ = check(&schema, &instance);
        }
    }
}
