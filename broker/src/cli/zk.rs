//! `nyala zk`: the tree itself, a node or a transaction at a time.

mod multi;

use std::error::Error;

use nyala_coordinator::session::{Acl, CreateMode, Session, Stat, TreeEventKind, ZkError};

use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs};
use super::{print_line, table};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala zk ls / --recursive
  nyala zk create /a/b hello --parents             prints the path
  nyala zk create /a/item- x --sequential          with the next number behind it
  nyala zk get /a/b
  nyala zk set /a/b 'good bye' --version 0         prints the new version
  nyala zk watch /a                                created, changed, deleted: a line for each, with the path
  printf 'check /a/b 1\\ncreate /c x\\n' | nyala zk multi     all or nothing
  nyala zk delete /a --recursive
";

/// Flags of `nyala zk`.
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
    /// Print the names of a node's children
    Ls {
        /// The node
        #[arg(default_value = "/")]
        path: String,
        /// All below it, as paths
        #[arg(long, short)]
        recursive: bool,
    },
    /// Print a node's data
    Get {
        /// The node
        path: String,
    },
    /// Set a node's data and print its version
    Set {
        /// The node
        path: String,
        /// The data
        data: String,
        /// Only if it has this version
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::node_version)]
        version: Option<i32>,
    },
    /// Make a node and print its path
    Create {
        /// The node
        path: String,
        /// Its data
        #[arg(default_value = "")]
        data: String,
        /// With the next number behind its name
        #[arg(long)]
        sequential: bool,
        /// It goes when this command is stopped
        #[arg(long)]
        ephemeral: bool,
        /// Make missing parents
        #[arg(long, short)]
        parents: bool,
    },
    /// Delete a node
    Delete {
        /// The node; of / all that is below it
        path: String,
        /// Only if it has this version
        #[arg(long, value_name = "N", conflicts_with = "recursive", allow_negative_numbers = true, value_parser = super::node_version)]
        version: Option<i32>,
        /// With all below it
        #[arg(long, short)]
        recursive: bool,
    },
    /// Print what happens to a node and all below it, until stopped
    Watch {
        /// The node
        path: String,
        /// End after so many lines
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
    /// Print what ZooKeeper keeps about a node
    Stat {
        /// The node
        path: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Do all operations on standard input, or none, a line each: check PATH [VERSION], create PATH [DATA],
    /// create-sequential PATH [DATA], set PATH [DATA] (set@VERSION: only that one), delete PATH [VERSION]
    Multi,
}

impl Command {
    fn how(&self) -> How {
        match self {
            Self::Create { ephemeral, .. } => How::writes().until_stopped(*ephemeral),
            Self::Multi => How::writes(),
            Self::Watch { max, .. } => How::reads().until_stopped(max.is_none()),
            _ => How::reads(),
        }
    }
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let command = &args.command;
    if matches!(command, Command::Delete { path, .. } if path == "/")
        && !args.zookeeper.has_chroot()
    {
        return Err(
            "this is the root of everything: --zookeeper HOST:PORT/CHROOT names a part".into(),
        );
    }
    zookeeper::run(&args.zookeeper, command.how(), async |session: Session| {
        main(session, command).await
    })
}

/// Names the node in an error.
fn at(path: &str) -> impl Fn(ZkError) -> String {
    move |e| format!("{path}: {e}")
}

async fn main(session: Session, command: &Command) -> Result<Ended, Box<dyn Error>> {
    match command {
        Command::Ls { path, recursive } => ls(&session, path, *recursive).await?,
        Command::Get { path } => {
            let node = session.get(path).await.map_err(at(path))?;
            super::queue::print(std::iter::once(node.data.as_slice()))?;
        }
        Command::Set {
            path,
            data,
            version,
        } => {
            let set = match session.set(path, data.as_bytes(), *version).await {
                Ok(set) => set,
                Err(error) => return Err(refusal(&session, path, *version, error).await),
            };
            print_line(&set.version.to_string())?;
        }
        Command::Create { .. } => return create(&session, command).await,
        Command::Delete {
            path,
            version,
            recursive,
        } => {
            if *recursive && session.exists(path).await.map_err(at(path))?.is_some() {
                session.delete_tree(path).await.map_err(at(path))?;
            } else if let Err(error) = session.delete(path, *version).await {
                return Err(refusal(&session, path, *version, error).await);
            }
        }
        Command::Watch { path, max } => watch(&session, path, max.unwrap_or(u64::MAX)).await?,
        Command::Stat { path, json } => {
            let stat = session.exists(path).await.map_err(at(path))?;
            let stat = stat.ok_or(ZkError::NoNode).map_err(at(path))?;
            print_stat(&stat, *json)?;
        }
        Command::Multi => multi::run(&session).await?,
    }
    Ok(Ended::Done)
}

/// Why a node was not changed, with what is there instead, or what would do it.
async fn refusal(
    session: &Session,
    path: &str,
    version: Option<i32>,
    error: ZkError,
) -> Box<dyn Error> {
    let words = match (&error, version) {
        (ZkError::BadVersion, Some(asked)) => match session.exists(path).await {
            // Of one that has gone, or is at that version again, only the refusal is certain.
            Ok(Some(stat)) if stat.version != asked => {
                format!(
                    "{path} is at version {}, not at version {asked}",
                    stat.version
                )
            }
            _ => at(path)(error),
        },
        (ZkError::NotEmpty, _) => format!("{path}: {error}; --recursive deletes them too"),
        _ => at(path)(error),
    };
    words.into()
}

async fn ls(session: &Session, path: &str, recursive: bool) -> Result<(), Box<dyn Error>> {
    let names = session.children(path).await.map_err(at(path))?;
    if !recursive {
        for name in names {
            print_line(&name)?;
        }
        return Ok(());
    }
    let child = |parent: &str, name: &str| format!("{}/{name}", parent.trim_end_matches('/'));
    let mut left: Vec<String> = names.iter().rev().map(|n| child(path, n)).collect();
    while let Some(node) = left.pop() {
        print_line(&node)?;
        match session.children(&node).await {
            Ok(names) => left.extend(names.iter().rev().map(|n| child(&node, n))),
            // Gone since it was listed.
            Err(ZkError::NoNode) => {}
            Err(e) => return Err(at(&node)(e).into()),
        }
    }
    Ok(())
}

async fn create(session: &Session, command: &Command) -> Result<Ended, Box<dyn Error>> {
    let Command::Create {
        path,
        data,
        sequential,
        ephemeral,
        parents,
    } = command
    else {
        return Ok(Ended::Done);
    };
    let mode = match (ephemeral, sequential) {
        (false, false) => CreateMode::Persistent,
        (false, true) => CreateMode::PersistentSequential,
        (true, false) => CreateMode::Ephemeral,
        (true, true) => CreateMode::EphemeralSequential,
    };
    if *parents && let Some((parent, _)) = path.rsplit_once('/').filter(|(p, _)| !p.is_empty()) {
        session.ensure_path(parent).await.map_err(at(parent))?;
    }
    let created = session
        .create(path, data.as_bytes(), mode, Acl::Default)
        .await;
    let created = created.map_err(|error| match (error, path.rsplit_once('/')) {
        (ZkError::NoNode, Some((parent, _))) if !parent.is_empty() => {
            format!("{path}: its parent {parent} is missing; --parents makes it")
        }
        (error, _) => at(path)(error),
    })?;
    print_line(&created.path)?;
    if *ephemeral {
        let mut states = session.states();
        let owner = created.stat.ephemeral_owner;
        while session.session_id() == Some(owner) {
            states.changed().await?;
        }
        return Err(format!("the session was lost, and {} with it", created.path).into());
    }
    Ok(Ended::Done)
}

async fn watch(session: &Session, path: &str, mut left: u64) -> Result<(), Box<dyn Error>> {
    let mut events = Vec::new();
    loop {
        let mut armed = match session.watch_tree(path).await {
            Ok(armed) => armed,
            Err(e) if e.is_transient() => continue,
            Err(e) => return Err(at(path)(e).into()),
        };
        while armed.next(&mut events).await {
            for event in events.drain(..) {
                if left == 0 {
                    return Ok(());
                }
                let word = match event.kind {
                    TreeEventKind::Created => "created",
                    TreeEventKind::Deleted => "deleted",
                    TreeEventKind::DataChanged => "changed",
                };
                print_line(&format!("{word}\t{}", event.path))?;
                left -= 1;
            }
            if left == 0 {
                return Ok(());
            }
        }
        tell!("nyala: the connection was lost: what happened meanwhile is not told");
    }
}

fn print_stat(stat: &Stat, json: bool) -> std::io::Result<()> {
    let rows = [
        ("czxid", stat.czxid),
        ("mzxid", stat.mzxid),
        ("pzxid", stat.pzxid),
        ("ctime", stat.ctime),
        ("mtime", stat.mtime),
        ("version", stat.version.into()),
        ("cversion", stat.cversion.into()),
        ("ephemeral_owner", stat.ephemeral_owner),
        ("num_children", stat.num_children.into()),
    ];
    if json {
        let object = rows
            .iter()
            .map(|(name, n)| ((*name).to_owned(), (*n).into()));
        return table::print_json(&serde_json::Value::Object(object.collect()));
    }
    for (name, number) in rows {
        match name {
            // As sessions are written everywhere else.
            "ephemeral_owner" => print_line(&format!("{name}\t{number:#x}"))?,
            _ => print_line(&format!("{name}\t{number}"))?,
        }
    }
    Ok(())
}
