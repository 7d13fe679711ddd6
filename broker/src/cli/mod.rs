//! What a user types: one file a command.
//!
//! Data goes to standard output, messages to standard error; the exit code is 0 only when all that
//! was asked is done.

mod broker;
mod dev;
mod process;

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
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self.command {
            Command::Dev(args) => dev::run(args),
            Command::Broker(args) => broker::run(args),
        }
    }
}

/// Writes one line of data to standard output, at once.
fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
