//! Sessions: who they are, which connection holds each, and when they end. Pure: `now` comes in.
//!
//! A session is alive until it is closed or was silent for its timeout. Touching one is cheap:
//! the queue of deadlines is corrected only when an entry comes up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::watches::ConnectionId;

/// Secret that lets a client come back to its session.
pub(super) type Password = [u8; 16];

/// What the journal keeps of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionRecord {
    pub(super) id: i64,
    pub(super) timeout_ms: i32,
    pub(super) password: Password,
}

#[derive(Debug)]
struct Session {
    record: SessionRecord,
    deadline: Instant,
    /// Its one valid entry in the queue, at or before `deadline`; older entries are void.
    queued: Instant,
    connection: Option<ConnectionId>,
}

/// All live sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: HashMap<i64, Session>,
    /// One valid entry a session, and entries that are void and go when they come up.
    queue: BinaryHeap<Reverse<(Instant, i64)>>,
}

/// The asker knows no living session by this id and password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Sessions {
    /// Takes in a session that is new, or comes out of the journal: its full timeout starts now.
    pub(super) fn insert(&mut self, record: SessionRecord, now: Instant) {
        let deadline = now + timeout(&record);
        self.queue.push(Reverse((deadline, record.id)));
        let session = Session {
            record,
            deadline,
            queued: deadline,
            connection: None,
        };
        self.sessions.insert(record.id, session);
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Option<ConnectionId>> {
        self.sessions.remove(&id).map(|session| session.connection)
    }

    /// Gives the session to `connection`; returns the one that held it until now.
    pub(super) fn attach(
        &mut self,
        claim: &SessionRecord,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Option<ConnectionId>, Refused> {
        let session = self.sessions.get_mut(&claim.id).ok_or(Refused)?;
        if !same(&session.record.password, &claim.password) {
            return Err(Refused);
        }
        // The timeout of the last connect counts, as in ZooKeeper; it may be a shorter one.
        session.record.timeout_ms = claim.timeout_ms;
        session.deadline = now + timeout(claim);
        if session.deadline < session.queued {
            session.queued = session.deadline;
            self.queue.push(Reverse((session.deadline, claim.id)));
        }
        Ok(session.connection.replace(connection))
    }

    /// The connection is gone; the session stays until its deadline.
    pub(super) fn detach(&mut self, id: i64, connection: ConnectionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.connection.take_if(|held| *held == connection);
        }
    }

    /// The session was heard of.
    pub(super) fn touch(&mut self, id: i64, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.deadline = now + timeout(&session.record);
        }
    }

    /// Moves every deadline by `extra`: time in which nobody could have been heard.
    pub(super) fn grant(&mut self, extra: Duration) {
        for session in self.sessions.values_mut() {
            session.deadline += extra;
        }
    }

    /// When to look for expired sessions next; may be early, never late.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Sessions whose deadline has passed. They stay until they are removed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<i64> {
        let mut expired = Vec::new();
        while let Some(&Reverse((at, id))) = self.queue.peek().filter(|e| e.0.0 <= now) {
            self.queue.pop();
            match self.sessions.get_mut(&id).filter(|s| s.queued == at) {
                Some(session) if session.deadline <= now => expired.push(id),
                Some(session) => {
                    session.queued = session.deadline;
                    self.queue.push(Reverse((session.deadline, id)));
                }
                None => {}
            }
        }
        expired
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &SessionRecord> {
        self.sessions.values().map(|session| &session.record)
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }
}

fn timeout(record: &SessionRecord) -> Duration {
    Duration::from_millis(u64::try_from(record.timeout_ms).unwrap_or(0))
}

/// Compares without telling by its time where the first difference is.
fn same(a: &Password, b: &Password) -> bool {
    a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
