//! Semaphore: at most N holders, in the order of asking.
//!
//! ```text
//! PATH                                 persistent, data "2": the number of permits
//! PATH/5f0c...e1__permit__0000000003   ephemeral: holds
//! PATH/a93b...07__permit__0000000004   ephemeral: holds
//! PATH/c2d4...9a__permit__0000000005   ephemeral: first to wait, watches the children of PATH
//! PATH/77e1...b2__permit__0000000006   ephemeral: waits, watches ...05
//! ```
//!
//! The first N in line hold. Any holder may leave first, so the first who waits has to watch them all; but it
//! is the only one who does. The others watch the one before them, which sets its own data once it holds
//! (its version tells), or is deleted: one wakes per permit, and one takes over the watch.
//! *Guarantee*: no more than N holds are valid at a time; first come, first served; refused where others lock
//! without permits. Fences are unique, and
//! grow with the order of asking.
//! *On session loss*: the permit is free again; who waits goes on with a new session from the end of the line.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::Semaphore;
//!
//! let slots = Semaphore::new(&session, "/slots/transcode", 4)?;
//! let slot = slots.acquire().await?;
//! println!("working with token {}", slot.fence());
//! slot.release().await?;
//! # Ok(()) }
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::session::{Acl, Children, CreateMode, Session, ZkError};

use super::error::{RecipeError, within};
use super::hold::{Contender, Hold};
use super::line::{Entrant, Line};
use super::own::{child, parent};
use super::turn::{self, Kind};

/// A semaphore at a path. A handle (with its clones) has one permit at a time: it is not re-entrant.
#[derive(Clone, Debug)]
pub struct Semaphore {
    line: Line,
    permits: usize,
    /// The number in the node was compared with ours.
    agreed: Arc<OnceCell<()>>,
}

impl Semaphore {
    /// At `path`, with one permit at least. Everybody must ask for the same number of permits.
    pub fn new(
        session: &Session,
        path: impl Into<String>,
        permits: usize,
    ) -> Result<Self, RecipeError> {
        let line = Line::new(session, path.into())?;
        if permits == 0 {
            let (path, reason) = (line.path, "a semaphore needs one permit at least");
            return Err(RecipeError::BadPath { path, reason });
        }
        Ok(Self {
            line,
            permits,
            agreed: Arc::default(),
        })
    }

    /// What others see of us in [`entrants`](Self::entrants).
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.line.data = data.into();
        self
    }

    /// Waits for a permit. Dropping the future gives the place up.
    pub async fn acquire(&self) -> Result<Hold, RecipeError> {
        self.get(None, true)
            .await?
            .ok_or_else(|| self.timed_out(Duration::ZERO))
    }

    /// Waits for a permit at most so long.
    pub async fn acquire_within(&self, limit: Duration) -> Result<Hold, RecipeError> {
        let hold = self.get(Some(limit), true).await?;
        hold.ok_or_else(|| self.timed_out(limit))
    }

    /// Takes a permit if one is free; `None` if all are taken.
    pub async fn try_acquire(&self) -> Result<Option<Hold>, RecipeError> {
        let limit = self.line.session.config().op_timeout;
        self.get(Some(limit), false).await
    }

    /// Those who hold, then those who wait, in order.
    pub async fn entrants(&self) -> Result<Vec<Entrant>, RecipeError> {
        self.line.entrants().await
    }

    fn timed_out(&self, waited: Duration) -> RecipeError {
        let path = self.line.path.clone();
        RecipeError::TimedOut { path, waited }
    }

    async fn get(&self, limit: Option<Duration>, wait: bool) -> Result<Option<Hold>, RecipeError> {
        let entry = self.line.busy.enter(&self.line.path)?;
        let got = async {
            self.agreed.get_or_try_init(|| self.agree()).await?;
            loop {
                let (contender, listed) = self.line.enter(Kind::Permit).await?;
                match self.stand(contender, listed, wait).await? {
                    Stood::Holds(hold) => return Ok(Some(hold)),
                    Stood::Full => return Ok(None),
                    Stood::Lost => {}
                }
            }
        };
        let hold = within(&self.line.path, limit, got).await?;
        Ok(hold.map(|hold| hold.with_entry(entry)))
    }

    /// Makes sure that the node says our number of permits.
    async fn agree(&self) -> Result<(), RecipeError> {
        let (session, path) = (&self.line.session, &self.line.path);
        let at = |e| RecipeError::at(path)(e);
        let ours = self.permits.to_string();
        loop {
            let node = match session.get_if_exists(path).await {
                Ok(node) => node,
                Err(e) if e.is_transient() => continue,
                Err(e) => return Err(at(e)),
            };
            let written = match node {
                Some(node) if node.data == ours.as_bytes() => return Ok(()),
                // A folder that was made as the parent of something.
                Some(node) if node.data.is_empty() => {
                    let version = Some(node.stat.version);
                    session.set(path, ours.as_bytes(), version).await.map(drop)
                }
                Some(node) => {
                    let (path, asked) = (path.clone(), self.permits);
                    let stored = String::from_utf8_lossy(&node.data).into_owned();
                    return Err(RecipeError::OtherPermits {
                        path,
                        stored,
                        asked,
                    });
                }
                None => {
                    let (mode, acl) = (CreateMode::Persistent, Acl::Default);
                    let made = session.create(path, ours.as_bytes(), mode, acl).await;
                    match made {
                        Err(ZkError::NoNode) => session.ensure_path(parent(path)).await,
                        made => made.map(drop),
                    }
                }
            };
            match written {
                Ok(()) | Err(ZkError::NodeExists | ZkError::NoNode | ZkError::BadVersion) => {}
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(at(e)),
            }
        }
    }

    /// From the end of the line to its first N places.
    async fn stand(
        &self,
        contender: Contender,
        mut listed: Option<Children>,
        wait: bool,
    ) -> Result<Stood, RecipeError> {
        // Nobody can have seen us wait if nothing happened between our node and the list.
        let mut misled = false;
        let mut quiet = listed
            .as_ref()
            .is_some_and(|l| l.stat.pzxid == contender.fence().0);
        loop {
            let listed = listed.take().map(|listed| listed.names);
            let names = self.line.names(&contender, listed).await?;
            self.line.seen_by_all(&names, &contender)?;
            let Some(before) = turn::all_before(&names, contender.name()) else {
                return Ok(Stood::Lost);
            };
            if before.len() < self.permits {
                if !quiet {
                    self.announce(&contender).await?;
                }
                let hold = contender.hold().await;
                return Ok(hold.map_or(Stood::Lost, Stood::Holds));
            }
            if !wait {
                let left = contender.leave().await;
                left.map_err(RecipeError::at(&self.line.path))?;
                return Ok(Stood::Full);
            }
            quiet = false;
            let nearest = before.first().copied().unwrap_or_default();
            let watches_all = misled || before.len() == self.permits;
            tokio::select! {
                moved = self.moved(&contender, nearest, watches_all) => {
                    misled = moved? == Moved::Holds;
                }
                _ = contender.lost() => return Ok(Stood::Lost),
            }
        }
    }

    /// Tells the one behind us that we hold: the version of our node grows.
    async fn announce(&self, contender: &Contender) -> Result<(), RecipeError> {
        loop {
            let session = &self.line.session;
            match session.set(contender.path(), &self.line.data, None).await {
                // When the node is gone, whoever watched it knows.
                Ok(_) | Err(ZkError::NoNode | ZkError::SessionExpired) => return Ok(()),
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(RecipeError::at(contender.path())(e)),
            }
        }
    }

    /// Waits until the line may have moved: any of it, or the one before us.
    async fn moved(
        &self,
        contender: &Contender,
        nearest: &str,
        watches_all: bool,
    ) -> Result<Moved, RecipeError> {
        let session = &self.line.session;
        loop {
            let armed = if watches_all {
                let listed = session.children_watch(&self.line.path).await;
                listed.map(|(children, watch)| {
                    let names = children.map(|c| c.names).unwrap_or_default();
                    let before = turn::all_before(&names, contender.name());
                    let stays = before.is_some_and(|b| b.len() >= self.permits);
                    stays.then_some(watch).ok_or(Moved::Changed)
                })
            } else {
                let node = session.exists_watch(&child(&self.line.path, nearest)).await;
                node.map(|(stat, watch)| match stat {
                    Some(stat) if stat.version == 0 => Ok(watch),
                    Some(_) => Err(Moved::Holds),
                    None => Err(Moved::Changed),
                })
            };
            match armed {
                Ok(Ok(watch)) => {
                    watch.changed().await;
                    return Ok(Moved::Changed);
                }
                Ok(Err(moved)) => return Ok(moved),
                Err(e) if e.is_transient() => {}
                Err(e) => return Err(RecipeError::at(&self.line.path)(e)),
            }
        }
    }
}

/// What became of those before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Changed,
    /// The one before us says that it holds. If we are not the first to wait then, its node was written
    /// by somebody else, and is not to be trusted again.
    Holds,
}

/// How standing in line ended.
enum Stood {
    Holds(Hold),
    /// All permits are taken, and we were not to wait.
    Full,
    /// The node is gone.
    Lost,
}

#[cfg(test)]
mod tests;
