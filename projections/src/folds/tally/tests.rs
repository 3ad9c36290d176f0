#![allow(clippy::unwrap_used)]

use fedsx_kernel::state::MemoryState;
use serde_json::json;

use super::*;

#[test]
fn so_many_statements_are_looked_at() {
    let (target, kind, bob) = ("https://a.example/notes/1", "🐄", "https://b.example/u/bob");
    let said = json!({ "type": "EmojiReact", "id": "https://b.example/1", "actor": bob,
        "to": "https://www.w3.org/ns/activitystreams#Public", "object": target, "content": kind });
    let activity = Activity::from_document(said).unwrap();
    let mut state = MemoryState::default();
    let id = activity.id();
    let statement = Statement { target, kind, by: bob, id, activity: &activity };
    take(&mut state, Counts::Apart, &statement).unwrap();
    let row = state.get(&entry_key(target, kind, bob)).unwrap().unwrap();
    let key = [target.to_owned(), kind.to_owned()];
    let left = |state: &MemoryState, count: usize| {
        let counted = (key.as_slice(), json!({ "count": count }));
        recounted(state, Counts::Apart, last_part, counted, &mut |_| Ok(true)).unwrap()
    };
    for n in 1..MAX_RECOUNTED {
        state.put(&entry_key(target, kind, &format!("https://c.example/{n}")), row.clone());
    }
    assert_eq!(left(&state, MAX_RECOUNTED), None, "all are left out");
    state.put(&entry_key(target, kind, "https://d.example/1"), row);
    assert_eq!(left(&state, MAX_RECOUNTED + 1), Some(json!({ "count": 1 })), "one was not seen");
}
