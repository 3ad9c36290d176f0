//! A fold that keeps no content gives the same state for what is left of an erased activity.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::*;
use fedsx_genesis::erasure::stub_of;
use fedsx_kernel::log::Stream;
use fedsx_projections::builtin;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn stubs_give_the_same_state(ops in ops()) {
        let whole = records(&build(&ops));
        let objects: BTreeSet<&str> =
            whole.iter().filter_map(|record| record.activity.object_id()).collect();
        let objects: Vec<&str> = objects.into_iter().filter(|id| id.contains("/notes/")).collect();
        let mut erased = whole.clone();
        for record in &mut erased {
            for object in objects.iter().filter(|_| record.entry.stream != Stream::Local) {
                if let Some(stub) = stub_of(&record.activity, object).unwrap() {
                    record.activity = Arc::new(stub);
                }
            }
        }
        for one in builtin().iter().filter(|one| !one.keeps_content()) {
            prop_assert_eq!(fold(&**one, &erased), fold(&**one, &whole), "{}", one.name());
        }
        let notes = erased.iter().filter(|record| {
            record.entry.stream != Stream::Local
                && matches!(record.activity.kind(), "Create" | "Update")
                && record.activity.object_id().is_some_and(|id| id.contains("/notes/"))
        });
        let content = notes.filter_map(|record| record.activity.object()?.get("content"));
        prop_assert_eq!(content.count(), 0, "what was said of objects is erased");
    }
}
