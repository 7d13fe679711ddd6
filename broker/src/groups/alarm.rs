//! When which group wants to be woken: one ordered table and one sleeper for all groups.
//!
//! Heartbeats do not touch it: a group asks to be woken at its earliest deadline, and puts the
//! next question off until then. Entries of groups that asked for an earlier time meanwhile
//! stay until they are due and then lead to nothing.

use std::collections::BTreeMap;
use std::sync::Weak;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shard::Cell;

/// All alarms. Shared by every group and the background task.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    table: Mutex<Table>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_time: BTreeMap<(u64, u64), Weak<Cell>>,
    next: u64,
}

impl Alarms {
    /// Wakes `cell` at `deadline_ms`.
    pub(super) fn set(&self, deadline_ms: u64, cell: Weak<Cell>) {
        let mut table = self.table.lock();
        let first = table
            .by_time
            .keys()
            .next()
            .is_none_or(|k| deadline_ms < k.0);
        let key = (deadline_ms, table.next);
        table.next += 1;
        table.by_time.insert(key, cell);
        drop(table);
        if first {
            self.earlier.notify_one();
        }
    }

    /// The earliest one.
    pub(super) fn next(&self) -> Option<u64> {
        self.table.lock().by_time.keys().next().map(|key| key.0)
    }

    /// Takes those that are due.
    pub(super) fn take_due(&self, now_ms: u64) -> Vec<(u64, Weak<Cell>)> {
        let mut table = self.table.lock();
        let later = table.by_time.split_off(&(now_ms.saturating_add(1), 0));
        let due = std::mem::replace(&mut table.by_time, later);
        due.into_iter().map(|((at, _), cell)| (at, cell)).collect()
    }

    /// Ends when an alarm was set that is earlier than all others.
    pub(super) async fn earlier(&self) {
        self.earlier.notified().await;
    }
}
