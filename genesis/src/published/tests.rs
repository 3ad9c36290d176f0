#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use fedsx_kernel::activity::Activity;
use fedsx_kernel::state::{MemoryState, State as _, key};
use serde_json::{Value, json};

use super::{Projection, Seen, Sight, Subscription, Trigger};
use crate::definition::{Definition, DefinitionError};
use crate::script::Scripts;

fn projection(members: Value) -> Result<Projection, DefinitionError> {
    let mut document = json!({ "type": "DefineProjection", "name": "p", "fold": "state = 1;" });
    document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    Projection::read(&Definition::parse(&document)?, &Scripts::new())
}

fn pin(path: Value) -> Activity {
    let content = json!({ "type": "Pin", "actor": "https://a.example/actors/ann",
        "path": path, "object": { "type": "Note" } });
    Activity::seal(content.as_object().unwrap().clone()).unwrap()
}

#[test]
fn keys_are_lists_of_texts() {
    let of = |key: &str, path: Value| {
        projection(json!({ "key": key })).unwrap().key(&Seen::of(&pin(path)))
    };
    let some = |parts: &[&str]| Ok(Some(parts.iter().map(|part| (*part).to_owned()).collect()));
    assert_eq!(of("activity.path", json!("/a")), some(&["/a"]));
    assert_eq!(of("[activity.path, 7, true]", json!("/a")), some(&["/a", "7", "true"]));
    assert_eq!(of("activity.none", json!("/a")), Ok(None));
    for wrong in ["~a", ""] {
        assert!(of("activity.path", json!(wrong)).is_err(), "{wrong:?}");
    }
    for wrong in ["[]", "[1,2,3,4,5,6,7,8,9]", "[[1]]", "#{}", "[()]"] {
        assert!(of(wrong, json!("/a")).is_err(), "{wrong}");
    }
    let plain = projection(json!({})).unwrap();
    assert_eq!(plain.key(&Seen::of(&pin(json!("/a")))), some(&["all"]));
}

#[test]
fn only_what_fits_is_folded() {
    let activity = pin(json!("/a"));
    let fits = |when: Value| {
        let read = projection(json!({ "when": when })).unwrap();
        read.when().fits(&activity) && read.key(&Seen::of(&activity)).unwrap().is_some()
    };
    assert!(fits(json!({})) && fits(json!({ "type": "Pin" })));
    assert!(fits(json!({ "type": ["Like", "Pin"], "object": "Note" })));
    assert!(fits(json!({ "guard": "activity.path.starts_with(\"/\")" })));
    assert!(!fits(json!({ "type": "Like" })) && !fits(json!({ "object": "Page" })));
    assert!(!fits(json!({ "guard": "activity.path == \"/b\"" })));
    let unsure = projection(json!({ "when": { "guard": "7" } })).unwrap();
    assert!(unsure.key(&Seen::of(&activity)).is_err());
}

#[test]
fn states_begin_as_the_definition_says() {
    let seen = Seen::of(&pin(json!("/a")));
    let count = projection(json!({ "initial": { "n": 5 }, "fold": "state.n += 1;" })).unwrap();
    let first = count.fold(None, &seen).unwrap();
    assert_eq!(first, json!({ "n": 6 }));
    assert_eq!(count.fold(Some(&first), &seen).unwrap(), json!({ "n": 7 }));
    let own = projection(json!({ "fold": "state = cid;", "visibility": "private" })).unwrap();
    assert_eq!(own.fold(None, &seen).unwrap(), pin(json!("/a")).cid().to_string());
    assert_eq!(own.sight(), Sight::Owner);
}

#[test]
fn definitions_that_cannot_run_are_refused() {
    let reason = |members: Value| projection(members).map(|_| ()).unwrap_err().to_string();
    assert!(reason(json!({ "fold": "(" })).starts_with("fold: the script cannot be read"));
    assert!(reason(json!({ "fold": 7 })).starts_with("fold: must be the text"));
    assert!(reason(json!({ "key": "x =" })).starts_with("key: "));
    assert!(reason(json!({ "when": { "guard": "this" } })).starts_with("when.guard: "));
    assert!(reason(json!({ "when": { "subscription": "x" } })).starts_with("when: "));
    assert!(reason(json!({ "engine": "lua/5" })).contains("not known"));
    assert!(reason(json!({ "visibility": "secret" })).starts_with("visibility: "));
}

fn create(object: Value) -> Activity {
    let content = json!({ "type": "Create", "actor": "https://a.example/actors/ann",
        "object": object });
    Activity::seal(content.as_object().unwrap().clone()).unwrap()
}

/// Whether an activity reaches those who subscribed to `name` with a topic.
fn reaches(definition: Value, topics: &[&str], activity: &Activity) -> bool {
    let mut document = json!({ "type": "DefineSubscription", "name": "news" });
    document.as_object_mut().unwrap().extend(definition.as_object().unwrap().clone());
    let definition = Definition::parse(&document).unwrap();
    let subscription = Subscription::read(&definition, &Scripts::new()).unwrap();
    let mut state = MemoryState::default();
    for topic in topics {
        state.put(&key(&["subscriber", "news", topic, "https://a.example/actors/bob"]), 1.into());
    }
    subscription.reaches(&state, activity, &Seen::of(activity)).unwrap().unwrap()
}

#[test]
fn subscriptions_go_by_tags() {
    let hashtag = create(json!({ "type": "Note", "tag": [{ "type": "Mention", "name": "@b" },
        { "type": "Hashtag", "name": "#News" }] }));
    let plain = create(json!({ "type": "Note", "tags": ["sport", "news"] }));
    let other = create(json!({ "type": "Note", "tags": "sport" }));
    let mention = create(json!({ "type": "Note", "tag": { "type": "Mention", "name": "news" } }));
    for (activity, fits) in [(&hashtag, true), (&plain, true), (&other, false), (&mention, false)] {
        assert_eq!(reaches(json!({ "tag": "news" }), &[""], activity), fits);
        assert_eq!(reaches(json!({ "topic": "#NEWS" }), &[""], activity), fits);
        assert_eq!(reaches(json!({}), &[""], activity), fits, "its name is the tag");
        assert!(!reaches(json!({ "tag": "news" }), &[], activity), "nobody subscribed");
    }
    assert!(reaches(json!({}), &["sport"], &other), "a topic of the subscriber's own");
    assert!(!reaches(json!({}), &["sport"], &hashtag));
    assert!(!reaches(json!({ "tag": "news" }), &["sport"], &other), "both must fit");
    assert!(reaches(json!({ "when": { "object": "Note" } }), &[""], &other), "by when alone");
    assert!(!reaches(json!({ "when": { "type": "Like" } }), &[""], &other));
    assert!(!reaches(json!({ "when": { "guard": "false" } }), &[""], &other));
}

#[test]
fn triggers_publish_requests() {
    let activity = create(json!({ "type": "Note", "content": "hi" }));
    let of = |then: Value| {
        let document = json!({ "type": "DefineTrigger", "name": "t", "when": {}, "then": then });
        let definition = Definition::parse(&document).unwrap();
        let trigger = Trigger::read(&definition, &Scripts::new()).map_err(|e| e.to_string())?;
        trigger.requests(&Seen::of(&activity)).map_err(|e| e.to_string())
    };
    let echo = json!({ "type": "Echo", "text": "hi" });
    let one = vec![echo.as_object().unwrap().clone()];
    assert_eq!(of(echo.clone()), Ok(one.clone()));
    assert_eq!(of(json!({ "publish": echo })), Ok(one.clone()));
    assert_eq!(of(json!([echo])), Ok(one.clone()));
    assert_eq!(of(json!("#{ type: \"Echo\", text: activity.object.content }")), Ok(one));
    assert_eq!(of(json!("if activity.type == \"Like\" { #{ type: \"Echo\" } }")), Ok(Vec::new()));
    let object = "https://a.example/objects/1";
    assert!(of(json!({ "type": "Delete", "object": object })).is_ok());
    for wrong in [
        json!(7),
        json!({}),
        json!("7"),
        json!({ "type": "DefineTrigger" }),
        json!({ "type": "Delete", "object": "https://a.example/actors/ann" }),
        json!({ "type": "Update", "object": "ann", "patch": {} }),
        json!({ "type": "Block", "object": "bob" }),
        json!(vec![json!({ "type": "Echo" }); 17]),
    ] {
        assert!(of(wrong.clone()).is_err(), "{wrong}");
    }
}
