#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn refused(document: Value) -> String {
    Definition::parse(&document).expect_err(&document.to_string()).to_string()
}

#[test]
fn a_verb_is_read() {
    let document = json!({
        "type": "DefineActivity", "name": "Pin", "summary": "Keeps an object at hand.",
        "schema": {"type": "object"}, "audience": ["Followers", "object.attributedTo"],
        "refersTo": "object"
    });
    let definition = Definition::parse(&document).unwrap();
    assert_eq!(definition.kind(), Kind::ActivityTypes);
    assert_eq!(definition.name(), "Pin");
    assert_eq!(definition.schema(), Some(&json!({"type": "object"})));
    assert_eq!(
        definition.audience(),
        [AudienceToken::Followers, AudienceToken::ObjectAttributedTo]
    );
    assert_eq!(definition.refers_to(), RefersTo::Object);
    assert_eq!(definition.cid(), &Cid::of(&document).unwrap());
    assert!(!definition.is_builtin());
}

#[test]
fn defaults_are_those_of_create() {
    let verb = Definition::parse(&json!({"type": "DefineActivity", "name": "Pin"})).unwrap();
    assert_eq!(verb.audience(), [AudienceToken::Public, AudienceToken::Followers]);
    assert_eq!(verb.refers_to(), RefersTo::Activity);
    assert_eq!(verb.schema(), None);
    let nobody = json!({"type": "DefineActivity", "name": "Flag", "audience": []});
    assert!(Definition::parse(&nobody).unwrap().audience().is_empty());
    // The members of a verb mean nothing in other kinds.
    let trigger = json!({"type": "DefineTrigger", "name": "echo", "audience": {"any": "thing"}});
    assert!(Definition::parse(&trigger).unwrap().audience().is_empty());
}

#[test]
fn errors_say_what_is_wrong() {
    let verb = |member: &str, value: Value| {
        let mut document = json!({"type": "DefineActivity", "name": "Pin"});
        document[member] = value;
        document
    };
    assert_eq!(refused(json!([])), "a definition is a JSON object");
    assert_eq!(refused(json!({"name": "x"})), "type: \"\" is not a kind of definition");
    assert!(refused(verb("type", json!("Create"))).contains("\"Create\""));
    assert!(refused(json!({"type": "DefineObject"})).starts_with("name: must be a string"));
    for name in ["", "a b", "a/b", "ä", "../x", &"a".repeat(65)] {
        assert!(refused(verb("name", json!(name))).starts_with("name: "), "{name}");
    }
    assert!(refused(verb("summary", json!(1))).starts_with("summary: "));
    assert!(refused(verb("summary", json!("x".repeat(5_001)))).starts_with("summary: "));
    assert!(refused(verb("schema", json!("x"))).starts_with("schema: "));
    assert!(refused(verb("audience", json!("Public"))).starts_with("audience: must be an array"));
    assert!(refused(verb("audience", json!(["all"]))).contains("\"all\" is not one of Public,"));
    assert!(refused(verb("refersTo", json!("cid"))).starts_with("refersTo: "));
    assert!(refused(verb("x", json!("x".repeat(MAX_DEFINITION_BYTES)))).contains("bytes"));
}

#[test]
fn published_definitions_take_the_type_of_the_activity() {
    let bare = json!({"name": "Pin", "schema": true});
    let definition = Definition::published("DefineActivity", &bare).unwrap();
    assert_eq!(definition.kind(), Kind::ActivityTypes);
    assert_eq!(definition.document()["type"], "DefineActivity");
    let typed = json!({"type": "DefineObject", "name": "Pin"});
    assert!(Definition::published("DefineObject", &typed).is_ok());
    let error = Definition::published("DefineActivity", &typed).unwrap_err();
    assert!(matches!(error, DefinitionError::TypeDiffers { .. }), "{error}");
    let id = json!("https://example.org/x");
    assert!(matches!(
        Definition::published("DefineActivity", &id),
        Err(DefinitionError::NotAnObject)
    ));
}

#[test]
fn kinds_have_one_name() {
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(serde_json::from_str::<Kind>(&json).unwrap(), kind);
    }
    assert!("activities".parse::<Kind>().is_err());
    assert_eq!(Kind::of_type("DefineType"), Some(Kind::ObjectTypes));
    assert_eq!(Kind::of_type("DefineSubscription"), Some(Kind::Audiences));
    assert_eq!(Kind::of_type("SubtypeOf"), Some(Kind::Subtypes));
    assert_eq!(Kind::of_type("Define"), None);
}

#[test]
fn types_name_their_supertypes() {
    let object =
        json!({"type": "DefineType", "name": "Task", "subtypeOf": ["Note", "Event", "Note"]});
    assert_eq!(Definition::parse(&object).unwrap().supertypes(), ["Note", "Event"]);
    let stated = json!({"type": "SubtypeOf", "name": "Task", "of": "Note"});
    let stated = Definition::parse(&stated).unwrap();
    assert_eq!((stated.kind(), stated.supertypes()), (Kind::Subtypes, &["Note".to_owned()][..]));
    for of in [json!("Task"), json!([]), json!("a b"), json!(7), json!(null)] {
        let document = json!({"type": "SubtypeOf", "name": "Task", "of": of});
        assert!(refused(document).starts_with("of: "), "{of}");
    }
    assert!(refused(json!({"type": "SubtypeOf", "name": "Task"})).starts_with("of: "));
}

#[test]
fn validators_say_what_they_check() {
    let of = |validates: Value| json!({"type": "DefineValidator", "name": "v", "schema": {}, "validates": validates});
    let read = Definition::parse(&of(json!({"activity": "Pin", "object": ["Note", "Page"]})));
    let read = read.unwrap();
    assert_eq!(read.validates().activity, ["Pin"]);
    assert_eq!(read.validates().object, ["Note", "Page"]);
    for wrong in [json!([]), json!({}), json!({"verb": "Pin"}), json!({"object": []})] {
        assert!(refused(of(wrong.clone())).starts_with("validates"), "{wrong}");
    }
    let nothing = json!({"type": "DefineValidator", "name": "v", "validates": {"object": "Note"}});
    assert!(refused(nothing).starts_with("schema: "));
    let aimless = json!({"type": "DefineValidator", "name": "v", "guard": "true"});
    assert!(refused(aimless).starts_with("validates: "));
}

#[test]
fn audiences_list_ids() {
    let of = |ids: Value| json!({"type": "DefineAudience", "name": "crew", "ids": ids});
    let crew = Definition::parse(&of(json!(["alice", "https://example.org/bob"]))).unwrap();
    assert_eq!(crew.ids(), ["alice", "https://example.org/bob"]);
    for wrong in [json!("alice"), json!([""]), json!([7]), json!(vec!["a"; MAX_IDS + 1])] {
        assert!(refused(of(wrong.clone())).starts_with("ids: "), "{wrong}");
    }
}
