//! Groups that meet in ZooKeeper, under `/consumers`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use nyala_client::Cluster;
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};
use nyala_coordinator::registry::{Registry, paths};
use nyala_coordinator::session::ZkError;

use super::{Described, Listed, Row};

fn registry(cluster: &Cluster) -> Result<Registry, Box<dyn Error>> {
    let session = cluster.session().ok_or("there is no ZooKeeper session")?;
    Ok(Registry::new(session.clone()))
}

pub(super) async fn list(cluster: &Cluster) -> Result<Vec<Listed>, Box<dyn Error>> {
    let registry = registry(cluster)?;
    let mut groups = Vec::new();
    for group in registry.zookeeper_groups().await? {
        let (members, _) = registry.group_members(&group).await?;
        groups.push(Listed {
            state: state(members.len()).to_owned(),
            kind: "zookeeper".to_owned(),
            group,
        });
    }
    Ok(groups)
}

fn state(members: usize) -> &'static str {
    match members {
        0 => "Empty",
        _ => "Stable",
    }
}

pub(super) async fn describe(cluster: &Cluster, group: &str) -> Result<Described, Box<dyn Error>> {
    let registry = registry(cluster)?;
    if !registry
        .zookeeper_groups()
        .await?
        .iter()
        .any(|g| g == group)
    {
        let advice = "`nyala group list --zookeeper` shows what there is";
        return Err(format!("there is no group {group} in ZooKeeper\n  {advice}").into());
    }
    let (members, _) = registry.group_members(group).await?;
    let committed = below(&registry, &paths::group_offsets(group)).await?;
    let owned = below(&registry, &paths::group_owners(group)).await?;
    let mut rows = Vec::new();
    for target in committed.union(&owned) {
        let (topic, partition) = (&target.topic, target.partition);
        let offsets = registry
            .committed_offsets(group, topic, &[partition])
            .await?;
        let (member, _) = registry.partition_owner(group, target).await?;
        rows.push(Row {
            target: target.clone(),
            committed: offsets.get(&partition).copied(),
            member,
            host: None,
        });
    }
    Ok(Described {
        state: state(members.len()).to_owned(),
        members: members.len(),
        rows,
    })
}

/// The partitions that have a node below `parent`, as `parent/TOPIC/PARTITION`.
async fn below(
    registry: &Registry,
    parent: &str,
) -> Result<BTreeSet<TopicPartition>, Box<dyn Error>> {
    let mut found = BTreeSet::new();
    for topic in children(registry, parent).await? {
        let Ok(name) = TopicName::new(&topic) else {
            continue;
        };
        for partition in children(registry, &format!("{parent}/{topic}")).await? {
            if let Ok(index @ 0..) = partition.parse() {
                found.insert(TopicPartition {
                    topic: name.clone(),
                    partition: PartitionIndex(index),
                });
            }
        }
    }
    Ok(found)
}

async fn children(registry: &Registry, path: &str) -> Result<Vec<String>, ZkError> {
    match registry.session().children(path).await {
        Err(ZkError::NoNode) => Ok(Vec::new()),
        other => other,
    }
}

pub(super) async fn commit(
    cluster: &Cluster,
    group: &str,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> Result<(), Box<dyn Error>> {
    let registry = registry(cluster)?;
    for (target, offset) in offsets {
        registry.commit_offset(group, target, *offset).await?;
    }
    Ok(())
}

pub(super) async fn delete(cluster: &Cluster, group: &str) -> Result<(), Box<dyn Error>> {
    let registry = registry(cluster)?;
    if !registry
        .zookeeper_groups()
        .await?
        .iter()
        .any(|g| g == group)
    {
        return Err("there is no such group in ZooKeeper".into());
    }
    let (members, _) = registry.group_members(group).await?;
    if !members.is_empty() {
        return Err(format!("it has {} members: stop them first", members.len()).into());
    }
    registry.session().delete_tree(&paths::group(group)).await?;
    Ok(())
}
