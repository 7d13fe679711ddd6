//! Kafka's `.snapshot` file: the producers' state as of the offset in its name.
//!
//! ```text
//! i16 version = 1 | u32 CRC32C of all that follows | i32 count |
//! count x { i64 producer id, i16 epoch, i32 last sequence, i64 last offset, i32 offset delta,
//!           i64 timestamp, i32 coordinator epoch, i64 first offset of the open transaction or -1 }
//! ```
//! Only the last batch of a producer is kept, as in Kafka. A damaged snapshot is as good as none: the
//! state is then replayed from an older one, or from the log's start.

use std::path::Path;

use nyala_client::wire::crc32c;

use super::producers::{ProducedBatch, Producer, Producers};
use super::{StorageError, durable};

const VERSION: i16 = 1;
const CRC_END: usize = 6;
const ENTRY_BYTES: usize = 46;
/// 5 million producers: beyond that a file is not believed.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The bytes of a snapshot.
pub(crate) fn encode(producers: &Producers) -> Vec<u8> {
    let mut out = Vec::with_capacity(CRC_END + 4 + producers.len() * ENTRY_BYTES);
    out.extend(VERSION.to_be_bytes());
    out.extend([0; 4]);
    out.extend(
        u32::try_from(producers.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    for (id, producer) in producers.iter() {
        let last = producer.last_batch().copied().unwrap_or(ProducedBatch {
            last_sequence: -1,
            last_offset: -1,
            offset_delta: 0,
            timestamp_ms: producer.last_timestamp_ms,
        });
        out.extend(id.to_be_bytes());
        out.extend(producer.epoch.to_be_bytes());
        out.extend(last.last_sequence.to_be_bytes());
        out.extend(last.last_offset.to_be_bytes());
        out.extend(last.offset_delta.to_be_bytes());
        out.extend(producer.last_timestamp_ms.to_be_bytes());
        out.extend(producer.coordinator_epoch.to_be_bytes());
        let first = producer.transaction_first_offset.unwrap_or(-1);
        out.extend(first.to_be_bytes());
    }
    let crc = out.get(CRC_END..).map_or(0, crc32c).to_be_bytes();
    if let Some(place) = out.get_mut(2..CRC_END) {
        place.copy_from_slice(&crc);
    }
    out
}

/// Reads a snapshot back; `None` when it is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Producers> {
    let mut fields = Fields(bytes);
    if i16::from_be_bytes(fields.take()?) != VERSION {
        return None;
    }
    if u32::from_be_bytes(fields.take()?) != crc32c(fields.0) {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(fields.take()?)).ok()?;
    if fields.0.len() != count.checked_mul(ENTRY_BYTES)? {
        return None;
    }
    let mut producers = Producers::default();
    for _ in 0..count {
        let id = i64::from_be_bytes(fields.take()?);
        let mut producer = Producer::new(i16::from_be_bytes(fields.take()?));
        let mut last = ProducedBatch {
            last_sequence: i32::from_be_bytes(fields.take()?),
            last_offset: i64::from_be_bytes(fields.take()?),
            offset_delta: i32::from_be_bytes(fields.take()?),
            timestamp_ms: 0,
        };
        last.timestamp_ms = i64::from_be_bytes(fields.take()?);
        producer.last_timestamp_ms = last.timestamp_ms;
        producer.coordinator_epoch = i32::from_be_bytes(fields.take()?);
        let first = i64::from_be_bytes(fields.take()?);
        producer.transaction_first_offset = (first >= 0).then_some(first);
        if last.last_sequence >= 0 && last.offset_delta >= 0 {
            producer.push(last);
        }
        producers.insert(id, producer);
    }
    Some(producers)
}

/// Writes the snapshot file, unsynced: its CRC tells a spoilt one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    durable::replace_unsynced(path, bytes)
}

/// Reads the snapshot file; `None` when it is missing or damaged.
pub(crate) fn read(path: &Path) -> Result<Option<Producers>, StorageError> {
    match durable::read_small(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(bytes.as_deref().and_then(decode)),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Producers {
        let mut producers = Producers::default();
        for id in 0..3_i32 {
            let mut producer = Producer::new(7);
            producer.push(ProducedBatch {
                last_sequence: 41 + id,
                last_offset: 100,
                offset_delta: 4,
                timestamp_ms: 55,
            });
            producer.last_timestamp_ms = 55;
            producer.transaction_first_offset = (id == 1).then_some(90);
            producers.insert(i64::from(id), producer);
        }
        producers
    }

    #[test]
    fn a_snapshot_reads_back() {
        let bytes = encode(&some());
        let back = decode(&bytes).expect("whole");
        assert_eq!(back.len(), 3);
        assert_eq!(back.first_unstable_offset(), Some(90));
        for (id, producer) in some().iter() {
            let found = back.iter().find(|(other, _)| *other == id);
            assert_eq!(found.map(|(_, p)| p), Some(producer));
        }
        assert_eq!(
            decode(&encode(&Producers::default())).expect("empty").len(),
            0
        );
    }

    #[test]
    fn any_damage_makes_it_none() {
        let bytes = encode(&some());
        for i in 0..bytes.len() {
            assert!(decode(&bytes[..i]).is_none(), "cut at {i}");
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(decode(&flipped).is_none(), "flipped at {i}");
        }
    }
}
