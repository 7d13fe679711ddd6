//! `nyala elect`: runs a command while it leads, or shows who does.

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use nyala_coordinator::recipes::{Election, Entrant};
use nyala_coordinator::session::Session;
use tokio::sync::watch;

use super::held::{self, EXIT_CODES, Held, HeldArgs, overdue};
use super::lock::{LayoutArg, print_entrants};
use super::print_line;
use super::zookeeper::{self, Ended, How, NotHad};

const EXAMPLES: &str = "\
Examples:
  nyala elect /election -- ./leader.sh              run it while this process leads
  nyala elect /election --data \"$(hostname)\" -- CMD
  nyala elect /election --observe                   a line for each leader: token, tab, data
  nyala elect /election --list                      all candidates, the leader first

CMD finds the token of its term in NYALA_FENCE; a later leader's is always larger. One term: when leadership
is lost CMD is stopped, and when CMD ends leadership is given up. To stand again, run it again.
";

/// Of what runs no command.
const LIST_CODES: &str = "\
--list and --observe: 0 when printed or stopped, 2 when the command line is wrong, 1 for everything else.";

/// Flags of `nyala elect`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}\n\n{LIST_CODES}"))]
pub(super) struct Args {
    /// Znode of the election; made when it is missing
    path: String,
    /// Stand under the names of kazoo's recipes, or of Curator's
    #[arg(long, value_enum, default_value = "kazoo")]
    layout: LayoutArg,
    /// Print each leader from now on (token, tab, data; an empty line for none), until interrupted
    #[arg(long, conflicts_with_all = ["command", "list"])]
    observe: bool,
    /// Print the candidates in order, and end
    #[arg(long, conflicts_with = "command")]
    list: bool,
    #[command(flatten)]
    held: HeldArgs,
    /// What to run while leading
    #[arg(last = true, required_unless_present_any = ["observe", "list"], value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let (zookeeper, path) = (&args.held.zookeeper, args.path.as_str());
    if args.observe {
        let how = How::reads().until_stopped(true).telling_absence();
        return zookeeper::run(zookeeper, how, async |session: Session| {
            let observed = Election::new(&session, path)?.observe().await?;
            show(observed.subscribe()).await?;
            Ok(Ended::Done)
        });
    }
    if args.list {
        return zookeeper::run(zookeeper, How::reads(), async |session: Session| {
            let candidates = Election::new(&session, path)?.candidates().await?;
            print_entrants(&candidates, |place| Some(place == 0))?;
            Ok(Ended::Done)
        });
    }
    let get = async |session: Session, wait: Option<Duration>| -> Result<Held, NotHad> {
        let election = Election::new(&session, path)?.with_layout(args.layout.into());
        let term = match wait {
            Some(Duration::ZERO) => election.try_lead(args.held.data()).await,
            limit => election.lead(args.held.data(), limit).await.map(Some),
        };
        let term = term.map_err(overdue(args.held.timeout))?;
        let taken = || held::taken(std::slice::from_ref(&args.path));
        term.map(Held::One).ok_or_else(taken)
    };
    held::run_under(args.held.under(&args.command), get)
}

/// A line for the leader there is, and for each that follows.
async fn show(mut leaders: watch::Receiver<Option<Entrant>>) -> std::io::Result<()> {
    loop {
        let leader = leaders.borrow_and_update().clone();
        let line = leader.map(|l| format!("{}\t{}", l.fence, String::from_utf8_lossy(&l.data)));
        print_line(&line.unwrap_or_default())?;
        if leaders.changed().await.is_err() {
            return Ok(());
        }
    }
}
