//! OffsetFetch (key 9): where groups go on reading. Up to version 7 one group, then several.

use std::collections::{HashMap, HashSet};

use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::distinct::{DECENT, distinct};
use super::{Context, Operation, Resource};
use crate::groups::FetchedOffset;

/// Since version 8 several groups (KIP-709).
const FIRST_VERSION_WITH_GROUPS: i16 = 8;
/// Since version 2 an error of the group has its own field; before, each partition has it.
const FIRST_VERSION_WITH_GROUP_ERROR: i16 = 2;

/// Answers one request.
pub(super) async fn handle(cx: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if cx.version >= FIRST_VERSION_WITH_GROUPS {
        let groups = distinct(request.groups, |group| group.group_id.clone()).into_iter();
        let once = |group: OffsetFetchRequestGroup| OffsetFetchRequestGroup {
            topics: group.topics.map(each_once),
            ..group
        };
        return OffsetFetchResponse {
            groups: groups.map(|group| fetch(cx, once(group), stable)).collect(),
            ..OffsetFetchResponse::default()
        };
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter();
        let same = topics.map(|t| OffsetFetchRequestTopics {
            name: t.name,
            partition_indexes: t.partition_indexes,
        });
        each_once(same.collect())
    });
    let group = OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: topics.clone(),
        ..OffsetFetchRequestGroup::default()
    };
    let mut fetched = fetch(cx, group, stable);
    if cx.version < FIRST_VERSION_WITH_GROUP_ERROR && fetched.error_code != 0 {
        fetched.topics = failed(topics.unwrap_or_default(), fetched.error_code);
    }
    OffsetFetchResponse {
        error_code: fetched.error_code,
        topics: fetched.topics.into_iter().map(old_form).collect(),
        ..OffsetFetchResponse::default()
    }
}

fn fetch(
    cx: &Context,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let id = group.group_id;
    let result = if cx.authorize(Operation::Describe, Resource::Group(&id)) {
        match group.topics {
            Some(topics) => fetch_topics(cx, &id, topics, require_stable),
            None => fetch_all(cx, &id, require_stable),
        }
    } else {
        Err(ErrorCode::GroupAuthorizationFailed)
    };
    let error = result.as_ref().err().map_or(0, |error| error.code());
    OffsetFetchResponseGroup {
        group_id: id,
        topics: result.unwrap_or_default(),
        error_code: error,
    }
}

/// The same, with no partition twice where there are many.
fn each_once(mut topics: Vec<OffsetFetchRequestTopics>) -> Vec<OffsetFetchRequestTopics> {
    let partitions = topics.iter().map(|topic| topic.partition_indexes.len());
    if partitions.sum::<usize>() <= DECENT {
        return topics;
    }
    let mut seen: HashMap<String, HashSet<i32>> = HashMap::new();
    for topic in &mut topics {
        let seen = seen.entry(topic.name.clone()).or_default();
        topic.partition_indexes.retain(|index| seen.insert(*index));
    }
    topics
}

type Topics = Vec<OffsetFetchResponseTopics>;

fn fetch_topics(
    cx: &Context,
    group: &str,
    topics: Vec<OffsetFetchRequestTopics>,
    require_stable: bool,
) -> Result<Topics, ErrorCode> {
    let may =
        |t: &OffsetFetchRequestTopics| cx.authorize(Operation::Describe, Resource::Topic(&t.name));
    let (allowed, hidden): (Vec<_>, Vec<_>) = topics.into_iter().partition(may);
    let wanted: Vec<_> = allowed
        .into_iter()
        .map(|t| (t.name, t.partition_indexes))
        .collect();
    let groups = &cx.services.groups;
    let fetched = groups.fetch_offsets(group, &wanted, require_stable)?;
    let shown = wanted.into_iter().zip(fetched);
    let mut topics: Topics = shown
        .map(|((name, _), offsets)| topic(name, offsets))
        .collect();
    topics.extend(failed(hidden, ErrorCode::TopicAuthorizationFailed.code()));
    Ok(topics)
}

fn fetch_all(cx: &Context, group: &str, require_stable: bool) -> Result<Topics, ErrorCode> {
    let fetched = cx
        .services
        .groups
        .fetch_all_offsets(group, require_stable)?;
    let topics = fetched
        .into_iter()
        .map(|(name, offsets)| (name.as_str().to_owned(), offsets));
    let allowed = topics.filter(|(n, _)| cx.authorize(Operation::Describe, Resource::Topic(n)));
    Ok(allowed
        .map(|(name, offsets)| topic(name, offsets))
        .collect())
}

fn topic(name: String, offsets: Vec<FetchedOffset>) -> OffsetFetchResponseTopics {
    let partition = |fetched: FetchedOffset| {
        let (committed, error_code) = match fetched.committed {
            Ok(committed) => (committed, 0),
            Err(error) => (None, ErrorCode::from(error).code()),
        };
        let metadata = committed.as_ref().map_or("", |c| &c.metadata).to_owned();
        OffsetFetchResponsePartitions {
            partition_index: fetched.partition,
            committed_offset: committed.as_ref().map_or(-1, |c| c.offset),
            committed_leader_epoch: committed.as_ref().map_or(-1, |c| c.leader_epoch),
            metadata: Some(metadata),
            error_code,
        }
    };
    OffsetFetchResponseTopics {
        name,
        partitions: offsets.into_iter().map(partition).collect(),
    }
}

/// Every partition with the same error.
fn failed(topics: Vec<OffsetFetchRequestTopics>, error_code: i16) -> Topics {
    let partition = |partition_index| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code,
    };
    let topic = |t: OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: t.name,
        partitions: t.partition_indexes.into_iter().map(partition).collect(),
    };
    topics.into_iter().map(topic).collect()
}

/// The same topic as versions up to 7 have it.
fn old_form(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}
