//! Requests as they come off the wire. Pure: bytes in, a [`Request`] or the reason why not out.

use bytes::Bytes;

use super::records::{Acl, read_acls};
use crate::protocol::jute::{Malformed, Reader};
use crate::protocol::{op, xids};

/// The first packet of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectRequest {
    pub(super) last_zxid_seen: i64,
    pub(super) timeout_ms: i32,
    pub(super) session: i64,
    pub(super) password: Vec<u8>,
    /// Clients before 3.4 send no `readOnly` flag, and expect none in the answer.
    pub(super) has_read_only: bool,
}

impl ConnectRequest {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let _protocol_version = r.int()?;
        Ok(Self {
            last_zxid_seen: r.long()?,
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?.unwrap_or_default().to_vec(),
            has_read_only: !r.is_empty(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateOp {
    Create,
    Create2,
    CreateContainer,
    CreateTtl,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Create {
    pub(super) op: CreateOp,
    pub(super) path: String,
    pub(super) data: Option<Bytes>,
    pub(super) acl: Vec<Acl>,
    pub(super) flags: i32,
    pub(super) ttl_ms: i64,
}

/// An operation that changes something, alone or within a multi.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WriteOp {
    Create(Create),
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<Acl>,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
}

/// An operation that shows a node or a part of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadOp {
    Exists { path: String, watch: bool },
    GetData { path: String, watch: bool },
    GetAcl { path: String },
    GetChildren { path: String, watch: bool },
    GetChildren2 { path: String, watch: bool },
    GetAllChildrenNumber { path: String },
    GetEphemerals { prefix: String },
    WhoAmI,
    Sync { path: String },
}

/// An operation on watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WatchOp {
    Add { path: String, mode: i32 },
    Check { path: String, selector: i32 },
    Remove { path: String, selector: i32 },
    Set(SetWatches),
}

/// Watches that a client brings along when it reconnects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetWatches {
    pub(super) relative_zxid: i64,
    pub(super) data: Vec<String>,
    pub(super) exist: Vec<String>,
    pub(super) child: Vec<String>,
    pub(super) persistent: Vec<String>,
    pub(super) recursive: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Write(WriteOp),
    Multi(Vec<WriteOp>),
    Read(ReadOp),
    MultiRead(Vec<ReadOp>),
    Watch(WatchOp),
    Auth {
        scheme: String,
        secret: Option<Vec<u8>>,
    },
    Ping,
    Close,
    /// Known to ZooKeeper, not served here (reconfig).
    Unimplemented,
    /// Not an operation at all, or one that ends the connection with its error (sasl).
    Unknown,
    /// A multi with something in it that cannot be there.
    BadMulti,
}

/// Header of a request: what it wants to be answered as, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) xid: i32,
    pub(super) op: i32,
}

/// Takes a frame after the first one apart.
pub(super) fn decode(frame: &[u8]) -> Result<(Header, Request), Malformed> {
    let mut r = Reader::new(frame);
    let header = Header {
        xid: r.int()?,
        op: r.int()?,
    };
    let request = body(header.op, &mut r)?;
    let reserved = match header.xid {
        xids::NOTIFICATION => false,
        xids::PING => matches!(request, Request::Ping),
        xids::AUTH => matches!(request, Request::Auth { .. }),
        xids::SET_WATCHES => matches!(request, Request::Watch(WatchOp::Set(_))),
        _ => true,
    };
    if reserved {
        Ok((header, request))
    } else {
        Err(Malformed)
    }
}

fn body(op: i32, r: &mut Reader<'_>) -> Result<Request, Malformed> {
    if let Some(write) = write_op(op, r)? {
        return Ok(Request::Write(write));
    }
    if let Some(read) = read_op(op, r)? {
        return Ok(Request::Read(read));
    }
    Ok(match op {
        op::PING => Request::Ping,
        op::CLOSE => Request::Close,
        op::RECONFIG => Request::Unimplemented,
        op::MULTI => multi(r, part_op)?.map_or(Request::BadMulti, Request::Multi),
        op::MULTI_READ => multi(r, unwatched_op)?.map_or(Request::BadMulti, Request::MultiRead),
        op::AUTH => {
            let _kind = r.int()?;
            let scheme = r.string()?.into_owned();
            let secret = r.buffer()?.map(<[u8]>::to_vec);
            Request::Auth { scheme, secret }
        }
        op::SET_WATCHES | op::SET_WATCHES2 => Request::Watch(set_watches(op, r)?),
        op::ADD_WATCH => Request::Watch(WatchOp::Add {
            path: path(r)?,
            mode: r.int()?,
        }),
        op::CHECK_WATCHES => Request::Watch(WatchOp::Check {
            path: path(r)?,
            selector: r.int()?,
        }),
        op::REMOVE_WATCHES => Request::Watch(WatchOp::Remove {
            path: path(r)?,
            selector: r.int()?,
        }),
        _ => Request::Unknown,
    })
}

fn write_op(op: i32, r: &mut Reader<'_>) -> Result<Option<WriteOp>, Malformed> {
    let create_op = match op {
        op::CREATE => CreateOp::Create,
        op::CREATE2 => CreateOp::Create2,
        op::CREATE_CONTAINER => CreateOp::CreateContainer,
        op::CREATE_TTL => CreateOp::CreateTtl,
        op::DELETE => {
            let (path, version) = (path(r)?, r.int()?);
            return Ok(Some(WriteOp::Delete { path, version }));
        }
        op::CHECK => {
            let (path, version) = (path(r)?, r.int()?);
            return Ok(Some(WriteOp::Check { path, version }));
        }
        op::SET_DATA => {
            let (path, data, version) = (path(r)?, r.data()?, r.int()?);
            return Ok(Some(WriteOp::SetData {
                path,
                data,
                version,
            }));
        }
        op::SET_ACL => {
            let (path, acl, version) = (path(r)?, read_acls(r)?, r.int()?);
            return Ok(Some(WriteOp::SetAcl { path, acl, version }));
        }
        _ => return Ok(None),
    };
    Ok(Some(WriteOp::Create(Create {
        op: create_op,
        path: path(r)?,
        data: r.data()?,
        acl: read_acls(r)?,
        flags: r.int()?,
        ttl_ms: if create_op == CreateOp::CreateTtl {
            r.long()?
        } else {
            -1
        },
    })))
}

fn read_op(op: i32, r: &mut Reader<'_>) -> Result<Option<ReadOp>, Malformed> {
    Ok(Some(match op {
        op::EXISTS => ReadOp::Exists {
            path: path(r)?,
            watch: r.bool()?,
        },
        op::GET_DATA => ReadOp::GetData {
            path: path(r)?,
            watch: r.bool()?,
        },
        op::GET_CHILDREN => ReadOp::GetChildren {
            path: path(r)?,
            watch: r.bool()?,
        },
        op::GET_CHILDREN2 => ReadOp::GetChildren2 {
            path: path(r)?,
            watch: r.bool()?,
        },
        op::GET_ACL => ReadOp::GetAcl { path: path(r)? },
        op::GET_ALL_CHILDREN_NUMBER => ReadOp::GetAllChildrenNumber { path: path(r)? },
        op::GET_EPHEMERALS => ReadOp::GetEphemerals { prefix: path(r)? },
        op::SYNC => ReadOp::Sync { path: path(r)? },
        op::WHO_AM_I => ReadOp::WhoAmI,
        _ => return Ok(None),
    }))
}

/// A write within a multi: flags that mean nothing spoil the whole of it.
fn part_op(op: i32, r: &mut Reader<'_>) -> Result<Option<WriteOp>, Malformed> {
    let decoded = write_op(op, r)?;
    let odd = |op: &WriteOp| match op {
        WriteOp::Create(create) => !(0..=6).contains(&create.flags),
        _ => false,
    };
    Ok(decoded.filter(|op| !odd(op)))
}

/// A read within a multi, which never leaves a watch.
fn unwatched_op(op: i32, r: &mut Reader<'_>) -> Result<Option<ReadOp>, Malformed> {
    let mut decoded = read_op(op, r)?;
    if let Some(ReadOp::GetData { watch, .. } | ReadOp::GetChildren { watch, .. }) = &mut decoded {
        *watch = false;
    }
    Ok(decoded)
}

/// The operations of a multi; `None` when one is of a kind that a multi cannot hold, a nested
/// multi above all. What follows such a one cannot be told apart and is not looked at.
fn multi<T>(
    r: &mut Reader<'_>,
    decode: impl Fn(i32, &mut Reader<'_>) -> Result<Option<T>, Malformed>,
) -> Result<Option<Vec<T>>, Malformed> {
    let mut ops = Vec::new();
    loop {
        let (op, done, _err) = (r.int()?, r.bool()?, r.int()?);
        if done {
            return Ok(Some(ops));
        }
        let allowed = !matches!(
            op,
            op::SET_ACL
                | op::EXISTS
                | op::GET_ACL
                | op::GET_CHILDREN2
                | op::GET_ALL_CHILDREN_NUMBER
                | op::GET_EPHEMERALS
                | op::SYNC
                | op::WHO_AM_I
        );
        match allowed.then(|| decode(op, r)).transpose()?.flatten() {
            Some(decoded) => ops.push(decoded),
            None => return Ok(None),
        }
    }
}

fn set_watches(op: i32, r: &mut Reader<'_>) -> Result<WatchOp, Malformed> {
    let mut watches = SetWatches {
        relative_zxid: r.long()?,
        data: r.strings()?,
        exist: r.strings()?,
        child: r.strings()?,
        ..SetWatches::default()
    };
    if op == op::SET_WATCHES2 {
        watches.persistent = r.strings()?;
        watches.recursive = r.strings()?;
    }
    Ok(WatchOp::Set(watches))
}

fn path(r: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(r.string()?.into_owned())
}

#[cfg(test)]
mod tests;
