//! `nyala rendezvous`: all arrive, and each learns of all.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::recipes::sync_queue::{SyncQueue, SyncQueueError};
use nyala_coordinator::session::Session;

use super::print_line;
use super::zookeeper::{self, EXIT_CODES, Ended, ZooKeeperArgs, seconds, text};

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
        requires = "name"
    )]
    size: Option<usize>,
    /// Of this member
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What the others are to know
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// Give up after so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Make an open one ready for the next members
    #[arg(long, conflicts_with_all = ["size", "name"])]
    reset: bool,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    zookeeper::run(&args.zookeeper, async |session: Session| {
        let queue = SyncQueue::new(session, &args.path, args.size.unwrap_or(1))?;
        let Some(name) = &args.name else {
            queue.reset().await?;
            return Ok(Ended::Done);
        };
        let arrived = queue.arrive(name, args.data.as_bytes(), args.timeout).await;
        if let Err(error @ SyncQueueError::TimedOut { .. }) = arrived {
            eprintln!("nyala: {error}");
            return Ok(Ended::TimeOver);
        }
        for member in arrived? {
            print_line(&format!("{}\t{}", member.name, text(&member.data)))?;
        }
        Ok(Ended::Done)
    })
}
