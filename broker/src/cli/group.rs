//! `nyala group`: list, describe, reset-offsets, delete.
//!
//! Groups that brokers coordinate, by Kafka's own requests (`brokers.rs`); with `--zookeeper`, groups
//! that meet in ZooKeeper (`native.rs`). Both give the same tables.

mod brokers;
mod native;

use std::collections::BTreeMap;
use std::error::Error;

use nyala_client::Cluster;
use nyala_client::consumer::positions::{self, OffsetSpec};
use nyala_coordinator::ids::{PartitionIndex, TopicName, TopicPartition};
use serde_json::{Value, json};

use super::entry::{Shared, topic_name};
use super::{process, table};
use crate::cli::tell::tell;

/// Flags of `nyala group`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print all groups with their state
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// Print committed offsets, lag and owner of each partition
    Describe {
        /// Name of the group
        group: String,
        #[command(flatten)]
        shared: Shared,
    },
    /// Set the committed offsets of a group without members
    ResetOffsets {
        /// Name of the group
        group: String,
        /// Only this topic; may be given many times. Without it, all that the group has committed
        #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
        topic: Vec<TopicName>,
        #[command(flatten)]
        to: To,
        /// Only print what would be set
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        shared: Shared,
    },
    /// Delete groups without members, with their offsets
    Delete {
        /// Names of the groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        shared: Shared,
    },
}

/// Where offsets are to go: exactly one of these.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// The oldest record that is there
    #[arg(long)]
    to_earliest: bool,
    /// The end
    #[arg(long)]
    to_latest: bool,
    /// This offset, or the nearest that exists
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// The first record at or after this time, in milliseconds since 1970
    #[arg(long, value_name = "MILLISECONDS")]
    to_timestamp: Option<i64>,
    /// So many records on from the committed offset, or back if negative
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    group: String,
    state: String,
    kind: String,
}

/// A partition of a described group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    target: TopicPartition,
    committed: Option<i64>,
    member: Option<String>,
    host: Option<String>,
}

/// A described group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Described {
    state: String,
    members: usize,
    rows: Vec<Row>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_warnings();
    process::block_on(main(args.command))?
}

async fn main(command: Command) -> Result<(), Box<dyn Error>> {
    let (Command::List { shared }
    | Command::Describe { shared, .. }
    | Command::ResetOffsets { shared, .. }
    | Command::Delete { shared, .. }) = &command;
    let (cluster, json) = (shared.entry.connect().await?, shared.json);
    let native = shared.entry.is_native();
    match command {
        Command::List { .. } => {
            let groups = match native {
                true => native::list(&cluster).await?,
                false => brokers::list(&cluster).await?,
            };
            Ok(print_list(&groups, json)?)
        }
        Command::Describe { group, .. } => {
            let described = read(&cluster, &group, native).await?;
            print_described(&cluster, &group, &described, json).await
        }
        Command::ResetOffsets {
            group,
            topic,
            to,
            dry_run,
            ..
        } => {
            let plan = plan(&cluster, &group, native, &topic, &to).await?;
            if !dry_run {
                match native {
                    true => native::commit(&cluster, &group, &plan).await?,
                    false => brokers::commit(&cluster, &group, &plan).await?,
                }
            }
            Ok(print_offsets(&plan, json)?)
        }
        Command::Delete { groups, .. } => {
            let mut failed = 0;
            for group in &groups {
                let deleted = match native {
                    true => native::delete(&cluster, group).await,
                    false => brokers::delete(&cluster, group).await,
                };
                match deleted {
                    Ok(()) => tell!("nyala: deleted group {group}"),
                    Err(error) => {
                        failed += 1;
                        tell!("nyala: group {group}: {error}");
                    }
                }
            }
            match failed {
                0 => Ok(()),
                n => Err(format!("{n} of {} groups were not deleted", groups.len()).into()),
            }
        }
    }
}

async fn read(cluster: &Cluster, group: &str, native: bool) -> Result<Described, Box<dyn Error>> {
    match native {
        true => native::describe(cluster, group).await,
        false => brokers::describe(cluster, group).await,
    }
}

fn print_list(groups: &[Listed], as_json: bool) -> std::io::Result<()> {
    if as_json {
        let all = groups
            .iter()
            .map(|g| json!({ "group": g.group, "state": g.state, "type": g.kind }));
        return table::print_json(&all.collect());
    }
    let row = |g: &Listed| vec![g.group.clone(), g.state.clone(), g.kind.clone()];
    let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
    table::print(&["GROUP", "STATE", "TYPE"], &rows)
}

async fn print_described(
    cluster: &Cluster,
    group: &str,
    described: &Described,
    as_json: bool,
) -> Result<(), Box<dyn Error>> {
    let ends = ends(cluster, described.rows.iter().map(|r| &r.target)).await?;
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let mut rows = Vec::new();
    let mut objects = Vec::new();
    for row in &described.rows {
        let end = ends.get(&row.target).copied();
        let lag = row.committed.and_then(|c| Some((end? - c).max(0)));
        objects.push(json!({
            "topic": row.target.topic.as_str(),
            "partition": row.target.partition.0,
            "offset": row.committed,
            "end": end,
            "lag": lag,
            "member": row.member,
            "host": row.host,
        }));
        rows.push(vec![
            row.target.topic.to_string(),
            row.target.partition.to_string(),
            number(row.committed),
            number(end),
            number(lag),
            row.member.clone().unwrap_or_else(|| "-".to_owned()),
            row.host.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if as_json {
        table::print_json(&json!({
            "group": group,
            "state": described.state,
            "members": described.members,
            "partitions": objects,
        }))?;
        return Ok(());
    }
    let (state, members) = (&described.state, described.members);
    tell!("nyala: group {group} is {state}, with {members} members");
    let head = [
        "TOPIC",
        "PARTITION",
        "OFFSET",
        "END",
        "LAG",
        "MEMBER",
        "HOST",
    ];
    Ok(table::print(&head, &rows)?)
}

fn print_offsets(plan: &BTreeMap<TopicPartition, i64>, as_json: bool) -> std::io::Result<()> {
    if as_json {
        let all = plan.iter().map(|(target, offset)| {
            let topic = target.topic.as_str();
            json!({ "topic": topic, "partition": target.partition.0, "offset": offset })
        });
        return table::print_json(&all.collect::<Value>());
    }
    let row = |(target, offset): (&TopicPartition, &i64)| {
        vec![
            target.topic.to_string(),
            target.partition.to_string(),
            offset.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = plan.iter().map(row).collect();
    table::print(&["TOPIC", "PARTITION", "OFFSET"], &rows)
}

/// The end offsets of partitions that still exist.
async fn ends<'a>(
    cluster: &Cluster,
    targets: impl Iterator<Item = &'a TopicPartition>,
) -> Result<BTreeMap<TopicPartition, i64>, Box<dyn Error>> {
    look_up(cluster, targets, OffsetSpec::Latest).await
}

async fn look_up<'a>(
    cluster: &Cluster,
    targets: impl Iterator<Item = &'a TopicPartition>,
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, i64>, Box<dyn Error>> {
    let mut by_topic: BTreeMap<&TopicName, Vec<PartitionIndex>> = BTreeMap::new();
    for target in targets {
        by_topic
            .entry(&target.topic)
            .or_default()
            .push(target.partition);
    }
    let mut found = BTreeMap::new();
    for (topic, mut partitions) in by_topic {
        // A topic that is gone has no end; its offsets may still be committed.
        let patience = std::time::Duration::from_secs(5);
        let Ok(known) = cluster.await_topic(topic, patience).await else {
            continue;
        };
        partitions.retain(|p| known.partitions.contains_key(p));
        for (partition, offset) in positions::lookup_all(cluster, topic, partitions, spec).await? {
            let topic = topic.clone();
            found.insert(TopicPartition { topic, partition }, offset);
        }
    }
    Ok(found)
}

/// What is to be set: for the given topics, or for everything that is committed.
async fn plan(
    cluster: &Cluster,
    group: &str,
    native: bool,
    topics: &[TopicName],
    to: &To,
) -> Result<BTreeMap<TopicPartition, i64>, Box<dyn Error>> {
    let described = read(cluster, group, native).await?;
    if described.members > 0 {
        let members = described.members;
        let words = format!("group {group} has {members} members: stop them first");
        return Err(words.into());
    }
    let mut committed: BTreeMap<TopicPartition, Option<i64>> = BTreeMap::new();
    for row in described.rows {
        if topics.is_empty() || topics.contains(&row.target.topic) {
            committed.insert(row.target, row.committed);
        }
    }
    for topic in topics {
        let patience = std::time::Duration::from_secs(5);
        for partition in cluster
            .await_topic(topic, patience)
            .await?
            .partitions
            .keys()
        {
            let (topic, partition) = (topic.clone(), *partition);
            committed
                .entry(TopicPartition { topic, partition })
                .or_default();
        }
    }
    if committed.is_empty() {
        let words = format!("group {group} has committed nothing: name topics with --topic");
        return Err(words.into());
    }
    let starts = look_up(cluster, committed.keys(), OffsetSpec::Earliest).await?;
    let ends = look_up(cluster, committed.keys(), OffsetSpec::Latest).await?;
    let times = match to.to_timestamp {
        Some(ms) => look_up(cluster, committed.keys(), OffsetSpec::Timestamp(ms)).await?,
        None => BTreeMap::new(),
    };
    let choose = |(target, committed): (TopicPartition, Option<i64>)| {
        let (start, end) = (*starts.get(&target)?, *ends.get(&target)?);
        let time = times.get(&target).copied();
        Some((target, choose(to, committed, (start, end), time)))
    };
    Ok(committed.into_iter().filter_map(choose).collect())
}

/// The new offset of a partition that reaches from `range.0` to `range.1`.
fn choose(to: &To, committed: Option<i64>, range: (i64, i64), time: Option<i64>) -> i64 {
    let (start, end) = range;
    let wanted = if to.to_earliest {
        start
    } else if let Some(offset) = to.to_offset {
        offset
    } else if let Some(by) = to.shift_by {
        committed.unwrap_or(start).saturating_add(by)
    } else {
        // No record at or after the time: the end, as in Kafka's tool.
        time.filter(|t| *t >= 0).unwrap_or(end)
    };
    wanted.clamp(start, end.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_within_the_log() {
        let to = |to_offset, shift_by| To {
            to_earliest: false,
            to_latest: false,
            to_offset,
            to_timestamp: None,
            shift_by,
        };
        assert_eq!(choose(&to(Some(7), None), None, (5, 9), None), 7);
        assert_eq!(choose(&to(Some(99), None), None, (5, 9), None), 9);
        assert_eq!(choose(&to(None, Some(-3)), Some(9), (5, 9), None), 6);
        assert_eq!(choose(&to(None, Some(-30)), Some(9), (5, 9), None), 5);
        assert_eq!(choose(&to(None, None), Some(6), (5, 9), None), 9);
        assert_eq!(choose(&to(None, None), Some(6), (5, 9), Some(8)), 8);
        assert_eq!(choose(&to(None, None), Some(6), (5, 9), Some(-1)), 9);
    }
}
