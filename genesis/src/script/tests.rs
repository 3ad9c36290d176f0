#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::{Input, LANGUAGE, Output, ScriptError, Scripts};

fn run(source: &str, state: Value, activity: &Value) -> Result<Output, ScriptError> {
    let program = Scripts::new().compile(LANGUAGE, source)?;
    program.run(Input { state: Some(&state), given: &[("activity", activity)] })
}

fn value(source: &str, activity: &Value) -> Value {
    run(source, Value::Null, activity).unwrap_or_else(|e| panic!("{source}: {e}")).value
}

#[test]
fn a_fold_changes_its_state() {
    let pin = json!({ "type": "Pin", "path": "/a", "object": "https://example.org/x" });
    let fold = "if state.pins == () { state.pins = #{}; }
        let pins = state.pins.len();
        state.pins[activity.path] = activity.object;
        state.count += 1;
        fn unused(x) { x }";
    let first = run(fold, json!({ "count": 1 }), &pin).unwrap().state;
    assert_eq!(first, json!({ "count": 2, "pins": { "/a": "https://example.org/x" } }));
    let whole = run("state = activity.path; let state = 3;", Value::Null, &pin).unwrap().state;
    assert_eq!(whole, "/a", "the state can be replaced, and hidden by nothing");
}

#[test]
fn numbers_are_whole_or_text() {
    let activity = json!({ "n": 12.5, "m": 1e-7, "k": -0.5, "big": 9_007_199_254_740_991i64 });
    let of = |source: &str| value(source, &activity);
    assert_eq!(of("activity.n"), "12.5");
    assert_eq!(of("activity.m"), "1e-7");
    assert_eq!(of("decimal(activity.n, 2)"), 1250);
    assert_eq!(of("activity.k.decimal(1)"), -5);
    assert_eq!(of("decimal(activity.m, 8)"), 10);
    assert_eq!(of("decimal(activity.m, 2)"), 0);
    assert_eq!(of("decimal(7, 3)"), 7000);
    assert_eq!(of("activity.big - 1"), 9_007_199_254_740_990i64);
    assert_eq!(of("7 / 2 + 7 % 2"), 4);
    assert!(run("decimal(\"1e30\", 15)", Value::Null, &activity).is_err());
}

#[test]
fn texts_are_worked_on() {
    let activity = json!({ "t": " Grüße,an,alle " });
    let of = |source: &str| value(source, &activity);
    assert_eq!(of("activity.t.trim().split(\",\")"), json!(["Grüße", "an", "alle"]));
    assert_eq!(of("activity.t.trim().sub_string(1, 3).to_upper()"), "Rüß");
    assert_eq!(of("activity.t.index_of(\"an\")"), 7);
    assert_eq!(of("[1, true, \"x\"].join(\"-\")"), "1-true-x");
    assert_eq!(of("\"a\" in \"abc\" && 2 in [1, 2] && \"t\" in activity"), true);
    assert_eq!(of("`${1 + 1} ${activity.none}`"), "2 ");
    assert_eq!(of("activity?.none?.deeper"), Value::Null);
    assert_eq!(of("[3, 1, 2].filter(|x| x > 1).map(|x| x * 2)"), json!([6, 4]));
}

#[test]
fn what_was_compiled_is_kept() {
    let scripts = Scripts::new();
    let cid = fedsx_kernel::Cid::of_block(b"one");
    let first = scripts.program(&cid, "fold", LANGUAGE, "1").unwrap();
    let again = scripts.program(&cid, "fold", LANGUAGE, "1").unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    assert!(scripts.program(&cid, "key", LANGUAGE, "(").is_err());
    assert!(matches!(
        scripts.compile("rhai/0.1", "1").err(),
        Some(ScriptError::UnknownLanguage(_))
    ));
    assert!(matches!(
        scripts.compile(LANGUAGE, &" ".repeat(20_000)).err(),
        Some(ScriptError::TooLong(20_000))
    ));
}
