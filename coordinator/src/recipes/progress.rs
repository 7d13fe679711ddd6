//! Progress and heartbeat: a worker says how far it is, others see it, and see when it stands still.
//!
//! ```text
//!   PATH/<worker>    ephemeral; {"done":40,"total":100,"note":"page 4"}; rewritten as it goes on
//! ```
//!
//! **Guarantee.** What is shown was published by a worker whose session lived. A worker that publishes
//! nothing for longer than the watcher's `stale_after` is reported as stale, even if its session lives.
//! **On session loss** the worker is published again under the next session, with its latest report; a
//! worker that is dead is reported as gone when its session ends.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session, pages: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::progress::{Progress, Report};
//!
//! let progress = Progress::start(&session, "/import/progress", "worker-3", None).await?;
//! for (n, page) in pages.iter().enumerate() {
//!     work(page);
//!     progress.report(&Report::of(n + 1, pages.len())).await?;
//! }
//! progress.finish().await;
//! # Ok(()) }
//! # fn work(_: &str) {}
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RecipeError;
use super::membership::{
    Change, Member, Members, MembersOptions, MembershipError, Registration, Snapshot,
};
use crate::session::Session;

/// How far a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Pieces of work that are done.
    pub done: u64,
    /// Out of so many, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it is at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Report {
    /// `done` out of `total`.
    #[must_use]
    pub fn of(done: usize, total: usize) -> Self {
        let number = |n| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            done: number(done),
            total: Some(number(total)),
            note: String::new(),
        }
    }
}

/// A worker's side. Dropping it takes the worker off the list, in the background.
#[derive(Debug)]
pub struct Progress {
    registration: Registration,
}

impl Progress {
    /// Starts with nothing done; waits up to `timeout` (`None`: however long it takes) while another
    /// session works under that name.
    pub async fn start(
        session: &Session,
        path: &str,
        worker: &str,
        timeout: Option<Duration>,
    ) -> Result<Self, MembershipError> {
        let data = encode(&Report::default());
        let registration = Registration::register(session, path, worker, &data, timeout).await?;
        Ok(Self { registration })
    }

    /// Publishes how far it is.
    pub async fn report(&self, report: &Report) -> Result<(), MembershipError> {
        self.registration.update(&encode(report)).await
    }

    /// Still at it, though no further.
    pub async fn beat(&self) -> Result<(), MembershipError> {
        self.registration.beat().await
    }

    /// Takes the worker off the list and waits until that is done.
    pub async fn finish(self) {
        self.registration.leave().await;
    }
}

fn encode(report: &Report) -> Vec<u8> {
    serde_json::to_vec(report).expect("numbers and text are always JSON")
}

/// A worker as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its latest report; `None` if that is not one.
    pub report: Option<Report>,
    /// When it was published, in milliseconds since 1970 by ZooKeeper's clock.
    pub at_ms: i64,
    /// Whether nothing came from it for too long.
    pub stale: bool,
}

impl From<Member> for Worker {
    fn from(member: Member) -> Self {
        Self {
            report: serde_json::from_slice(&member.data).ok(),
            name: member.id,
            at_ms: member.beat_ms,
            stale: !member.healthy,
        }
    }
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressChange {
    /// It is at this point now.
    At(Worker),
    /// Nothing came from it for too long.
    Stale(Worker),
    /// It has finished, or its session has ended.
    Gone(Worker),
}

/// A watcher's side.
#[derive(Debug)]
pub struct ProgressWatch {
    members: Members,
}

impl ProgressWatch {
    /// Follows all workers at `path`; who publishes nothing for `stale_after` is stale.
    pub async fn start(
        session: &Session,
        path: &str,
        stale_after: Option<Duration>,
    ) -> Result<Self, RecipeError> {
        let options = MembersOptions { stale_after };
        let members = Members::watch(session, path, options).await?;
        Ok(Self { members })
    }

    /// All workers now, by name, and whether ZooKeeper confirms them at this moment.
    #[must_use]
    pub fn current(&self) -> (BTreeMap<String, Worker>, bool) {
        let Snapshot { members, fresh } = self.members.snapshot();
        let worker = |(name, member): (String, Member)| (name, member.into());
        (members.into_iter().map(worker).collect(), fresh)
    }

    /// The next change; the first ones are the workers there already. `None` when the runtime ends.
    pub async fn next(&mut self) -> Option<ProgressChange> {
        let change = self.members.next().await?;
        Some(match change {
            Change::Joined(m) | Change::Updated(m) | Change::Recovered(m) => {
                ProgressChange::At(m.into())
            }
            Change::Stale(m) => ProgressChange::Stale(m.into()),
            Change::Left(m) => ProgressChange::Gone(m.into()),
        })
    }
}

#[cfg(test)]
mod tests;
