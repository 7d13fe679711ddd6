//! The records that requests, answers and our files share: error codes, `Stat`, ACLs.
//!
//! Pure data and its jute form.

use std::sync::Arc;

use crate::protocol::error;
use crate::protocol::jute::{Malformed, Reader, Writer};
use crate::protocol::paths::NoPath;

/// ZooKeeper's error codes (`KeeperException.Code`), as far as this server gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorCode {
    RuntimeInconsistency,
    MarshallingError,
    Unimplemented,
    BadArguments,
    NoNode,
    NoAuth,
    BadVersion,
    NoChildrenForEphemerals,
    NodeExists,
    NotEmpty,
    InvalidAcl,
    AuthFailed,
    NoWatcher,
}

impl ErrorCode {
    /// The number on the wire.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::RuntimeInconsistency => error::RUNTIME_INCONSISTENCY,
            Self::MarshallingError => error::MARSHALLING_ERROR,
            Self::Unimplemented => error::UNIMPLEMENTED,
            Self::BadArguments => error::BAD_ARGUMENTS,
            Self::NoNode => error::NO_NODE,
            Self::NoAuth => error::NO_AUTH,
            Self::BadVersion => error::BAD_VERSION,
            Self::NoChildrenForEphemerals => error::NO_CHILDREN_FOR_EPHEMERALS,
            Self::NodeExists => error::NODE_EXISTS,
            Self::NotEmpty => error::NOT_EMPTY,
            Self::InvalidAcl => error::INVALID_ACL,
            Self::AuthFailed => error::AUTH_FAILED,
            Self::NoWatcher => error::NO_WATCHER,
        }
    }
}

impl From<NoPath> for ErrorCode {
    fn from(NoPath: NoPath) -> Self {
        Self::BadArguments
    }
}

/// Permission bits (`ZooDefs.Perms`).
pub(super) mod perms {
    pub(in super::super) const READ: i32 = 1;
    pub(in super::super) const WRITE: i32 = 2;
    pub(in super::super) const CREATE: i32 = 4;
    pub(in super::super) const DELETE: i32 = 8;
    pub(in super::super) const ADMIN: i32 = 16;
    pub(in super::super) const ALL: i32 = 31;
}

/// Who: an authenticated identity, or one that an ACL names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub(super) scheme: Arc<str>,
    pub(super) id: Arc<str>,
}

impl Id {
    pub(super) fn new(scheme: &str, id: &str) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
        }
    }
}

/// One entry of an ACL: who may do what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Acl {
    pub(super) perms: i32,
    pub(super) id: Id,
}

/// The ACL of a node. Shared: most nodes of a tree have the same one.
pub(super) type AclList = Arc<[Acl]>;

/// An ACL list on the wire takes at least this much an entry: perms and two lengths.
const ACL_BYTES_MIN: usize = 12;

pub(super) fn read_acls(r: &mut Reader<'_>) -> Result<Vec<Acl>, Malformed> {
    let count = r.count(ACL_BYTES_MIN)?;
    (0..count)
        .map(|_| {
            let perms = r.int()?;
            let scheme = r.string()?;
            let id = r.string()?;
            let id = Id::new(&scheme, &id);
            Ok(Acl { perms, id })
        })
        .collect()
}

pub(super) fn write_acls(w: &mut Writer, acls: &[Acl]) {
    w.count(acls.len());
    for acl in acls {
        w.int(acl.perms).string(&acl.id.scheme).string(&acl.id.id);
    }
}

/// What ZooKeeper tells of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    pub(super) cversion: i32,
    pub(super) aversion: i32,
    pub(super) ephemeral_owner: i64,
    pub(super) data_length: i32,
    pub(super) num_children: i32,
    pub(super) pzxid: i64,
}

impl Stat {
    pub(super) fn write(&self, w: &mut Writer) {
        w.long(self.czxid).long(self.mzxid);
        w.long(self.ctime).long(self.mtime);
        w.int(self.version).int(self.cversion).int(self.aversion);
        w.long(self.ephemeral_owner);
        w.int(self.data_length).int(self.num_children);
        w.long(self.pzxid);
    }
}

/// When a change happened: its zxid and the wall time that goes into the node's `Stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) zxid: i64,
    pub(super) time_ms: i64,
}
