//! The matrix of plans/interop.md, which the tests with other implementations keep true: each
//! test says what it showed, and fails unless the document's cells with its mark are the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The document, as rows of its tables.
pub struct Matrix {
    rows: Vec<Vec<String>>,
}

impl Matrix {
    pub fn read() -> Self {
        Self::of("plans/interop.md")
    }

    /// The tables of another document.
    pub fn of(path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tables = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
        let row = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect();
        Self { rows: tables.map(row).collect() }
    }

    /// All rows of all tables, headings and dashes included.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The rows of the table whose first heading this is, with its headings.
    pub fn table(&self, first_heading: &str) -> (&[String], &[Vec<String>]) {
        let start = self.rows.iter().position(|row| row[0] == first_heading);
        let start = start.unwrap_or_else(|| panic!("no table {first_heading:?}"));
        let (headings, rest) = (&self.rows[start], &self.rows[start + 1..]);
        // A line of dashes stands under every row of headings, so the next one ends this table.
        let dashes = |row: &Vec<String>| row.iter().all(|cell| cell.starts_with("--"));
        let next = rest.iter().skip(1).position(dashes);
        (headings, &rest[1..next.unwrap_or(rest.len())])
    }

    /// Marks and the tests that they stand for.
    pub fn marks(&self) -> Vec<(String, String)> {
        let (_, rows) = self.table("mark");
        rows.iter().map(|row| (row[0].clone(), row[1].trim_matches('`').to_owned())).collect()
    }

    /// (feature, heading) of the cells that bear a mark.
    pub fn cells(&self, mark: &str) -> BTreeSet<(String, String)> {
        let (headings, rows) = self.table("feature");
        let mut found = BTreeSet::new();
        for row in rows {
            for (cell, heading) in row.iter().zip(headings).skip(1) {
                if cell.split_whitespace().any(|one| one == mark) {
                    found.insert((row[0].clone(), heading.clone()));
                }
            }
        }
        found
    }
}

/// What one test shows with one peer.
pub struct Shows {
    mark: &'static str,
    peer: &'static str,
    shown: BTreeSet<(String, String)>,
}

impl Shows {
    pub fn of(mark: &'static str, peer: &'static str) -> Self {
        Self { mark, peer, shown: BTreeSet::new() }
    }

    /// The peer understood what an instance of ours did.
    pub fn out(&mut self, feature: &str) {
        self.shown.insert((feature.to_owned(), format!("to {}", self.peer)));
    }

    /// An instance of ours understood what the peer did.
    pub fn back(&mut self, feature: &str) {
        self.shown.insert((feature.to_owned(), format!("from {}", self.peer)));
    }
}

impl Drop for Shows {
    /// A test that came to its end has shown all that the document says, and no more.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let told = Matrix::read().cells(self.mark);
            assert_eq!(
                self.shown, told,
                "{} in plans/interop.md is what its test shows",
                self.mark
            );
        }
    }
}
