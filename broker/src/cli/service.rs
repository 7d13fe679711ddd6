//! `nyala service`: being found, and finding.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use nyala_coordinator::ids::{PartitionIndex, TopicName};
use nyala_coordinator::recipes::balance;
use nyala_coordinator::recipes::membership::{
    Change, Member, Members, MembersOptions, MembershipError, Pick, Registration, Standing,
};
use nyala_coordinator::session::Session;
use tokio::time::Instant;

use super::entry::{key_value, topic_name};
use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, left, seconds, text};
use super::{print_line, table};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala service register /svc/api a-1 --data 10.0.0.7:80    until it is stopped
  nyala service list /svc/api                               a line a member: id, tab, data
  nyala service watch /svc/api --stale-after 15             joined, updated, stale, recovered, left
  nyala service assign /svc/api orders=8                    which member has which of 8 partitions
  nyala service pick /svc/api --key 'customer 17'           the same for the same key

`register` prints id, tab, fencing token each time that it is registered, and registers again when its
session is lost. It rewrites its node every --beat seconds: that is what --stale-after goes by.
";

/// Flags of `nyala service`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Be a member until stopped
    Register(RegisterArgs),
    /// Print who is there
    List {
        /// The service
        path: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Print who is there, and each change until stopped
    Watch {
        /// The service
        path: String,
        /// Report members that were silent for so long
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        stale_after: Option<Duration>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// End after so many changes
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
    /// Print which member has which partition: topic, partition, member
    Assign {
        /// The service
        path: String,
        /// Topics with their numbers of partitions
        #[arg(required = true, value_name = "TOPIC=PARTITIONS", value_parser = topic_partitions)]
        topics: Vec<(TopicName, i32)>,
    },
    /// Print one of the members
    Pick {
        /// The service
        path: String,
        /// The same member for the same key, while it is there [default: any]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// The service; made when it is missing
    path: String,
    /// Of this member; one that another has is waited for
    id: String,
    /// What others need to know of it
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// Tell that it is well this often
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    beat: Duration,
    /// Give up after so long, connecting included, if another has the id
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let zookeeper = &args.zookeeper;
    match &args.command {
        Command::Register(args) => {
            let begun = Instant::now();
            let how = How::writes().within(args.timeout).until_stopped(true);
            let how = how.telling_absence();
            zookeeper::run(zookeeper, how, async |session: Session| {
                register(session, args, left(args.timeout, begun)).await
            })
        }
        Command::List { path, json } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                list(session, path, *json).await
            })
        }
        Command::Watch {
            path,
            stale_after,
            json,
            max,
        } => zookeeper::run(
            zookeeper,
            How::reads().until_stopped(max.is_none()).telling_absence(),
            async |session: Session| {
                let stale_after = *stale_after;
                let options = MembersOptions { stale_after };
                let members = Members::watch(&session, path, options).await?;
                watch(members, *json, *max).await
            },
        ),
        Command::Assign { path, topics } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                let members = Members::watch(&session, path, MembersOptions::default()).await?;
                let members = members.snapshot().members;
                if members.is_empty() {
                    return Err(no_members(path));
                }
                print_shares(members.into_keys(), topics)?;
                Ok(Ended::Done)
            })
        }
        Command::Pick { path, key } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                let members = Members::watch(&session, path, MembersOptions::default()).await?;
                let by = key
                    .as_ref()
                    .map_or(Pick::Random, |k| Pick::Key(k.as_bytes()));
                let member = members.pick(by).ok_or_else(|| no_members(path))?;
                print_line(&line(&member))?;
                Ok(Ended::Done)
            })
        }
    }
}

fn no_members(path: &str) -> Box<dyn Error> {
    format!("{path} has no members").into()
}

async fn register(
    session: Session,
    args: &RegisterArgs,
    left: Option<Duration>,
) -> Result<Ended, Box<dyn Error>> {
    let data = args.data.as_bytes();
    let registered = Registration::register(&session, &args.path, &args.id, data, left).await;
    let registration = match registered {
        Err(MembershipError::IdTaken { .. }) => {
            let limit = args.timeout.unwrap_or_default();
            tell!(
                "nyala: {}: the id {} is another member's, not free within {limit:?}",
                args.path,
                args.id
            );
            return Ok(Ended::TimeOver);
        }
        registered => registered?,
    };
    let mut standing = registration.standing();
    standing.mark_changed();
    let mut beats = tokio::time::interval(args.beat.max(Duration::from_millis(100)));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = standing.changed() => {
                changed.map_err(|_| format!("{} is not registered any more", args.id))?;
                match *standing.borrow_and_update() {
                    Standing::Registered(fence) => print_line(&format!("{}\t{fence}", args.id))?,
                    Standing::Away => tell!("nyala: {} is away; registering again", args.id),
                    Standing::Displaced => tell!("nyala: another has the id {}; waiting", args.id),
                }
            }
            _ = beats.tick() => {
                if let Err(error) = registration.beat().await {
                    tell!("nyala: {error}");
                }
            }
        }
    }
}

async fn list(session: Session, path: &str, json: bool) -> Result<Ended, Box<dyn Error>> {
    let members = Members::watch(&session, path, MembersOptions::default()).await?;
    for member in members.snapshot().members.values() {
        match json {
            true => table::print_json(&object(member))?,
            false => print_line(&line(member))?,
        }
    }
    Ok(Ended::Done)
}

async fn watch(
    mut members: Members,
    json: bool,
    max: Option<u64>,
) -> Result<Ended, Box<dyn Error>> {
    let mut left = max.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(change) = members.next().await else {
            return Err("the watch has ended".into());
        };
        let (word, member) = match change {
            Change::Joined(m) => ("joined", m),
            Change::Updated(m) => ("updated", m),
            Change::Stale(m) => ("stale", m),
            Change::Recovered(m) => ("recovered", m),
            Change::Left(m) => ("left", m),
        };
        if json {
            let mut object = object(&member);
            object["change"] = word.into();
            table::print_json(&object)?;
        } else {
            print_line(&format!("{word}\t{}", line(&member)))?;
        }
        left -= 1;
    }
    Ok(Ended::Done)
}

fn topic_partitions(text: &str) -> Result<(TopicName, i32), String> {
    let (topic, count) = key_value(text)?;
    let count = count.parse().map_err(|_| "not a number".to_owned())?;
    Ok((topic_name(&topic)?, count))
}

/// One consumer a partition, as the native client shares them.
fn print_shares(
    members: impl Iterator<Item = String>,
    topics: &[(TopicName, i32)],
) -> std::io::Result<()> {
    let wanted: BTreeSet<TopicName> = topics.iter().map(|(topic, _)| topic.clone()).collect();
    let members = members.map(|id| (id, wanted.clone())).collect();
    let partitions = topics.iter().map(|(topic, count)| {
        let all = (0..*count).map(PartitionIndex).collect();
        (topic.clone(), all)
    });
    for (target, member) in balance::assign(&members, &partitions.collect()) {
        print_line(&format!("{}\t{}\t{member}", target.topic, target.partition))?;
    }
    Ok(())
}

fn line(member: &Member) -> String {
    format!("{}\t{}", member.id, text(&member.data))
}

fn object(member: &Member) -> serde_json::Value {
    serde_json::json!({
        "id": member.id,
        "data": text(&member.data),
        "fence": member.fence.0,
        "beats": member.beats,
        "beat_ms": member.beat_ms,
    })
}
