//! plans/interop.md: what it names is there. That its cells are true is checked by the tests that
//! they name ([`Shows`](crate::support::matrix::Shows)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::matrix::Matrix;

/// The source of the module of a test, such as `fedify::life`.
fn source(module: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let file = tests.join(format!("{}.rs", module.replace("::", "/")));
    fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
fn the_matrix_names_tests_that_exist() {
    let matrix = Matrix::read();
    let marks: BTreeMap<_, _> = matrix.marks().into_iter().collect();
    assert_eq!(marks.len(), matrix.marks().len(), "each mark stands for one test");
    for (mark, test) in &marks {
        let (module, function) = test.rsplit_once("::").expect("a module and a function");
        let text = source(module);
        assert!(text.contains(&format!("#[test]\nfn {function}() {{")), "{mark}: {test}");
        // What is shown with a peer is recorded under the mark.
        if !mark.starts_with('O') {
            assert!(text.contains(&format!("\"{mark}\"")), "{mark} in {module}");
        }
    }
    let (headings, rows) = matrix.table("feature");
    let mut features: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    features.sort_unstable();
    assert!(features.windows(2).all(|pair| pair[0] != pair[1]), "each feature once");
    for row in rows {
        assert_eq!(row.len(), headings.len(), "{}", row[0]);
        for cell in &row[1..] {
            let words: Vec<_> = cell.split_whitespace().collect();
            let known = words.iter().filter(|word| marks.contains_key(**word)).count();
            let looks =
                |word: &str| word.len() > 1 && word[1..].bytes().all(|b| b.is_ascii_digit());
            let tests = words.iter().filter(|word| looks(word)).count();
            assert!(known == tests, "{}: {cell:?} names a test that is not listed", row[0]);
            assert!(known == 0 || known == words.len(), "{}: {cell:?}", row[0]);
            assert!(!words.is_empty(), "{}: an empty cell says nothing", row[0]);
        }
    }
}
