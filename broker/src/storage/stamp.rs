//! What the broker writes into the head of a batch: base offset, leader epoch and, under LogAppendTime,
//! the timestamp. The first two lie before the CRC's range, so the CRC stays.

use nyala_client::wire::crc32c;
use nyala_coordinator::ids::LeaderEpoch;

const EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const ATTRIBUTE_LOG_APPEND_TIME: u8 = 0x08;

/// Values for one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) log_append_time_ms: Option<i64>,
}

impl Stamp {
    /// Writes them into `batch`, which is a whole one.
    pub(crate) fn put(&self, batch: &mut [u8]) {
        put(batch, 0, &self.base_offset.to_be_bytes());
        put(batch, EPOCH_AT, &self.leader_epoch.0.to_be_bytes());
        if let Some(now_ms) = self.log_append_time_ms {
            // The low byte of the attributes; the type is one bit of it.
            if let Some(low) = batch.get_mut(ATTRIBUTES_AT + 1) {
                *low |= ATTRIBUTE_LOG_APPEND_TIME;
            }
            put(batch, MAX_TIMESTAMP_AT, &now_ms.to_be_bytes());
            let crc = batch.get(ATTRIBUTES_AT..).map_or(0, crc32c);
            put(batch, CRC_AT, &crc.to_be_bytes());
        }
    }
}

fn put(batch: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = batch.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
