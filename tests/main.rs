//! Black-box tests: the built binary over real sockets, one file per capability.
//!
//! Every test starts its own nodes on ports that the system picks and in directories of its own,
//! so all of them can run at once. Nothing waits a fixed time: [`support::poll`] asks again until
//! a deadline.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that cannot go on ends by panicking, and reads the real clock"
)]

mod support;

mod activitypub_rules;
mod actor_lifecycle;
mod archive;
mod authorized_fetch;
mod backfill;
mod backup;
mod backup_keys;
mod bad_input;
mod client_to_server;
mod collections;
mod config;
mod dashboards;
mod define_example;
mod define_kinds;
mod define_projection;
mod define_trigger;
mod delivery_faults;
mod delivery_queue;
mod delivery_set;
mod discovery;
mod disk_damage;
mod disk_faults;
mod doctor;
mod durability;
mod erasure;
mod fedify;
mod follow_lifecycle;
mod follower_sync;
mod format_fixtures;
mod forwarding;
mod gap_healing;
mod hostile;
mod hostile_servers;
mod http_multi_actor;
mod inbox;
mod interop;
mod interop_inputs;
mod kept_answers;
mod key_intervals;
mod key_rotation;
mod lemmy;
mod limits;
mod log_check;
mod merkle;
mod moderation;
mod moderation_counts;
mod moderation_lists;
mod moderation_shown;
mod moves;
mod nx_kernel_multi;
mod observability;
mod operator;
mod peer_probe;
mod privacy;
mod projections;
mod readiness;
mod reports;
mod rich_verbs;
mod shown;
mod signing;
mod smoke_federate;
mod tokens;
mod traces;
mod verify_cmd;
mod wrong_caller;
