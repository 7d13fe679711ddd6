//! `nyala topic describe`: partitions with their leaders, replicas and state, and what was set.

use std::error::Error;
use std::time::Duration;

use nyala_client::Cluster;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use nyala_client::wire::messages::metadata::{MetadataResponsePartition, MetadataResponseTopic};
use nyala_coordinator::ids::{TopicId, TopicName};
use serde_json::{Value, json};

use super::{RESOURCE_TOPIC, metadata, refusal};
use crate::cli::{print_line, table};

/// `ConfigSource.DYNAMIC_TOPIC_CONFIG`: set on the topic itself.
const SOURCE_TOPIC: i8 = 1;
/// How long a broker may not know a topic that another one has just named: it has started a moment ago.
const NEWCOMER_PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions to it.
const NEWCOMER_PAUSE: Duration = Duration::from_millis(200);

/// Which partitions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    /// All.
    Any,
    /// Those that a further loss may hurt: fewer replicas in sync than replicas, a replica whose broker
    /// or folder is away (the last one stays among those in sync), or no leader.
    UnderReplicated,
    /// Those without a leader.
    Unavailable,
}

impl Only {
    fn shows(self, partition: &MetadataResponsePartition) -> bool {
        match self {
            Self::Any => true,
            Self::UnderReplicated => {
                partition.isr_nodes.len() < partition.replica_nodes.len()
                    || !partition.offline_replicas.is_empty()
                    || Self::Unavailable.shows(partition)
            }
            Self::Unavailable => partition.leader_id < 0,
        }
    }
}

/// Describes topics; without names, all.
pub(super) async fn run(
    cluster: &Cluster,
    names: &[TopicName],
    only: Only,
    as_json: bool,
) -> Result<(), Box<dyn Error>> {
    let wanted = Some(names).filter(|names| !names.is_empty());
    let mut topics = metadata(cluster, wanted).await?.topics;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut failure = None;
    let mut described = Vec::new();
    for topic in &mut topics {
        let name = topic.name.clone().unwrap_or_default();
        let code = ErrorCode::from(topic.error_code);
        if code.is_error() {
            failure = Some(refusal(&name, code, None));
            continue;
        }
        let copies = topic
            .partitions
            .first()
            .map_or(0, |p| p.replica_nodes.len());
        let count = topic.partitions.len();
        topic.partitions.retain(|p| only.shows(p));
        if topic.partitions.is_empty() && only != Only::Any {
            continue;
        }
        topic.partitions.sort_by_key(|p| p.partition_index);
        let config = overrides(cluster, &name).await?;
        if as_json {
            described.push(topic_json(topic, &config));
        } else {
            let size = format!("partitions {count}  replication factor {copies}");
            print_topic(topic, &size, &config)?;
        }
    }
    if as_json {
        table::print_json(&Value::from(described))?;
    }
    failure.map_or(Ok(()), Err)
}

/// Settings that are set on the topic itself, which is known to be there.
async fn overrides(cluster: &Cluster, name: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: name.to_owned(),
            configuration_keys: None,
        }],
        ..DescribeConfigsRequest::default()
    };
    let deadline = tokio::time::Instant::now() + NEWCOMER_PATIENCE;
    let answer = loop {
        let answer = cluster.ask(&request).await?;
        let is_unknown = |code| ErrorCode::from(code) == ErrorCode::UnknownTopicOrPartition;
        let unknown = answer.results.iter().any(|r| is_unknown(r.error_code));
        if !unknown || tokio::time::Instant::now() >= deadline {
            break answer;
        }
        tokio::time::sleep(NEWCOMER_PAUSE).await;
    };
    let mut set = Vec::new();
    for result in answer.results {
        let code = ErrorCode::from(result.error_code);
        if code.is_error() {
            return Err(refusal(name, code, result.error_message.as_deref()));
        }
        let own = result.configs.into_iter();
        let own = own.filter(|c| c.config_source == SOURCE_TOPIC);
        set.extend(own.map(|c| (c.name, c.value.unwrap_or_default())));
    }
    set.sort();
    Ok(set)
}

fn id_text(id: TopicId) -> Option<String> {
    (id != TopicId::ZERO).then(|| id.to_string())
}

fn topic_json(topic: &MetadataResponseTopic, config: &[(String, String)]) -> Value {
    let partitions = topic.partitions.iter().map(|p| {
        json!({
            "partition": p.partition_index,
            "leader": p.leader_id,
            "leader_epoch": p.leader_epoch,
            "replicas": p.replica_nodes,
            "isr": p.isr_nodes,
            "offline": p.offline_replicas,
        })
    });
    let config = config
        .iter()
        .map(|(k, v)| (k.clone(), Value::from(v.as_str())));
    json!({
        "topic": topic.name,
        "topic_id": id_text(topic.topic_id),
        "internal": topic.is_internal,
        "partitions": partitions.collect::<Vec<_>>(),
        "config": config.collect::<serde_json::Map<_, _>>(),
    })
}

fn print_topic(
    topic: &MetadataResponseTopic,
    size: &str,
    config: &[(String, String)],
) -> std::io::Result<()> {
    let ids = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let config: Vec<String> = config.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let name = topic.name.as_deref().unwrap_or_default();
    let mut head = format!("topic {name}  {size}");
    if let Some(id) = id_text(topic.topic_id) {
        head.push_str(&format!("  id {id}"));
    }
    if !config.is_empty() {
        head.push_str(&format!("  config {}", config.join(" ")));
    }
    print_line(&head)?;
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|p| {
            let leader = match p.leader_id {
                -1 => "none".to_owned(),
                id => id.to_string(),
            };
            vec![
                format!("  {}", p.partition_index),
                leader,
                ids(&p.replica_nodes),
                ids(&p.isr_nodes),
                state(p).to_owned(),
            ]
        })
        .collect();
    table::print(
        &["  PARTITION", "LEADER", "REPLICAS", "ISR", "STATE"],
        &rows,
    )
}

/// What is worth knowing about a partition, in a word or two.
fn state(partition: &MetadataResponsePartition) -> &'static str {
    if Only::Unavailable.shows(partition) {
        "no leader"
    } else if Only::UnderReplicated.shows(partition) {
        "under-replicated"
    } else {
        "ok"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_ok_under_replicated_or_without_leader() {
        let partition = |leader_id, isr: &[i32]| MetadataResponsePartition {
            leader_id,
            replica_nodes: vec![0, 1],
            isr_nodes: isr.to_vec(),
            ..MetadataResponsePartition::default()
        };
        assert_eq!(state(&partition(0, &[1, 0])), "ok");
        assert_eq!(state(&partition(0, &[0])), "under-replicated");
        assert_eq!(state(&partition(-1, &[0])), "no leader");
        assert!(Only::Any.shows(&partition(0, &[1, 0])));
    }

    /// Who waits until nothing is under-replicated before the next broker stops would go on too early.
    #[test]
    fn what_has_no_leader_or_a_replica_that_is_away_is_under_replicated() {
        let partition = |leader_id, offline: &[i32]| MetadataResponsePartition {
            leader_id,
            replica_nodes: vec![1, 2],
            isr_nodes: vec![1, 2],
            offline_replicas: offline.to_vec(),
            ..MetadataResponsePartition::default()
        };
        let shown =
            |leader, offline: &[i32]| Only::UnderReplicated.shows(&partition(leader, offline));
        assert!(!shown(1, &[]));
        assert!(shown(1, &[2]));
        assert!(shown(-1, &[]));
        assert!(shown(-1, &[1, 2]));
        assert_eq!(state(&partition(1, &[2])), "under-replicated");
        assert_eq!(state(&partition(-1, &[1, 2])), "no leader");
    }
}
