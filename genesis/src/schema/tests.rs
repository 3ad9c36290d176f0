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
        "#name",
        "#/%24defs/a",
    ] {
        let reason = invalid(json!({"$ref": target, "$defs": {"a": true}}));
        assert!(reason.contains("only \"#/...\""), "{reason}");
    }
    // A base of its own does not open a way out either.
    let moved = json!({"properties": {"a": {"$id": "https://example.org/", "$ref": "#/x"}}});
    assert!(invalid(moved).contains("$id"));
    assert!(invalid(json!({"$ref": "#/$defs/none"})).contains("nothing there"));
    assert!(invalid(json!({"$dynamicRef": "#x"})).contains("$dynamicRef"));
    // A member that is called $ref is only a name.
    let named = json!({"properties": {"$ref": {"type": "string"}}, "const": {"$ref": "x"}});
    assert!(Schemas::new().accepts(&named).is_ok());
    let top = json!({"$id": "https://example.org/pin", "$ref": "#/$defs/a", "$defs": {"a": true}});
    assert!(Schemas::new().accepts(&top).is_ok());
}

#[test]
fn circles_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"properties": {"a": {"$ref": "#"}}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}}),
        json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}),
    ] {
        let reason = invalid(schema);
        assert!(reason.contains("refer to itself"), "{reason}");
    }
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
    assert!(invalid(chain(1_000, 1, "allOf")).contains("nests deeper"));
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
            proptest::sample::select(vec!["#", "#/$defs/x", "#/items", "string", "(", "a+", ""])
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
