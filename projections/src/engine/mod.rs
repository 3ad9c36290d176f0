//! The engine: one actor for each projection, and the handle that answers for all of them.

mod handle;
mod info;
mod operating;
mod past;
mod projector;
mod reading;
mod runner;
mod running;
mod shared;
mod stream;

pub use handle::Projections;
pub use info::{Info, Options, Rebuilding};
pub use reading::Point;
pub use shared::Rebuilt;
pub use stream::{Change, Changes, News, Subscription};

pub(crate) use runner::Runner;
pub(crate) use shared::{Halt, Shared};
