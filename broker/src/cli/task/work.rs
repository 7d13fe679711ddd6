//! `nyala task work`: a command for each task. The task is its standard input, its standard output the
//! result, its exit code the verdict.
//!
//! Lines of its standard error that begin with `progress ` renew the lease; others are passed on.

use std::error::Error;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nyala_client::tasks::{Job, QueueConfig, TaskError, Worker, WorkerConfig};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::super::process;
use super::super::zookeeper::session_seconds;
use super::{QueueArgs, advise, seconds};
use crate::cli::tell::tell;

/// Largest result: it has to fit a request.
const RESULT_BYTES_MAX: u64 = (1 << 20) - (4 << 10);
/// `EX_DATAERR`: the task itself is wrong, no further try will help.
const EXIT_REJECT: i32 = 65;
/// A command whose lease has ended has so long to end by itself.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// Of a failed command's standard error, what is kept.
const ERROR_LINE_MAX: usize = 500;

/// Flags of `nyala task work`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The task is the command's standard input; NYALA_TASK_ID, NYALA_TASK_ATTEMPT and NYALA_TASK_QUEUE tell \
    the rest.\nExit code 0: standard output is the result. 65: it is dead at once. Others: it is tried again later.\n\
    A line `progress TEXT` on standard error shows in `nyala task status` and renews the lease.\n\n\
    Exit code of the worker: 0 when it has come to its end, which is ctrl-C or SIGTERM unless --max or --idle sets one; \
    2 for a wrong command line; 1 for everything else.\n\n\
    Example:\n  nyala task work thumbnails --prefetch 4 -- sh -c 'read f; convert \"$f\" -resize 100 \"small-$f\"'"
)]
pub(super) struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    /// Most tasks that this worker holds at a time, running or not: no other gets them. By default as many as --jobs;
    /// more save the way to the queue between short ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    prefetch: Option<u16>,
    /// Most tasks that run at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: u16,
    /// End after so many tasks
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// End when no task has come for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    idle: Option<Duration>,
    /// A worker that is silent for so long is taken for dead, and its tasks are given to others
    #[arg(long, value_name = "SECONDS", default_value = "6", value_parser = session_seconds)]
    session_timeout: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What came of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
}

/// Why no more tasks are taken.
enum End {
    Enough,
    Idle,
    Interrupted(Signal),
    Broken(Box<dyn Error>),
}

/// What keeps a worker from going on.
enum Fault {
    Queue(String),
    /// The command cannot be run: the task is as it was.
    Command(String, Box<Job>),
}

impl Fault {
    /// Gives the task back, if it has one; what is wrong.
    async fn settle(self) -> String {
        match self {
            Self::Queue(words) => words,
            Self::Command(words, job) => match job.hand_back().await {
                Ok(()) => words,
                Err(error) => format!("{words}; {error}"),
            },
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    done: u64,
    failed: u64,
}

pub(super) async fn main(args: Args) -> Result<(), Box<dyn Error>> {
    let mut config = QueueConfig::default();
    config.cluster.session_timeout = args.session_timeout;
    config.cluster.connection.client_id = "nyala-task-work".to_owned();
    let is_new = !args.queue.exists().await?;
    let queue = args.queue.open(config).await?;
    if is_new {
        let name = queue.name();
        tell!("nyala: there was no queue {name}: it was made, and is empty");
    }
    let mut worker = queue
        .worker(WorkerConfig {
            prefetch: args.prefetch.unwrap_or(1).max(args.jobs).into(),
            ..WorkerConfig::default()
        })
        .await
        .map_err(advise)?;
    let limited = args.max.is_some() || args.idle.is_some();
    let (outcomes, settled) = mpsc::unbounded_channel();
    let mut work = Work {
        settled,
        counts: Counts::default(),
        fault: None,
    };
    let end = work.take_on(Arc::new(args), &mut worker, outcomes).await?;
    if matches!(end, End::Interrupted(_)) {
        tell!("nyala: taking no more tasks; what runs is finished (again: stop at once)");
    }
    // Waits for what runs. The queue hears first that this worker takes no more: a task that was handed
    // back before would be given to it again.
    let (closed, fault) = tokio::join!(worker.close(), work.settle_rest());
    let counts = work.counts;
    tell!("nyala: {} done, {} failed", counts.done, counts.failed);
    let closed = match closed {
        Ok(()) => queue.close().await,
        unheard => unheard,
    };
    match (fault, closed, end) {
        (Some(words), ..) => Err(words.into()),
        (None, Err(error), _) => Err(advise(error)),
        // One with an end of its own has not come to it.
        (None, Ok(()), End::Interrupted(signal)) if limited => process::die_by(signal),
        (None, Ok(()), End::Enough | End::Idle | End::Interrupted(_)) => Ok(()),
        (None, Ok(()), End::Broken(error)) => Err(error),
    }
}

/// What was taken on, as it comes to its end.
struct Work {
    settled: mpsc::UnboundedReceiver<Result<Outcome, Fault>>,
    counts: Counts,
    /// Why no more is taken on, if this worker is unfit.
    fault: Option<Fault>,
}

impl Work {
    /// Runs tasks until no more are to be taken.
    async fn take_on(
        &mut self,
        args: Arc<Args>,
        worker: &mut Worker,
        outcomes: mpsc::UnboundedSender<Result<Outcome, Fault>>,
    ) -> Result<End, Box<dyn Error>> {
        let running = Arc::new(Semaphore::new(args.jobs.into()));
        let mut begun = 0_u64;
        let mut stop = Box::pin(process::stop_signal());
        loop {
            if args.max.is_some_and(|max| begun >= max) {
                return Ok(End::Enough);
            }
            let idle = args.idle.unwrap_or(Duration::MAX);
            let next = async {
                let slot = Arc::clone(&running).acquire_owned().await;
                tokio::time::timeout(idle, worker.next())
                    .await
                    .map(|job| (job, slot))
            };
            tokio::select! {
                next = next => match next {
                    Ok((Ok(job), Ok(slot))) => {
                        begun += 1;
                        let (args, outcomes) = (Arc::clone(&args), outcomes.clone());
                        tokio::spawn(async move {
                            // The receiver lives as long as the command.
                            let _ = outcomes.send(work(&args, job, slot).await);
                        });
                    }
                    Ok((Err(error), _)) => return Ok(End::Broken(error.into())),
                    Ok((_, Err(error))) => return Ok(End::Broken(error.into())),
                    Err(_) => return Ok(End::Idle),
                },
                Some(outcome) = self.settled.recv() => match outcome {
                    Ok(outcome) => self.counts.add(outcome),
                    Err(fault) => {
                        self.fault = Some(fault);
                        return Ok(End::Enough);
                    }
                },
                signal = &mut stop => return Ok(End::Interrupted(signal?)),
            }
        }
    }

    /// Waits for what was taken on, and gives back what could not be begun; says why.
    async fn settle_rest(&mut self) -> Option<String> {
        let mut words = match self.fault.take() {
            Some(fault) => Some(fault.settle().await),
            None => None,
        };
        while let Some(outcome) = self.settled.recv().await {
            match outcome {
                Ok(outcome) => self.counts.add(outcome),
                Err(fault) => words = words.or(Some(fault.settle().await)),
            }
        }
        words
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// What a command left behind.
struct Ended {
    status: ExitStatus,
    result: Vec<u8>,
    last_line: String,
}

/// Runs the command for one task and acknowledges it. A fault is the worker's own, not the task's.
async fn work(args: &Args, job: Job, slot: OwnedSemaphorePermit) -> Result<Outcome, Fault> {
    let child = match start(args, &job) {
        Ok(child) => child,
        Err(error) => {
            let name = args.command.first().map_or("", String::as_str);
            let words = format!("cannot run {name:?}: {error}");
            return Err(Fault::Command(words, Box::new(job)));
        }
    };
    let pid = child.id();
    let ended = tokio::select! {
        ended = attend(child, &job) => ended,
        () = overrun(&job, pid) => Err("no progress within its lease".to_owned()),
    };
    // The next one may begin while this one's outcome is on its way.
    drop(slot);
    let said = match ended {
        Ok(ended) if ended.status.success() => {
            return match job.ack(Bytes::from(ended.result)).await {
                Ok(()) => Ok(Outcome::Done),
                Err(error @ TaskError::Send(_)) => {
                    tell!("nyala: {error}");
                    Ok(Outcome::Failed)
                }
                Err(error) => Err(Fault::Queue(error.to_string())),
            };
        }
        Ok(ended) => {
            let words = failure(&ended);
            match ended.status.code() {
                Some(EXIT_REJECT) => job.reject(words).await,
                _ => job.retry(words).await,
            }
        }
        Err(words) => job.retry(words).await,
    };
    said.map(|()| Outcome::Failed)
        .map_err(|e| Fault::Queue(e.to_string()))
}

fn failure(ended: &Ended) -> String {
    match ended.last_line.as_str() {
        "" => ended.status.to_string(),
        line => format!("{}: {line}", ended.status),
    }
}

fn start(args: &Args, job: &Job) -> std::io::Result<Child> {
    let (program, rest) = args
        .command
        .split_first()
        .ok_or_else(|| std::io::Error::from(ErrorKind::NotFound))?;
    Command::new(program)
        .args(rest)
        .env("NYALA_TASK_QUEUE", &args.queue.queue)
        .env("NYALA_TASK_ID", job.id().as_str())
        .env("NYALA_TASK_ATTEMPT", job.attempt().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Feeds the command, listens to it, and waits for its end.
async fn attend(mut child: Child, job: &Job) -> Result<Ended, String> {
    let fault = |e: std::io::Error| e.to_string();
    let (stdin, payload) = (child.stdin.take(), job.payload().clone());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command need not read its task.
            let _ = stdin.write_all(&payload).await;
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ((), result, last_line) = tokio::join!(feed, collect(stdout), listen(stderr, job));
    let result = result?;
    let status = child.wait().await.map_err(fault)?;
    Ok(Ended {
        status,
        result,
        last_line,
    })
}

async fn collect(stdout: Option<ChildStdout>) -> Result<Vec<u8>, String> {
    let mut result = Vec::new();
    let Some(stdout) = stdout else {
        return Ok(result);
    };
    let mut bounded = stdout.take(RESULT_BYTES_MAX + 1);
    let read = bounded.read_to_end(&mut result).await;
    read.map_err(|e| e.to_string())?;
    let bytes = u64::try_from(result.len()).unwrap_or(u64::MAX);
    match bytes > RESULT_BYTES_MAX {
        true => Err(format!("the result has more than {RESULT_BYTES_MAX} bytes")),
        false => Ok(result),
    }
}

/// Passes on what the command says; gives its last line.
async fn listen(stderr: Option<ChildStderr>, job: &Job) -> String {
    let mut last = String::new();
    let Some(stderr) = stderr else {
        return last;
    };
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|n| n > 0)
    {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        match text.strip_prefix("progress ") {
            Some(progress) => {
                // Without it the lease is not renewed, and that is all.
                let _ = job.progress(progress.to_owned()).await;
            }
            None => {
                tell!("{text}");
                last = text.chars().take(ERROR_LINE_MAX).collect();
            }
        }
        line.clear();
    }
    last
}

/// Resolves when the lease has ended and the command was asked to end, too.
async fn overrun(job: &Job, pid: Option<u32>) {
    job.lease_ended().await;
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
    }
    tokio::time::sleep(TERM_GRACE).await;
}
