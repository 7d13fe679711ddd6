//! Read/write lock: many readers or one writer, in the order of asking.
//!
//! ```text
//! PATH/5f0c...e1__rlock__0000000003   ephemeral: reads
//! PATH/a93b...07__rlock__0000000004   ephemeral: reads
//! PATH/c2d4...9a__lock__0000000005    ephemeral: waits to write, watches ...04
//! PATH/77e1...b2__rlock__0000000006   ephemeral: waits to read, watches the writer ...05
//! ```
//!
//! *Guarantee*: a writer is alone; readers share; who asked first is served first, so neither kind starves.
//! A writer's fence is larger than that of every holder before it. Contends with kazoo's `ReadLock` and
//! `WriteLock`, or with Curator's `InterProcessReadWriteLock` under [`Layout::Curator`].
//! *On session loss*: as with [`Lock`](super::Lock).
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::RwLock;
//!
//! let table = RwLock::new(&session, "/locks/table")?;
//! let reading = table.read().await?;
//! reading.release().await?;
//! let writing = table.write_within(std::time::Duration::from_secs(5)).await?;
//! println!("write with token {}", writing.fence());
//! # Ok(()) }
//! ```

use std::time::Duration;

use crate::session::Session;

use super::error::RecipeError;
use super::hold::Hold;
use super::line::{Entrant, Line};
use super::turn::{Kind, Layout};

/// A read/write lock at a path. A handle (with its clones) holds it once at a time, for one of both: what
/// is held for reading cannot be had for writing too.
#[derive(Clone, Debug)]
pub struct RwLock {
    line: Line,
}

impl RwLock {
    /// At `path`, whose folder is made when it is missing.
    pub fn new(session: &Session, path: impl Into<String>) -> Result<Self, RecipeError> {
        let line = Line::new(session, path.into())?;
        Ok(Self { line })
    }

    /// What others see of us in [`entrants`](Self::entrants).
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.line.data = data.into();
        self
    }

    /// Under whose names to contend; everybody at one path must agree.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.line.layout = layout;
        self
    }

    /// Waits until all writers that asked before are done.
    pub async fn read(&self) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Read, None).await
    }

    /// As [`read`](Self::read), at most so long.
    pub async fn read_within(&self, limit: Duration) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Read, Some(limit)).await
    }

    /// Reads if no writer has it or waits for it.
    pub async fn try_read(&self) -> Result<Option<Hold>, RecipeError> {
        self.line.try_acquire(Kind::Read).await
    }

    /// Waits until all that asked before are done.
    pub async fn write(&self) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Write, None).await
    }

    /// As [`write`](Self::write), at most so long.
    pub async fn write_within(&self, limit: Duration) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Write, Some(limit)).await
    }

    /// Writes if nobody has it.
    pub async fn try_write(&self) -> Result<Option<Hold>, RecipeError> {
        self.line.try_acquire(Kind::Write).await
    }

    /// Those who hold and those who wait, in order.
    pub async fn entrants(&self) -> Result<Vec<Entrant>, RecipeError> {
        self.line.entrants().await
    }
}

#[cfg(test)]
mod tests;
