//! Why a broker does not start.

use std::io;

use nyala_coordinator::registry::RegistryError;
use nyala_coordinator::session::SessionError;

use crate::cluster::{FoundError, JoinError};
use crate::config::Fault;
use crate::storage::{IdentityError, LogDirsError};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `zookeeper.connect` is missing.
    #[error("missing required configuration zookeeper.connect, which has no default value")]
    NoZooKeeper,
    /// ZooKeeper cannot be reached.
    #[error("zookeeper: {0}")]
    Session(#[from] SessionError),
    /// ZooKeeper holds something unreadable, or went away.
    #[error("zookeeper: {0}")]
    Registry(#[from] RegistryError),
    /// A setting shows to be wrong only now.
    #[error(transparent)]
    Setting(#[from] Fault),
    /// The log folders cannot be opened.
    #[error(transparent)]
    Logs(#[from] LogDirsError),
    /// The log folders are another broker's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// This broker does not belong to this cluster.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// The cluster does not take this broker.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// An address cannot be listened on.
    #[error("cannot listen on {listener}: {source}")]
    Listen {
        /// The listener, as it is written in the settings.
        listener: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A step that runs on the blocking pool was cut short.
    #[error("start was interrupted: {0}")]
    Interrupted(#[source] tokio::task::JoinError),
}
