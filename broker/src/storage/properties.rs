//! The two small `key=value` files of a log dir: `meta.properties` and `partition.metadata`.

use std::fmt::Write;
use std::path::Path;

use nyala_coordinator::ids::{BrokerId, TopicId};

use super::{StorageError, durable, names};

const FILE_BYTES_MAX: u64 = 1 << 16;

/// What `meta.properties` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `broker.id`.
    pub broker_id: Option<BrokerId>,
    /// `cluster.id`.
    pub cluster_id: Option<String>,
}

/// Reads `meta.properties`; `None` when there is none.
pub(crate) fn read_identity(dir: &Path) -> Result<Option<Identity>, StorageError> {
    let path = dir.join(names::META_PROPERTIES);
    let Some(bytes) = durable::read_small(&path, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(Identity {
        broker_id: value(&text, '=', "broker.id").and_then(|id| id.parse().ok().map(BrokerId)),
        cluster_id: value(&text, '=', "cluster.id").map(str::to_owned),
    }))
}

/// Writes `meta.properties` as a ZooKeeper-mode broker does.
pub(crate) fn write_identity(
    dir: &Path,
    broker_id: BrokerId,
    cluster_id: &str,
) -> Result<(), StorageError> {
    let mut text = String::from("#\n");
    let _ = write!(
        text,
        "broker.id={broker_id}\nversion=0\ncluster.id={cluster_id}\n"
    );
    durable::replace(&dir.join(names::META_PROPERTIES), text.as_bytes())
}

/// Reads the topic id of `partition.metadata`; `None` when there is none, or none that makes sense.
pub(crate) fn read_topic_id(dir: &Path) -> Result<Option<TopicId>, StorageError> {
    let path = dir.join(names::PARTITION_METADATA);
    Ok(
        durable::read_small(&path, FILE_BYTES_MAX)?.and_then(|bytes| {
            let text = String::from_utf8_lossy(&bytes);
            value(&text, ':', "topic_id").and_then(TopicId::parse)
        }),
    )
}

/// Writes `partition.metadata`.
pub(crate) fn write_topic_id(dir: &Path, id: TopicId) -> Result<(), StorageError> {
    let text = format!("version: 0\ntopic_id: {id}");
    durable::replace(&dir.join(names::PARTITION_METADATA), text.as_bytes())
}

fn value<'a>(text: &'a str, separator: char, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(separator)?;
        (found.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_read_back() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(read_identity(dir.path()).expect("none"), None);
        write_identity(dir.path(), BrokerId(7), "8KrwDWcLS46WI9Mwi7YGCg").expect("write");
        let identity = read_identity(dir.path()).expect("read").expect("there");
        assert_eq!(identity.broker_id, Some(BrokerId(7)));
        assert_eq!(
            identity.cluster_id.as_deref(),
            Some("8KrwDWcLS46WI9Mwi7YGCg")
        );

        assert_eq!(read_topic_id(dir.path()).expect("none"), None);
        let id = TopicId::random();
        write_topic_id(dir.path(), id).expect("write");
        assert_eq!(read_topic_id(dir.path()).expect("read"), Some(id));
    }
}
