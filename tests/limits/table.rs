//! plans/limits.md says what the code says: defaults are those of options and constants, and the tests
//! that it names are there.

use std::fs;
use std::path::Path;

use crate::support::matrix::Matrix;
use crate::support::node::{command, run_to_end};

fn source(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// A number of things, bytes or milliseconds, as people write it.
fn said(text: &str) -> Option<u64> {
    let text = text.trim_matches('"').replace([',', ' '], "");
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * factor)
}

/// The same of an expression of the source.
fn meant(expression: &str) -> Option<u64> {
    let inside = |name: &str| expression.trim().strip_prefix(name)?.strip_suffix(')');
    if let Some(seconds) = inside("Duration::from_secs(") {
        return Some(meant(seconds)? * 1000);
    }
    if let Some(millis) = inside("Duration::from_millis(") {
        return meant(millis);
    }
    let factors = expression.split('*').map(|part| part.trim().replace('_', "").parse::<u64>());
    factors.into_iter().try_fold(1, |product, factor| Some(product * factor.ok()?))
}

/// The value of a constant, or of a member of options where they are given their defaults.
fn in_source(path: &str, name: &str) -> Option<u64> {
    let text = source(path);
    let values = text.lines().filter_map(|line| {
        let line = line.trim();
        let constant = line.split_once(&format!("const {name}: ")).and_then(|(_, rest)| {
            rest.split_once(" = ").and_then(|(_, value)| value.strip_suffix(';'))
        });
        constant.or_else(|| line.strip_prefix(&format!("{name}: "))?.strip_suffix(','))
    });
    values.filter_map(meant).next()
}

/// The default of an option, as `fedsx config example` shows it.
fn of_option(example: &str, name: &str) -> Option<u64> {
    let line = example.lines().find_map(|line| line.strip_prefix(&format!("#{name} = ")));
    said(line?)
}

fn quoted(cell: &str) -> &str {
    let words = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    words.unwrap_or_else(|| panic!("{cell:?} names nothing"))
}

#[test]
fn the_page_says_what_the_code_says() {
    let mut shown = command();
    shown.args(["config", "example"]);
    let example = run_to_end(shown).stdout;
    let mut rows = 0;
    for row in Matrix::of("plans/limits.md").rows() {
        let [what, default, by, more @ ..] = row.as_slice() else { panic!("{row:?}") };
        if default == "default" || default.starts_with("--") {
            continue;
        }
        rows += 1;
        let words: Vec<_> = quoted(by).split(' ').collect();
        let actual = match words.as_slice() {
            [option] => of_option(&example, option),
            [path, name] => in_source(path, name),
            _ => None,
        };
        assert!(actual.is_some(), "{what}: {by} has no value that can be read");
        assert_eq!(said(default), actual, "{what}: {by}");
        let [why, beyond, test] = more else { panic!("{what}: {} cells", row.len()) };
        assert!(!why.is_empty() && !beyond.is_empty(), "{what}");
        let (path, name) = quoted(test).split_once(' ').expect("a file and a test");
        let text = source(path);
        let is_there = text.match_indices(&format!("fn {name}()")).any(|(at, _)| {
            let before = text[..at].trim_end().trim_end_matches("async").trim_end();
            let attribute = before.lines().next_back().unwrap_or_default().trim_start();
            attribute.starts_with("#[") && attribute.contains("test")
        });
        assert!(is_there, "{what}: {test} is no test");
    }
    assert!(rows > 70, "{rows} rows");
}
