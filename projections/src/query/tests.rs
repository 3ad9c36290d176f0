#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use fedsx_kernel::state::MemoryState;
use serde_json::json;

use super::*;

/// Rows `0` to `count - 1`.
fn rows(count: usize) -> MemoryState {
    MemoryState((0..count).map(|n| (format!("{n:05}"), json!(n))).collect())
}

/// One row is shown and those before it are hidden: a page looks at so many of them, and the next one
/// goes on there.
#[test]
fn hidden_rows_make_short_pages() {
    for newest_first in [false, true] {
        for (hidden, is_found) in [(MAX_EXAMINED - 1, true), (MAX_EXAMINED, false)] {
            let state = rows(hidden + 1);
            let place = if newest_first { 0 } else { hidden };
            let mut looked_at = 0;
            let mut page = |after: Option<String>| {
                let query = Query { after, limit: 9, newest_first, ..Query::default() };
                read(&state, &query, &mut |_, value| {
                    looked_at += 1;
                    Ok(Some(value).filter(|value| *value == json!(place)))
                })
                .unwrap()
            };
            let found = [Item { key: vec![format!("{place:05}")], value: json!(place) }];
            let (items, next) = page(None);
            if is_found {
                assert_eq!(items, found, "{hidden}");
                continue;
            }
            assert_eq!(items, [], "{hidden}");
            let Some(Next::Hidden(last)) = next else { panic!("{next:?}") };
            let (items, next) = page(Some(last));
            assert_eq!((items, next), (found.to_vec(), None), "the next page goes on");
            assert_eq!(looked_at, MAX_EXAMINED + 1, "each row was looked at once");
        }
    }
}
