//! Hostile scripts: `tests/scripts/*.rhai`, each with what must become of it in its first line.
//!
//! `// stopped: TEXT`, `// failed: TEXT`, `// syntax: TEXT`, `// output: TEXT` are errors whose
//! words contain the text, `// value: JSON` is what the script gives, `// ends` is either.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "a test of how long something takes")]

use std::time::{Duration, Instant};

use fedsx_genesis::script::{Input, LANGUAGE, Output, ScriptError, Scripts};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What one hostile script may take on a busy machine, unoptimised.
const PATIENCE: Duration = Duration::from_secs(20);
/// What all of them together may take of memory, in KiB.
const MEMORY_KIB: u64 = 400 * 1024;

fn run(scripts: &Scripts, source: &str) -> Result<Output, ScriptError> {
    let activity = json!({ "type": "Pin", "path": "/x", "long": "word ".repeat(20_000) });
    let program = scripts.compile(LANGUAGE, source)?;
    program.run(Input { state: Some(&Value::Null), given: &[("activity", &activity)] })
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether what became of a script is what its first line says.
fn fits(expected: &str, got: &Result<Output, ScriptError>) -> bool {
    let (what, words) = expected.split_once(':').unwrap_or((expected, ""));
    let words = words.trim();
    let said =
        |error: &ScriptError| error.to_string().to_lowercase().contains(&words.to_lowercase());
    match (what, got) {
        ("ends", _) => true,
        ("value", Ok(output)) => output.value == serde_json::from_str::<Value>(words).unwrap(),
        ("stopped", Err(error @ ScriptError::Stopped(_)))
        | ("failed", Err(error @ ScriptError::Failed(_)))
        | ("syntax", Err(error @ ScriptError::Syntax(_)))
        | ("output", Err(error @ ScriptError::Output(_))) => said(error),
        _ => false,
    }
}

#[test]
fn hostile_scripts_are_stopped() {
    let scripts = Scripts::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 80, "the corpus is there: {}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = source.lines().next().unwrap().trim_start_matches("// ").to_owned();
        let started = Instant::now();
        let got = run(&scripts, &source);
        let took = started.elapsed();
        println!("{name:32} {:>8.1} ms {:>7} KiB", took.as_secs_f64() * 1e3, peak_kib());
        let again = run(&scripts, &source);
        if !fits(&expected, &got) || took > PATIENCE || got != again {
            let shown = |r: &Result<Output, ScriptError>| match r {
                Ok(output) => format!("{output:?}").chars().take(200).collect(),
                Err(error) => format!("{error:?}"),
            };
            wrong.push(format!("{name}: {expected:?}, but {} in {took:?}", shown(&got)));
        }
    }
    assert!(wrong.is_empty(), "{} scripts:\n{}", wrong.len(), wrong.join("\n"));
    assert!(peak_kib() < MEMORY_KIB, "{} KiB", peak_kib());
}

/// What random scripts are made of.
const WORDS: [&str; 48] = [
    "let ",
    "x",
    " = ",
    "y",
    "state",
    "activity",
    "cid",
    ".path",
    ".long",
    ";",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "#{",
    ": ",
    ", ",
    "1",
    "0",
    "-",
    " + ",
    " * ",
    " / ",
    " == ",
    " < ",
    " && ",
    "!",
    "if ",
    " else ",
    "while ",
    "loop ",
    "for x in ",
    "0..9",
    "fn f(x) ",
    "f(",
    "return ",
    "break",
    "\"a\"",
    "`${",
    "}`",
    ".len()",
    ".push(",
    ".split(\",\")",
    "|x| ",
    ".map(",
    "throw ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever the source is: nothing panics, and a second run ends as the first one.
    #[test]
    fn random_scripts_end_in_one_way(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
        let source: String = words.into_iter().map(|word| WORDS[word]).collect();
        let scripts = Scripts::new();
        prop_assert_eq!(run(&scripts, &source), run(&scripts, &source));
    }

    #[test]
    fn random_texts_are_no_danger(source in "\\PC{0,200}") {
        let scripts = Scripts::new();
        prop_assert_eq!(run(&scripts, &source), run(&scripts, &source));
    }
}
