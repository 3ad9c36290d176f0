//! The engine: one actor for each projection, and the handle that answers for all of them.

mod handle;
mod projector;
mod runner;
mod shared;

pub use handle::{Info, Projections};
