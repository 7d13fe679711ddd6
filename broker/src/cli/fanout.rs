//! `nyala fanout`: lines in, each out to every registered consumer, in order.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::recipes::fanout::{Fanout, FanoutError, FanoutOptions, Start, Subscribe};
use nyala_coordinator::session::Session;

use super::queue::{Told, print};
use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, seconds};
use super::{lines, table};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala fanout take /news --name mailer --max 0     registers `mailer`, prints nothing
  printf 'a\\nb\\n' | nyala fanout put /news         a line an item, for all who are registered
  nyala fanout take /news --name mailer --max 100 --wait 60
  nyala fanout list /news                           who is registered, and how far behind
  nyala fanout remove /news mailer                  it will not come back

An item is deleted when all consumers have printed it. A consumer that died goes on where it was. What is put
while nobody is registered is for those who begin --from-beginning before any consumer takes: the first take (one
of --max 0 only registers) deletes it, but for what such a consumer has not had yet.
";

/// Items that are printed and acknowledged at a time.
const BATCH: usize = 64;

/// Flags of `nyala fanout`.
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
        /// Refuse what would make more items wait than this
        #[arg(long, value_name = "N")]
        max_items: Option<usize>,
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
    },
    /// Remove a consumer that will not come back
    Remove {
        /// The queue
        path: String,
        /// The consumer
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct TakeArgs {
    /// The queue
    path: String,
    /// The consumer; registered at its first time
    #[arg(long, value_name = "NAME")]
    name: String,
    /// At its first time, begin with the oldest item that is still there; what was put while nobody was
    /// registered is there until any consumer takes
    #[arg(long)]
    from_beginning: bool,
    /// Print so many at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    max: usize,
    /// Wait so long for the next item [default: do not wait]. A place that another process reads from is
    /// waited for so long, too, but no shorter than twice the session timeout: one that was killed keeps it
    /// for one
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
}

async fn open(
    session: Session,
    path: &str,
    items_max: Option<usize>,
) -> Result<Fanout, FanoutError> {
    Fanout::open(session, path, FanoutOptions { items_max }).await
}

/// One that is there.
async fn existing(session: Session, path: &str) -> Result<Fanout, Box<dyn Error>> {
    let queue = Fanout::open_existing(session, path).await?;
    let none = || format!("there is no fan-out queue at {path}").into();
    queue.ok_or_else(none)
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let zookeeper = &args.zookeeper;
    match &args.command {
        Command::Put {
            path, max_items, ..
        } => zookeeper::run(zookeeper, How::writes(), async |session: Session| {
            put(session, path, *max_items).await
        }),
        Command::Take(args) => {
            let how = How::writes().telling_absence();
            zookeeper::run(zookeeper, how, async |session: Session| {
                take(session, args).await
            })
        }
        Command::List { path, json } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                list(session, path, *json).await
            })
        }
        Command::Remove { path, name } => zookeeper::run(
            zookeeper,
            How::reads(),
            async |session: Session| match existing(session, path).await?.remove(name).await? {
                true => Ok(Ended::Done),
                false => Err(format!("{path} has no consumer {name}").into()),
            },
        ),
    }
}

async fn put(
    session: Session,
    path: &str,
    items_max: Option<usize>,
) -> Result<Ended, Box<dyn Error>> {
    let queue = open(session, path, items_max).await?;
    let (mut blocks, _) = lines::read(None)?;
    let mut told = Told::default();
    while let Some(block) = blocks.recv().await {
        let block = block?;
        let items: Vec<&[u8]> = block.iter().map(AsRef::as_ref).collect();
        match queue.put_all(&items).await {
            Err(FanoutError::Put(error)) => {
                told.items += error.put();
                return Err(error.into());
            }
            put => put?,
        }
        told.items += items.len();
    }
    if told.items > 0 && queue.consumers().await?.is_empty() {
        tell!(
            "nyala: nobody is registered at {path}: what was put is for who begins with `take --from-beginning`, \
             and goes when another takes first"
        );
    }
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
        let printed = print(items.iter().map(|item| item.data.as_slice()));
        printed.map_err(|e| format!("{e}; the items stay in the queue"))?;
        reader.ack(last).await?;
    }
    reader.close().await?;
    match left {
        left if left == args.max && left > 0 => Ok(Ended::TimeOver),
        _ => Ok(Ended::Done),
    }
}

async fn list(session: Session, path: &str, json: bool) -> Result<Ended, Box<dyn Error>> {
    let consumers = existing(session, path).await?.consumers().await?;
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
