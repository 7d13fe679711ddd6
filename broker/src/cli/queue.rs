//! `nyala queue`: lines in, each out to exactly one taker.

use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::time::Duration;

use nyala_coordinator::recipes::queue::{Priority, Queue, QueueError, QueueOptions, Taken};
use nyala_coordinator::session::Session;

use super::lines;
use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, counted, seconds};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  printf 'a\\nb\\n' | nyala queue put /jobs          a line an item
  nyala queue put /jobs --priority 1 < urgent       before those of 100, the default
  nyala queue take /jobs                            the first item, or exit code 124
  nyala queue take /jobs --max 100 --wait 60        up to 100; until 60 s bring none
  while job=$(nyala queue take /jobs); do ./work \"$job\"; done

An item that is printed is taken out of the queue; if that fails, or the taker dies before, it stays and is
given to another. The layout is that of kazoo's LockingQueue: its users may put and take here too.
";

/// Items that are taken, printed and acknowledged at a time.
const BATCH: usize = 64;

/// Flags of `nyala queue`.
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
    /// Put each line of standard input as an item
    Put {
        /// The queue; made when it is missing
        path: String,
        #[arg(hide = true, value_parser = super::no_item)]
        item: Option<String>,
        /// From 0, taken first, to 999
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=999))]
        priority: u16,
        /// Refuse what would make the queue longer than this
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
    },
    /// Print items, a line each, and take them out of the queue
    Take {
        /// The queue
        path: String,
        /// Take so many at most
        #[arg(long, value_name = "N", default_value_t = 1)]
        max: usize,
        /// Wait so long for the next item, also where there is no queue yet [default: do not wait]
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        wait: Option<Duration>,
    },
    /// Print how many items there are, taken ones included
    Size {
        /// The queue
        path: String,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let zookeeper = &args.zookeeper;
    match &args.command {
        Command::Put {
            path,
            priority,
            max_items,
            ..
        } => zookeeper::run(zookeeper, How::writes(), async |session: Session| {
            put(session, path, *priority, *max_items).await
        }),
        Command::Take { path, max, wait } => {
            let wait = wait.unwrap_or_default();
            let how = How::reads().waiting(wait).telling_absence();
            zookeeper::run(zookeeper, how, async |session: Session| {
                take(session, path, *max, wait).await
            })
        }
        Command::Size { path } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                let queue = Queue::existing(session, path)?;
                if !queue.exists().await? {
                    return Err(no_queue(path));
                }
                super::print_line(&queue.len().await?.to_string())?;
                Ok(Ended::Done)
            })
        }
    }
}

fn no_queue(path: &str) -> Box<dyn Error> {
    format!("there is no queue at {path}\n  the first `nyala queue put` makes it").into()
}

async fn put(
    session: Session,
    path: &str,
    priority: u16,
    items_max: Option<usize>,
) -> Result<Ended, Box<dyn Error>> {
    let queue = Queue::open(session, path, QueueOptions { items_max }).await?;
    let priority = Priority::new(priority).unwrap_or_default();
    let (mut blocks, _) = lines::read(None)?;
    let mut told = Told::default();
    while let Some(block) = blocks.recv().await {
        let block = block?;
        let items: Vec<&[u8]> = block.iter().map(AsRef::as_ref).collect();
        match queue.put_all(&items, priority).await {
            Err(QueueError::Put(error)) => {
                told.items += error.put();
                return Err(error.into());
            }
            put => put?,
        }
        told.items += items.len();
    }
    Ok(Ended::Done)
}

/// Items that were put: told at the end, whatever the end is, a stop signal included.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) items: usize,
}

impl Drop for Told {
    fn drop(&mut self) {
        tell!("nyala: {} put", counted(self.items, "item", "items"));
    }
}

async fn take(
    session: Session,
    path: &str,
    max: usize,
    wait: Duration,
) -> Result<Ended, Box<dyn Error>> {
    let queue = Queue::existing(session, path)?;
    if wait.is_zero() && !queue.exists().await? {
        return Err(no_queue(path));
    }
    let mut left = max;
    while left > 0 {
        let batch = left.min(BATCH);
        let items = match wait {
            Duration::ZERO => queue.poll_many(batch).await?,
            wait => queue.take_many(batch, Some(wait)).await?,
        };
        if items.is_empty() {
            break;
        }
        left -= items.len();
        // What was not printed is given back when the items are dropped.
        let printed = print(items.iter().map(Taken::data));
        printed.map_err(|e| format!("{e}; the items stay in the queue"))?;
        Taken::ack_all(items).await?;
    }
    match left {
        left if left == max && max > 0 => Ok(Ended::TimeOver),
        _ => Ok(Ended::Done),
    }
}

/// Prints lines and flushes them: only then is what was printed let go.
pub(super) fn print<'a>(items: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut lines = items.flat_map(|item| [item, b"\n"]);
    let written = lines.try_for_each(|bytes| out.write_all(bytes));
    let written = written.and_then(|()| out.flush());
    written.map_err(super::not_printed)
}
