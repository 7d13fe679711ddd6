//! What a user types: one file a command.
//!
//! Data goes to standard output, messages to standard error; the exit code is 0 only when all that
//! was asked is done. What ctrl-C or SIGTERM cuts short ends by that signal.

mod advice;
mod barrier;
mod broker;
mod config;
mod consume;
mod dev;
mod elect;
mod entry;
mod fanout;
mod group;
mod held;
mod lines;
mod lock;
mod name;
mod process;
mod produce;
mod progress;
mod queue;
mod rendezvous;
mod service;
mod table;
mod task;
mod tell;
mod topic;
mod worker;
mod zk;
mod zookeeper;

use std::error::Error;
use std::io::{self, Write as _};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

/// Says on standard error why a command has failed.
pub fn tell_error(error: &dyn Error) {
    tell::line(format!("nyala: {error}"));
}

/// A Kafka-compatible broker on ZooKeeper.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit code: 0 when all that was asked is done, 2 for a wrong command line; each command tells its own."
)]
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
    /// Run a command while holding a lock in ZooKeeper
    Lock(lock::Args),
    /// Run a command while leading, by election in ZooKeeper
    Elect(elect::Args),
    /// Be found, and find: members of a service
    Service(service::Args),
    /// Read, set and watch settings that many share
    Config(config::Args),
    /// Lines in, each out to exactly one taker
    Queue(queue::Args),
    /// Lines in, each out to every registered consumer
    Fanout(fanout::Args),
    /// Wait until all are there, or until somebody opens
    Barrier(barrier::Args),
    /// Arrive, and learn of all who have
    Rendezvous(rendezvous::Args),
    /// Names that are claimed or bound, and numbers that never come twice
    Name(name::Args),
    /// How far workers are, and which of them stand still
    Worker(worker::Args),
    /// Look at ZooKeeper's tree, and change it
    Zk(zk::Args),
    #[command(hide = true)]
    RunGuarded(held::GuardArgs),
    #[command(hide = true)]
    RunBound(held::BoundArgs),
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
            Command::Lock(args) => lock::run(args),
            Command::Elect(args) => elect::run(args),
            Command::Service(args) => service::run(args),
            Command::Config(args) => config::run(args),
            Command::Queue(args) => queue::run(args),
            Command::Fanout(args) => fanout::run(args),
            Command::Barrier(args) => barrier::run(args),
            Command::Rendezvous(args) => rendezvous::run(args),
            Command::Name(args) => name::run(args),
            Command::Worker(args) => worker::run(args),
            Command::Zk(args) => zk::run(args),
            Command::RunGuarded(args) => held::run_guarded(args),
            Command::RunBound(args) => held::run_bound(args),
            Command::Task(args) => task::run(args),
        }
    }
}

/// Ends this process as clap does when the command line of `nyala NAME` is wrong.
fn usage_error(name: &str, words: &str) -> ! {
    let mut cli = Cli::command();
    // Only then does a command know what stands before it.
    cli.build();
    let error = match cli.find_subcommand_mut(name) {
        Some(command) => command.error(ErrorKind::ArgumentConflict, words),
        None => cli.error(ErrorKind::ArgumentConflict, words),
    };
    error.exit()
}

/// A number of things of which none would mean nothing, such as that of an unset variable.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number from 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A version that a node can have. -1 would be any to ZooKeeper.
fn node_version(text: &str) -> Result<i32, String> {
    let version = text.parse().ok().filter(|version| *version >= 0);
    version.ok_or_else(|| "not a number from 0".to_owned())
}

/// Refuses a word where items are read from standard input.
fn no_item(_: &str) -> Result<String, String> {
    Err("items are the lines of standard input, as from `printf 'a\\nb\\n' |`".to_owned())
}

/// Writes one line of data to standard output, at once.
fn print_line(line: &str) -> io::Result<()> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Writes data to standard output, at once.
fn print_bytes(data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(data).and_then(|()| out.flush());
    written.map_err(not_printed)
}

/// Says what could not be written: the system's words name no file.
fn not_printed(error: io::Error) -> io::Error {
    let words = format!("cannot write to standard output: {error}");
    io::Error::new(error.kind(), words)
}
