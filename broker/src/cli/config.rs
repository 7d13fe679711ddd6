//! `nyala config`: settings that many read, and nobody overwrites by accident.

use std::error::Error;

use nyala_coordinator::recipes::config::{
    Config, Expect, KeyWatcher, TreeChange, TreeWatcher, Versioned,
};
use nyala_coordinator::session::Session;

use super::zookeeper::{self, EXIT_CODES, Ended, How, ZooKeeperArgs, text};
use super::{print_line, table};
use crate::cli::tell::tell;

const EXAMPLES: &str = "\
Examples:
  nyala config set /app/rate 100                 prints the new version
  nyala config set /app/rate 200 --version 0     only over version 0; else exit code 1
  nyala config set /app/rate 100 --create        only if it is not there
  nyala config get /app/rate
  nyala config get /app/rate --json              {\"value\":\"200\",\"version\":1}
  nyala config watch /app/rate                   a line for each value; goes on while ZooKeeper is away
  nyala config watch /app --tree                 key, tab, value, for all keys below
";

/// What `--help` says about deletions.
const DELETED: &str = "\
When a setting is deleted, a line on standard error says so; with --tree its key is printed alone, with --json an object
whose value and version are null.";

/// Flags of `nyala config`.
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
    /// Print a value
    Get {
        /// The setting
        path: String,
        /// With its version, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a value and print its version
    Set {
        /// The setting; made when it is missing
        path: String,
        /// The value
        value: String,
        /// Only if it has this version
        #[arg(long, value_name = "N", conflicts_with = "create", allow_negative_numbers = true, value_parser = super::node_version)]
        version: Option<i32>,
        /// Only if it is not there
        #[arg(long)]
        create: bool,
    },
    /// Print the value, and each one that replaces it, until stopped
    #[command(after_help = DELETED)]
    Watch {
        /// The setting
        path: String,
        /// All settings below it, with their keys
        #[arg(long)]
        tree: bool,
        /// With versions, as JSON, one object a line
        #[arg(long)]
        json: bool,
        /// End after so many lines
        #[arg(long, value_name = "N")]
        max: Option<u64>,
    },
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let zookeeper = &args.zookeeper;
    match &args.command {
        Command::Get { path, json } => {
            zookeeper::run(zookeeper, How::reads(), async |session: Session| {
                let value = Config::new(session, path)?.get::<Vec<u8>>("").await?;
                let value = value.ok_or_else(|| format!("{path} is not set"))?;
                match json {
                    true => table::print_json(&object(Some(&value)))?,
                    false => super::queue::print(std::iter::once(value.value.as_slice()))?,
                }
                Ok(Ended::Done)
            })
        }
        Command::Set {
            path,
            value,
            version,
            create,
        } => zookeeper::run(zookeeper, How::writes(), async |session: Session| {
            let expected = match (version, create) {
                (Some(version), _) => Expect::Version(*version),
                (None, true) => Expect::Absent,
                (None, false) => Expect::Any,
            };
            let config = Config::new(session, path)?;
            print_line(&config.set("", value, expected).await?.to_string())?;
            Ok(Ended::Done)
        }),
        Command::Watch {
            path,
            tree,
            json,
            max,
        } => zookeeper::run(
            zookeeper,
            How::reads().until_stopped(max.is_none()),
            async |session: Session| {
                let config = Config::new(session, path)?;
                let max = max.unwrap_or(u64::MAX);
                match tree {
                    true => watch_tree(config.watch_all().await?, *json, max).await,
                    false => watch_key(path, config.watch("").await?, *json, max).await,
                }
            },
        ),
    }
}

fn object(value: Option<&Versioned<Vec<u8>>>) -> serde_json::Value {
    serde_json::json!({
        "value": value.map(|v| text(&v.value)),
        "version": value.map(|v| v.version),
    })
}

async fn watch_key(
    path: &str,
    mut key: KeyWatcher<Vec<u8>>,
    json: bool,
    mut left: u64,
) -> Result<Ended, Box<dyn Error>> {
    let mut last: Option<Option<Versioned<Vec<u8>>>> = None;
    let mut fresh = true;
    while left > 0 {
        let setting = key.next().await.ok_or("the watch has ended")?;
        if setting.fresh != fresh {
            fresh = setting.fresh;
            say_fresh(fresh);
        }
        if last.as_ref() != Some(&setting.value) {
            match (json, &setting.value) {
                (true, value) => table::print_json(&object(value.as_ref()))?,
                (false, Some(value)) => {
                    super::queue::print(std::iter::once(value.value.as_slice()))?
                }
                // Whatever would stand in its place among the values could be one.
                (false, None) => match last {
                    None => tell!("nyala: {path} is not set yet"),
                    Some(_) => tell!("nyala: {path} is not set any more"),
                },
            }
            left -= u64::from(json || setting.value.is_some());
        }
        last = Some(setting.value);
    }
    Ok(Ended::Done)
}

async fn watch_tree(
    mut tree: TreeWatcher,
    json: bool,
    mut left: u64,
) -> Result<Ended, Box<dyn Error>> {
    while left > 0 {
        let (key, value) = match tree.next().await.ok_or("the watch has ended")? {
            TreeChange::Set { key, value } => (key, Some(value)),
            TreeChange::Removed { key } => (key, None),
            TreeChange::Away => {
                say_fresh(false);
                continue;
            }
            TreeChange::Back => {
                say_fresh(true);
                continue;
            }
        };
        // The root itself, which is but the folder of the keys.
        if key.is_empty() {
            continue;
        }
        match (json, value) {
            (true, value) => {
                let mut object = object(value.as_ref());
                object["key"] = key.into();
                table::print_json(&object)?;
            }
            (false, Some(value)) => print_line(&format!("{key}\t{}", text(&value.value)))?,
            // A key that is gone stands alone.
            (false, None) => print_line(&key)?,
        }
        left -= 1;
    }
    Ok(Ended::Done)
}

fn say_fresh(fresh: bool) {
    match fresh {
        true => tell!("nyala: ZooKeeper is back"),
        false => tell!("nyala: ZooKeeper is away: the last values stay"),
    }
}
