//! Lock: at most one holder, in the order of asking.
//!
//! ```text
//! PATH/5f0c...e1__lock__0000000007   ephemeral: holds; its czxid is the fence
//! PATH/a93b...07__lock__0000000008   ephemeral: waits, watches ...07
//! PATH/c2d4...9a__lock__0000000009   ephemeral: waits, watches ...08
//! ```
//!
//! *Guarantee*: first come, first served; one holder is valid at a time; every later holder has a larger
//! fence. Contends with kazoo's `Lock`, or with Curator's `InterProcessMutex` under [`Layout::Curator`].
//! *On session loss*: the hold ends at once, or when the lease runs out while ZooKeeper is out of reach; who
//! waits goes on waiting, with a new session from the end of the line.
//! *Costs*: three requests and no watch, uncontended; four and two events for one of many who wait; one more
//! each time that one before us leaves without a farewell (`farewell.rs`), as kazoo's and Curator's do. Who
//! waits right behind a holder of its own session has it before ZooKeeper has heard of the release. Who wants it
//! again after the others saves a write by [`pass_on`](Lock::pass_on): one that no hand-over has to wait for then.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::Lock;
//!
//! let lock = Lock::new(&session, "/locks/report")?.with_data("host 7");
//! let hold = lock.acquire().await?;
//! tokio::select! {
//!     written = write_report(hold.fence()) => written?,
//!     why = hold.lost() => return Err(why.into()),
//! }
//! hold.release().await?;
//! # Ok(()) }
//! # async fn write_report(_: nyala_coordinator::recipes::Fence) -> std::io::Result<()> { Ok(()) }
//! ```

use std::time::Duration;

use crate::session::Session;

use super::error::RecipeError;
use super::hold::Hold;
use super::line::{Entrant, Line};
use super::turn::{Kind, Layout};

/// A lock at a path. A handle (with its clones) holds it once at a time: it is not re-entrant.
#[derive(Clone, Debug)]
pub struct Lock {
    line: Line,
}

impl Lock {
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

    /// Waits for it. Dropping the future gives the place up.
    pub async fn acquire(&self) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Lock, None).await
    }

    /// Waits for it at most so long.
    pub async fn acquire_within(&self, limit: Duration) -> Result<Hold, RecipeError> {
        self.line.acquire(Kind::Lock, Some(limit)).await
    }

    /// Takes it if nobody has it; `None` if somebody has.
    pub async fn try_acquire(&self) -> Result<Option<Hold>, RecipeError> {
        self.line.try_acquire(Kind::Lock).await
    }

    /// Lets go of it and stands in line again, at the end, in one write instead of two: for who works in turns
    /// with others. Returns with the next hold, which has a fence of its own.
    ///
    /// Of a `hold` that is lost already nothing is left to let go of; one of another handle is released first.
    /// Dropping the future gives the place up; the hold is over in any case.
    pub async fn pass_on(&self, hold: Hold) -> Result<Hold, RecipeError> {
        self.line.pass_on(Kind::Lock, hold).await
    }

    /// The holder, then those who wait, in order. The first may just have let go: if it matters, compare
    /// fences.
    pub async fn entrants(&self) -> Result<Vec<Entrant>, RecipeError> {
        self.line.entrants().await
    }
}

#[cfg(test)]
mod tests;
