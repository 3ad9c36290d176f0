//! Cursors for pages that end among rows that are hidden from the reader.
//!
//! The place where such a page goes on is the key of a hidden row. The reader gets a random name
//! for it, which means something only to this process, and only for a while.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use fedsx_kernel::runtime::Random;

/// Cursors that are remembered.
const KEPT: usize = 1024;
/// How a cursor begins; no key that a query shows does.
const MARK: char = '~';

/// The cursors that were given out.
#[derive(Default)]
pub(crate) struct Cursors(Mutex<VecDeque<Cursor>>);

struct Cursor {
    name: String,
    projection: String,
    key: String,
}

impl Cursors {
    /// Whether a text is the name of a cursor, and no key.
    pub(crate) fn is_cursor(after: &str) -> bool {
        after.starts_with(MARK)
    }

    /// A name for a key.
    pub(crate) fn keep(&self, projection: &str, key: String, random: &dyn Random) -> String {
        let mut name = String::from(MARK);
        for byte in random.bytes::<16>() {
            // Writing to a text does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= KEPT {
            held.pop_front();
        }
        held.push_back(Cursor { name: name.clone(), projection: projection.to_owned(), key });
        name
    }

    /// The key that a cursor stands for.
    pub(crate) fn find(&self, projection: &str, name: &str) -> Option<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            held.iter().find(|cursor| cursor.name == name && cursor.projection == projection);
        found.map(|cursor| cursor.key.clone())
    }
}
