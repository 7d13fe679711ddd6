//! `nyala name`: names that are claimed or bound, and numbers that never come twice.

use std::error::Error;
use std::ffi::OsString;

use nyala_coordinator::recipes::naming::{Names, Sequence};
use nyala_coordinator::session::Session;

use super::held::{self, GraceArgs, Held, Under};
use super::print_line;
use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs};

const EXAMPLES: &str = "\
Examples:
  nyala name claim /workers worker- -- CMD     NYALA_NAME=worker-0, worker-1, ...: the smallest free one
  nyala name next /order-ids --count 3         numbers that never come twice, ascending
  nyala name bind /names db/eu/1 10.0.0.7      refused if it is bound
  nyala name resolve /names db/eu/1
  nyala name list /names db
  nyala name unbind /names db/eu/1

A claimed name is free again when CMD ends, or the session of this command does: CMD is stopped then. It
finds its fencing token in NYALA_FENCE. `nyala name claim --help` tells the exit codes of `claim`.
";

/// Flags of `nyala name`.
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
    /// Run a command that has a name of its own
    #[command(after_help = held::EXIT_CODES)]
    Claim {
        /// Where the names are
        path: String,
        /// What the name begins with
        prefix: String,
        #[command(flatten)]
        grace: GraceArgs,
        /// What to run while it has the name
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Print the next numbers of a sequence
    Next {
        /// The sequence; made when it is missing
        path: String,
        /// So many
        #[arg(long, value_name = "N", default_value_t = 1)]
        count: u64,
    },
    /// Bind a name to a value
    Bind {
        /// Where the names are
        path: String,
        /// The name: one or more parts, with / between
        name: String,
        /// The value
        value: String,
        /// Replace what it is bound to
        #[arg(long)]
        replace: bool,
    },
    /// Print what a name is bound to
    Resolve {
        /// Where the names are
        path: String,
        /// The name
        name: String,
    },
    /// Print the parts that follow a name
    List {
        /// Where the names are
        path: String,
        /// The name
        #[arg(default_value = "")]
        name: String,
    },
    /// Free a name
    Unbind {
        /// Where the names are
        path: String,
        /// The name
        name: String,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let how = match &args.command {
        Command::Claim {
            path,
            prefix,
            grace,
            command,
        } => {
            let under = Under {
                zookeeper: &args.zookeeper,
                timeout: None,
                grace: *grace,
                command,
            };
            return claim(under, path, prefix);
        }
        Command::Next { .. } | Command::Bind { .. } => How::writes(),
        Command::Resolve { .. } | Command::List { .. } | Command::Unbind { .. } => How::reads(),
    };
    zookeeper::run(&args.zookeeper, how, async |session: Session| {
        main(session, &args.command).await
    })
}

/// The smallest free name is had at once.
fn claim(under: Under<'_>, path: &str, prefix: &str) -> Result<(), Box<dyn Error>> {
    held::run_under(under, async |session: Session, _| {
        let (name, hold) = Names::new(session, path)?.claim(prefix).await?;
        Ok(Held::Named(name, hold))
    })
}

async fn main(session: Session, command: &Command) -> Result<Ended, Box<dyn Error>> {
    match command {
        // Had its own way.
        Command::Claim { .. } => {}
        Command::Next { path, count } => {
            let numbers = Sequence::new(session, path, *count)?;
            for _ in 0..*count {
                print_line(&numbers.next().await?.to_string())?;
            }
        }
        Command::Bind {
            path,
            name,
            value,
            replace,
        } => {
            let names = Names::new(session, path)?;
            match replace {
                true => names.rebind(name, value.as_bytes()).await?,
                false => names.bind(name, value.as_bytes()).await?,
            }
        }
        Command::Resolve { path, name } => {
            let value = Names::new(session, path)?.resolve(name).await?;
            let value = value.ok_or_else(|| format!("the name {name} is not bound"))?;
            super::queue::print(std::iter::once(value.as_slice()))?;
        }
        Command::List { path, name } => {
            for part in Names::new(session, path)?.list(name).await? {
                print_line(&part)?;
            }
        }
        Command::Unbind { path, name } => {
            if !Names::new(session, path)?.unbind(name).await? {
                return Err(format!("the name {name} is not bound").into());
            }
        }
    }
    Ok(Ended::Done)
}
