//! Why folding, opening or querying failed.

use fedsx_kernel::log::StoreError;
use fedsx_kernel::state::StateError;
use fedsx_kernel::supervision::StartError;
use fedsx_kernel::{Problem, Refusal};
use ractor::SpawnErr;
use thiserror::Error;

/// Why a fold did not take a record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FoldError {
    /// The record makes no sense to this fold: it is set aside and folding goes on. Depends on
    /// nothing but the fold's version, the state and the record.
    #[error("{0}")]
    Undigestible(String),
    /// State could not be read. [`StateError::Storage`] halts the projection.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why projections could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A fold has an impossible name, or the name of another one.
    #[error("{0:?} is not a name for another projection")]
    Name(String),
    /// The supervisor did not start.
    #[error("the supervisor did not start: {0}")]
    Supervisor(#[from] SpawnErr),
    /// A projection did not start, such as on a damaged table.
    #[error("the projection {name} did not start: {error}")]
    Start {
        /// The projection.
        name: String,
        /// What went wrong.
        error: StartError,
    },
    /// The table could not be read.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The blocking pool is gone.
    #[error("work could not be done, since the node stops")]
    Blocking,
}

/// Why a query was not answered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No projection has this name.
    #[error("there is no projection {0:?}")]
    Unknown(String),
    /// The projection did not reach the position in time; ask again later.
    #[error("the projection is at {reached}, not at {wanted}")]
    NotCaughtUp {
        /// Where it is.
        reached: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// The log does not reach to the position that was asked for.
    #[error("at: the log ends at {head}")]
    Future {
        /// Where it ends.
        head: u64,
    },
    /// Past state would take too many records to fold.
    #[error("at: past state takes {records} records to fold, and at most {limit} are folded")]
    TooManyRecords {
        /// How many it would take.
        records: u64,
        /// How many are folded at most.
        limit: u64,
    },
    /// Past state takes too much memory.
    #[error("at: past state takes more than {limit} bytes")]
    TooMuchState {
        /// How many bytes it may take.
        limit: u64,
    },
    /// The projection has no past state.
    #[error("at: {0:?} shows its present state only")]
    NoPast(String),
    /// The page that was asked for followed another one too long ago.
    #[error("after: this page is not remembered any more; begin with the first one")]
    Forgotten,
    /// Too much work of this kind is under way.
    #[error("too many {0} are under way")]
    Busy(&'static str),
    /// A build of the projection is being made already.
    #[error("{0:?} is being rebuilt already")]
    UnderWay(String),
    /// The projection is being started again.
    #[error("the projection {0:?} is being started again")]
    Unavailable(String),
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The table could not be read.
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let problem = match &error {
            QueryError::Unknown(_) => Problem::NotFound,
            QueryError::NotCaughtUp { .. } => Problem::NotCaughtUp,
            QueryError::Unavailable(_) | QueryError::Busy(_) => Problem::Busy,
            QueryError::UnderWay(_) => Problem::Conflict,
            QueryError::Future { .. }
            | QueryError::TooManyRecords { .. }
            | QueryError::TooMuchState { .. }
            | QueryError::NoPast(_)
            | QueryError::Forgotten => Problem::InvalidParameter,
            // Replaced below by what the storage says.
            QueryError::State(_) | QueryError::Storage(_) => Problem::Internal,
        };
        let refusal = Refusal::new(problem, error.to_string());
        match error {
            QueryError::State(error) => error.into(),
            QueryError::Storage(error) => error.into(),
            QueryError::Future { head } => refusal.with("parameter", "at").with("head", head),
            QueryError::TooManyRecords { limit, .. } | QueryError::TooMuchState { limit } => {
                refusal.with("parameter", "at").with("limit", limit)
            }
            QueryError::NoPast(_) => refusal.with("parameter", "at"),
            QueryError::Forgotten => refusal.with("parameter", "after"),
            _ => refusal,
        }
    }
}
