//! Which topics a Metadata request means, by its version's rules. Pure.

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use nyala_coordinator::ids::TopicId;

use super::shown;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    /// Every topic.
    All,
    /// These, by name, each once.
    Names(Vec<String>),
    /// These, by id, each once (KIP-516).
    Ids(Vec<TopicId>),
    /// Something that the version does not have; with one answer for each topic.
    Refused(Vec<MetadataResponseTopic>),
}

/// Reads the list: null means all; in version 0 so does an empty one.
pub(super) fn read(topics: Option<&[MetadataRequestTopic]>, version: i16) -> Asked {
    let topics = match topics {
        None => return Asked::All,
        Some([]) if version == 0 => return Asked::All,
        Some(topics) => topics,
    };
    let by_id = |topic: &&MetadataRequestTopic| topic.topic_id != TopicId::ZERO;
    // Versions 10 and 11 carry ids, but no broker ever looked topics up by them.
    let too_early = topics
        .iter()
        .any(|topic| by_id(&topic) || topic.name.is_none());
    if version < 12 && too_early {
        let refuse = |topic: &MetadataRequestTopic| MetadataResponseTopic {
            topic_id: topic.topic_id,
            ..shown::error(
                Some(topic.name.clone().unwrap_or_default()),
                ErrorCode::InvalidRequest,
            )
        };
        return Asked::Refused(topics.iter().map(refuse).collect());
    }
    if topics.iter().any(|topic| by_id(&topic)) {
        let ids = topics.iter().filter(by_id).map(|topic| topic.topic_id);
        return Asked::Ids(each_once(ids));
    }
    Asked::Names(each_once(
        topics.iter().filter_map(|topic| topic.name.clone()),
    ))
}

/// Drops repetitions, keeps the order.
fn each_once<T: Clone + Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    items.filter(|item| seen.insert(item.clone())).collect()
}
