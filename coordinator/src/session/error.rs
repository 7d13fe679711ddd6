//! What can go wrong with a session and with a call on it.
//!
//! The one distinction that matters to callers: was the write refused, was it never sent, or is its
//! outcome unknown? Whatever ends a connection under a call is [`ZkError::Unknown`] to it.

use std::time::Duration;

use crate::protocol::error;

/// Why no session could be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The connect string cannot be read.
    #[error("zookeeper connect string {connect:?} is not usable: {reason}")]
    BadConnectString {
        /// As given.
        connect: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No server answered in time.
    #[error("no ZooKeeper session at {connect} within {} ms: {reason}", waited.as_millis())]
    Unreachable {
        /// As given.
        connect: String,
        /// The limit that ran out.
        waited: Duration,
        /// The last attempt's error.
        reason: String,
    },
    /// The server refused the identity.
    #[error("ZooKeeper at {connect} refused the identity of {user:?}")]
    AuthFailed {
        /// As given.
        connect: String,
        /// User of the digest identity, empty if there was none.
        user: String,
    },
    /// The chroot is missing and was not to be made.
    #[error("ZooKeeper at {connect} has no node {chroot:?} for the chroot")]
    ChrootMissing {
        /// As given.
        connect: String,
        /// The missing path.
        chroot: String,
    },
    /// The session's own thread could not be started.
    #[error("cannot start the ZooKeeper thread: {0}")]
    Thread(String),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZkError {
    /// There is no such node, or no such parent.
    #[error("node does not exist")]
    NoNode,
    /// There is such a node already.
    #[error("node exists")]
    NodeExists,
    /// The node has another version than the call named.
    #[error("node has another version")]
    BadVersion,
    /// The node has children.
    #[error("node has children")]
    NotEmpty,
    /// The parent is ephemeral.
    #[error("an ephemeral node cannot have children")]
    NoChildrenForEphemerals,
    /// The node's ACL does not allow the call.
    #[error("not authorised by the node's ACL")]
    NoAuth,
    /// The ACL is not one.
    #[error("the ACL is not valid")]
    InvalidAcl,
    /// The session that the call was made on is gone, and all its ephemerals with it.
    #[error("session expired")]
    SessionExpired,
    /// There was no connection up to the deadline, or too many calls were before this one; nothing was written.
    #[error("not connected to ZooKeeper for {} ms", waited.as_millis())]
    NotConnected {
        /// How long the call waited.
        waited: Duration,
    },
    /// Sent, or about to be, but no answer came: the write may or may not have happened.
    #[error("connection lost or answer overdue: the outcome is unknown")]
    Unknown,
    /// More than ZooKeeper's packet limit; it would close the connection. Nothing was sent.
    #[error("request has {bytes} bytes, at most {max} fit a ZooKeeper packet")]
    TooLarge {
        /// Size of the data.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An operation of a failed multi that is not the one to blame.
    #[error("another operation of the same transaction failed")]
    OtherFailed,
    /// The server answered with something else.
    #[error("ZooKeeper refused: {0}")]
    Refused(String),
    /// The session was closed by its owner.
    #[error("session is closed")]
    Closed,
}

impl ZkError {
    /// Whether the same call may succeed later without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. } | Self::Unknown | Self::SessionExpired
        )
    }

    /// What a server's error number says (`KeeperException.Code`); `None`: it was done.
    pub(super) fn of(code: i32) -> Option<Self> {
        Some(match code {
            0 => return None,
            error::NO_NODE => Self::NoNode,
            error::NO_AUTH => Self::NoAuth,
            error::BAD_VERSION => Self::BadVersion,
            error::NO_CHILDREN_FOR_EPHEMERALS => Self::NoChildrenForEphemerals,
            error::NODE_EXISTS => Self::NodeExists,
            error::NOT_EMPTY => Self::NotEmpty,
            error::SESSION_EXPIRED => Self::SessionExpired,
            error::INVALID_ACL => Self::InvalidAcl,
            error::RUNTIME_INCONSISTENCY => Self::OtherFailed,
            // Connection lost behind the server, out of time there, session moved to another server.
            error::CONNECTION_LOSS | error::OPERATION_TIMEOUT | error::SESSION_MOVED => {
                Self::Unknown
            }
            error::MARSHALLING_ERROR => Self::Refused("it cannot read the request".to_owned()),
            error::UNIMPLEMENTED => Self::Refused("it does not know that operation".to_owned()),
            error::BAD_ARGUMENTS => Self::Refused("bad arguments".to_owned()),
            error::AUTH_FAILED | error::SESSION_CLOSED_REQUIRE_SASL_AUTH => {
                Self::Refused("the identity is not accepted".to_owned())
            }
            error::NOT_READ_ONLY => Self::Refused("it is read-only now".to_owned()),
            error::NO_WATCHER => Self::Refused("there is no such watch".to_owned()),
            error::QUOTA_EXCEEDED => Self::Refused("a quota would be exceeded".to_owned()),
            error::THROTTLED_OP => Self::Refused("it has too much to do".to_owned()),
            code => Self::Refused(format!("error {code}")),
        })
    }
}

/// Why a multi failed; nothing of it was done unless `error` is [`ZkError::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{error}", index.map(|i| format!("operation {i} of a transaction: ")).unwrap_or_default())]
pub struct MultiError {
    /// The operation to blame, from 0; `None` when it was the whole request.
    pub index: Option<usize>,
    /// What went wrong.
    pub error: ZkError,
}

impl From<MultiError> for ZkError {
    fn from(e: MultiError) -> Self {
        e.error
    }
}

impl From<ZkError> for MultiError {
    fn from(error: ZkError) -> Self {
        Self { index: None, error }
    }
}
