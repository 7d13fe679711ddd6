//! A follower's side of an incremental fetch session (KIP-227). Pure.
//!
//! The leader remembers what was asked for, so a request names only what changed since. A new session
//! names everything; so does every request to a leader that keeps no session for us.

use std::collections::{BTreeMap, BTreeSet};

use nyala_client::wire::ErrorCode;
use nyala_coordinator::ids::{TopicId, TopicPartition};

/// What a leader is asked for of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Zero for a topic from before KIP-516.
    pub(super) topic_id: TopicId,
    /// Epoch in which the leader is followed.
    pub(super) leader_epoch: i32,
    /// Next offset of our log.
    pub(super) offset: i64,
    /// Epoch of our last record, or -1.
    pub(super) last_epoch: i32,
    /// First offset of our log.
    pub(super) log_start: i64,
}

/// One request's worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    /// Whether topics are named by id.
    pub(super) by_id: bool,
    pub(super) wanted: Vec<(TopicPartition, Wish)>,
    pub(super) forgotten: Vec<(TopicPartition, TopicId)>,
}

/// The session with one leader, and all that is wanted of it.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    /// 0: the next request begins anew.
    epoch: i32,
    by_id: bool,
    wanted: BTreeMap<TopicPartition, Wish>,
    without_id: usize,
    /// Wanted otherwise than the leader knows.
    changed: BTreeSet<TopicPartition>,
    /// The leader knows them, and they are wanted no more, or under another id.
    gone: BTreeSet<(TopicPartition, TopicId)>,
    /// Turns of requests without a session: each begins with another partition.
    turn: usize,
}

impl Session {
    /// `partition` is wanted like this from now on.
    pub(super) fn set(&mut self, partition: &TopicPartition, wish: Wish) {
        let old = match self.wanted.get_mut(partition) {
            Some(old) if *old == wish => return,
            Some(old) => Some(std::mem::replace(old, wish)),
            None => self.wanted.insert(partition.clone(), wish),
        };
        self.without_id += usize::from(wish.topic_id == TopicId::ZERO);
        if let Some(old) = old {
            self.without_id -= usize::from(old.topic_id == TopicId::ZERO);
            if old.topic_id != wish.topic_id {
                self.gone.insert((partition.clone(), old.topic_id));
            }
        }
        self.gone.remove(&(partition.clone(), wish.topic_id));
        self.changed.insert(partition.clone());
    }

    /// `partition` is not wanted now.
    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        if let Some(old) = self.wanted.remove(partition) {
            self.without_id -= usize::from(old.topic_id == TopicId::ZERO);
            self.changed.remove(partition);
            self.gone.insert((partition.clone(), old.topic_id));
        }
    }

    /// What is wanted of `partition`.
    pub(super) fn wish(&self, partition: &TopicPartition) -> Option<&Wish> {
        self.wanted.get(partition)
    }

    /// Whether nothing is wanted at all.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The next request. `ids`: whether the version names topics by id; it does only if all have one.
    pub(super) fn plan(&mut self, ids: bool) -> Plan {
        let by_id = ids && self.without_id == 0;
        if by_id != self.by_id {
            // A session knows topics by name or by id, not both.
            self.epoch = 0;
            self.by_id = by_id;
        }
        let full = self.epoch == 0;
        let wanted = match full {
            true => self.all_in_turn(),
            false => (self.changed.iter())
                .filter_map(|tp| Some((tp.clone(), *self.wanted.get(tp)?)))
                .collect(),
        };
        let gone = std::mem::take(&mut self.gone);
        self.changed.clear();
        Plan {
            session_id: self.id,
            session_epoch: self.epoch,
            by_id,
            wanted,
            forgotten: match full {
                true => Vec::new(),
                false => gone.into_iter().collect(),
            },
        }
    }

    /// All partitions; a leader without a session for us serves them in the order of the request, so
    /// the one that comes first changes.
    fn all_in_turn(&self) -> Vec<(TopicPartition, Wish)> {
        let mut all: Vec<_> = (self.wanted.iter())
            .map(|(tp, wish)| (tp.clone(), *wish))
            .collect();
        if !all.is_empty() {
            let first = self.turn % all.len();
            all.rotate_left(first);
        }
        all
    }

    /// What the leader answered to the request as a whole. An error means that the session is over; the
    /// partitions have no answer then.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) -> Result<(), ErrorCode> {
        match error {
            ErrorCode::None if session_id == 0 => {
                (self.id, self.epoch) = (0, 0);
                self.turn = self.turn.wrapping_add(1);
            }
            ErrorCode::None if self.epoch == 0 || session_id != self.id => {
                (self.id, self.epoch) = (session_id, 1);
            }
            ErrorCode::None => self.epoch = self.epoch.checked_add(1).unwrap_or(1),
            ErrorCode::FetchSessionIdNotFound => (self.id, self.epoch) = (0, 0),
            // The old session is named, so that the leader drops it.
            _ => self.epoch = 0,
        }
        match error {
            ErrorCode::None => Ok(()),
            error => Err(error),
        }
    }

    /// There was no answer: nobody knows what the leader remembers.
    pub(super) fn lost(&mut self) {
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests;
