//! Projections: state that is folded from the log.
//!
//! A [`Fold`] says what a record changes in keyed state; [`Projections`] runs one actor for each
//! fold, keeps state and checkpoint in one batch, and answers queries. [`builtin`] lists the folds
//! that every instance has.
//!
//! *Invariant:* a fold reads no clock, no randomness and no network; it sees state and one record.
#![forbid(unsafe_code)]

pub mod digest;
mod engine;
pub mod error;
pub mod fold;
pub mod folds;
mod layout;
pub mod query;
mod step;
mod table_state;

pub use digest::{Digest, rebuild_digest, stored_digest};
pub use engine::{Info, Projections};
pub use error::{FoldError, OpenError, QueryError};
pub use fold::{Context, Fold, Scope, Visibility};
pub use folds::builtin;
pub use layout::SetAside;
pub use query::{Item, MAX_LIMIT, Page, Query};
pub use table_state::TableState;
