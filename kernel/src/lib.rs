//! The fedsx kernel: signed activities, the append-only log, admission and the
//! pipelines that lead into the log.
//!
//! The kernel names no verb, no object type, no URL route and no projection, and it
//! has no HTTP code. What a verb means is supplied through the traits in [`rules`].
#![forbid(unsafe_code)]

pub mod activity;
pub mod address;
pub mod backup;
pub mod canonical;
pub mod cid;
pub mod hosts;
pub mod json;
pub mod kernel;
pub mod keys;
pub mod log;
pub mod merkle;
pub mod metrics;
pub mod order;
pub mod pipeline;
pub mod proof;
pub mod refusal;
pub mod rules;
pub mod runtime;
pub mod state;
pub mod supervision;
pub mod tokens;
pub mod trace;

pub use activity::Activity;
pub use address::{ActorName, Base, origin_of};
pub use cid::Cid;
pub use kernel::{Kernel, KernelOptions, Publish, Published};
pub use order::Order;
pub use refusal::{Problem, Refusal};
