//! The same set of activities gives the same state, whatever order it arrives in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use fedsx_projections::Fold;
use fedsx_projections::folds::{
    ActorState, Announces, Collections, Endorsements, FollowerGraph, Hashtags, KeyHistory, Objects,
    PeerActors, Reactions, Replies, Reports,
};
use proptest::prelude::*;

/// Records of the instance itself keep their order: they are one stream of its own making.
fn arrive(said: &[Said], order: &[usize]) -> Vec<Said> {
    let mut local = said.iter().filter(|(_, local)| *local);
    order
        .iter()
        .filter_map(|index| said.get(*index))
        .map(|item| if item.1 { local.next().unwrap() } else { item })
        .cloned()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn arrival_does_not_matter(
        (ops, orders) in ops().prop_flat_map(|ops| {
            let indices: Vec<usize> = (0..ops.len()).collect();
            (Just(ops), prop::collection::vec(Just(indices).prop_shuffle(), 2))
        })
    ) {
        let folds: [&dyn Fold; 12] = [
            &ActorState, &Announces, &Endorsements, &FollowerGraph, &KeyHistory, &Objects, &PeerActors,
            &Collections, &Hashtags, &Reactions, &Replies, &Reports,
        ];
        let said = build(&ops);
        for one in folds {
            let expected = fold(one, &records(&said));
            let expected_shown = shown(one, &records(&said));
            for order in &orders {
                let arrived = arrive(&said, order);
                let found = fold(one, &records(&arrived));
                prop_assert_eq!(&shown(one, &records(&arrived)), &expected_shown, "{}", one.name());
                prop_assert_eq!(&found, &expected, "{}", one.name());
            }
        }
    }
}
