//! `nyala barrier`: waits until all are there, or until somebody opens.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use nyala_coordinator::recipes::RecipeError;
use nyala_coordinator::recipes::barrier::Barrier;
use nyala_coordinator::recipes::double_barrier::{BarrierError, DoubleBarrier, Entered};
use nyala_coordinator::recipes::naming::Names;
use nyala_coordinator::session::Session;
use tokio::time::Instant;

use super::held::{self, GraceArgs, Held, Under};
use super::zookeeper::{self, EXIT_CODES, Ended, How, NotHad, ZooKeeperArgs, left, seconds};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala barrier /phase/2 --parties 3                       ends when three are there
  nyala barrier /phase/2 --parties 3 --timeout 60 || echo 'not all came'
  nyala barrier /phase/2 --expect a,b,c --name a -- CMD    all begin CMD together, and end together
  nyala barrier /release --close                           from now on --wait waits
  nyala barrier /release --wait                            elsewhere
  nyala barrier /release --open

The layouts are those of kazoo's and Curator's barriers: their users may take part.
";

/// Flags of `nyala barrier`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}\n\nWith CMD:\n{}", held::EXIT_CODES))]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct Args {
    /// The barrier
    path: String,
    /// Wait until so many are there
    #[arg(long, value_name = "N", group = "what", value_parser = super::at_least_one)]
    parties: Option<usize>,
    /// Wait until these are there; who is missing is told when the time is over
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', group = "what")]
    expect: Vec<String>,
    /// Close a barrier that somebody opens later
    #[arg(long, group = "what")]
    close: bool,
    /// Open it; fine if it is open
    #[arg(long, group = "what")]
    open: bool,
    /// Wait until it is open
    #[arg(long, group = "what")]
    wait: bool,
    /// Of this party [default: one that nobody else has]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["close", "open", "wait"])]
    name: Option<String>,
    /// Give up after so long, both when coming in (connecting included) and when going out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    grace: GraceArgs,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
    /// What to run between coming in and going out
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["close", "open", "wait"])]
    command: Vec<OsString>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    check_names(&args);
    let meets = args.parties.is_some() || !args.expect.is_empty();
    if meets && !args.command.is_empty() {
        let under = Under {
            zookeeper: &args.zookeeper,
            timeout: args.timeout,
            grace: args.grace,
            command: &args.command,
        };
        return held::run_under(under, async |session: Session, left| {
            let entered = enter(session, &args, left).await?;
            Ok(Held::Inside(entered, args.timeout))
        });
    }
    let how = match args.open || args.wait {
        true => How::reads(),
        false => How::writes(),
    };
    let how = how.within(args.timeout).telling_absence();
    zookeeper::run(&args.zookeeper, how, async |session: Session| {
        let left = left(args.timeout, begun);
        match meets {
            true => meet(session, &args, left).await,
            false => single(session, &args, left).await,
        }
    })
}

/// Refuses names under which not all who are expected could ever be there, or who is not expected.
fn check_names(args: &Args) {
    let expected: BTreeSet<&String> = args.expect.iter().collect();
    if expected.len() < args.expect.len() {
        super::usage_error("barrier", "--expect names one of them twice");
    }
    if let Some(name) = args.name.as_ref().filter(|_| !expected.is_empty())
        && !expected.contains(name)
    {
        let expected = args.expect.join(", ");
        let words = format!("--name {name} is not among those of --expect: {expected}");
        super::usage_error("barrier", &words);
    }
}

async fn single(
    session: Session,
    args: &Args,
    left: Option<Duration>,
) -> Result<Ended, Box<dyn Error>> {
    let barrier = Barrier::new(session, &args.path)?;
    if args.close {
        barrier.close().await?;
    } else if args.open {
        barrier.open().await?;
    } else {
        match barrier.wait(left).await {
            Err(RecipeError::TimedOut { path, .. }) => {
                let limit = args.timeout.unwrap_or_default();
                tell!("nyala: barrier {path} is still closed after {limit:?}");
                return Ok(Ended::TimeOver);
            }
            done => done?,
        }
    }
    Ok(Ended::Done)
}

async fn meet(
    session: Session,
    args: &Args,
    left: Option<Duration>,
) -> Result<Ended, Box<dyn Error>> {
    let entered = match enter(session, args, left).await {
        Ok(entered) => entered,
        Err(NotHad::TimeOver(words)) => {
            tell!("nyala: {words}");
            return Ok(Ended::TimeOver);
        }
        Err(NotHad::Failed(error)) => return Err(error),
    };
    match entered.leave(args.timeout).await {
        Err(error @ BarrierError::TimedOut { .. }) => {
            tell!("nyala: still there: {error}");
            Ok(Ended::TimeOver)
        }
        gone => Ok(gone.map(|()| Ended::Done)?),
    }
}

async fn enter(session: Session, args: &Args, left: Option<Duration>) -> Result<Entered, NotHad> {
    let barrier = match args.parties {
        Some(parties) => DoubleBarrier::new(session, &args.path, parties)?,
        None => {
            let names: Vec<&str> = args.expect.iter().map(String::as_str).collect();
            DoubleBarrier::of(session, &args.path, &names)?
        }
    };
    let name = args.name.clone().unwrap_or_else(|| Names::unique(""));
    let begun = Instant::now();
    let entered = barrier
        .enter(&name, left)
        .await
        .map_err(|e| overdue(args, e))?;
    let waited = begun.elapsed().as_millis();
    tell!("nyala: all are there after {waited} ms");
    Ok(entered)
}

/// Tells of the limit as it was given, not of what connecting has left of it.
fn overdue(args: &Args, error: BarrierError) -> NotHad {
    match error {
        BarrierError::TimedOut {
            path,
            waited,
            present,
            parties,
            missing,
        } => {
            let waited = args.timeout.unwrap_or(waited);
            let error = BarrierError::TimedOut {
                path,
                waited,
                present,
                parties,
                missing,
            };
            NotHad::TimeOver(error.to_string())
        }
        error => error.into(),
    }
}
