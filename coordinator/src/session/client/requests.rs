//! Requests as they go onto the wire. Pure: a [`Request`] in, a frame out.
//!
//! Shapes are those of `zookeeper.jute`; a frame is a length (4 bytes), an xid, an operation, and its body.

use std::borrow::Cow;
use std::fmt::Display;

use super::super::error::ZkError;
use super::super::ops::{Acl, CreateMode, Op};
use crate::protocol::jute::Writer;
use crate::protocol::paths::validate;
use crate::protocol::{op, xids};

/// Where the xid of a frame stands.
const XID: std::ops::Range<usize> = 4..8;

/// Selectors of RemoveWatches (`Watcher.WatcherType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Selector {
    Children = 1,
    Node = 2,
    Any = 3,
}

/// One request. Paths are absolute, as the server knows them.
#[derive(Clone, Debug)]
pub(super) enum Request<'a> {
    Exists {
        path: &'a str,
        watch: bool,
    },
    GetData {
        path: &'a str,
        watch: bool,
    },
    GetChildren {
        path: &'a str,
        watch: bool,
    },
    Create {
        path: &'a str,
        data: &'a [u8],
        mode: CreateMode,
        acl: AclEntry,
    },
    SetData {
        path: &'a str,
        data: &'a [u8],
        version: Option<i32>,
    },
    Delete {
        path: &'a str,
        version: Option<i32>,
    },
    Multi {
        /// One for each of `ops`, which has it as its caller knows it.
        paths: &'a [Cow<'a, str>],
        ops: &'a [Op],
        secure: bool,
    },
    Sync {
        path: &'a str,
    },
    AddTreeWatch {
        path: &'a str,
    },
    /// Watches that `gone` goes, and that `made` comes, without asking whether they are there.
    WatchFor {
        gone: &'a str,
        made: &'a str,
    },
    RemoveWatches {
        path: &'a str,
        selector: Selector,
    },
    Auth {
        scheme: &'a str,
        secret: &'a [u8],
    },
    Close,
}

/// The only ACL lists that we make: everything, for one kind of identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AclEntry {
    scheme: &'static str,
    id: &'static str,
}

impl Acl {
    /// As the server takes it, from a session with `secure_acls` or without.
    pub(super) fn entry(self, secure: bool) -> AclEntry {
        let (scheme, id) = match self {
            Self::Creator => ("auth", ""),
            Self::Default if secure => ("auth", ""),
            Self::Default | Self::Open => ("world", "anyone"),
        };
        AclEntry { scheme, id }
    }
}

impl AclEntry {
    fn write(self, w: &mut Writer) {
        const ALL: i32 = 31;
        w.count(1).int(ALL).string(self.scheme).string(self.id);
    }
}

impl Request<'_> {
    /// The frame; its xid is to be [set](set_xid) when its turn is known, unless it is one that is reserved.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut w = Writer::frame();
        w.int(self.reserved_xid().unwrap_or_default());
        w.int(self.op());
        self.write(&mut w);
        w.into_frame()
    }

    /// The xid of packets that have always the same one.
    pub(super) fn reserved_xid(&self) -> Option<i32> {
        match self {
            Self::Auth { .. } => Some(xids::AUTH),
            Self::WatchFor { .. } => Some(xids::SET_WATCHES),
            _ => None,
        }
    }

    fn op(&self) -> i32 {
        match self {
            Self::Exists { .. } => op::EXISTS,
            Self::GetData { .. } => op::GET_DATA,
            Self::GetChildren { .. } => op::GET_CHILDREN2,
            Self::Create { .. } => op::CREATE2,
            Self::SetData { .. } => op::SET_DATA,
            Self::Delete { .. } => op::DELETE,
            Self::Multi { .. } => op::MULTI,
            Self::Sync { .. } => op::SYNC,
            Self::AddTreeWatch { .. } => op::ADD_WATCH,
            Self::WatchFor { .. } => op::SET_WATCHES,
            Self::RemoveWatches { .. } => op::REMOVE_WATCHES,
            Self::Auth { .. } => op::AUTH,
            Self::Close => op::CLOSE,
        }
    }

    fn write(&self, w: &mut Writer) {
        const PERSISTENT_RECURSIVE: i32 = 1;
        match *self {
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch } => {
                w.string(path).bool(watch);
            }
            Self::Create {
                path,
                data,
                mode,
                acl,
            } => create(w, path, data, mode, acl),
            Self::SetData {
                path,
                data,
                version,
            } => {
                w.string(path).buffer(Some(data)).int(any(version));
            }
            Self::Delete { path, version } => {
                w.string(path).int(any(version));
            }
            Self::Multi { paths, ops, secure } => multi(w, paths, ops, secure),
            Self::Sync { path } => {
                w.string(path);
            }
            Self::AddTreeWatch { path } => {
                w.string(path).int(PERSISTENT_RECURSIVE);
            }
            Self::WatchFor { gone, made } => {
                // Told at once of data that has changed since this transaction: of none.
                w.long(i64::MAX);
                w.count(1).string(gone);
                w.count(1).string(made);
                w.count(0);
            }
            Self::RemoveWatches { path, selector } => {
                w.string(path).int(selector as i32);
            }
            Self::Auth { scheme, secret } => {
                w.int(0).string(scheme).buffer(Some(secret));
            }
            Self::Close => {}
        }
    }
}

/// Gives a frame its xid.
pub(super) fn set_xid(frame: &mut [u8], xid: i32) {
    if let Some(bytes) = frame.get_mut(XID) {
        bytes.copy_from_slice(&xid.to_be_bytes());
    }
}

/// The first packet of a connection: a new session if `id` is 0, else that one again.
///
/// It says that nothing was seen before: a server that is behind takes us all the same, and is made to catch up
/// (`attach.rs`), where one that was set back to an old copy would refuse us for ever.
pub(super) fn connect(timeout_ms: i32, id: i64, password: &[u8]) -> Vec<u8> {
    const PROTOCOL: i32 = 0;
    const LAST_SEEN: i64 = 0;
    let mut w = Writer::frame();
    w.int(PROTOCOL).long(LAST_SEEN).int(timeout_ms).long(id);
    w.buffer(Some(password)).bool(false);
    w.into_frame()
}

/// A path as the server knows it, below `chroot` (empty: none). ZooKeeper itself would take some that are
/// none, and read or watch something else.
pub(super) fn absolute<'a>(chroot: &str, path: &'a str) -> Result<Cow<'a, str>, ZkError> {
    validate(path).map_err(|no_path| refused(path, &no_path))?;
    Ok(join(chroot, path))
}

/// As [`absolute`], of a node to be made: a name that will be numbered may be empty.
pub(super) fn absolute_new<'a>(
    chroot: &str,
    path: &'a str,
    mode: CreateMode,
) -> Result<Cow<'a, str>, ZkError> {
    match mode {
        CreateMode::Persistent | CreateMode::Ephemeral => absolute(chroot, path),
        CreateMode::PersistentSequential | CreateMode::EphemeralSequential => {
            validate(&format!("{path}0")).map_err(|no_path| refused(path, &no_path))?;
            Ok(join(chroot, path))
        }
    }
}

/// As [`absolute`], of a node to be deleted: not the root, which may be somebody's chroot.
pub(super) fn absolute_old<'a>(chroot: &str, path: &'a str) -> Result<Cow<'a, str>, ZkError> {
    match path {
        "/" => Err(refused(path, &"the root is not deleted")),
        path => absolute(chroot, path),
    }
}

/// The path of one operation of a multi, by the same rules.
pub(super) fn absolute_of<'a>(chroot: &str, op: &'a Op) -> Result<Cow<'a, str>, ZkError> {
    match op {
        Op::Create { path, mode, .. } => absolute_new(chroot, path, *mode),
        Op::Delete { path, .. } => absolute_old(chroot, path),
        Op::Check { path, .. } | Op::Set { path, .. } => absolute(chroot, path),
    }
}

fn refused(path: &str, why: &dyn Display) -> ZkError {
    ZkError::Refused(format!("{path:?}: {why}"))
}

fn join<'a>(chroot: &str, path: &'a str) -> Cow<'a, str> {
    match (chroot, path) {
        ("", path) => Cow::Borrowed(path),
        (chroot, "/") => Cow::Owned(chroot.to_owned()),
        (chroot, path) => Cow::Owned(format!("{chroot}{path}")),
    }
}

/// The server's number for a version, or for any of them.
fn any(version: Option<i32>) -> i32 {
    version.unwrap_or(-1)
}

fn create(w: &mut Writer, path: &str, data: &[u8], mode: CreateMode, acl: AclEntry) {
    w.string(path).buffer(Some(data));
    acl.write(w);
    w.int(match mode {
        CreateMode::Persistent => 0,
        CreateMode::Ephemeral => 1,
        CreateMode::PersistentSequential => 2,
        CreateMode::EphemeralSequential => 3,
    });
}

/// The head of an operation within a multi.
fn part(w: &mut Writer, op: i32) -> &mut Writer {
    w.int(op).bool(false).int(-1)
}

/// The end of a multi.
fn end(w: &mut Writer) {
    w.int(-1).bool(true).int(-1);
}

fn multi(w: &mut Writer, paths: &[Cow<'_, str>], ops: &[Op], secure: bool) {
    for (path, each) in paths.iter().zip(ops) {
        match each {
            Op::Check { version, .. } => {
                part(w, op::CHECK).string(path).int(*version);
            }
            Op::Create {
                data, mode, acl, ..
            } => {
                part(w, op::CREATE2);
                create(w, path, data, *mode, acl.entry(secure));
            }
            Op::Set { data, version, .. } => {
                part(w, op::SET_DATA).string(path);
                w.buffer(Some(data)).int(any(*version));
            }
            Op::Delete { version, .. } => {
                part(w, op::DELETE).string(path).int(any(*version));
            }
        }
    }
    end(w);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_before_they_are_put_below_a_chroot() {
        for chroot in ["", "/c"] {
            let at = |path: &str| format!("{chroot}{path}");
            assert_eq!(absolute(chroot, "/a/b").as_deref(), Ok(&*at("/a/b")));
            for bad in ["", "a", "/a/", "//", "/a//b", "/a/./b", "/..", "/a\0"] {
                let refused = absolute(chroot, bad);
                assert!(matches!(refused, Err(ZkError::Refused(_))), "{bad:?}");
            }
            let sequential = CreateMode::PersistentSequential;
            let new = absolute_new(chroot, "/q/", sequential);
            assert_eq!(new.as_deref(), Ok(&*at("/q/")));
            assert!(absolute_new(chroot, "/q/", CreateMode::Persistent).is_err());
            assert!(absolute_new(chroot, "q", sequential).is_err());
            assert!(absolute_old(chroot, "/").is_err());
            assert_eq!(absolute_old(chroot, "/a").as_deref(), Ok(&*at("/a")));
        }
        assert_eq!(absolute("", "/").as_deref(), Ok("/"));
        assert_eq!(absolute("/c", "/").as_deref(), Ok("/c"));
    }
}
