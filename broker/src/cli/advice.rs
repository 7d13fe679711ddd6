//! What to do about a broker that does not start: a line below the error, where there is something.

use std::error::Error;
use std::io::ErrorKind;

use nyala_coordinator::embedded;
use nyala_coordinator::session::SessionError;

use crate::broker::StartError;
use crate::storage::LogDirsError;

/// The error of a broker, with what to do about it.
pub(super) fn of_broker(error: &StartError) -> Box<dyn Error> {
    let advice = match error {
        StartError::NoZooKeeper => {
            "set it in the file or by --override; `nyala dev` brings its own ZooKeeper"
        }
        StartError::Session(SessionError::Unreachable { .. }) => {
            "is ZooKeeper running there? zookeeper.connect names it; `nyala dev` brings its own"
        }
        StartError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => {
            "another process listens there: end it, or choose another port (listeners, `nyala dev --port`)"
        }
        StartError::Logs(LogDirsError::Locked(_)) => {
            "another broker runs on it: end that one, or choose another folder (log.dirs)"
        }
        _ => return error.to_string().into(),
    };
    format!("{error}\n  {advice}").into()
}

/// The error of the embedded ZooKeeper, with what to do about it.
pub(super) fn of_zookeeper(error: &embedded::StartError) -> Box<dyn Error> {
    let advice = match error {
        embedded::StartError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => {
            "is another ZooKeeper or `nyala dev` running? --zookeeper-port chooses another port"
        }
        embedded::StartError::Open(embedded::OpenError::Locked { .. }) => {
            "is another `nyala dev` running? --data chooses another folder"
        }
        _ => return error.to_string().into(),
    };
    format!("{error}\n  {advice}").into()
}
