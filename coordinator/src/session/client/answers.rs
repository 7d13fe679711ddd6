//! Answers as they come off the wire. Pure: bytes in, what was asked for or the reason why not out.
//!
//! What a server sends is not trusted: lengths and counts are bounded by the bytes that are there.

use bytes::Bytes;

use super::super::error::{MultiError, ZkError};
use super::super::ops::{Children, Node, OpResult, Stat, TreeEventKind};
use crate::protocol::jute::{Malformed, Reader};
use crate::protocol::op;

/// What the server says to the first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    /// 0 or less: the session is gone.
    pub(super) timeout_ms: i32,
    pub(super) id: i64,
    pub(super) password: Vec<u8>,
}

impl Welcome {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let _protocol = r.int()?;
        Ok(Self {
            timeout_ms: r.int()?,
            id: r.long()?,
            password: r.buffer()?.unwrap_or_default().to_vec(),
        })
    }
}

/// The head of an answer or event, and what follows it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) xid: i32,
    /// 0: it was done.
    pub(super) error: i32,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn decode(frame: &[u8]) -> Result<Self, Malformed> {
        const HEAD: usize = 16;
        let mut r = Reader::new(frame);
        let (xid, _zxid, error) = (r.int()?, r.long()?, r.int()?);
        let body = Bytes::copy_from_slice(frame.get(HEAD..).unwrap_or_default());
        Ok(Self { xid, error, body })
    }
}

/// What happened to a node that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// `None`: its children changed.
    pub(super) kind: Option<TreeEventKind>,
    pub(super) path: String,
}

impl Event {
    /// `None` for an event of no node, or of a kind that is not known.
    pub(super) fn decode(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut r = Reader::new(body);
        let (number, _state) = (r.int()?, r.int()?);
        let kind = match number {
            1 => Some(TreeEventKind::Created),
            2 => Some(TreeEventKind::Deleted),
            3 => Some(TreeEventKind::DataChanged),
            4 => None,
            _ => return Ok(None),
        };
        let path = r.string()?.into_owned();
        Ok(Some(Self { kind, path }))
    }
}

/// The path without `chroot`, if it is one below.
pub(super) fn relative<'a>(chroot: &str, path: &'a str) -> Option<&'a str> {
    match path.strip_prefix(chroot)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

pub(super) fn stat(r: &mut Reader<'_>) -> Result<Stat, Malformed> {
    let (czxid, mzxid, ctime, mtime) = (r.long()?, r.long()?, r.long()?, r.long()?);
    let (version, cversion, _acl_version) = (r.int()?, r.int()?, r.int()?);
    let (ephemeral_owner, _bytes, num_children) = (r.long()?, r.int()?, r.int()?);
    Ok(Stat {
        czxid,
        mzxid,
        pzxid: r.long()?,
        ctime,
        mtime,
        version,
        cversion,
        ephemeral_owner,
        num_children,
    })
}

pub(super) fn node(r: &mut Reader<'_>) -> Result<Node, Malformed> {
    let data = r.buffer()?.unwrap_or_default().to_vec();
    Ok(Node {
        data,
        stat: stat(r)?,
    })
}

pub(super) fn children(r: &mut Reader<'_>) -> Result<Children, Malformed> {
    let mut names = r.strings()?;
    names.sort_unstable();
    Ok(Children {
        names,
        stat: stat(r)?,
    })
}

/// The path and the stat of a node that was made.
pub(super) fn created(r: &mut Reader<'_>, chroot: &str) -> Result<(String, Stat), Malformed> {
    let path = r.string()?;
    let path = relative(chroot, &path).ok_or(Malformed)?.to_owned();
    Ok((path, stat(r)?))
}

/// The head of one result of a multi: its operation, or `None` at the end.
fn part(r: &mut Reader<'_>) -> Result<Option<i32>, Malformed> {
    let (op, done, _error) = (r.int()?, r.bool()?, r.int()?);
    Ok((!done).then_some(op))
}

/// What the server says of a request whose parts have errors of their own.
type Parts<T, E> = Result<Result<T, E>, Malformed>;

/// Of `Request::Multi`.
pub(super) fn multi(r: &mut Reader<'_>, chroot: &str) -> Parts<Vec<OpResult>, MultiError> {
    let mut results = Vec::new();
    let mut blamed: Option<MultiError> = None;
    let mut index = 0;
    while let Some(op) = part(r)? {
        match op {
            op::CHECK => results.push(OpResult::Checked),
            op::DELETE => results.push(OpResult::Deleted),
            op::SET_DATA => results.push(OpResult::Set { stat: stat(r)? }),
            op::CREATE2 => {
                let (path, stat) = created(r, chroot)?;
                let stat = Some(stat);
                results.push(OpResult::Created { path, stat });
            }
            // Of servers with ZOOKEEPER-4026.
            op::CREATE => {
                let path = r.string()?;
                let path = relative(chroot, &path).ok_or(Malformed)?.to_owned();
                results.push(OpResult::Created { path, stat: None });
            }
            // Those before the one to blame have no error, those after it another's.
            -1 => {
                let error = ZkError::of(r.int()?);
                let blame = |error| MultiError {
                    index: Some(index),
                    error,
                };
                blamed = blamed.or_else(|| error.map(blame));
            }
            _ => return Err(Malformed),
        }
        index += 1;
    }
    Ok(match blamed {
        Some(blamed) => Err(blamed),
        None => Ok(results),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_below_a_chroot() {
        assert_eq!(relative("", "/a"), Some("/a"));
        assert_eq!(relative("", "/"), Some("/"));
        assert_eq!(relative("/c", "/c/a"), Some("/a"));
        assert_eq!(relative("/c", "/c"), Some("/"));
        assert_eq!(relative("/c", "/cd"), None);
        assert_eq!(relative("/c", "/a/c"), None);
    }

    #[test]
    fn a_failed_multi_names_the_first_that_failed() {
        let part = |error: i32| {
            let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0];
            bytes.extend_from_slice(&error.to_be_bytes());
            bytes.extend_from_slice(&error.to_be_bytes());
            bytes
        };
        let end = [0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff];
        let bytes = [&part(0)[..], &part(-103), &part(-2), &end].concat();
        let failed = multi(&mut Reader::new(&bytes), "").expect("well formed");
        let blamed = MultiError {
            index: Some(1),
            error: ZkError::BadVersion,
        };
        assert_eq!(failed, Err(blamed));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_trusted(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..200),
        ) {
            let reader = || Reader::new(&bytes);
            let _ = Welcome::decode(&bytes);
            let _ = Answer::decode(&bytes);
            let _ = Event::decode(&bytes);
            let _ = node(&mut reader());
            let _ = children(&mut reader());
            let _ = created(&mut reader(), "/c");
            let _ = multi(&mut reader(), "");
        }
    }
}
