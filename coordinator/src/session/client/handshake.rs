//! The first packets of a connection: a new session, or an old one again.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answers::Welcome;
use super::requests;

/// Longest first answer taken: it has 37 bytes.
const WELCOME_BYTES_MAX: usize = 1024;

/// What a client must know to take its session up again.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct Identity {
    /// Owner of the session's ephemerals.
    pub(in super::super) id: i64,
    password: Vec<u8>,
    /// As granted.
    pub(in super::super) timeout: Duration,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a server did not take us.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Refused {
    /// The session to be taken up again is gone.
    #[error("session expired")]
    Expired,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("it does not speak ZooKeeper's protocol")]
    Protocol,
}

/// Connects to `address` (`host:port`) and asks for a session of `timeout`; `again`: for that one.
pub(super) async fn connect(
    address: &str,
    timeout: Duration,
    again: Option<&Identity>,
) -> Result<(TcpStream, Identity), Refused> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let hello = match again {
        Some(session) => requests::connect(timeout_ms, session.id, &session.password),
        None => requests::connect(timeout_ms, 0, &[0; 16]),
    };
    stream.write_all(&hello).await?;
    let length = usize::try_from(stream.read_i32().await?).map_err(|_| Refused::Protocol)?;
    if length > WELCOME_BYTES_MAX {
        return Err(Refused::Protocol);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    let welcome = Welcome::decode(&bytes).map_err(|_| Refused::Protocol)?;
    let granted = u64::try_from(welcome.timeout_ms).unwrap_or_default();
    if granted == 0 || welcome.id == 0 {
        return Err(Refused::Expired);
    }
    if again.is_some_and(|session| session.id != welcome.id) {
        return Err(Refused::Protocol);
    }
    let session = Identity {
        id: welcome.id,
        password: welcome.password,
        timeout: Duration::from_millis(granted),
    };
    Ok((stream, session))
}
