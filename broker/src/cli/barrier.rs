//! `nyala barrier`: waits until all are there, or until somebody opens.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use nyala_coordinator::recipes::RecipeError;
use nyala_coordinator::recipes::barrier::Barrier;
use nyala_coordinator::recipes::double_barrier::{BarrierError, DoubleBarrier};
use nyala_coordinator::recipes::naming::Names;
use nyala_coordinator::session::Session;
use tokio::process::Command;
use tokio::time::Instant;

use super::zookeeper::{self, EXIT_CODES, Ended, ZooKeeperArgs, seconds};

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
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct Args {
    /// The barrier
    path: String,
    /// Wait until so many are there
    #[arg(long, value_name = "N", group = "what")]
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
    /// Give up after so long, both when coming in and when going out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    zookeeper: ZooKeeperArgs,
    /// What to run between coming in and going out
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["close", "open", "wait"])]
    command: Vec<OsString>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    zookeeper::run(&args.zookeeper, async |session: Session| {
        match args.parties.is_some() || !args.expect.is_empty() {
            true => meet(session, &args).await,
            false => single(session, &args).await,
        }
    })
}

async fn single(session: Session, args: &Args) -> Result<Ended, Box<dyn Error>> {
    let barrier = Barrier::new(session, &args.path)?;
    if args.close {
        barrier.close().await?;
    } else if args.open {
        barrier.open().await?;
    } else {
        match barrier.wait(args.timeout).await {
            Err(error @ RecipeError::TimedOut { .. }) => {
                eprintln!("nyala: {error}");
                return Ok(Ended::TimeOver);
            }
            done => done?,
        }
    }
    Ok(Ended::Done)
}

async fn meet(session: Session, args: &Args) -> Result<Ended, Box<dyn Error>> {
    let barrier = match args.parties {
        Some(parties) => DoubleBarrier::new(session, &args.path, parties)?,
        None => {
            let names: Vec<&str> = args.expect.iter().map(String::as_str).collect();
            DoubleBarrier::of(session, &args.path, &names)?
        }
    };
    let name = args.name.clone().unwrap_or_else(|| Names::unique(""));
    let begun = Instant::now();
    let inside = match barrier.enter(&name, args.timeout).await {
        Err(error @ BarrierError::TimedOut { .. }) => {
            eprintln!("nyala: {error}");
            return Ok(Ended::TimeOver);
        }
        entered => entered?,
    };
    eprintln!(
        "nyala: all are there after {} ms",
        begun.elapsed().as_millis()
    );
    let code = match args.command.split_first() {
        None => 0,
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest).kill_on_drop(true);
            command.env("NYALA_FENCE", inside.fence().to_string());
            let status = command.status().await;
            let status = status.map_err(|e| format!("{}: {e}", program.to_string_lossy()))?;
            status.code().unwrap_or(1)
        }
    };
    match inside.leave(args.timeout).await {
        Err(error @ BarrierError::TimedOut { .. }) => {
            eprintln!("nyala: still there: {error}");
            Ok(Ended::TimeOver)
        }
        left => {
            left?;
            Ok(Ended::With(code))
        }
    }
}
