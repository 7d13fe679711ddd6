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
use super::zookeeper::{self, Ended, How, NotHad, text};

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

Column STATE of --list is holds or waits, or - where that cannot be told. FENCE of one who waits is the token that it
comes to hold with.
";

/// Of what runs no command.
const LIST_CODES: &str =
    "--list: 0 when printed, 2 when the command line is wrong, 1 for everything else.";

/// Flags of `nyala lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}\n\n{LIST_CODES}"))]
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
        super::usage_error(
            "lock",
            "--read, --write, --permits and --list take one PATH",
        );
    }
    if args.list {
        return zookeeper::run(&args.held.zookeeper, How::reads(), async |session| {
            list(&session, &args).await
        });
    }
    let get = async |session: Session, wait: Option<Duration>| -> Result<Held, NotHad> {
        let held = match several {
            true => several_at_once(&args, &session, wait).await,
            false => {
                let path = args.paths.first().map_or("", String::as_str);
                let hold = one(&args, &session, path, wait).await;
                hold.map(|hold| hold.map(Held::One))
            }
        };
        let held = held.map_err(overdue(args.held.timeout))?;
        held.ok_or_else(|| held::taken(&args.paths))
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
    let entrants = Lock::new(session, path)?.entrants().await?;
    let names: Vec<&str> = entrants.iter().map(|e| e.name.as_str()).collect();
    // The number of permits stands in the node itself.
    let node = session.get_if_exists(path).await;
    let node = node.map_err(|e| format!("{path}: {e}"))?;
    let permits = node.and_then(|node| text(&node.data).parse().ok());
    print_entrants(&entrants, |place| holds(&names, permits, place))?;
    Ok(Ended::Done)
}

/// Whether the contender at this place holds: of a lock the first does, and readers that only readers are
/// before; of a semaphore as many as it has permits. `None` if the names tell of neither.
fn holds(names: &[&str], permits: Option<usize>, place: usize) -> Option<bool> {
    let all = |count: usize, kinds: &[&str]| {
        let mut names = names.iter().take(count);
        names.all(|name| kinds.iter().any(|kind| name.contains(kind)))
    };
    if all(names.len(), &["__permit__"]) {
        return permits.map(|permits| place < permits);
    }
    let readers = ["__rlock__", "__READ__"];
    let is_lock = all(
        names.len(),
        &["lock__", "-lock-", "-latch-", "__READ__", "__WRIT__"],
    );
    is_lock.then(|| place == 0 || all(place + 1, &readers))
}

/// Contenders as a table: the first of them first. `holds` tells of a place, if it can.
pub(super) fn print_entrants(
    entrants: &[Entrant],
    holds: impl Fn(usize) -> Option<bool>,
) -> std::io::Result<()> {
    let row = |(place, e): (usize, &Entrant)| {
        let state = match holds(place) {
            Some(true) => "holds",
            Some(false) => "waits",
            None => "-",
        };
        vec![
            e.fence.to_string(),
            format!("{:#x}", e.session_id),
            e.name.clone(),
            state.to_owned(),
            text(&e.data),
        ]
    };
    let rows: Vec<Vec<String>> = entrants.iter().enumerate().map(row).collect();
    table::print(&["FENCE", "SESSION", "NODE", "STATE", "DATA"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_hold_together_and_others_alone() {
        let held = |names: &[&str], permits: Option<usize>| -> Vec<Option<bool>> {
            let places = 0..names.len();
            places.map(|place| holds(names, permits, place)).collect()
        };
        let (yes, no) = (Some(true), Some(false));
        let (read, write) = ("a__rlock__0000000001", "b__lock__0000000002");
        assert_eq!(held(&[write, read, read], None), [yes, no, no]);
        assert_eq!(held(&[read, read, write, read], None), [yes, yes, no, no]);
        let curators = ["_c_a-__READ__01", "_c_b-__READ__02", "_c_b-__WRIT__03"];
        assert_eq!(held(&curators, None), [yes, yes, no]);
        let permit = "c__permit__0000000003";
        assert_eq!(held(&[permit, permit, permit], Some(2)), [yes, yes, no]);
        assert_eq!(held(&[permit], None), [None]);
        assert_eq!(held(&["_c_a-lease-01", "_c_b-lease-02"], None), [None; 2]);
    }
}
