//! `nyala queue`: lines in, each out to exactly one taker.

use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::time::Duration;

use nyala_coordinator::recipes::queue::{Priority, Queue, QueueOptions, Taken};
use nyala_coordinator::session::Session;

use super::lines;
use super::zookeeper::{self, EXIT_CODES, Ended, ZooKeeperArgs, seconds};

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
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Put each line of standard input as an item
    Put {
        /// The queue; made when it is missing
        path: String,
        /// From 0, taken first, to 999
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=999))]
        priority: u16,
        /// Refuse what would make the queue longer than this
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
    /// Print items, a line each, and take them out of the queue
    Take {
        /// The queue
        path: String,
        /// Take so many at most
        #[arg(long, value_name = "N", default_value_t = 1)]
        max: usize,
        /// Wait so long for the next item [default: do not wait]
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        wait: Option<Duration>,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
    /// Print how many items there are, taken ones included
    Size {
        /// The queue
        path: String,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    match &args.command {
        Command::Put {
            path,
            priority,
            max_items,
            zookeeper,
        } => zookeeper::run(zookeeper, async |session: Session| {
            put(session, path, *priority, *max_items).await
        }),
        Command::Take {
            path,
            max,
            wait,
            zookeeper,
        } => zookeeper::run(zookeeper, async |session: Session| {
            take(session, path, *max, *wait).await
        }),
        Command::Size { path, zookeeper } => zookeeper::run(zookeeper, async |session: Session| {
            let queue = Queue::open(session, path, QueueOptions::default()).await?;
            super::print_line(&queue.len().await?.to_string())?;
            Ok(Ended::Done)
        }),
    }
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
    let mut count = 0;
    while let Some(block) = blocks.recv().await {
        let block = block?;
        let items: Vec<&[u8]> = block.iter().map(AsRef::as_ref).collect();
        let put = queue.put_all(&items, priority).await;
        put.map_err(|e| format!("{e}\n  {count} lines before that are in"))?;
        count += items.len();
    }
    eprintln!("nyala: {count} items put");
    Ok(Ended::Done)
}

async fn take(
    session: Session,
    path: &str,
    max: usize,
    wait: Option<Duration>,
) -> Result<Ended, Box<dyn Error>> {
    let queue = Queue::open(session, path, QueueOptions::default()).await?;
    let mut left = max;
    while left > 0 {
        let wait = Some(wait.unwrap_or_default());
        let batch = left.min(BATCH);
        let items = match wait {
            Some(Duration::ZERO) => queue.poll_many(batch).await?,
            wait => queue.take_many(batch, wait).await?,
        };
        if items.is_empty() {
            break;
        }
        left -= items.len();
        // What was not printed is given back when the items are dropped.
        print(items.iter().map(Taken::data))?;
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
    for item in items {
        out.write_all(item)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
