//! A transaction: several changes of the tree, all or none, and the word which one was refused.
//!
//! ```text
//!   check /a at 3    create /b    set /c    delete /d        one zxid, seen by all at once
//! ```
//!
//! **Guarantee.** ZooKeeper does all operations in one step or none of them, in the order given: a later
//! one sees what an earlier one did. A refusal names the operation to blame; nothing was done then.
//! **On session loss** nothing was done if it failed with `SessionExpired` or `NotConnected`; after
//! `Unknown` it was done as a whole or not at all. [`Transaction::commit_once`] finds that out.
//!
//! ```no_run
//! # async fn example(session: nyala_coordinator::session::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use nyala_coordinator::recipes::transaction::Transaction;
//!
//! let mut transfer = Transaction::new(&session);
//! transfer.check("/accounts", 7);
//! transfer.set("/accounts/a", b"90", Some(3));
//! transfer.set("/accounts/b", b"110", Some(5));
//! let entry = transfer.create_sequential("/ledger/entry-", b"a to b: 10");
//! let done = transfer.commit_once("/ledger-writers").await?;
//! println!("booked as {:?}", done.path(entry));
//! # Ok(()) }
//! ```

use super::error::RecipeError;
use super::path::usable;
use super::presence::{Mark, Presence};
use crate::session::{Acl, CreateMode, MultiError, Op, OpResult, Session, Stat, ZkError};

/// Why a transaction was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// One operation was refused; nothing was done.
    #[error("operation {index} ({operation}) was refused: {source}")]
    Refused {
        /// Its number, from 0.
        index: usize,
        /// The operation in words.
        operation: String,
        /// Why.
        source: ZkError,
    },
    /// The request as a whole failed; done or not is unknown if the source is [`ZkError::Unknown`].
    #[error("a transaction of {operations} operations failed: {source}")]
    Failed {
        /// How many there were.
        operations: usize,
        /// Why.
        source: ZkError,
    },
    /// The folder for marks cannot be used.
    #[error(transparent)]
    Path(#[from] RecipeError),
}

/// An operation that makes a node; tells its path once that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateId(usize);

/// An operation that sets data; tells the new stat once that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetId(usize);

/// Operations in the making.
#[derive(Clone, Debug)]
#[must_use = "nothing is done before `commit`"]
pub struct Transaction {
    session: Session,
    ops: Vec<Op>,
}

impl Transaction {
    /// Of no operations yet.
    pub fn new(session: &Session) -> Self {
        Self {
            session: session.clone(),
            ops: Vec::new(),
        }
    }

    /// The node must have this version.
    pub fn check(&mut self, path: &str, version: i32) -> &mut Self {
        let path = path.to_owned();
        self.add(Op::Check { path, version })
    }

    /// The node must be there.
    pub fn check_exists(&mut self, path: &str) -> &mut Self {
        self.check(path, -1)
    }

    /// Makes a node that stays.
    pub fn create(&mut self, path: &str, data: &[u8]) -> CreateId {
        self.create_as(path, data, CreateMode::Persistent)
    }

    /// Makes a node with the next number behind its name.
    pub fn create_sequential(&mut self, path: &str, data: &[u8]) -> CreateId {
        self.create_as(path, data, CreateMode::PersistentSequential)
    }

    /// Makes a node of any kind.
    pub fn create_as(&mut self, path: &str, data: &[u8], mode: CreateMode) -> CreateId {
        self.add(Op::Create {
            path: path.to_owned(),
            data: data.to_vec(),
            mode,
            acl: Acl::Default,
        });
        CreateId(self.ops.len() - 1)
    }

    /// Sets the data of a node, at a version or at any.
    pub fn set(&mut self, path: &str, data: &[u8], version: Option<i32>) -> SetId {
        self.add(Op::Set {
            path: path.to_owned(),
            data: data.to_vec(),
            version,
        });
        SetId(self.ops.len() - 1)
    }

    /// Deletes a node, at a version or at any.
    pub fn delete(&mut self, path: &str, version: Option<i32>) -> &mut Self {
        let path = path.to_owned();
        self.add(Op::Delete { path, version })
    }

    fn add(&mut self, op: Op) -> &mut Self {
        self.ops.push(op);
        self
    }

    /// Does it, asking once.
    pub async fn commit(&self) -> Result<Committed, TransactionError> {
        let done = self.session.multi(self.ops.clone()).await;
        let results = done.map_err(|e| self.refusal(e))?;
        Ok(Committed {
            results: Some(results),
        })
    }

    /// Does it exactly once, whatever becomes of the connection, as long as the session lives.
    ///
    /// It goes with a mark below `marks`, a folder for nothing else. If the answer was lost, the
    /// transaction is known to be done, but what it answered is not.
    pub async fn commit_once(&self, marks: &str) -> Result<Committed, TransactionError> {
        let presence = Presence::new(self.session.clone(), usable(marks)?);
        let ops = |_: &Mark| self.ops.clone();
        let done = presence.commit(ops).await.map_err(|e| self.refusal(e))?;
        Ok(Committed {
            results: done.results,
        })
    }

    fn refusal(&self, error: MultiError) -> TransactionError {
        let MultiError {
            index,
            error: source,
        } = error;
        match index.and_then(|i| Some((i, self.ops.get(i)?))) {
            Some((index, op)) => TransactionError::Refused {
                index,
                operation: words(op),
                source,
            },
            None => TransactionError::Failed {
                operations: self.ops.len(),
                source,
            },
        }
    }
}

fn words(op: &Op) -> String {
    let at =
        |version: &Option<i32>| version.map_or_else(String::new, |v| format!(" at version {v}"));
    match op {
        Op::Check { path, version: -1 } => format!("check that {path} exists"),
        Op::Check { path, version } => format!("check {path} at version {version}"),
        Op::Create { path, .. } => format!("create {path}"),
        Op::Set { path, version, .. } => format!("set {path}{}", at(version)),
        Op::Delete { path, version } => format!("delete {path}{}", at(version)),
    }
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    results: Option<Vec<OpResult>>,
}

impl Committed {
    /// Path of a node that was made, with its number; `None` if the answer was lost.
    #[must_use]
    pub fn path(&self, create: CreateId) -> Option<&str> {
        match self.results.as_ref()?.get(create.0)? {
            OpResult::Created { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Stat of a node after its data was set; `None` if the answer was lost.
    #[must_use]
    pub fn stat(&self, set: SetId) -> Option<Stat> {
        match self.results.as_ref()?.get(set.0)? {
            OpResult::Set { stat } => Some(*stat),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
