//! Which leader epoch starts at which offset (KIP-101): kept in memory, small, and in
//! `leader-epoch-checkpoint`.
//!
//! Invariant: epochs and start offsets both strictly increase from entry to entry.

use nyala_coordinator::ids::LeaderEpoch;

use super::checkpoint::EpochStart;

/// Answer to OffsetForLeaderEpoch (KIP-101, KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not above the one asked for.
    pub leader_epoch: LeaderEpoch,
    /// Offset at which that epoch ends.
    pub end_offset: i64,
}

/// The epochs of one log.
#[derive(Debug, Default)]
pub(crate) struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    /// Takes what a checkpoint says, dropping entries that break the order.
    pub(crate) fn new(entries: Vec<EpochStart>) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start_offset);
        }
        epochs
    }

    pub(crate) fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Notes that `epoch` starts at `start_offset`. True when that is news. Entries that conflict (an
    /// epoch or an offset not below) were written by a leader that lost: they go. An epoch that is over and would
    /// start behind the latest one is not noted: no leader of ours writes in it (`roles/set_back.rs`).
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start_offset: i64) -> bool {
        if epoch.0 < 0 || start_offset < 0 {
            return false;
        }
        if let Some(last) = self.entries.last()
            && epoch <= last.epoch
            && last.start_offset <= start_offset
        {
            return false;
        }
        self.entries
            .retain(|entry| entry.epoch < epoch && entry.start_offset < start_offset);
        self.entries.push(EpochStart {
            epoch,
            start_offset,
        });
        true
    }

    /// Where `epoch`, or the largest one below it, ends in a log that ends at `next_offset`; by Kafka's
    /// rules `None` for an epoch above all that are known, and for one below them itself and the start of
    /// the first.
    pub(crate) fn end_offset(&self, epoch: LeaderEpoch, next_offset: i64) -> Option<EpochEnd> {
        let behind = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let known = behind.checked_sub(1).and_then(|i| self.entries.get(i));
        let end_offset = match self.entries.get(behind) {
            Some(next) => next.start_offset,
            None if known.is_some_and(|entry| entry.epoch == epoch) => next_offset,
            None => return None,
        };
        Some(EpochEnd {
            leader_epoch: known.map_or(epoch, |entry| entry.epoch),
            end_offset,
        })
    }

    /// Epoch that wrote `offset`.
    pub(crate) fn at(&self, offset: i64) -> Option<LeaderEpoch> {
        let behind = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        Some(self.entries.get(behind.checked_sub(1)?)?.epoch)
    }

    /// Drops epochs that start at or behind `offset`. True when there were some.
    pub(crate) fn truncate_from_end(&mut self, offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < offset);
        self.entries.len() != before
    }

    /// Drops epochs that end at or before `offset`; the one that holds it then starts there. True when
    /// something changed.
    pub(crate) fn truncate_from_start(&mut self, offset: i64) -> bool {
        let behind = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        let Some(holder) = behind.checked_sub(1) else {
            return false;
        };
        self.entries.drain(..holder);
        let Some(first) = self.entries.first_mut() else {
            return false;
        };
        let changed = holder > 0 || first.start_offset != offset;
        first.start_offset = offset;
        changed
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let entry = |&(epoch, start_offset)| EpochStart {
            epoch: LeaderEpoch(epoch),
            start_offset,
        };
        Epochs::new(entries.iter().map(entry).collect())
    }

    fn list(epochs: &Epochs) -> Vec<(i32, i64)> {
        let entries = epochs.entries().iter();
        entries.map(|e| (e.epoch.0, e.start_offset)).collect()
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let e = epochs(&[(1, 0), (3, 10), (7, 20)]);
        let end = |epoch| {
            e.end_offset(LeaderEpoch(epoch), 25)
                .map(|end| (end.leader_epoch.0, end.end_offset))
        };
        assert_eq!(end(0), Some((0, 0)));
        assert_eq!(end(1), Some((1, 10)));
        assert_eq!(end(2), Some((1, 10)));
        assert_eq!(end(3), Some((3, 20)));
        assert_eq!(end(7), Some((7, 25)));
        assert_eq!(end(9), None);
        assert_eq!(e.at(9), Some(LeaderEpoch(1)));
        assert_eq!(e.at(20), Some(LeaderEpoch(7)));
    }

    #[test]
    fn assigning_keeps_the_order_and_drops_what_conflicts() {
        let mut e = epochs(&[(1, 0), (3, 10)]);
        assert!(!e.assign(LeaderEpoch(3), 12), "known");
        assert!(e.assign(LeaderEpoch(4), 10), "epoch 3 wrote nothing");
        assert_eq!(list(&e), [(1, 0), (4, 10)]);
        assert!(!e.assign(LeaderEpoch(-1), 11));
        assert!(e.assign(LeaderEpoch(2), 5));
        assert_eq!(list(&e), [(1, 0), (2, 5)]);
    }

    #[test]
    fn truncation_from_both_ends() {
        let mut e = epochs(&[(1, 0), (3, 10), (7, 20)]);
        assert!(e.truncate_from_end(20));
        assert!(!e.truncate_from_end(20));
        assert_eq!(list(&e), [(1, 0), (3, 10)]);
        assert!(e.truncate_from_start(12));
        assert_eq!(list(&e), [(3, 12)]);
        assert!(!e.truncate_from_start(5), "before all that is known");
    }
}
