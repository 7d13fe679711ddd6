//! `nyala fanout`: lines in, each out to every registered consumer, in order.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::recipes::fanout::{Fanout, FanoutError, FanoutOptions, Start, Subscribe};
use nyala_coordinator::session::Session;

use super::queue::print;
use super::zookeeper::{self, EXIT_CODES, Ended, ZooKeeperArgs, seconds};
use super::{lines, table};

const EXAMPLES: &str = "\
Examples:
  nyala fanout take /news --name mailer --max 0     registers `mailer`, prints nothing
  printf 'a\\nb\\n' | nyala fanout put /news         a line an item, for all who are registered
  nyala fanout take /news --name mailer --max 100 --wait 60
  nyala fanout list /news                           who is registered, and how far behind
  nyala fanout remove /news mailer                  it will not come back

An item is deleted when all consumers have printed it. A consumer that died goes on where it was.
";

/// Items that are printed and acknowledged at a time.
const BATCH: usize = 64;

/// Flags of `nyala fanout`.
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
        /// Refuse what would make more items wait than this
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
    /// Print the items that this consumer has not had, a line each
    Take(TakeArgs),
    /// Print the consumers, how many items they have not had, and whether they read now
    List {
        /// The queue
        path: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
    /// Remove a consumer that will not come back
    Remove {
        /// The queue
        path: String,
        /// The consumer
        name: String,
        #[command(flatten)]
        zookeeper: ZooKeeperArgs,
    },
}

#[derive(Debug, clap::Args)]
struct TakeArgs {
    /// The queue
    path: String,
    /// The consumer; registered at its first time
    #[arg(long, value_name = "NAME")]
    name: String,
    /// At its first time, begin with the oldest item that is still there
    #[arg(long)]
    from_beginning: bool,
    /// Print so many at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    max: usize,
    /// Wait so long for the next item [default: do not wait]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
}

async fn open(
    session: Session,
    path: &str,
    items_max: Option<usize>,
) -> Result<Fanout, FanoutError> {
    Fanout::open(session, path, FanoutOptions { items_max }).await
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    match &args.command {
        Command::Put {
            path,
            max_items,
            zookeeper,
        } => zookeeper::run(zookeeper, async |session: Session| {
            put(session, path, *max_items).await
        }),
        Command::Take(args) => zookeeper::run(&args.zookeeper, async |session: Session| {
            take(session, args).await
        }),
        Command::List {
            path,
            json,
            zookeeper,
        } => zookeeper::run(zookeeper, async |session: Session| {
            list(session, path, *json).await
        }),
        Command::Remove {
            path,
            name,
            zookeeper,
        } => zookeeper::run(zookeeper, async |session: Session| {
            match open(session, path, None).await?.remove(name).await? {
                true => Ok(Ended::Done),
                false => Err(format!("{path} has no consumer {name}").into()),
            }
        }),
    }
}

async fn put(
    session: Session,
    path: &str,
    items_max: Option<usize>,
) -> Result<Ended, Box<dyn Error>> {
    let queue = open(session, path, items_max).await?;
    let (mut blocks, _) = lines::read(None)?;
    let mut count = 0;
    while let Some(block) = blocks.recv().await {
        let block = block?;
        let items: Vec<&[u8]> = block.iter().map(AsRef::as_ref).collect();
        let put = queue.put_all(&items).await;
        put.map_err(|e| format!("{e}\n  {count} lines before that are in"))?;
        count += items.len();
    }
    eprintln!("nyala: {count} items put");
    Ok(Ended::Done)
}

async fn take(session: Session, args: &TakeArgs) -> Result<Ended, Box<dyn Error>> {
    let start = match args.from_beginning {
        true => Start::Oldest,
        false => Start::Next,
    };
    // The place of a consumer that was killed is free when its session has timed out.
    let wait = Some(
        args.wait
            .unwrap_or_default()
            .max(session.session_timeout() * 2),
    );
    let how = Subscribe {
        start,
        wait,
        ..Subscribe::default()
    };
    let queue = open(session, &args.path, None).await?;
    let mut reader = queue.subscribe(&args.name, how).await?;
    let mut left = args.max;
    while left > 0 {
        let wait = Some(args.wait.unwrap_or(Duration::from_millis(1)));
        let items = reader.next(left.min(BATCH), wait).await?;
        let Some(last) = items.last().map(|item| item.number) else {
            break;
        };
        left -= items.len();
        print(items.iter().map(|item| item.data.as_slice()))?;
        reader.ack(last).await?;
    }
    reader.close().await?;
    match left {
        left if left == args.max && left > 0 => Ok(Ended::TimeOver),
        _ => Ok(Ended::Done),
    }
}

async fn list(session: Session, path: &str, json: bool) -> Result<Ended, Box<dyn Error>> {
    let consumers = open(session, path, None).await?.consumers().await?;
    if json {
        for c in &consumers {
            let object = serde_json::json!({
                "name": c.name, "waiting": c.waiting, "attached": c.attached
            });
            table::print_json(&object)?;
        }
        return Ok(Ended::Done);
    }
    let row = |c: &nyala_coordinator::recipes::fanout::ConsumerInfo| {
        let state = if c.attached { "reading" } else { "away" };
        vec![c.name.clone(), c.waiting.to_string(), state.to_owned()]
    };
    let rows: Vec<Vec<String>> = consumers.iter().map(row).collect();
    table::print(&["CONSUMER", "WAITING", "STATE"], &rows)?;
    Ok(Ended::Done)
}
