//! Projections: state that is folded from the log.
//!
//! A [`Fold`] says what a record changes in keyed state; [`Projections`] runs one actor for each
//! fold, keeps state and checkpoint in one batch, and answers queries. [`builtin`] lists the folds
//! that every instance has.
//!
//! *Invariant:* a fold reads no clock, no randomness and no network; it sees state and one record.
#![forbid(unsafe_code)]

mod batch;
mod changes;
mod cursors;
pub mod digest;
pub mod display;
mod engine;
pub mod error;
pub mod fold;
pub mod folds;
mod in_memory;
mod layout;
mod offline;
mod packed;
pub mod published;
pub mod query;
mod reader;
mod render;
mod seen;
pub mod set_aside;
pub mod shield;
mod source;
mod step;
mod table_state;

pub use digest::{Digest, is_stale, rebuild_digest, stored_digest};
pub use engine::{
    Change, Changes, Info, News, Options, Point, Projections, Rebuilding, Rebuilt, Subscription,
};
pub use error::{FoldError, OpenError, QueryError};
pub use fold::{Context, Fold, Scope, Visibility};
pub use folds::builtin;
pub use offline::{Rebuilds, rebuild_stored};
pub use query::{Item, MAX_LIMIT, Page, Query};
pub use reader::{Reader, Shown};
pub use render::Bodies;
pub use set_aside::{SetAside, Verdict};
pub use source::{Source, StoreSource};
