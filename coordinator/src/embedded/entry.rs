//! One entry of the journal: what happened at one zxid, as bytes and back. Pure.
//!
//! Snapshots use the same forms for sessions and ACLs.

use super::node::{Change, Kind};
use super::records::{Stamp, read_acls, write_acls};
use super::sessions::SessionRecord;
use crate::protocol::jute::{Malformed, Reader, Writer};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Changes of the tree, all or none; by a session's end also that end.
    Changes {
        changes: Vec<Change>,
        closed: Option<i64>,
    },
    /// A session was created.
    Opened(SessionRecord),
}

/// Encodes what happened at `stamp`.
pub(super) fn encode(stamp: Stamp, action: &Action) -> Vec<u8> {
    let mut w = Writer::new();
    w.long(stamp.zxid).long(stamp.time_ms);
    match action {
        Action::Opened(session) => {
            w.int(0);
            write_session(&mut w, session);
        }
        Action::Changes { changes, closed } => {
            w.int(1).long(closed.unwrap_or(0)).count(changes.len());
            for change in changes {
                write_change(&mut w, change);
            }
        }
    }
    w.into_bytes()
}

/// Decodes one entry; everything of `bytes` must belong to it.
pub(super) fn decode(bytes: &[u8]) -> Result<(Stamp, Action), Malformed> {
    let mut r = Reader::new(bytes);
    let stamp = Stamp {
        zxid: r.long()?,
        time_ms: r.long()?,
    };
    let action = match r.int()? {
        0 => Action::Opened(read_session(&mut r)?),
        1 => {
            let closed = Some(r.long()?).filter(|id| *id != 0);
            let count = r.count(8)?;
            let changes = (0..count).map(|_| read_change(&mut r));
            let changes = changes.collect::<Result<_, _>>()?;
            Action::Changes { changes, closed }
        }
        _ => return Err(Malformed),
    };
    if r.is_empty() {
        Ok((stamp, action))
    } else {
        Err(Malformed)
    }
}

pub(super) fn write_session(w: &mut Writer, session: &SessionRecord) {
    w.long(session.id).int(session.timeout_ms);
    w.raw(&session.password);
}

pub(super) fn read_session(r: &mut Reader<'_>) -> Result<SessionRecord, Malformed> {
    Ok(SessionRecord {
        id: r.long()?,
        timeout_ms: r.int()?,
        password: r.array()?,
    })
}

fn write_change(w: &mut Writer, change: &Change) {
    match change {
        Change::Create {
            path,
            data,
            acl,
            kind,
        } => {
            w.int(0).string(path).buffer(data.as_deref());
            write_acls(w, acl);
            w.long(kind.owner());
        }
        Change::Delete { path } => {
            w.int(1).string(path);
        }
        Change::SetData { path, data } => {
            w.int(2).string(path).buffer(data.as_deref());
        }
        Change::SetAcl { path, acl } => {
            w.int(3).string(path);
            write_acls(w, acl);
        }
    }
}

fn read_change(r: &mut Reader<'_>) -> Result<Change, Malformed> {
    let kind = r.int()?;
    let path = r.string()?.into_owned();
    Ok(match kind {
        0 => Change::Create {
            path,
            data: r.data()?,
            acl: read_acls(r)?.into(),
            kind: Kind::from_owner(r.long()?),
        },
        1 => Change::Delete { path },
        2 => Change::SetData {
            path,
            data: r.data()?,
        },
        3 => Change::SetAcl {
            path,
            acl: read_acls(r)?.into(),
        },
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::records::{Acl, AclList, Id};
    use bytes::Bytes;

    #[test]
    fn entries_are_read_back_and_no_prefix_passes_for_one() {
        let acl: AclList = [Acl {
            perms: 31,
            id: Id::new("world", "anyone"),
        }]
        .into();
        let path = "/a".to_owned();
        let changes = vec![
            Change::Create {
                path: path.clone(),
                data: None,
                acl: acl.clone(),
                kind: Kind::Ttl(1000),
            },
            Change::SetData {
                path: path.clone(),
                data: Some(Bytes::from_static(b"x")),
            },
            Change::SetAcl {
                path: path.clone(),
                acl,
            },
            Change::Delete { path },
        ];
        let stamp = Stamp {
            zxid: 7,
            time_ms: 1234,
        };
        let session = SessionRecord {
            id: 5,
            timeout_ms: 4000,
            password: [9; 16],
        };
        for action in [
            Action::Opened(session),
            Action::Changes {
                changes,
                closed: Some(5),
            },
            Action::Changes {
                changes: Vec::new(),
                closed: None,
            },
        ] {
            let bytes = encode(stamp, &action);
            assert_eq!(decode(&bytes), Ok((stamp, action)));
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), Err(Malformed), "{end}");
            }
            assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
