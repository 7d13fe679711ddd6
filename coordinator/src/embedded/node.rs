//! What a znode is, what can be done to one, and what a watch can hear of it. Pure data.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::records::{AclList, Stamp, Stat};

/// What keeps a node alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Persistent,
    /// Until this session ends.
    Ephemeral(i64),
    /// Until the last of its children is gone.
    Container,
    /// Until it had no children and no change for this many milliseconds.
    Ttl(i64),
}

/// Longest TTL: 40 bits of milliseconds, almost 35 years.
pub(super) const TTL_MS_MAX: i64 = 0xff_ffff_ffff;
const TTL_MASK: i64 = 0xff << 56;

impl Kind {
    /// As files keep it, in ZooKeeper's own form (`EphemeralType`).
    pub(super) fn owner(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Ephemeral(session) => session,
            Self::Container => i64::MIN,
            Self::Ttl(ms) => TTL_MASK | ms,
        }
    }

    pub(super) fn from_owner(owner: i64) -> Self {
        match owner {
            0 => Self::Persistent,
            i64::MIN => Self::Container,
            _ if owner & TTL_MASK == TTL_MASK => Self::Ttl(owner & TTL_MS_MAX),
            _ => Self::Ephemeral(owner),
        }
    }
}

/// One node; what it is called is the map's key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) data: Option<Bytes>,
    pub(super) acl: AclList,
    pub(super) kind: Kind,
    pub(super) created: Stamp,
    pub(super) modified: Stamp,
    pub(super) version: i32,
    pub(super) aversion: i32,
    /// Number of children ever created: the stored `cversion`, and the next sequence number.
    pub(super) creations: i32,
    pub(super) pzxid: i64,
    pub(super) children: BTreeSet<Box<str>>,
}

impl Node {
    pub(super) fn new(data: Option<Bytes>, acl: AclList, kind: Kind, at: Stamp) -> Self {
        Self {
            data,
            acl,
            kind,
            created: at,
            modified: at,
            version: 0,
            aversion: 0,
            creations: 0,
            pzxid: at.zxid,
            children: BTreeSet::new(),
        }
    }

    /// The `Stat` that clients see. Its `cversion` counts creates and deletes of children, which
    /// is twice the stored count less the children that are there.
    pub(super) fn stat(&self) -> Stat {
        let num_children = saturated(self.children.len());
        Stat {
            czxid: self.created.zxid,
            mzxid: self.modified.zxid,
            ctime: self.created.time_ms,
            mtime: self.modified.time_ms,
            version: self.version,
            cversion: self.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: match self.kind {
                Kind::Ephemeral(session) => session,
                // ZooKeeper keeps to itself how it marks the other kinds.
                _ => 0,
            },
            data_length: saturated(self.data.as_ref().map_or(0, Bytes::len)),
            num_children,
            pzxid: self.pzxid,
        }
    }
}

fn saturated(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// One step of a transaction, with every choice already made: what the journal keeps.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Create {
        path: String,
        data: Option<Bytes>,
        acl: AclList,
        kind: Kind,
    },
    Delete {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
    },
    SetAcl {
        path: String,
        acl: AclList,
    },
}

/// What a watch can hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    Created,
    Deleted,
    DataChanged,
    ChildrenChanged,
}

impl EventKind {
    /// The number on the wire (`Watcher.Event.EventType`).
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Created => 1,
            Self::Deleted => 2,
            Self::DataChanged => 3,
            Self::ChildrenChanged => 4,
        }
    }
}

/// Something that happened to a node, with the ACL that decides who may hear of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) path: String,
    pub(super) acl: AclList,
}

impl Event {
    pub(super) fn new(kind: EventKind, path: &str, acl: &AclList) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            acl: acl.clone(),
        }
    }
}
