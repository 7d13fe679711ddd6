//! `nyala rendezvous`: all arrive, and each learns of all.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::recipes::sync_queue::{SyncQueue, SyncQueueError};
use nyala_coordinator::session::Session;
use tokio::time::Instant;

use super::print_line;
use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, left, seconds, text};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala rendezvous /round/7 --size 3 --name a --data 10.0.0.7:80    prints all three: name, tab, data
  nyala rendezvous /round/7 --reset                                 for the next three

All get the same list, in the order of their arrival; a member that dies before does not count.
";

/// Flags of `nyala rendezvous`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(super) struct Args {
    /// Where they meet
    path: String,
    /// It opens for so many
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "reset",
        requires = "name",
        value_parser = super::at_least_one
    )]
    size: Option<usize>,
    /// Of this member
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What the others are to know
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// Give up after so long, connecting included
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Make an open one ready for the next members
    #[arg(long, conflicts_with_all = ["size", "name"])]
    reset: bool,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let how = match args.reset {
        true => How::reads(),
        false => How::writes(),
    };
    let how = how.within(args.timeout).telling_absence();
    zookeeper::run(&args.zookeeper, how, async |session: Session| {
        let queue = SyncQueue::new(session, &args.path, args.size.unwrap_or(1))?;
        let Some(name) = &args.name else {
            queue.reset().await?;
            return Ok(Ended::Done);
        };
        let left = left(args.timeout, begun);
        let arrived = match queue.arrive(name, args.data.as_bytes(), left).await {
            Err(SyncQueueError::TimedOut {
                path,
                present,
                size,
                ..
            }) => {
                let (here, limit) = (present.len(), args.timeout.unwrap_or_default());
                tell!("nyala: rendezvous {path}: {here} of {size} members after {limit:?}");
                return Ok(Ended::TimeOver);
            }
            arrived => arrived?,
        };
        for member in arrived {
            print_line(&format!("{}\t{}", member.name, text(&member.data)))?;
        }
        Ok(Ended::Done)
    })
}
