//! What a partition of `__consumer_offsets` says: batches in, groups with their offsets out.
//!
//! Later records win, null values remove. Offsets of a transaction count from its commit marker
//! on. What cannot be read is skipped and counted: one bad record must not take a group's other
//! offsets away. No clock and no I/O; `driver/background.rs` reads the partition.

use std::collections::{BTreeMap, HashMap};

use nyala_client::wire::batch::{BatchError, BatchView, ControlType, Record};
use nyala_coordinator::ids::TopicName;

use super::offsets::{Committed, Offsets};
use super::records::{GroupRecord, Key, OffsetRecord, read_key};

/// Most bytes that the records of one batch may unpack to.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What one group is, by the log.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// Its last record, unless there was none or a tombstone.
    pub(crate) group: Option<GroupRecord>,
    /// Its offsets.
    pub(crate) offsets: Offsets,
}

/// One offset on its way through a transaction: where, and what (none: removed).
type InTransaction = ((String, TopicName, i32), Option<Committed>);

/// Collects the records of a partition in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    groups: BTreeMap<String, Replayed>,
    transactions: HashMap<i64, Vec<InTransaction>>,
    skipped: usize,
}

impl Replay {
    /// Takes in one batch.
    pub(crate) fn batch(&mut self, batch: &BatchView<'_>) -> Result<(), BatchError> {
        let body = batch.decompress(BATCH_BYTES_MAX)?;
        for record in batch.records(&body) {
            let record = record?;
            if batch.is_control() {
                self.marker(batch.producer_id(), &record);
            } else if self.record(batch, &record).is_none() {
                self.skipped += 1;
            }
        }
        Ok(())
    }

    /// The groups by id, and how many records could not be read.
    pub(crate) fn finish(mut self) -> (BTreeMap<String, Replayed>, usize) {
        self.groups
            .retain(|_, g| g.group.is_some() || !g.offsets.is_empty());
        (self.groups, self.skipped)
    }

    fn marker(&mut self, producer_id: i64, record: &Record<'_>) {
        let offsets = self.transactions.remove(&producer_id).unwrap_or_default();
        if record.control_type() != Some(ControlType::Commit) {
            return;
        }
        for ((group, topic, partition), committed) in offsets {
            let offsets = &mut self.groups.entry(group).or_default().offsets;
            let place = (topic, partition);
            match committed {
                Some(committed) => offsets.put(&place, committed),
                None => offsets.remove(&place),
            }
        }
    }

    /// `None` for a record that is not understood.
    fn record(&mut self, batch: &BatchView<'_>, record: &Record<'_>) -> Option<()> {
        match read_key(record.key?).ok()? {
            Key::Unknown { .. } => None,
            Key::Group { group } => {
                let value = match record.value {
                    Some(value) => Some(GroupRecord::decode(value).ok()?),
                    None => None,
                };
                self.groups.entry(group).or_default().group = value;
                Some(())
            }
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                let place = (TopicName::new(&topic).ok()?, partition);
                let written_at = batch.base_offset();
                let committed = match record.value {
                    Some(value) => Some(Committed {
                        record: OffsetRecord::decode(value).ok()?,
                        written_at,
                    }),
                    None => None,
                };
                if batch.is_transactional() {
                    let offsets = self.transactions.entry(batch.producer_id()).or_default();
                    offsets.push(((group, place.0, place.1), committed));
                    return Some(());
                }
                let offsets = &mut self.groups.entry(group).or_default().offsets;
                match committed {
                    Some(committed) => offsets.put(&place, committed),
                    None => offsets.remove(&place),
                }
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
