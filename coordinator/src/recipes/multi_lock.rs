//! Multi-lock: several locks, all or none, without deadlock.
//!
//! ```text
//! /a/5f0c...e1__lock__0000000003   ephemeral: held
//! /b/a93b...07__lock__0000000011   ephemeral: held
//! /c/c2d4...9a__lock__0000000002   ephemeral: waits
//! ```
//!
//! The locks are those of [`Lock`](super::Lock), taken in the order of their paths whatever order they were
//! given in: so no two multi-locks ever wait for each other.
//! *Guarantee*: what a lock guarantees, of each; `fences` has the token of each path, and `fence`, the
//! largest, grows from holder to holder of the same paths.
//! *On session loss*: all are lost; the loss of one is the loss of the whole, and lets go of the others.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::MultiLock;
//!
//! let both = MultiLock::new(&session, ["/accounts/7", "/accounts/12"])?;
//! let hold = both.acquire().await?;
//! for (path, fence) in hold.fences() {
//!     println!("{path}: {fence}");
//! }
//! hold.release().await?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use futures::future::select_all;

use crate::session::Session;

use super::error::{RecipeError, within};
use super::fence::Fence;
use super::hold::{Hold, Loss};
use super::lock::Lock;
use super::turn::Layout;

/// Locks at several paths, held together. Not re-entrant, as each of them.
#[derive(Clone, Debug)]
pub struct MultiLock {
    /// In the order of their paths, each path once.
    locks: Vec<(String, Lock)>,
}

impl MultiLock {
    /// At `paths`: one at least, none of them twice.
    pub fn new<P: Into<String>>(
        session: &Session,
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, RecipeError> {
        let mut paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        paths.sort_unstable();
        let bad = |path: &str, reason| RecipeError::BadPath {
            path: path.to_owned(),
            reason,
        };
        if paths.is_empty() {
            return Err(bad("", "a multi-lock needs one path at least"));
        }
        for (one, next) in paths.iter().zip(paths.iter().skip(1)) {
            if one == next {
                return Err(bad(one, "it is given twice, and a lock is not re-entrant"));
            }
        }
        let lock = |path: String| Ok((path.clone(), Lock::new(session, path)?));
        let locks = paths.into_iter().map(lock).collect::<Result<_, _>>()?;
        Ok(Self { locks })
    }

    /// What others see of us in each lock.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        let with = |(path, lock): (String, Lock)| (path, lock.with_data(data.clone()));
        self.locks = self.locks.into_iter().map(with).collect();
        self
    }

    /// Under whose names to contend.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        let with = |(path, lock): (String, Lock)| (path, lock.with_layout(layout));
        self.locks = self.locks.into_iter().map(with).collect();
        self
    }

    /// Waits for all. Dropping the future lets go of those it has.
    pub async fn acquire(&self) -> Result<MultiHold, RecipeError> {
        loop {
            let mut holds = Vec::with_capacity(self.locks.len());
            for (path, lock) in &self.locks {
                holds.push((path.clone(), lock.acquire().await?));
            }
            let hold = MultiHold { holds };
            // One of the first may have been lost while the last was waited for.
            if hold.is_valid() {
                return Ok(hold);
            }
        }
    }

    /// Waits for all at most so long.
    pub async fn acquire_within(&self, limit: Duration) -> Result<MultiHold, RecipeError> {
        let paths: Vec<&str> = self.locks.iter().map(|(path, _)| path.as_str()).collect();
        within(&paths.join(" "), Some(limit), self.acquire()).await
    }

    /// Takes all if nobody has any of them; `None` if somebody has.
    pub async fn try_acquire(&self) -> Result<Option<MultiHold>, RecipeError> {
        let mut holds = Vec::with_capacity(self.locks.len());
        for (path, lock) in &self.locks {
            match lock.try_acquire().await? {
                Some(hold) => holds.push((path.clone(), hold)),
                None => {
                    MultiHold { holds }.release().await?;
                    return Ok(None);
                }
            }
        }
        let hold = MultiHold { holds };
        Ok(hold.is_valid().then_some(hold))
    }
}

/// Several locks that are held. Dropping it lets go of all, in the background.
#[derive(Debug)]
pub struct MultiHold {
    /// One at least.
    holds: Vec<(String, Hold)>,
}

impl MultiHold {
    /// The largest of the fencing tokens.
    #[must_use]
    pub fn fence(&self) -> Fence {
        let fences = self.holds.iter().map(|(_, hold)| hold.fence());
        fences.max().unwrap_or(Fence(0))
    }

    /// The fencing token of each path.
    pub fn fences(&self) -> impl Iterator<Item = (&str, Fence)> {
        let fences = self.holds.iter();
        fences.map(|(path, hold)| (path.as_str(), hold.fence()))
    }

    /// Whether all are certainly held.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.holds.iter().all(|(_, hold)| hold.is_valid())
    }

    /// Resolves when any is not held any more, and says why.
    pub async fn lost(&self) -> Loss {
        let lost = self.holds.iter().map(|(_, hold)| Box::pin(hold.lost()));
        select_all(lost).await.0
    }

    /// Lets go of all, in the reverse order; the first error, if any, after all were tried.
    pub async fn release(self) -> Result<(), RecipeError> {
        let mut done = Ok(());
        for (_, hold) in self.holds.into_iter().rev() {
            let released = hold.release().await;
            done = done.and(released);
        }
        done
    }
}

#[cfg(test)]
mod tests;
