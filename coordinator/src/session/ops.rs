//! The vocabulary of calls: what is asked and what comes back.
//!
//! Nothing outside of `session/` sees more of the protocol than this.

use tokio::sync::{mpsc, oneshot};

/// What ZooKeeper keeps about a node beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Transaction that made the node. Ever growing, so it fences: a broker's epoch is one.
    pub czxid: i64,
    /// Transaction that last changed the data.
    pub mzxid: i64,
    /// Transaction that last changed the list of children.
    pub pzxid: i64,
    /// Milliseconds since 1970 of its creation.
    pub ctime: i64,
    /// Milliseconds since 1970 of the last change.
    pub mtime: i64,
    /// Changes of the data.
    pub version: i32,
    /// Changes of the list of children.
    pub cversion: i32,
    /// Session that the node lives with; 0 for a persistent node.
    pub ephemeral_owner: i64,
    /// Number of children.
    pub num_children: i32,
}

/// Data and [`Stat`] of a node, from one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The bytes.
    pub data: Vec<u8>,
    /// What goes with them.
    pub stat: Stat,
}

/// Names of the children (sorted), and the parent's [`Stat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Children {
    /// Names, without the parent's path, in ascending order.
    pub names: Vec<String>,
    /// Of the parent.
    pub stat: Stat,
}

/// How long a node lives, and whether ZooKeeper numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Until deleted.
    Persistent,
    /// Until deleted; ten digits are appended to the name.
    PersistentSequential,
    /// Until deleted or the session ends.
    Ephemeral,
    /// As `Ephemeral`; ten digits are appended to the name.
    EphemeralSequential,
}

/// Who may do what with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acl {
    /// [`Acl::Creator`] when the session has `secure_acls`, else [`Acl::Open`].
    #[default]
    Default,
    /// Anyone, anything.
    Open,
    /// Only the identity that made it.
    Creator,
}

/// A node that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its path, with the digits of a sequential node.
    pub path: String,
    /// Its stat.
    pub stat: Stat,
}

/// One operation of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Succeeds if the node has this version.
    Check {
        /// Node.
        path: String,
        /// Its version.
        version: i32,
    },
    /// Makes a node.
    Create {
        /// Node.
        path: String,
        /// Its data.
        data: Vec<u8>,
        /// Its life.
        mode: CreateMode,
        /// Its ACL.
        acl: Acl,
    },
    /// Replaces the data.
    Set {
        /// Node.
        path: String,
        /// New data.
        data: Vec<u8>,
        /// Version that it must have; `None` for any.
        version: Option<i32>,
    },
    /// Deletes a node.
    Delete {
        /// Node.
        path: String,
        /// Version that it must have; `None` for any.
        version: Option<i32>,
    },
}

impl Op {
    /// A persistent node under the session's default ACL.
    pub fn create(path: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self::Create {
            path: path.into(),
            data: data.into(),
            mode: CreateMode::Persistent,
            acl: Acl::Default,
        }
    }

    /// The node that it is about.
    pub(super) fn path(&self) -> &str {
        let (Self::Check { path, .. }
        | Self::Create { path, .. }
        | Self::Set { path, .. }
        | Self::Delete { path, .. }) = self;
        path
    }

    /// Bytes that the operation adds to the packet, roughly.
    pub(super) fn size(&self) -> usize {
        const HEAD: usize = 64;
        HEAD + self.path().len()
            + match self {
                Self::Check { .. } | Self::Delete { .. } => 0,
                Self::Create { data, .. } | Self::Set { data, .. } => data.len(),
            }
    }
}

/// What one operation of a multi did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The version was right.
    Checked,
    /// The node was made. Some servers give no valid stat here (ZOOKEEPER-4026).
    Created {
        /// Path, with the digits of a sequential node.
        path: String,
        /// Stat, if the server gave one.
        stat: Option<Stat>,
    },
    /// The data was replaced.
    Set {
        /// New stat.
        stat: Stat,
    },
    /// The node was deleted.
    Deleted,
}

/// Resolves once, when what was read may have changed: read again, then compare.
///
/// It also resolves when the connection ends, because watches do not survive that.
#[derive(Debug)]
pub struct Watch {
    /// Fails when the connection ends: that is a hint, too.
    fired: oneshot::Receiver<Option<TreeEventKind>>,
}

impl Watch {
    pub(super) fn new(fired: oneshot::Receiver<Option<TreeEventKind>>) -> Self {
        Self { fired }
    }

    /// Waits for the hint. Dropping the future gives the watch up.
    pub async fn changed(self) {
        self.event().await;
    }

    /// As [`changed`](Self::changed), and says what happened to the node; `None`: to its children, or to
    /// the connection, so that nothing is known.
    pub(crate) async fn event(self) -> Option<TreeEventKind> {
        self.fired.await.unwrap_or_default()
    }

    /// As [`changed`](Self::changed), for a `select!`: dropping the future keeps the watch. Not to be
    /// called again once it has resolved.
    pub async fn wait(&mut self) {
        // An error is a hint as well.
        let _ = (&mut self.fired).await;
    }
}

/// What happened to a node that is watched, or below a watched tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeEventKind {
    /// It was made.
    Created,
    /// It was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
}

/// A hint from a [`TreeWatch`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeEvent {
    /// Path of the node, relative to the chroot.
    pub path: String,
    /// What happened to it.
    pub kind: TreeEventKind,
}

/// A persistent recursive watch (ZooKeeper 3.6 and later): hints about a node and all below it.
#[derive(Debug)]
pub struct TreeWatch {
    events: mpsc::Receiver<TreeEvent>,
}

impl TreeWatch {
    pub(super) fn new(events: mpsc::Receiver<TreeEvent>) -> Self {
        Self { events }
    }

    /// Waits for hints and moves all that are there into `into`.
    ///
    /// `false`: the watch is gone (connection replaced, or more hints than its queue holds): arm a
    /// new one, then read everything again.
    pub async fn next(&mut self, into: &mut Vec<TreeEvent>) -> bool {
        self.events.recv_many(into, TREE_EVENTS_MAX).await > 0
    }
}

/// Hints that a [`TreeWatch`] holds before it gives up and asks for a full read.
pub(super) const TREE_EVENTS_MAX: usize = 16_384;
