//! `nyala lock`: runs a command while it holds a lock, a read/write lock, a permit, or several locks.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use nyala_coordinator::recipes::{
    Entrant, Hold, Layout, Lock, MultiLock, RecipeError, RwLock, Semaphore,
};
use nyala_coordinator::session::Session;

use super::held::{self, EXIT_CODES, Held, HeldArgs, overdue};
use super::table;
use super::zookeeper::{self, Ended, How, NotHad};

const EXAMPLES: &str = "\
Examples:
  nyala lock /locks/report -- ./report.sh           one at a time, first come, first served
  nyala lock /locks/report --timeout 30 -- CMD      give up after 30 s (exit code 124)
  nyala lock /locks/table --read -- CMD             many readers, or one --write
  nyala lock /slots/gpu --permits 2 -- CMD          at most two at a time
  nyala lock /acct/7 /acct/12 -- CMD                both, without deadlock
  nyala lock /locks/report --list                   who holds, and who waits
  nyala lock /l -- sh -c 'store --token $NYALA_FENCE'

CMD finds the fencing token in NYALA_FENCE (several PATHs: the largest there, all in NYALA_FENCES as JSON).
A later holder's is always larger: a store that refuses smaller ones is safe from late writers.
";

/// Flags of `nyala lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub(super) struct Args {
    /// Znodes to lock; made when they are missing
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Share it with other readers
    #[arg(long, conflicts_with_all = ["write", "permits"])]
    read: bool,
    /// Be alone, with neither readers nor writers
    #[arg(long, conflicts_with = "permits")]
    write: bool,
    /// Let so many in at a time
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    permits: Option<usize>,
    /// Contend under the names of kazoo's recipes, or of Curator's
    #[arg(long, value_enum, default_value = "kazoo", conflicts_with = "permits")]
    layout: LayoutArg,
    /// Print who holds and who waits, in order, and end
    #[arg(long, conflicts_with = "command")]
    list: bool,
    #[command(flatten)]
    held: HeldArgs,
    /// What to run while it is held
    #[arg(last = true, required_unless_present = "list", value_name = "CMD")]
    command: Vec<OsString>,
}

/// Whose names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LayoutArg {
    Kazoo,
    Curator,
}

impl From<LayoutArg> for Layout {
    fn from(layout: LayoutArg) -> Self {
        match layout {
            LayoutArg::Kazoo => Self::Kazoo,
            LayoutArg::Curator => Self::Curator,
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let several = args.paths.len() > 1;
    if several && (args.read || args.write || args.permits.is_some() || args.list) {
        super::usage_error("--read, --write, --permits and --list take one PATH");
    }
    if args.list {
        return zookeeper::run(&args.held.zookeeper, How::reads(), async |session| {
            list(&session, &args).await
        });
    }
    let get = async |session: Session, wait: Option<Duration>| -> Result<Option<Held>, NotHad> {
        if several {
            let all = several_at_once(&args, &session, wait).await;
            return all.map_err(overdue(args.held.timeout));
        }
        let path = args.paths.first().map_or("", String::as_str);
        let hold = one(&args, &session, path, wait).await;
        Ok(hold.map_err(overdue(args.held.timeout))?.map(Held::One))
    };
    held::run_under(args.held.under(&args.command), get)
}

async fn one(
    args: &Args,
    session: &Session,
    path: &str,
    wait: Option<Duration>,
) -> Result<Option<Hold>, RecipeError> {
    let (data, layout) = (args.held.data(), args.layout.into());
    if let Some(permits) = args.permits {
        let slots = Semaphore::new(session, path, permits)?.with_data(data);
        return match wait {
            None => slots.acquire().await.map(Some),
            Some(Duration::ZERO) => slots.try_acquire().await,
            Some(limit) => slots.acquire_within(limit).await.map(Some),
        };
    }
    if args.read || args.write {
        let lock = RwLock::new(session, path)?
            .with_data(data)
            .with_layout(layout);
        return match (args.read, wait) {
            (true, None) => lock.read().await.map(Some),
            (true, Some(Duration::ZERO)) => lock.try_read().await,
            (true, Some(limit)) => lock.read_within(limit).await.map(Some),
            (false, None) => lock.write().await.map(Some),
            (false, Some(Duration::ZERO)) => lock.try_write().await,
            (false, Some(limit)) => lock.write_within(limit).await.map(Some),
        };
    }
    let lock = Lock::new(session, path)?
        .with_data(data)
        .with_layout(layout);
    match wait {
        None => lock.acquire().await.map(Some),
        Some(Duration::ZERO) => lock.try_acquire().await,
        Some(limit) => lock.acquire_within(limit).await.map(Some),
    }
}

async fn several_at_once(
    args: &Args,
    session: &Session,
    wait: Option<Duration>,
) -> Result<Option<Held>, RecipeError> {
    let locks = MultiLock::new(session, args.paths.clone())?;
    let locks = locks
        .with_data(args.held.data())
        .with_layout(args.layout.into());
    let all = match wait {
        None => Some(locks.acquire().await?),
        Some(Duration::ZERO) => locks.try_acquire().await?,
        Some(limit) => Some(locks.acquire_within(limit).await?),
    };
    Ok(all.map(Held::All))
}

async fn list(session: &Session, args: &Args) -> Result<Ended, Box<dyn Error>> {
    let path = args.paths.first().map_or("", String::as_str);
    print_entrants(&Lock::new(session, path)?.entrants().await?)?;
    Ok(Ended::Done)
}

/// Contenders as a table: the first of them first.
pub(super) fn print_entrants(entrants: &[Entrant]) -> std::io::Result<()> {
    let row = |e: &Entrant| {
        vec![
            e.fence.to_string(),
            format!("{:#x}", e.session_id),
            e.name.clone(),
            String::from_utf8_lossy(&e.data).into_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = entrants.iter().map(row).collect();
    table::print(&["FENCE", "SESSION", "NODE", "DATA"], &rows)
}
