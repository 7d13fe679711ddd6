//! A synchronizing queue: it opens when all its members have arrived, and each gets all of them.
//!
//! ```text
//!   PATH/member-<name>   ephemeral; what the member brings; its czxid is its place
//!   PATH/opened          persistent; all members in the order of their arrival, as JSON
//! ```
//!
//! **Guarantee.** At the moment of opening all members were there: `opened` is made in one transaction
//! with a check of each. All of them get the same list. A member that dies before does not count.
//! **On session loss** before the opening: [`SyncQueueError::SessionLost`], arrive again. After it the
//! list stands, until somebody calls [`reset`](SyncQueue::reset).
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use nyala_coordinator::recipes::sync_queue::SyncQueue;
//!
//! let queue = SyncQueue::new(session, "/round/7", 3)?;
//! let all = queue.arrive("player-1", b"10.0.0.7:4000", Some(Duration::from_secs(60))).await?;
//! # Ok(()) }
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Loss;
use super::claim::claim;
use super::error::RecipeError;
use super::own::child;
use super::path::{usable, usable_name};
use super::patience::{Patience, until_connected};
use crate::session::{Op, Session, Watch, ZkError};

const MEMBER: &str = "member-";

/// Why the queue did not open for a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncQueueError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Not all arrived in time.
    #[error("rendezvous {path}: {} of {size} members after {} ms", present.len(), waited.as_millis())]
    TimedOut {
        /// The queue.
        path: String,
        /// The limit.
        waited: Duration,
        /// Who is there.
        present: Vec<String>,
        /// How many there must be.
        size: usize,
    },
    /// A member of that name is there.
    #[error("rendezvous {path}: there is a member named {name} already")]
    NameTaken {
        /// The queue.
        path: String,
        /// The name.
        name: String,
    },
    /// It opened without this member.
    #[error("rendezvous {path} has opened without {name}")]
    Opened {
        /// The queue.
        path: String,
        /// The name.
        name: String,
    },
    /// The session ended before it opened.
    #[error("rendezvous {path}: this member is not in it any more: {loss}")]
    SessionLost {
        /// The queue.
        path: String,
        /// What became of it.
        loss: Loss,
    },
    /// What it opened with cannot be read.
    #[error("rendezvous {path}: its list of members cannot be read: {reason}")]
    BadList {
        /// The queue.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A member of an open queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its name.
    pub name: String,
    /// What it brought.
    pub data: Vec<u8>,
}

/// A queue that opens for so many members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SyncQueue {
    session: Session,
    path: String,
    size: usize,
}

impl SyncQueue {
    /// At `path` (absolute, below the session's chroot), for `size` members, at least 1; makes no znode
    /// yet. Fails if the path cannot be used.
    pub fn new(session: Session, path: &str, size: usize) -> Result<Self, RecipeError> {
        Ok(Self {
            session,
            path: usable(path)?,
            size: size.max(1),
        })
    }

    /// Arrives and waits for the others; gives all members in the order of their arrival. A `timeout` of
    /// `None`: however long it takes; otherwise the error says that the time was over.
    ///
    /// Dropping the future goes away again, unless it has opened.
    pub async fn arrive(
        &self,
        name: &str,
        data: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<Arrival>, SyncQueueError> {
        usable_name(&format!("{MEMBER}{name}"))?;
        let patience = Patience::new(timeout);
        match patience.of(self.come(name, data)).await {
            Some(done) => done,
            None => Err(SyncQueueError::TimedOut {
                path: self.path.clone(),
                waited: timeout.unwrap_or_default(),
                present: self.present().await.unwrap_or_default(),
                size: self.size,
            }),
        }
    }

    /// Who is there at this moment.
    pub async fn present(&self) -> Result<Vec<String>, RecipeError> {
        let names = match self.session.children(&self.path).await {
            Ok(names) => names,
            Err(ZkError::NoNode) => Vec::new(),
            Err(e) => return Err(RecipeError::at(&self.path)(e)),
        };
        let member = |name: &String| name.strip_prefix(MEMBER).map(str::to_owned);
        Ok(names.iter().filter_map(member).collect())
    }

    /// Makes an open queue ready for the next members; `false` if it was not open.
    pub async fn reset(&self) -> Result<bool, RecipeError> {
        let mut sent = false;
        loop {
            match self.session.delete(&self.opened(), None).await {
                Ok(()) => return Ok(true),
                Err(ZkError::NoNode) => return Ok(sent),
                Err(ZkError::Unknown) => sent = true,
                Err(e) => return Err(RecipeError::at(&self.opened())(e)),
            }
        }
    }

    fn opened(&self) -> String {
        child(&self.path, "opened")
    }

    async fn come(&self, name: &str, data: &[u8]) -> Result<Vec<Arrival>, SyncQueueError> {
        let path = || self.path.clone();
        if let Some(all) = self.list().await? {
            return self.ours(all, name);
        }
        let node = child(&self.path, &format!("{MEMBER}{name}"));
        let claimed = claim(&self.session, &node, data).await;
        let Some(member) = claimed.map_err(RecipeError::at(&node))? else {
            let (path, name) = (path(), name.to_owned());
            return Err(SyncQueueError::NameTaken { path, name });
        };
        let all = tokio::select! {
            all = self.wait() => all?,
            loss = member.lost() => {
                // It may have opened just before.
                match self.list().await? {
                    Some(all) if all.iter().any(|a| a.name == name) => all,
                    _ => return Err(SyncQueueError::SessionLost { path: path(), loss }),
                }
            }
        };
        // The list stands; if the node cannot be removed, it goes with the session.
        let _ = member.leave().await;
        self.ours(all, name)
    }

    fn ours(&self, all: Vec<Arrival>, name: &str) -> Result<Vec<Arrival>, SyncQueueError> {
        if all.iter().any(|arrival| arrival.name == name) {
            return Ok(all);
        }
        let (path, name) = (self.path.clone(), name.to_owned());
        Err(SyncQueueError::Opened { path, name })
    }

    /// The members, if it has opened.
    async fn list(&self) -> Result<Option<Vec<Arrival>>, SyncQueueError> {
        let node = self.session.get_if_exists(&self.opened()).await;
        let node = node.map_err(RecipeError::at(&self.opened()))?;
        let Some(node) = node else { return Ok(None) };
        match serde_json::from_slice(&node.data) {
            Ok(all) => Ok(Some(all)),
            Err(e) => Err(SyncQueueError::BadList {
                path: self.path.clone(),
                reason: e.to_string(),
            }),
        }
    }

    async fn wait(&self) -> Result<Vec<Arrival>, SyncQueueError> {
        loop {
            let step = self.step().await;
            let failed = match step {
                Ok(Some(watch)) => {
                    watch.changed().await;
                    continue;
                }
                Ok(None) => match self.list().await {
                    Ok(Some(all)) => return Ok(all),
                    Ok(None) => continue,
                    Err(SyncQueueError::Recipe(RecipeError::Zk { source, .. })) => source,
                    Err(e) => return Err(e),
                },
                Err(e) => e,
            };
            if !failed.is_transient() {
                return Err(RecipeError::at(&self.path)(failed).into());
            }
            until_connected(&self.session).await;
        }
    }

    /// Looks who is there, and opens if all are; what to wait for if not, `None` if it may be open.
    async fn step(&self) -> Result<Option<Watch>, ZkError> {
        let (children, watch) = self.session.children_watch(&self.path).await?;
        let names = children.map(|c| c.names).unwrap_or_default();
        if names.iter().any(|name| name == "opened") {
            return Ok(None);
        }
        let members: Vec<&String> = names.iter().filter(|n| n.starts_with(MEMBER)).collect();
        if members.len() < self.size {
            return Ok(Some(watch));
        }
        let paths: Vec<String> = members.iter().map(|n| child(&self.path, n)).collect();
        let nodes = self.session.get_many(&paths).await?;
        let mut all = Vec::new();
        for (name, node) in members.iter().zip(nodes) {
            let Some(node) = node else { continue };
            let name = name.strip_prefix(MEMBER).unwrap_or(name).to_owned();
            all.push((
                node.stat.czxid,
                Arrival {
                    name,
                    data: node.data,
                },
            ));
        }
        all.sort_by_key(|(czxid, _)| *czxid);
        all.truncate(self.size);
        if all.len() < self.size {
            return Ok(Some(watch));
        }
        let arrivals: Vec<&Arrival> = all.iter().map(|(_, arrival)| arrival).collect();
        let list = serde_json::to_vec(&arrivals).expect("text and bytes are always JSON");
        let there = |arrival: &&Arrival| Op::Check {
            path: child(&self.path, &format!("{MEMBER}{}", arrival.name)),
            version: -1,
        };
        let mut ops: Vec<Op> = arrivals.iter().map(there).collect();
        ops.push(Op::create(self.opened(), list));
        match self.session.multi(ops).await.map_err(ZkError::from) {
            // Somebody left, or somebody else opened it.
            Ok(_) | Err(ZkError::NoNode | ZkError::NodeExists | ZkError::Unknown) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests;
