//! How connections and sessions come and go, and what goes with them.
//!
//! A part of the engine: called under its lock. A session's end and the end of its ephemerals are
//! one transaction (ZOOKEEPER-1208, 1496).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::engine::{Engine, Next, Now, Peer, Refusal};
use super::entry::Action;
use super::outbox::Outbox;
use super::records::Id;
use super::requests::ConnectRequest;
use super::sessions::SessionRecord;
use super::transaction::Transaction;
use super::watches::ConnectionId;
use crate::protocol::jute::Writer;

impl Engine {
    /// A connection was accepted.
    pub(super) fn open(&mut self, outbox: Arc<Outbox>, address: IpAddr) -> ConnectionId {
        self.connection_last += 1;
        let id = ConnectionId(self.connection_last);
        let who = vec![Id::new("ip", &address.to_string())];
        let peer = Peer {
            outbox,
            session: None,
            who,
        };
        self.peers.insert(id, peer);
        id
    }

    /// A connection is gone; its session stays until it expires.
    pub(super) fn close(&mut self, id: ConnectionId) {
        self.watches.remove_connection(id);
        if let Some(peer) = self.peers.remove(&id) {
            peer.outbox.close();
            if let Some(session) = peer.session {
                self.sessions.detach(session, id);
            }
        }
    }

    /// The first packet of a connection: a new session, or a claim to an old one.
    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        frame: &[u8],
        now: Now,
    ) -> Result<Next, Refusal> {
        let request = ConnectRequest::decode(frame)?;
        if request.last_zxid_seen > self.zxid {
            return Err(Refusal::ZxidAhead {
                seen: request.last_zxid_seen,
                ours: self.zxid,
            });
        }
        let timeout_ms = request.timeout_ms.clamp(
            self.limits.session_timeout_ms_min,
            self.limits.session_timeout_ms_max,
        );
        let granted = match request.session {
            0 => Some(self.open_session(id, timeout_ms, now)),
            session => self.attach(id, session, timeout_ms, &request.password, now),
        };
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(Next::Finish);
        };
        let mut w = Writer::frame();
        match &granted {
            Some(session) => {
                peer.session = Some(session.id);
                w.int(0).int(session.timeout_ms).long(session.id);
                w.buffer(Some(&session.password));
            }
            None => {
                w.int(0).int(0).long(0).buffer(Some(&[0; 16]));
            }
        }
        if request.has_read_only {
            w.bool(false);
        }
        peer.outbox
            .reply(self.zxid, w.into_frame().into(), Some(now.instant));
        Ok(match granted {
            Some(_) => Next::Serve,
            None => Next::Finish,
        })
    }

    /// The server stops: all connections close, all sessions stay, the journal is written out.
    pub(super) fn stop(&mut self) {
        let all: Vec<_> = self.peers.keys().copied().collect();
        for id in all {
            self.close(id);
        }
        self.journal.close();
    }

    /// When [`Engine::expire`] has something to do next, at the earliest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sessions.next_deadline()
    }

    /// Ends the sessions that were silent for too long.
    pub(super) fn expire(&mut self, now: Now) {
        for session in self.sessions.expired(now.instant) {
            tracing::info!(session = format_args!("{session:#x}"), "session expired");
            self.end_session(session, now);
        }
        self.snapshot_if_due();
    }

    /// Ends one session as if it had expired: its connection closes without a word.
    pub(super) fn end_session(&mut self, session: i64, now: Now) -> bool {
        let Some(connection) = self.close_session(session, now) else {
            return false;
        };
        if let Some(connection) = connection {
            self.close(connection);
        }
        true
    }

    /// Nobody could be heard for `extra`: every session gets that much longer.
    pub(super) fn grant(&mut self, extra: Duration) {
        self.sessions.grant(extra);
    }

    /// Removes idle containers and outlived TTL nodes; false when there are none of these kinds.
    pub(super) fn reap(&mut self, now: Now) -> bool {
        for path in self.tree.reapable(now.wall_ms) {
            let stamp = self.stamp(now);
            let mut step = Transaction::new(&mut self.tree, stamp, 0, &[]);
            step.purge(vec![path]);
            let (changes, events) = step.finish();
            self.commit(
                now,
                &Action::Changes {
                    changes,
                    closed: None,
                },
                &events,
            );
        }
        self.tree.has_reapable_kinds()
    }

    fn open_session(&mut self, id: ConnectionId, timeout_ms: i32, now: Now) -> SessionRecord {
        // As ZooKeeper's server 0: time in the middle bits, so that ids of other runs differ
        // and the top byte, which marks TTL nodes and containers, stays free.
        let by_time = (now.wall_ms & 0xff_ffff_ffff) << 16;
        self.session_id_last = by_time.max(self.session_id_last + 1);
        let session = SessionRecord {
            id: self.session_id_last,
            timeout_ms,
            password: rand::random(),
        };
        self.sessions.insert(session, now.instant);
        // It was inserted with this very password a line above.
        let _first = self.sessions.attach(&session, id, now.instant);
        self.commit(now, &Action::Opened(session), &[]);
        session
    }

    /// Moves a session to this connection; the one that held it is closed.
    fn attach(
        &mut self,
        id: ConnectionId,
        session: i64,
        timeout_ms: i32,
        password: &[u8],
        now: Now,
    ) -> Option<SessionRecord> {
        let claim = SessionRecord {
            id: session,
            timeout_ms,
            password: password.try_into().ok()?,
        };
        let before = self.sessions.attach(&claim, id, now.instant).ok()?;
        if let Some(before) = before.filter(|before| *before != id) {
            self.close(before);
        }
        Some(claim)
    }

    /// Ends a session and deletes its ephemerals, in one transaction; returns its connection.
    pub(super) fn close_session(&mut self, session: i64, now: Now) -> Option<Option<ConnectionId>> {
        let connection = self.sessions.remove(session)?;
        let paths = self.tree.ephemerals_of(session).map(str::to_owned);
        let paths = paths.collect();
        let stamp = self.stamp(now);
        let mut step = Transaction::new(&mut self.tree, stamp, session, &[]);
        step.purge(paths);
        let (changes, events) = step.finish();
        let closed = Some(session);
        self.commit(now, &Action::Changes { changes, closed }, &events);
        Some(connection)
    }
}
