//! What a user types: one file a command.
//!
//! Data goes to standard output, messages to standard error; the exit code is 0 only when all that
//! was asked is done.

mod advice;
mod broker;
mod consume;
mod dev;
mod entry;
mod group;
mod lines;
mod process;
mod produce;
mod progress;
mod table;
mod task;
mod topic;

use std::error::Error;
use std::io::{self, Write as _};

use clap::{Parser, Subcommand};

/// A Kafka-compatible broker on ZooKeeper.
#[derive(Debug, Parser)]
#[command(name = "nyala", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole installation in this process: brokers and an embedded ZooKeeper
    Dev(dev::Args),
    /// Run one broker of a cluster, on a real ZooKeeper
    Broker(broker::Args),
    /// Create, list, describe, alter and delete topics
    Topic(topic::Args),
    /// List, describe and delete groups, and reset their offsets
    Group(group::Args),
    /// Send lines as records
    Produce(produce::Args),
    /// Print records as lines
    Consume(consume::Args),
    /// Submit tasks, work on them, and see what became of them
    Task(task::Args),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Dev(args) => dev::run(args),
            Command::Broker(args) => broker::run(args),
            Command::Topic(args) => topic::run(args),
            Command::Group(args) => group::run(args),
            Command::Produce(args) => produce::run(args),
            Command::Consume(args) => consume::run(args),
            Command::Task(args) => task::run(args),
        }
    }
}

/// Writes one line of data to standard output, at once.
fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
