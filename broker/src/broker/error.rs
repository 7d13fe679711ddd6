//! Why a broker does not start.

use std::io;

use nyala_coordinator::session::SessionError;

use crate::config::Fault;

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `zookeeper.connect` is missing.
    #[error("missing required configuration zookeeper.connect, which has no default value")]
    NoZooKeeper,
    /// ZooKeeper cannot be reached.
    #[error("zookeeper: {0}")]
    Session(#[from] SessionError),
    /// A setting shows to be wrong only now.
    #[error(transparent)]
    Setting(#[from] Fault),
    /// An address cannot be listened on.
    #[error("cannot listen on {listener}: {source}")]
    Listen {
        /// The listener, as it is written in the settings.
        listener: String,
        /// The operating system's answer.
        source: io::Error,
    },
}
