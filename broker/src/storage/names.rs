//! Names of files and folders, Kafka's: pure text.

use std::path::{Path, PathBuf};

use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};

pub(crate) const LOG: &str = "log";
pub(crate) const INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const SNAPSHOT: &str = "snapshot";
/// Added to a file that is about to be removed.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// Ends the name of a folder that is about to be removed.
pub(crate) const DELETE_DIR_SUFFIX: &str = "-delete";

/// Ends the name of a folder of another topic, which is kept and not opened.
pub(crate) const STRAY_DIR_SUFFIX: &str = "-stray";

pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// Ours: replicas that were lost with a disk.
pub(crate) const LOST_REPLICAS: &str = "lost-replicas";
/// Ours: all folders that the broker had when it started last.
pub(crate) const KNOWN_LOG_DIRS: &str = "known-log-dirs";
pub(crate) const FENCES: &str = "fences";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
pub(crate) const META_PROPERTIES: &str = "meta.properties";
pub(crate) const LOCK: &str = ".lock";
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";

const FILE_NAME_BYTES_MAX: usize = 255;

/// `00000000000000000042.log`
pub(crate) fn segment_file(dir: &Path, base_offset: i64, extension: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}.{extension}"))
}

/// Base offset and extension of a segment's file; `None` for any other name.
pub(crate) fn parse_segment_file(name: &str) -> Option<(i64, &str)> {
    let (digits, extension) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, extension))
}

/// Reads `topic-3`.
pub(crate) fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    if !partition.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(TopicPartition {
        topic: TopicName::new(topic).ok()?,
        partition: PartitionIndex(partition.parse().ok()?),
    })
}

/// `topic-3.<uuid>-delete`, or another suffix; the topic cut where the name would be too long for a file
/// system.
pub(crate) fn aside_dir(partition: &TopicPartition, unique: &uuid::Uuid, suffix: &str) -> String {
    let suffix = format!(".{}{suffix}", unique.simple());
    let mut name = partition.to_string();
    name.truncate(FILE_NAME_BYTES_MAX - suffix.len());
    name + &suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let path = segment_file(Path::new("/d"), 42, LOG);
        assert_eq!(path, Path::new("/d/00000000000000000042.log"));
        let parse = parse_segment_file;
        assert_eq!(parse("00000000000000000042.log"), Some((42, "log")));
        assert_eq!(
            parse("00000000000000000042.log.deleted"),
            Some((42, "log.deleted"))
        );
        for other in [
            "42.log",
            "leader-epoch-checkpoint",
            "",
            "9999999999999999999x.log",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let partition = parse_partition_dir("a-b-3").expect("legal");
        assert_eq!(partition.to_string(), "a-b-3");
        for other in [
            "a",
            "a-",
            "-3",
            "a--delete",
            "a-+3",
            "a-3.0-delete",
            "a-3.0-stray",
            "a-99999999999",
        ] {
            assert_eq!(parse_partition_dir(other), None, "{other}");
        }
        let long = TopicPartition {
            topic: TopicName::new(&"x".repeat(249)).expect("legal"),
            partition: PartitionIndex(7),
        };
        let name = aside_dir(&long, &uuid::Uuid::nil(), DELETE_DIR_SUFFIX);
        assert_eq!(name.len(), 255);
        assert!(name.ends_with(".00000000000000000000000000000000-delete"));
    }
}
