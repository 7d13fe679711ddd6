//! A barrier: everybody waits until it is opened.
//!
//! ```text
//!   PATH      persistent: while it is there, the barrier is closed      } as kazoo's and Curator's
//! ```
//!
//! **Guarantee.** [`wait`](Barrier::wait) returns only after a moment at which the barrier was open. One
//! that is opened and closed again at once may be missed by those who wait.
//! **On session loss** nothing is lost, because nobody holds anything: waiting goes on under the next
//! session, and a barrier stays closed when whoever closed it dies.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use nyala_coordinator::recipes::barrier::Barrier;
//!
//! let barrier = Barrier::new(session, "/release/1.2")?;
//! barrier.close().await?;                              // before the others are told of it
//! barrier.wait(Some(Duration::from_secs(60))).await?;  // elsewhere
//! barrier.open().await?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use super::error::{RecipeError, within};
use super::path::usable;
use super::patience::until_connected;
use crate::session::{Session, ZkError};

/// A barrier at a path. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Barrier {
    session: Session,
    path: String,
}

impl Barrier {
    /// At `path` (absolute, below the session's chroot); makes no znode yet. Fails if the path cannot be
    /// used.
    pub fn new(session: Session, path: &str) -> Result<Self, RecipeError> {
        let path = usable(path)?;
        Ok(Self { session, path })
    }

    /// Closes it; fine if it is closed.
    pub async fn close(&self) -> Result<(), RecipeError> {
        let made = self.session.ensure_path(&self.path).await;
        made.map_err(RecipeError::at(&self.path))
    }

    /// Opens it; `false` if it was open.
    pub async fn open(&self) -> Result<bool, RecipeError> {
        let mut sent = false;
        loop {
            match self.session.delete(&self.path, None).await {
                Ok(()) => return Ok(true),
                Err(ZkError::NoNode) => return Ok(sent),
                Err(ZkError::Unknown) => sent = true,
                Err(e) => return Err(RecipeError::at(&self.path)(e)),
            }
        }
    }

    /// Whether it is closed at this moment.
    pub async fn is_closed(&self) -> Result<bool, RecipeError> {
        let stat = self.session.exists(&self.path).await;
        Ok(stat.map_err(RecipeError::at(&self.path))?.is_some())
    }

    /// Waits until it is open, through lost connections and sessions. A `timeout` of `None`: however long
    /// it takes; otherwise it fails with `TimedOut`.
    pub async fn wait(&self, timeout: Option<Duration>) -> Result<(), RecipeError> {
        within(&self.path, timeout, self.wait_open()).await
    }

    async fn wait_open(&self) -> Result<(), RecipeError> {
        loop {
            match self.session.exists_watch(&self.path).await {
                Ok((None, _)) => return Ok(()),
                Ok((Some(_), watch)) => watch.changed().await,
                Err(e) if e.is_transient() => until_connected(&self.session).await,
                Err(e) => return Err(RecipeError::at(&self.path)(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
