//! Every znode of a Kafka 3.9 cluster as typed calls: paths, JSON, and the rules of who may write.
//!
//! The layout and the JSON are Kafka's, so that a real broker in the same cluster understands every
//! node. What an operator or another program left in a node is never trusted: it is read or it is an
//! error. Nothing here decides anything; deciding is the callers' part.

mod admin;
mod brokers;
mod configs;
mod controller;
mod groups;
mod partitions;
pub mod paths;
pub mod payloads;
mod producer_ids;
mod root;
mod topics;

use crate::session::{MultiError, Session, ZkError};

pub use admin::LogDirEvents;
pub use brokers::RegisterError;
pub use configs::{ConfigChange, ConfigEntity};
pub use controller::{Controllership, Election, FencedError};
pub use groups::{GroupMember, OwnerClaim};
pub use partitions::{NewState, RefusedState};
pub use payloads::{
    BrokerRegistration, Endpoint, PartitionState, PayloadError, ProducerIdBlock, Reassignments,
    TopicAssignment,
};
pub use topics::{CreateTopicError, Placement, StoredTopic};

/// Typed access to the cluster's znodes through one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    session: Session,
}

impl Registry {
    /// On `session`.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session }
    }

    /// The session below.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// Why a registry call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// ZooKeeper refused, or could not be reached.
    #[error("{path}: {source}")]
    Zk {
        /// Node of the call.
        path: String,
        /// What went wrong.
        source: ZkError,
    },
    /// A node holds something that cannot be understood.
    #[error("{path}: {source}")]
    Payload {
        /// The node.
        path: String,
        /// What is wrong with it.
        source: PayloadError,
    },
}

impl RegistryError {
    /// Whether the same call may succeed later without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Zk { source, .. } if source.is_transient())
    }

    /// The ZooKeeper error, if it was one.
    #[must_use]
    pub fn zk(&self) -> Option<&ZkError> {
        match self {
            Self::Zk { source, .. } => Some(source),
            Self::Payload { .. } => None,
        }
    }
}

/// Names the node in an error.
trait At<T> {
    fn at(self, path: &str) -> Result<T, RegistryError>;
}

impl<T> At<T> for Result<T, ZkError> {
    fn at(self, path: &str) -> Result<T, RegistryError> {
        self.map_err(|source| RegistryError::Zk {
            path: path.to_owned(),
            source,
        })
    }
}

impl<T> At<T> for Result<T, MultiError> {
    fn at(self, path: &str) -> Result<T, RegistryError> {
        self.map_err(ZkError::from).at(path)
    }
}

impl<T> At<T> for Result<T, PayloadError> {
    fn at(self, path: &str) -> Result<T, RegistryError> {
        self.map_err(|source| RegistryError::Payload {
            path: path.to_owned(),
            source,
        })
    }
}
