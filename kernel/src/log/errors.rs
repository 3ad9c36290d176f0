use thiserror::Error;

use super::store::{OnceValue, StoreError};
use crate::cid::Cid;
use crate::refusal::{Problem, Refusal};
use crate::state::StateError;

/// Why nothing was appended.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The last check refused it.
    #[error(transparent)]
    Refused(Refusal),
    /// Another append took the position: an earlier one of this author failed or came between.
    #[error("the outbox is at {found}, not at {expected}")]
    Position {
        /// Where the append belongs.
        expected: u64,
        /// Where the outbox is.
        found: u64,
    },
    /// The once key was used before.
    #[error("the once key was used for {}", .0.cid)]
    OnceTaken(Box<OnceValue>),
    /// Another version of this foreign id is held; the first one wins.
    #[error("{id} is held as {held}")]
    OtherVersion {
        /// The id.
        id: String,
        /// What is held under it.
        held: Cid,
    },
    /// Nobody here is addressed by it or follows its author.
    #[error("it concerns nobody here")]
    NobodyConcerned,
    /// The body to erase is not held, or nothing but the stub is left of it.
    #[error("there is nothing of {0} to erase")]
    NothingToErase(Cid),
    /// The body cannot be encoded.
    #[error("the body cannot be stored: {0}")]
    Unstorable(String),
    /// Too many appends wait.
    #[error("too many appends wait for the log")]
    Busy,
    /// The writer is gone.
    #[error("the log is closed")]
    Closed,
    /// Admission state could not be read.
    #[error("{0}")]
    State(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StateError> for AppendError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Storage(error) => Self::Store(error),
            error @ StateError::Shape { .. } => Self::State(error.to_string()),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Full(_) => Problem::StorageFull,
            StoreError::Poisoned(_) => Problem::StorePoisoned,
            _ => Problem::Internal,
        };
        Refusal::new(problem, error.to_string())
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Storage(error) => error.into(),
            error @ StateError::Shape { .. } => Refusal::new(Problem::Internal, error.to_string()),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(refusal) => refusal,
            AppendError::Store(error) => error.into(),
            AppendError::Busy | AppendError::Closed => {
                Refusal::new(Problem::Busy, error.to_string())
            }
            AppendError::Position { .. } => Refusal::new(Problem::Conflict, error.to_string()),
            AppendError::OnceTaken(_) => {
                Refusal::new(Problem::IdempotencyConflict, error.to_string())
            }
            AppendError::Unstorable(_) => Refusal::new(Problem::InvalidActivity, error.to_string()),
            AppendError::NothingToErase(_) => Refusal::new(Problem::Erased, error.to_string()),
            AppendError::NobodyConcerned => Refusal::new(Problem::UnknownActor, error.to_string()),
            other => Refusal::new(Problem::Internal, other.to_string()),
        }
    }
}
