//! Names: claimed for as long as a session lives, bound for good in a hierarchy, and numbers that never
//! come twice.
//!
//! ```text
//!   PATH/<prefix><n>    ephemeral: a claimed name, n the smallest that was free     Names::claim
//!   PATH/<a>/<b>/<c>    persistent: the name a/b/c is bound to the node's data      Names::bind
//!   PATH                persistent: the first number that was not handed out yet    Sequence
//! ```
//!
//! **Guarantee.** A claimed name belongs to one session at a time, with a fencing token. A bound name is
//! bound once, until it is unbound. A [`Sequence`] gives every number at most once, to one process in
//! ascending order; numbers of a block that was not used up are skipped.
//! **On session loss** claimed names are free again, and [`Hold::is_valid`] turns false before that.
//! Bound names and numbers are not touched by it.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::naming::{Names, Sequence};
//!
//! let names = Names::new(session.clone(), "/workers")?;
//! let (name, hold) = names.claim("worker-").await?;    // worker-0, worker-1, ...
//! let ids = Sequence::new(session, "/order-ids", 100)?;
//! let id = ids.next().await?;
//! # Ok(()) }
//! ```

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Mutex;
use uuid::Uuid;

use super::Hold;
use super::claim::claim;
use super::error::RecipeError;
use super::own::{child, parent};
use super::path::{usable, usable_name};
use crate::session::{Acl, CreateMode, Session, ZkError};

/// Names below a path. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Names {
    session: Session,
    root: String,
}

/// Why a name was not bound or a number not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// ZooKeeper refused, or the path cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The name is bound.
    #[error("the name {name} is bound already")]
    Bound {
        /// The name.
        name: String,
    },
    /// There are names below it.
    #[error("the name {name} has names below it")]
    HasNames {
        /// The name.
        name: String,
    },
    /// What is there is not a number, or no number follows it.
    #[error("{path} holds {text:?}, after which no number follows")]
    NotANumber {
        /// The sequence.
        path: String,
        /// What it holds.
        text: String,
    },
}

impl Names {
    /// At `path` (absolute, below the session's chroot); makes no znode yet. Fails if the path cannot be
    /// used.
    pub fn new(session: Session, root: &str) -> Result<Self, RecipeError> {
        let root = usable(root)?;
        Ok(Self { session, root })
    }

    /// A name that nobody else has now or later: a random UUID behind `prefix`. Asks nobody.
    #[must_use]
    pub fn unique(prefix: &str) -> String {
        format!("{prefix}{}", Uuid::new_v4().simple())
    }

    /// Claims the name with the smallest free number behind `prefix`, until the hold ends.
    pub async fn claim(&self, prefix: &str) -> Result<(String, Hold), NamingError> {
        let at = RecipeError::at;
        loop {
            let taken = match self.session.children(&self.root).await {
                Ok(names) => names,
                Err(ZkError::NoNode) => Vec::new(),
                Err(e) => return Err(at(&self.root)(e).into()),
            };
            let taken: std::collections::BTreeSet<String> = taken.into_iter().collect();
            let mut names = (0_u64..).map(|n| format!("{prefix}{n}"));
            let Some(name) = names.find(|name| !taken.contains(name)) else {
                continue;
            };
            usable_name(&name)?;
            let path = child(&self.root, &name);
            let claimed = claim(&self.session, &path, b"").await.map_err(at(&path))?;
            // Lost to another, or lost with the session: look again.
            if let Some(contender) = claimed
                && let Some(hold) = contender.hold().await
            {
                return Ok((name, hold));
            }
        }
    }

    fn node(&self, name: &str) -> Result<String, RecipeError> {
        usable(&child(&self.root, name))
    }

    /// Binds a name of one or more parts, `a/b/c`, to data.
    ///
    /// Should another bind it to the very same data while an answer is lost, both succeed.
    pub async fn bind(&self, name: &str, data: &[u8]) -> Result<(), NamingError> {
        let path = self.node(name)?;
        let mut sent = false;
        loop {
            let mode = CreateMode::Persistent;
            let made = self.session.create(&path, data, mode, Acl::Default).await;
            let failed = match made {
                Ok(_) => return Ok(()),
                Err(ZkError::NoNode) => self.session.ensure_path(parent(&path)).await.err(),
                Err(ZkError::Unknown) => {
                    sent = true;
                    None
                }
                Err(ZkError::NodeExists)
                    if sent && self.resolve(name).await?.as_deref() == Some(data) =>
                {
                    return Ok(());
                }
                Err(ZkError::NodeExists) => {
                    let name = name.to_owned();
                    return Err(NamingError::Bound { name });
                }
                Err(e) => Some(e),
            };
            if let Some(e) = failed {
                return Err(RecipeError::at(&path)(e).into());
            }
        }
    }

    /// Binds a name to other data, whether it was bound or not.
    pub async fn rebind(&self, name: &str, data: &[u8]) -> Result<(), NamingError> {
        let path = self.node(name)?;
        loop {
            match self.session.set(&path, data, None).await {
                Ok(_) => return Ok(()),
                Err(ZkError::NoNode) => match self.bind(name, data).await {
                    Err(NamingError::Bound { .. }) => {}
                    done => return done,
                },
                Err(ZkError::Unknown) => {}
                Err(e) => return Err(RecipeError::at(&path)(e).into()),
            }
        }
    }

    /// What a name is bound to.
    pub async fn resolve(&self, name: &str) -> Result<Option<Vec<u8>>, NamingError> {
        let path = self.node(name)?;
        let node = self.session.get_if_exists(&path).await;
        Ok(node.map_err(RecipeError::at(&path))?.map(|n| n.data))
    }

    /// The parts that follow `name`, in order; those of the root for an empty name.
    pub async fn list(&self, name: &str) -> Result<Vec<String>, NamingError> {
        let path = match name {
            "" => self.root.clone(),
            name => self.node(name)?,
        };
        match self.session.children(&path).await {
            Err(ZkError::NoNode) => Ok(Vec::new()),
            other => Ok(other.map_err(RecipeError::at(&path))?),
        }
    }

    /// Frees a name; `false` if it was not bound.
    pub async fn unbind(&self, name: &str) -> Result<bool, NamingError> {
        let path = self.node(name)?;
        let mut sent = false;
        loop {
            match self.session.delete(&path, None).await {
                Ok(()) => return Ok(true),
                Err(ZkError::NoNode) => return Ok(sent),
                Err(ZkError::Unknown) => sent = true,
                Err(ZkError::NotEmpty) => {
                    let name = name.to_owned();
                    return Err(NamingError::HasNames { name });
                }
                Err(e) => return Err(RecipeError::at(&path)(e).into()),
            }
        }
    }
}

/// Numbers that never come twice, in blocks. Cheap to clone; clones share a block.
#[derive(Clone, Debug)]
pub struct Sequence {
    session: Session,
    path: String,
    block: u64,
    left: Arc<Mutex<Range<u64>>>,
}

impl Sequence {
    /// Numbers from 0; each process takes `block` of them at a time, at the price of a gap when it ends.
    pub fn new(session: Session, path: &str, block: u64) -> Result<Self, RecipeError> {
        Ok(Self {
            session,
            path: usable(path)?,
            block: block.max(1),
            left: Arc::default(),
        })
    }

    /// The next number of this process.
    pub async fn next(&self) -> Result<u64, NamingError> {
        let mut left = self.left.lock().await;
        loop {
            if let Some(number) = left.next() {
                return Ok(number);
            }
            *left = self.take_block().await?;
        }
    }

    /// A block that nobody else has. A lost answer costs its block, never gives it twice.
    async fn take_block(&self) -> Result<Range<u64>, NamingError> {
        let at = |e| RecipeError::at(&self.path)(e);
        loop {
            let Some(node) = self.session.get_if_exists(&self.path).await.map_err(at)? else {
                self.session.ensure_path(&self.path).await.map_err(at)?;
                continue;
            };
            let end = match number(&node.data) {
                Some(start) => start.checked_add(self.block).map(|end| start..end),
                None => None,
            };
            let Some(block) = end else {
                let text = String::from_utf8_lossy(&node.data).into_owned();
                let path = self.path.clone();
                return Err(NamingError::NotANumber { path, text });
            };
            let data = block.end.to_string();
            let version = Some(node.stat.version);
            match self.session.set(&self.path, data.as_bytes(), version).await {
                Ok(_) => return Ok(block),
                Err(ZkError::BadVersion | ZkError::NoNode | ZkError::Unknown) => {}
                Err(e) => return Err(at(e).into()),
            }
        }
    }
}

/// The number that a node holds; a new one holds nothing, which is 0.
fn number(data: &[u8]) -> Option<u64> {
    match data {
        b"" => Some(0),
        data => std::str::from_utf8(data).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
