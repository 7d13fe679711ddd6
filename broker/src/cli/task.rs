//! `nyala task`: a queue of tasks on topics. Submit lines, work on them with a command, ask, redrive.

mod show;
mod submit;
mod work;

use std::error::Error;
use std::time::Duration;

use nyala_client::error::ClusterError;
use nyala_client::tasks::{QueueConfig, TaskError, TaskId, TaskQueue};
use nyala_coordinator::session::SessionError;

use super::process;
use super::zookeeper::{Ended, seconds};

const HELP: &str = "\
Examples:
  printf 'a.png\\nb.png\\n' | nyala task submit thumbnails          prints an id a task
  nyala task work thumbnails --prefetch 4 -- ./resize.sh
  nyala task status thumbnails ID --wait 60                         queued, running, done, failed or dead
  nyala task result thumbnails ID > small.png
  nyala task list thumbnails --state dead
  nyala task redrive thumbnails ID

Exit code: 0 when done, 2 for a wrong command line, 124 when the time of --wait was over first, 1 for everything else,
with the reason on standard error; `submit` and a `work` with --max or --idle that ctrl-C or SIGTERM cuts short end by
that signal.";

/// Flags of `nyala task`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Submit each line of standard input as a task; prints their ids
    Submit(submit::Args),
    /// Work on tasks: run a command for each
    Work(work::Args),
    /// Print where a task stands: queued, running, done, failed or dead
    Status(show::StatusArgs),
    /// Print the result of a task that is done, byte for byte
    Result(show::ResultArgs),
    /// Print all tasks
    List(show::ListArgs),
    /// Submit dead tasks again; prints their ids
    Redrive(show::RedriveArgs),
}

/// The queue, and where it is.
#[derive(Debug, clap::Args)]
struct QueueArgs {
    /// Name of the queue; its topics are QUEUE.tasks, QUEUE.events, QUEUE.results and QUEUE.dead
    queue: String,
    /// ZooKeeper of the cluster
    #[arg(
        long,
        value_name = "HOST:PORT[/CHROOT]",
        default_value = "127.0.0.1:2181"
    )]
    zookeeper: String,
    /// Give up connecting after so long
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    connect_timeout: Duration,
}

impl QueueArgs {
    async fn open(&self, mut config: QueueConfig) -> Result<TaskQueue, Box<dyn Error>> {
        config.cluster.connection.connect_timeout = self.connect_timeout;
        let opened = TaskQueue::open(&self.zookeeper, &self.queue, config).await;
        opened.map_err(advise)
    }

    /// Whether it is there.
    async fn exists(&self) -> Result<bool, Box<dyn Error>> {
        match self.find().await {
            Ok(queue) => queue.close().await.map(|()| true).map_err(advise),
            Err(TaskError::NoQueue(_)) => Ok(false),
            Err(error) => Err(advise(error)),
        }
    }

    async fn open_existing(&self) -> Result<TaskQueue, Box<dyn Error>> {
        self.find().await.map_err(advise)
    }

    async fn find(&self) -> Result<TaskQueue, TaskError> {
        let mut config = QueueConfig::default();
        config.cluster.connection.connect_timeout = self.connect_timeout;
        TaskQueue::open_existing(&self.zookeeper, &self.queue, config).await
    }
}

/// The error, with what to do about it.
fn advise(error: TaskError) -> Box<dyn Error> {
    let advice = match &error {
        TaskError::NoQueue(_) => "`nyala task submit` makes it",
        TaskError::Cluster(ClusterError::Session(SessionError::ChrootMissing { .. })) => {
            "a broker makes it at its first start: is the chroot that of its zookeeper.connect?"
        }
        TaskError::Cluster(ClusterError::Session(_)) => {
            "is ZooKeeper running there? `nyala dev` brings one; --zookeeper names another"
        }
        TaskError::Cluster(ClusterError::NoBrokers) => {
            "ZooKeeper answers, but no broker is registered: is the chroot right?"
        }
        _ => return error.into(),
    };
    format!("{error}\n  {advice}").into()
}

fn task_id(text: &str) -> Result<TaskId, String> {
    TaskId::new(text).map_err(|e| e.to_string())
}

pub(super) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    process::start_warnings();
    process::block_on(main(args.command))??.settle();
    Ok(())
}

async fn main(command: Command) -> Result<Ended, Box<dyn Error>> {
    match command {
        Command::Status(args) => return show::status(args).await,
        Command::Result(args) => return show::result(args).await,
        Command::Submit(args) => submit::main(args).await?,
        Command::Work(args) => work::main(args).await?,
        Command::List(args) => show::list(args).await?,
        Command::Redrive(args) => show::redrive(args).await?,
    }
    Ok(Ended::Done)
}
