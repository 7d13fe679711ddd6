//! The whole state in one file: sessions, znodes, and the zxid that they stand for.
//!
//! Bytes and back, pure; `journal` writes the file and `store` finds it. Layout: magic `NYZKSNP1`,
//! u64 length of the payload, u32 CRC (IEEE) of the payload, payload.

use std::collections::BTreeSet;

use super::entry::{read_session, write_session};
use super::node::{Kind, Node};
use super::records::{Stamp, read_acls, write_acls};
use super::sessions::SessionRecord;
use super::tree::Tree;
use crate::protocol::jute::{Malformed, Reader, Writer};

const MAGIC: &[u8; 8] = b"NYZKSNP1";

/// What a snapshot holds.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    pub(super) zxid: i64,
    /// Highest session id ever given out: ids are never used twice.
    pub(super) session_id_last: i64,
    pub(super) sessions: Vec<SessionRecord>,
    pub(super) tree: Tree,
}

impl State {
    /// The state of a server that never ran.
    pub(super) fn fresh() -> Self {
        Self {
            zxid: 0,
            session_id_last: 0,
            sessions: Vec::new(),
            tree: Tree::new(),
        }
    }
}

/// A snapshot file's bytes.
pub(super) fn encode<'a>(
    zxid: i64,
    session_id_last: i64,
    sessions: impl ExactSizeIterator<Item = &'a SessionRecord>,
    tree: &Tree,
) -> Vec<u8> {
    let mut w = Writer::new();
    w.long(zxid).long(session_id_last).count(sessions.len());
    for session in sessions {
        write_session(&mut w, session);
    }
    w.count(tree.len());
    for (path, node) in tree.iter() {
        w.string(path);
        write_node(&mut w, node);
    }
    let payload = w.into_bytes();
    let mut file = Vec::with_capacity(payload.len() + 20);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    file.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
    file.extend_from_slice(&payload);
    file
}

/// Reads a snapshot file's bytes; anything that is not whole and sound is malformed.
pub(super) fn decode(file: &[u8]) -> Result<State, Malformed> {
    let (magic, rest) = file.split_first_chunk::<8>().ok_or(Malformed)?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
    let (crc, payload) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
    let whole = u64::from_be_bytes(*length) == payload.len() as u64;
    if magic != MAGIC || !whole || u32::from_be_bytes(*crc) != crc32fast::hash(payload) {
        return Err(Malformed);
    }
    let mut r = Reader::new(payload);
    let (zxid, session_id_last) = (r.long()?, r.long()?);
    let count = r.count(28)?;
    let sessions = (0..count).map(|_| read_session(&mut r));
    let sessions = sessions.collect::<Result<_, _>>()?;
    let count = r.count(4)?;
    let nodes = (0..count).map(|_| Ok((r.string()?.into_owned(), read_node(&mut r)?)));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let tree = Tree::from_nodes(nodes).ok_or(Malformed)?;
    if !r.is_empty() {
        return Err(Malformed);
    }
    Ok(State {
        zxid,
        session_id_last,
        sessions,
        tree,
    })
}

fn write_node(w: &mut Writer, node: &Node) {
    w.buffer(node.data.as_deref());
    write_acls(w, &node.acl);
    w.long(node.kind.owner());
    w.long(node.created.zxid).long(node.created.time_ms);
    w.long(node.modified.zxid).long(node.modified.time_ms);
    w.int(node.version).int(node.aversion).int(node.creations);
    w.long(node.pzxid);
}

fn read_node(r: &mut Reader<'_>) -> Result<Node, Malformed> {
    let stamp = |r: &mut Reader<'_>| {
        Ok(Stamp {
            zxid: r.long()?,
            time_ms: r.long()?,
        })
    };
    Ok(Node {
        data: r.data()?,
        acl: read_acls(r)?.into(),
        kind: Kind::from_owner(r.long()?),
        created: stamp(r)?,
        modified: stamp(r)?,
        version: r.int()?,
        aversion: r.int()?,
        creations: r.int()?,
        pzxid: r.long()?,
        children: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::node::Change;

    fn state() -> State {
        let mut tree = Tree::new();
        let acl = tree.get("/").expect("the root is always there").acl.clone();
        for (zxid, path, kind) in [
            (1, "/a", Kind::Persistent),
            (2, "/a/e", Kind::Ephemeral(77)),
            (3, "/c", Kind::Container),
            (4, "/t", Kind::Ttl(5)),
        ] {
            let change = Change::Create {
                path: path.to_owned(),
                data: None,
                acl: acl.clone(),
                kind,
            };
            let at = Stamp { zxid, time_ms: 9 };
            tree.apply(&change, at, &mut Vec::new()).expect("free path");
        }
        State {
            zxid: 4,
            session_id_last: 80,
            sessions: vec![SessionRecord {
                id: 77,
                timeout_ms: 4000,
                password: [3; 16],
            }],
            tree,
        }
    }

    fn bytes(state: &State) -> Vec<u8> {
        encode(
            state.zxid,
            state.session_id_last,
            state.sessions.iter(),
            &state.tree,
        )
    }

    #[test]
    fn a_snapshot_is_read_back_whole() {
        let state = state();
        assert_eq!(decode(&bytes(&state)), Ok(state));
        let fresh = State::fresh();
        assert_eq!(decode(&bytes(&fresh)), Ok(fresh));
    }

    #[test]
    fn a_cut_or_flipped_snapshot_is_refused() {
        let bytes = bytes(&state());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(Malformed), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&flipped), Err(Malformed), "flipped at {at}");
        }
    }
}
