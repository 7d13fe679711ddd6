//! Why a partition that is followed cannot simply go on.

use nyala_client::error::ConnectionError;

use super::FollowError;
use crate::storage::{AppendError, EpochEnd, StorageError};

/// Why a partition does not simply go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is followed no more, or in another epoch: it will be told.
    Gone,
    /// To be tried again after a pause; why.
    Later(String),
    /// Broken: not tried again until it is assigned anew; why.
    Failed(String),
    /// Our log parts from the leader's here.
    Diverged(EpochEnd),
    /// Our end is outside of the leader's log.
    OutOfRange,
}

impl From<FollowError> for Trouble {
    fn from(error: FollowError) -> Self {
        let storage = |error: StorageError| match error.is_no_space() {
            true => Self::Later(error.to_string()),
            false => Self::Failed(error.to_string()),
        };
        match error {
            FollowError::NotFollowing { .. } => Self::Gone,
            FollowError::Append(AppendError::Storage(error)) | FollowError::Storage(error) => {
                storage(error)
            }
            error => Self::Later(error.to_string()),
        }
    }
}

impl From<ConnectionError> for Trouble {
    fn from(error: ConnectionError) -> Self {
        Self::Later(error.to_string())
    }
}
