//! The conformance suite of the log: written once, run by every provider.
//!
//! Two layers are tested: the bare `LogStore` and `Table` of a provider, and the `Log` service
//! over it. A new provider implements [`provider::Provider`] and gets a line in [`suite`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on ends by panicking"
)]

#[path = "conformance/damage.rs"]
mod damage;
#[path = "conformance/erasing.rs"]
mod erasing;
#[path = "conformance/failing.rs"]
mod failing;
#[path = "conformance/journal.rs"]
mod journal;
#[path = "conformance/model.rs"]
mod model;
#[path = "conformance/provider.rs"]
mod provider;
#[path = "conformance/rules.rs"]
mod rules;
#[path = "conformance/samples.rs"]
mod samples;
#[path = "conformance/service.rs"]
mod service;
#[path = "conformance/store.rs"]
mod store;
#[path = "conformance/table.rs"]
mod table;

/// Runs every case for every provider.
macro_rules! suite {
    ($($layer:ident: $($case:ident),+;)+) => {
        suite!(@provider memory, crate::provider::Memory, $($layer: $($case),+;)+);
        suite!(@provider sled, crate::provider::Sled, $($layer: $($case),+;)+);
        suite!(@provider sled_small, crate::provider::Small, $($layer: $($case),+;)+);
    };
    (@provider $name:ident, $provider:ty, $($layer:ident: $($case:ident),+;)+) => {
        mod $name {
            $(mod $layer {
                $(#[test]
                fn $case() {
                    crate::$layer::$case::<$provider>();
                })+
            })+
        }
    };
}

suite! {
    store: an_empty_log, batches_are_atomic, positions_are_dense, duplicates_are_refused,
        firsts_and_bodies_are_checked, reads_at_every_boundary, reads_while_writing, reopening,
        a_batch_of_one, a_batch_of_ten_thousand, bodies_of_every_size, one_body_in_many_streams,
        once_keys, the_admission_state;
    table: scans_at_every_boundary, all_below_a_prefix_are_removed, batches_are_atomic,
        values_of_every_size, reopening, writing_from_many_threads;
    service: appends_and_answers, bodies_once_and_positions_dense, repeated_bodies,
        local_recipients_share_the_batch, once_keys_race, once_keys_outlive_a_restart,
        position_races, refusals_leave_no_trace, a_panicking_guard, neighbours_in_a_group,
        foreign_ids_are_unique, the_largest_activity, a_queue_has_an_end, closing,
        a_large_group_is_cut;
    failing: a_failing_append_poisons, an_unclear_append_poisons, a_failing_sync_poisons,
        a_full_store_recovers, answers_of_a_failed_group;
    erasing: a_stub_takes_the_place, what_cannot_be_erased, the_service_erases,
        readers_beside_erasures;
    model: the_store_behaves_like_the_model, the_service_behaves_like_the_model,
        the_table_behaves_like_the_model;
}
