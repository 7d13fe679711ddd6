//! The state of the server and everything that happens to it, one call at a time under one lock.
//!
//! Joins the pure parts: checks who asks, applies, journals, fires watches, queues the answer.
//! Reads and watches are served in `reads`, changes in `writes`, connections and
//! sessions come and go in `lifecycle`. Never waits: durability is the
//! outbox's business.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::acl;
use super::config::ServerConfig;
use super::entry::{self, Action};
use super::journal::Journal;
use super::node::{Event, EventKind};
use super::outbox::Outbox;
use super::records::{ErrorCode, Id, Stamp, perms};
use super::requests::{self, Header, Request};
use super::sessions::Sessions;
use super::snapshot::{self, State};
use super::tree::Tree;
use super::watches::{ConnectionId, Watches};
use super::words::Stats;
use crate::protocol::jute::Writer;
use crate::protocol::paths::NoPath;
use crate::protocol::xids;

/// Identities that one connection may collect: each one that `auth` stands for makes every ACL
/// longer.
const IDENTITIES_MAX: usize = 16;

/// Both clocks at one moment: deadlines run on the first, `Stat`s show the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall_ms: i64,
}

impl Now {
    pub(super) fn read() -> Self {
        Self {
            instant: crate::clock::now(),
            wall_ms: crate::clock::wall_ms(),
        }
    }
}

/// Why a connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its bytes are not a request")]
    Malformed,
    #[error("it has seen zxid {seen:#x}, ours is {ours:#x}")]
    ZxidAhead { seen: i64, ours: i64 },
    #[error("the answer would be larger than {limit} bytes")]
    ReplyTooLarge { limit: usize },
    #[error("it holds more than {limit} watches, or {limit_bytes} bytes of paths to watch")]
    TooManyWatches { limit: usize, limit_bytes: usize },
    #[error("it has no session")]
    NoSession,
}

impl From<crate::protocol::jute::Malformed> for Refusal {
    fn from(_: crate::protocol::jute::Malformed) -> Self {
        Self::Malformed
    }
}

/// Whether a connection takes further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Serve,
    /// It ends when what waits for it is sent; nothing that comes after is looked at.
    Finish,
}

/// How a request fails: with a code that the client is told, or with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Code(ErrorCode),
    Close(Refusal),
}

impl From<NoPath> for Failure {
    fn from(no_path: NoPath) -> Self {
        ErrorCode::from(no_path).into()
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) outbox: Arc<Outbox>,
    pub(super) session: Option<i64>,
    pub(super) who: Vec<Id>,
}

/// The limits that requests meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) session_timeout_ms_min: i32,
    pub(super) session_timeout_ms_max: i32,
    snapshot_after_bytes: usize,
    pub(super) reply_bytes_max: usize,
    pub(super) watches_max: usize,
    pub(super) watch_bytes_max: usize,
}

impl Limits {
    pub(super) fn of(config: &ServerConfig) -> Self {
        let tick = i32::try_from(config.tick_time.as_millis()).unwrap_or(i32::MAX);
        Self {
            session_timeout_ms_min: tick.saturating_mul(2),
            session_timeout_ms_max: tick.saturating_mul(20),
            snapshot_after_bytes: config.snapshot_after_bytes,
            reply_bytes_max: config.reply_bytes_max,
            watches_max: config.watches_max,
            watch_bytes_max: config.watch_bytes_max,
        }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) tree: Tree,
    pub(super) sessions: Sessions,
    pub(super) watches: Watches,
    pub(super) peers: HashMap<ConnectionId, Peer>,
    pub(super) zxid: i64,
    pub(super) limits: Limits,
    pub(super) stats: Stats,
    pub(super) session_id_last: i64,
    pub(super) connection_last: u64,
    pub(super) journal: Journal,
}

impl Engine {
    /// Takes over a recovered state: every session in it gets its full timeout from now.
    pub(super) fn new(state: State, journal: Journal, limits: Limits, now: Now) -> Self {
        let mut sessions = Sessions::default();
        for session in state.sessions {
            sessions.insert(session, now.instant);
        }
        Self {
            tree: state.tree,
            sessions,
            watches: Watches::default(),
            peers: HashMap::new(),
            zxid: state.zxid,
            limits,
            stats: Stats::default(),
            session_id_last: state.session_id_last,
            connection_last: 0,
            journal,
        }
    }

    /// One request of a connection that has its session.
    pub(super) fn request(
        &mut self,
        id: ConnectionId,
        frame: &[u8],
        now: Now,
    ) -> Result<Next, Refusal> {
        let (header, request) = requests::decode(frame)?;
        let session = self.peers.get(&id).and_then(|peer| peer.session);
        let session = session.ok_or(Refusal::NoSession)?;
        self.sessions.touch(session, now.instant);
        self.stats.received += 1;
        let mut next = Next::Serve;
        match request {
            Request::Ping => {
                let header = Header {
                    xid: xids::PING,
                    ..header
                };
                self.pong(id, header, now);
            }
            Request::Read(op) => self.answer(id, header, now, |e, w| e.read(id, &op, w))?,
            Request::MultiRead(ops) => {
                self.answer(id, header, now, |e, w| e.multi_read(id, &ops, w))?;
            }
            Request::Watch(op) => self.answer(id, header, now, |e, w| e.watch(id, op, w))?,
            Request::Write(op) => self.answer(id, header, now, |e, w| e.write(id, &op, now, w))?,
            Request::Multi(ops) => {
                self.answer(id, header, now, |e, w| e.multi(id, &ops, now, w))?
            }
            Request::Auth { scheme, secret } => {
                next = self.authenticate(id, header, &scheme, secret.as_deref());
            }
            Request::Close => {
                self.close_session(session, now);
                self.answer(id, header, now, |_, _| Ok(()))?;
                next = Next::Finish;
            }
            Request::Unimplemented => self.fail(id, header, now, ErrorCode::Unimplemented),
            Request::BadMulti => self.fail(id, header, now, ErrorCode::MarshallingError),
            Request::Unknown => {
                self.fail(id, header, now, ErrorCode::Unimplemented);
                next = Next::Finish;
            }
        }
        self.snapshot_if_due();
        Ok(next)
    }

    /// The stamp that the next transaction gets.
    pub(super) fn stamp(&self, now: Now) -> Stamp {
        Stamp {
            zxid: self.zxid + 1,
            time_ms: now.wall_ms,
        }
    }

    /// Journals what was applied and tells those who watch it.
    pub(super) fn commit(&mut self, now: Now, action: &Action, events: &[Event]) {
        let stamp = self.stamp(now);
        self.zxid = stamp.zxid;
        self.journal
            .append(stamp.zxid, &entry::encode(stamp, action));
        for event in events {
            for id in self.watches.fire(event) {
                self.notify(id, event);
            }
        }
    }

    /// Sends one event if the ACL lets its receiver read the node (CVE-2024-23944).
    pub(super) fn notify(&mut self, id: ConnectionId, event: &Event) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        if acl::check(&event.acl, perms::READ, &peer.who).is_err() {
            return;
        }
        let bytes = event_frame(event.kind, &event.path);
        if peer.outbox.event(self.zxid, bytes) {
            tracing::warn!("closing a ZooKeeper connection that does not read its watch events");
        }
    }

    /// Runs `serve` and sends what it wrote, or its error.
    fn answer(
        &mut self,
        id: ConnectionId,
        header: Header,
        now: Now,
        serve: impl FnOnce(&mut Self, &mut Writer) -> Result<(), Failure>,
    ) -> Result<(), Refusal> {
        let mut body = Writer::new();
        match serve(self, &mut body) {
            Ok(()) => {
                let body = body.into_bytes();
                self.send(id, header, now, 0, &body);
                Ok(())
            }
            Err(Failure::Code(code)) => {
                self.fail(id, header, now, code);
                Ok(())
            }
            Err(Failure::Close(refusal)) => Err(refusal),
        }
    }

    /// Answers a ping. It shows no state, so it waits for the disk only behind answers that do:
    /// a client that asked for nothing must not be lost to a disk that is slow for others.
    fn pong(&self, id: ConnectionId, header: Header, now: Now) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let zxid = match peer.outbox.is_empty() {
            true => self.journal.durable_zxid(),
            false => self.zxid,
        };
        let mut w = Writer::frame();
        w.int(header.xid).long(zxid).int(0);
        peer.outbox
            .reply(zxid, w.into_frame().into(), Some(now.instant));
    }

    fn fail(&self, id: ConnectionId, header: Header, now: Now, code: ErrorCode) {
        self.send(id, header, now, code.number(), &[]);
    }

    fn send(&self, id: ConnectionId, header: Header, now: Now, error: i32, body: &[u8]) {
        if let Some(peer) = self.peers.get(&id) {
            let mut w = Writer::frame();
            w.int(header.xid).long(self.zxid).int(error).raw(body);
            peer.outbox
                .reply(self.zxid, w.into_frame().into(), Some(now.instant));
        }
    }

    fn authenticate(
        &mut self,
        id: ConnectionId,
        header: Header,
        scheme: &str,
        secret: Option<&[u8]>,
    ) -> Next {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Next::Finish;
        };
        let known = match (scheme, secret) {
            ("digest", Some(secret)) => {
                let identity = acl::digest_identity(secret);
                let is_new = !peer.who.contains(&identity);
                let may = !is_new || peer.who.len() < IDENTITIES_MAX;
                if is_new && may {
                    peer.who.push(identity);
                }
                may
            }
            // The address is known since the connection was accepted.
            ("ip", _) => true,
            _ => false,
        };
        let error = match known {
            true => 0,
            false => ErrorCode::AuthFailed.number(),
        };
        let mut w = Writer::frame();
        w.int(header.xid).long(0).int(error);
        peer.outbox.reply(self.zxid, w.into_frame().into(), None);
        match known {
            true => Next::Serve,
            false => Next::Finish,
        }
    }

    pub(super) fn snapshot_if_due(&self) {
        let due = self.limits.snapshot_after_bytes.max(self.tree.data_bytes());
        if self.journal.grown().is_some_and(|grown| grown > due) {
            let sessions = self.sessions.iter();
            let bytes = snapshot::encode(self.zxid, self.session_id_last, sessions, &self.tree);
            self.journal.rotate(self.zxid, bytes);
        }
    }
}

/// A watch event as it goes over the wire: state 3 is `SyncConnected`.
pub(super) fn event_frame(kind: EventKind, path: &str) -> Bytes {
    let mut w = Writer::frame();
    w.int(xids::NOTIFICATION).long(-1).int(0);
    w.int(kind.number()).int(3).string(path);
    w.into_frame().into()
}
