//! `nyala task submit`: a line of standard input is a task; its id is printed once it is safe.

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use nyala_client::tasks::{QueueConfig, Submission, Task, TaskId, TaskQueue, TaskState};
use tokio::sync::mpsc;

use super::super::{lines, no_item, print_bytes, process};
use super::{QueueArgs, advise, seconds};
use crate::cli::tell::tell;

/// Submissions that are waited for at a time; the producer's own buffer is the real limit.
const WAITING_MAX: usize = 1 << 16;
/// Ids of which it is told that they come twice; the queue itself remembers no more of those that are done.
const KNOWN_MAX: usize = 100_000;
/// Ids that are printed at a time while more are safe already.
const PRINT_BYTES: usize = 64 << 10;

/// What was submitted, and whether the queue had a task of that id already; or why it was not.
type Submitted = Result<(Submission, bool), String>;

/// Flags of `nyala task submit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    printf 'a.png\\nb.png\\n' | nyala task submit thumbnails\n  \
    echo 'order-42=ship it' | nyala task submit orders --key-separator = --priority 9 --delay 60")]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    #[arg(hide = true, value_parser = no_item)]
    item: Option<String>,
    /// Read this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands before it is the task's id: a second task of that id is a duplicate and does nothing, which
    /// is told on standard error; after one that is dead it is a new task
    #[arg(long, value_name = "C")]
    key_separator: Option<String>,
    /// From 0 to 9; the highest goes first
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// Do not run them before so many seconds are over
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "at_ms")]
    delay: Option<Duration>,
    /// Do not run them before this time, in milliseconds since 1970
    #[arg(long, value_name = "MILLISECONDS")]
    at_ms: Option<i64>,
    /// Tries after the first one, before a task is dead
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// Pause before the first retry; doubles with each
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    backoff: Duration,
    /// Longest run without progress before a task is given to another worker
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    lease: Duration,
}

pub(super) async fn main(args: Args) -> Result<(), Box<dyn Error>> {
    let name = args.file.as_ref().map(|f| f.display().to_string());
    let (blocks, _) = lines::read(args.file.as_deref())
        .map_err(|e| format!("{}: {e}", name.as_deref().unwrap_or("standard input")))?;
    let config = QueueConfig {
        linger: Duration::from_millis(5),
        ..QueueConfig::default()
    };
    let queue = args.queue.open(config).await?;
    let (submissions, waiting) = mpsc::channel(WAITING_MAX);
    let printer = tokio::spawn(print(waiting));
    let mut stop = tokio::spawn(process::stop_signal());
    let sent = tokio::select! {
        sent = send(&args, &queue, blocks, submissions) => sent.map(|()| None),
        signal = &mut stop => Ok(Some(signal??)),
    };
    // What was read is settled in any case.
    let printed = printer.await?;
    queue.close().await?;
    let stopped = sent?;
    let refused = printed?;
    if let Some(signal) = stopped {
        tell!("nyala: interrupted before the end of the input");
        process::die_by(signal);
    }
    match refused {
        0 => Ok(()),
        1 => Err("1 task was not submitted, see above".into()),
        n => Err(format!("{n} tasks were not submitted, see above").into()),
    }
}

async fn send(
    args: &Args,
    queue: &TaskQueue,
    mut blocks: mpsc::Receiver<lines::Block>,
    submissions: mpsc::Sender<Submitted>,
) -> Result<(), Box<dyn Error>> {
    let chosen = args.key_separator.as_deref().is_some_and(|s| !s.is_empty());
    let mut known = match chosen {
        true => known_ids(queue).await?,
        false => HashSet::new(),
    };
    while let Some(block) = blocks.recv().await {
        for line in block? {
            let submitted = match task(args, line) {
                Ok(task) => queue.submit(task).await.map_err(|e| e.to_string()),
                Err(reason) => Err(reason),
            };
            let submitted = submitted.map(|submission| {
                let is_known = chosen && known.contains(submission.id());
                if chosen && !is_known && known.len() < KNOWN_MAX {
                    known.insert(submission.id().clone());
                }
                (submission, is_known)
            });
            submissions.send(submitted).await?;
        }
    }
    Ok(())
}

/// Ids of tasks of which another would be a duplicate.
async fn known_ids(queue: &TaskQueue) -> Result<HashSet<TaskId>, Box<dyn Error>> {
    let tasks = queue.list().await.map_err(advise)?.into_iter();
    let open_or_done = tasks.filter(|task| task.state != TaskState::Dead);
    Ok(open_or_done.map(|task| task.id).collect())
}

fn task(args: &Args, line: Bytes) -> Result<Task, String> {
    let task = match args.key_separator.as_deref() {
        None | Some("") => Task::new(line),
        Some(separator) => {
            let found = line
                .windows(separator.len())
                .position(|w| w == separator.as_bytes());
            let at = found.ok_or_else(|| format!("no id: the line has no {separator:?}"))?;
            let id = String::from_utf8_lossy(&line.slice(..at)).into_owned();
            let id = TaskId::new(&id).map_err(|e| e.to_string())?;
            Task::new(line.slice(at + separator.len()..)).with_id(id)
        }
    };
    let task = task
        .with_priority(args.priority)
        .with_retries(args.retries)
        .with_backoff(args.backoff)
        .with_lease(args.lease);
    Ok(match (args.delay, args.at_ms) {
        (Some(delay), _) => task.with_delay(delay),
        (None, Some(at_ms)) => task.with_due_ms(at_ms),
        (None, None) => task,
    })
}

/// Prints ids in the order of the lines, each once its task is safe; counts those that are not.
async fn print(mut waiting: mpsc::Receiver<Submitted>) -> Result<u64, io::Error> {
    let (mut line, mut refused, mut ids) = (0_u64, 0_u64, String::new());
    while let Some(submitted) = waiting.recv().await {
        line += 1;
        let settled = match submitted {
            Ok((submission, is_known)) => match submission.wait().await {
                Ok(id) => Ok((id, is_known)),
                Err(error) => Err(error.to_string()),
            },
            Err(reason) => Err(reason),
        };
        match settled {
            Ok((id, is_known)) => {
                if is_known {
                    tell!("nyala: line {line}: task {id} was there already: nothing was done");
                }
                ids.push_str(id.as_str());
                ids.push('\n');
            }
            Err(reason) => {
                refused += 1;
                tell!("nyala: line {line}: {reason}");
            }
        }
        if waiting.is_empty() || ids.len() >= PRINT_BYTES {
            flush(&mut ids)?;
        }
    }
    flush(&mut ids)?;
    Ok(refused)
}

fn flush(ids: &mut String) -> io::Result<()> {
    print_bytes(ids.as_bytes())?;
    ids.clear();
    Ok(())
}
