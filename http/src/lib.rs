//! The server: routes, authentication, content negotiation, problem documents.
//!
//! Handlers reach data only through handles (kernel, projections, delivery); none knows a
//! database. [`Server`] runs the accept loop over an injected [`Listener`].

mod app;
mod body;
mod caller;
pub mod capability;
mod collection;
mod dated;
mod front;
mod head_timer;
mod hot;
mod limits;
mod listener;
pub mod metrics;
mod negotiate;
mod pages;
mod problem;
mod process;
mod readiness;
mod request_id;
mod routes;
mod server;
mod starting;
mod visibility;

pub use app::{App, AppParts, HttpOptions, Readiness};
pub use listener::{Accepting, Connection, Listener, TcpAcceptor};
pub use readiness::Reason;
pub use routes::ROUTES;
pub use server::{Server, ServerError};
pub use starting::Starting;
