//! Groups that brokers coordinate.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use nyala_client::Cluster;
use nyala_client::consumer::protocol;
use nyala_client::error::ClusterError;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::codec::Request;
use nyala_client::wire::messages::delete_groups::DeleteGroupsRequest;
use nyala_client::wire::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use nyala_client::wire::messages::list_groups::ListGroupsRequest;
use nyala_client::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use nyala_client::wire::messages::offset_fetch::OffsetFetchRequest;
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};
use tokio::time::Instant;

use super::{Described, Listed, Row};
use crate::cli::entry::words;

/// Up to this version the answer has one list of topics, without batching by group.
const OFFSET_FETCH_VERSION_MAX: i16 = 7;
/// A coordinator has so long to load its groups.
const COORDINATOR_PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(100);

/// Every broker's groups: each coordinates some.
pub(super) async fn list(cluster: &Cluster) -> Result<Vec<Listed>, Box<dyn Error>> {
    let mut groups = BTreeMap::new();
    for broker in cluster.topology().brokers.keys() {
        let connection = cluster.connection(*broker).await?;
        let answer = connection.call(&ListGroupsRequest::default()).await;
        let answer = answer.map_err(ClusterError::from)?;
        let code = ErrorCode::from(answer.error_code);
        // A coordinator that is still loading has no list yet, and nobody else has its groups.
        if code.is_error() {
            return Err(format!("broker {broker}: {}", words(code, None)).into());
        }
        for group in answer.groups {
            let listed = Listed {
                group: group.group_id.clone(),
                state: group.group_state,
                kind: group.protocol_type,
            };
            groups.insert(group.group_id, listed);
        }
    }
    Ok(groups.into_values().collect())
}

pub(super) async fn describe(cluster: &Cluster, group: &str) -> Result<Described, Box<dyn Error>> {
    let request = DescribeGroupsRequest {
        groups: vec![group.to_owned()],
        ..DescribeGroupsRequest::default()
    };
    let answer = ask_coordinator(cluster, group, &request, |answer| {
        answer.groups.first().map_or(0, |g| g.error_code)
    });
    let found = answer.await?.groups.into_iter().next().unwrap_or_default();
    let code = ErrorCode::from(found.error_code);
    if code.is_error() && code != ErrorCode::GroupIdNotFound {
        return Err(format!("group {group}: {}", words(code, None)).into());
    }
    let request = OffsetFetchRequest {
        group_id: group.to_owned(),
        topics: None,
        ..OffsetFetchRequest::default()
    };
    let fetched = cluster.group_coordinator(group).await?;
    let fetched = fetched
        .call_up_to(&request, OFFSET_FETCH_VERSION_MAX)
        .await?;
    let code = ErrorCode::from(fetched.error_code);
    if code.is_error() && code != ErrorCode::GroupIdNotFound {
        return Err(format!("group {group}: {}", words(code, None)).into());
    }
    let mut committed = BTreeMap::new();
    for topic in fetched.topics {
        let Ok(name) = TopicName::new(&topic.name) else {
            continue;
        };
        for p in topic.partitions.iter().filter(|p| p.committed_offset >= 0) {
            let target = TopicPartition {
                topic: name.clone(),
                partition: PartitionIndex(p.partition_index),
            };
            committed.insert(target, p.committed_offset);
        }
    }
    if committed.is_empty() && found.members.is_empty() && found.group_state == "Dead" {
        let advice = "`nyala group list` shows what there is";
        return Err(format!("there is no group {group}\n  {advice}").into());
    }
    Ok(described(found, &committed))
}

fn described(group: DescribedGroup, committed: &BTreeMap<TopicPartition, i64>) -> Described {
    let mut owners = BTreeMap::new();
    for member in &group.members {
        // What another client wrote may be of a kind of its own: then the owners are not known.
        let share = protocol::decode_assignment(&member.member_assignment).unwrap_or_default();
        for target in share {
            owners.insert(
                target,
                (member.member_id.clone(), member.client_host.clone()),
            );
        }
    }
    let all: BTreeSet<&TopicPartition> = committed.keys().chain(owners.keys()).collect();
    let rows = all.into_iter().map(|target| {
        let owner = owners.get(target);
        Row {
            target: target.clone(),
            committed: committed.get(target).copied(),
            member: owner.map(|(member, _)| member.clone()),
            host: owner.map(|(_, host)| host.clone()),
        }
    });
    Described {
        members: group.members.len(),
        rows: rows.collect(),
        state: group.group_state,
    }
}

/// Commits as nobody in particular, which a group without members allows.
pub(super) async fn commit(
    cluster: &Cluster,
    group: &str,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> Result<(), Box<dyn Error>> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (target, offset) in offsets {
        let partition = OffsetCommitRequestPartition {
            partition_index: target.partition.0,
            committed_offset: *offset,
            committed_metadata: Some(String::new()),
            ..OffsetCommitRequestPartition::default()
        };
        match topics
            .last_mut()
            .filter(|t| t.name == target.topic.as_str())
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(OffsetCommitRequestTopic {
                name: target.topic.as_str().to_owned(),
                partitions: vec![partition],
            }),
        }
    }
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        topics,
        ..OffsetCommitRequest::default()
    };
    let answer = ask_coordinator(cluster, group, &request, |answer| {
        let mut partitions = answer.topics.iter().flat_map(|t| &t.partitions);
        partitions.next().map_or(0, |p| p.error_code)
    });
    for topic in answer.await?.topics {
        for p in topic.partitions {
            let code = ErrorCode::from(p.error_code);
            if code.is_error() {
                let target = format!("{}-{}", topic.name, p.partition_index);
                return Err(format!("group {group}, {target}: {}", words(code, None)).into());
            }
        }
    }
    Ok(())
}

pub(super) async fn delete(cluster: &Cluster, group: &str) -> Result<(), Box<dyn Error>> {
    let request = DeleteGroupsRequest {
        groups_names: vec![group.to_owned()],
    };
    let answer = ask_coordinator(cluster, group, &request, |answer| {
        answer.results.first().map_or(0, |r| r.error_code)
    });
    let answer = answer.await?;
    let result = answer
        .results
        .first()
        .ok_or("the broker's answer is empty")?;
    let code = ErrorCode::from(result.error_code);
    match code.is_error() {
        true => Err(words(code, None).into()),
        false => Ok(()),
    }
}

/// Asks the group's coordinator, again while it loads or moves: whoever asks first for any group sets
/// that off. `code` finds the error in an answer.
async fn ask_coordinator<R: Request>(
    cluster: &Cluster,
    group: &str,
    request: &R,
    code: impl Fn(&R::Response) -> i16,
) -> Result<R::Response, ClusterError> {
    let deadline = Instant::now() + COORDINATOR_PATIENCE;
    loop {
        let connection = cluster.group_coordinator(group).await?;
        let answer = connection.call(request).await?;
        let moves = matches!(
            ErrorCode::from(code(&answer)),
            ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
        );
        if !moves || Instant::now() > deadline {
            return Ok(answer);
        }
        tokio::time::sleep(COORDINATOR_PAUSE).await;
    }
}
