//! Kafka's checkpoint text files: a version, a count, one entry a line.
//!
//! ```text
//! 0
//! 1
//! topic 3 42          (offsets of partitions)    or    7 42     (epoch, first offset)    or    topic 3
//! ```
//! A damaged checkpoint counts as missing and never blocks a start (KAFKA-1758): what it says can be
//! found out, at the price of reading more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use nyala_coordinator::ids::{LeaderEpoch, PartitionIndex, TopicName, TopicPartition};

use super::{StorageError, durable};

const VERSION: &str = "0";
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Offset of each partition.
pub(crate) type PartitionOffsets = BTreeMap<TopicPartition, i64>;

/// First offset of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) start_offset: i64,
}

/// Reads offsets of partitions; empty when the file is missing or damaged.
pub(crate) fn read_offsets(path: &Path) -> Result<PartitionOffsets, StorageError> {
    Ok(read_text(path)?
        .and_then(|text| parse(&text, parse_offset))
        .map(|entries| entries.into_iter().collect())
        .unwrap_or_default())
}

/// Writes offsets of partitions.
pub(crate) fn write_offsets(path: &Path, offsets: &PartitionOffsets) -> Result<(), StorageError> {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    durable::replace(path, text.as_bytes())
}

/// Reads names of partitions; empty when the file is missing, `None` when it is damaged.
pub(crate) fn read_partitions(
    path: &Path,
) -> Result<Option<BTreeSet<TopicPartition>>, StorageError> {
    let entries = match read_text(path)? {
        Some(text) => parse(&text, parse_partition),
        None if path.exists() => None,
        None => Some(Vec::new()),
    };
    Ok(entries.map(|entries| entries.into_iter().collect()))
}

/// Writes names of partitions.
pub(crate) fn write_partitions(
    path: &Path,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<(), StorageError> {
    let mut text = format!("{VERSION}\n{}\n", partitions.len());
    for TopicPartition { topic, partition } in partitions {
        let _ = writeln!(text, "{topic} {partition}");
    }
    durable::replace(path, text.as_bytes())
}

/// Reads a leader-epoch checkpoint; `None` when the file is missing or damaged.
pub(crate) fn read_epochs(path: &Path) -> Result<Option<Vec<EpochStart>>, StorageError> {
    Ok(read_text(path)?.and_then(|text| parse(&text, parse_epoch)))
}

/// Writes a leader-epoch checkpoint.
pub(crate) fn write_epochs(path: &Path, epochs: &[EpochStart]) -> Result<(), StorageError> {
    let mut text = format!("{VERSION}\n{}\n", epochs.len());
    for entry in epochs {
        let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
    }
    durable::replace(path, text.as_bytes())
}

fn read_text(path: &Path) -> Result<Option<String>, StorageError> {
    match durable::read_small(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(bytes.and_then(|b| String::from_utf8(b).ok())),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T>(text: &str, entry: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let mut lines = text.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let entries: Option<Vec<T>> = lines.filter(|line| !line.is_empty()).map(entry).collect();
    entries.filter(|entries| entries.len() == count)
}

fn parse_offset(line: &str) -> Option<(TopicPartition, i64)> {
    let (partition, offset) = line.trim_ascii_end().rsplit_once(' ')?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    Some((parse_partition(partition)?, offset))
}

fn parse_partition(line: &str) -> Option<TopicPartition> {
    let mut words = line.split_ascii_whitespace();
    let topic = TopicName::new(words.next()?).ok()?;
    let partition = PartitionIndex(words.next()?.parse().ok()?);
    let partition = TopicPartition { topic, partition };
    words.next().is_none().then_some(partition)
}

fn parse_epoch(line: &str) -> Option<EpochStart> {
    let (epoch, start_offset) = line.split_once(' ')?;
    Some(EpochStart {
        epoch: LeaderEpoch(epoch.parse().ok()?),
        start_offset: start_offset.trim_end().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &str) -> TopicPartition {
        super::super::names::parse_partition_dir(name).expect("legal")
    }

    #[test]
    fn offsets_read_back_in_kafkas_text() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("c");
        assert!(read_offsets(&path).expect("missing").is_empty());
        let offsets: PartitionOffsets = [(partition("a-0"), 7), (partition("b-c-12"), 0)].into();
        write_offsets(&path, &offsets).expect("write");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "0\n2\na 0 7\nb-c 12 0\n");
        assert_eq!(read_offsets(&path).expect("read"), offsets);
    }

    #[test]
    fn names_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("c");
        let none = Some(BTreeSet::new());
        assert_eq!(read_partitions(&path).expect("missing"), none);
        let names = BTreeSet::from([partition("a-0"), partition("b-c-12")]);
        write_partitions(&path, &names).expect("write");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "0\n2\na 0\nb-c 12\n");
        assert_eq!(read_partitions(&path).expect("read"), Some(names));
        for damaged in [&b"0\n1\na 0 7\n"[..], b"0\n1\n\xff 0\n"] {
            std::fs::write(&path, damaged).expect("write");
            assert_eq!(read_partitions(&path).expect("damaged"), None);
        }
    }

    #[test]
    fn a_damaged_checkpoint_counts_as_missing() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("c");
        let damaged: [&[u8]; 8] = [
            b"",
            b"1\n0\n",
            b"0\n2\na 0 7\n",
            b"0\n1\na 0\n",
            b"0\n1\na 0 x\n",
            b"0\n1\n../x 0 1\n",
            b"0\n1\na 0 -5\n",
            b"\xff\xfe\0\0",
        ];
        for text in damaged {
            std::fs::write(&path, text).expect("write");
            assert!(read_offsets(&path).expect("read").is_empty(), "{text:?}");
        }
    }

    #[test]
    fn epochs_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("e");
        assert_eq!(read_epochs(&path).expect("missing"), None);
        let entry = |epoch, start_offset| EpochStart {
            epoch: LeaderEpoch(epoch),
            start_offset,
        };
        let epochs = vec![entry(0, 0), entry(4, 10)];
        write_epochs(&path, &epochs).expect("write");
        assert_eq!(
            std::fs::read_to_string(&path).expect("read"),
            "0\n2\n0 0\n4 10\n"
        );
        assert_eq!(read_epochs(&path).expect("read"), Some(epochs));
    }
}
