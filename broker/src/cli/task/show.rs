//! `nyala task status`, `result`, `list` and `redrive`: what became of tasks.

use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::time::Duration;

use nyala_client::tasks::{TaskId, TaskQueue, TaskState, TaskStatus};
use serde_json::{Value, json};

use super::super::zookeeper::Ended;
use super::super::{print_bytes, print_line, table};
use super::{QueueArgs, advise, seconds, task_id};
use crate::cli::tell::tell;

/// Flags of `nyala task status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when the state is printed, 124 when --wait was over before the task was done or dead (the \
    state is printed, too), 2 for a wrong command line, 1 for everything else."
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Id of the task
    #[arg(value_parser = task_id)]
    id: TaskId,
    /// Wait up to so many seconds until it is done or dead; exit code 124 if it is not by then
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0", hide_default_value = true)]
    wait: Duration,
    /// Print all that is known, as JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `nyala task result`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when the result is printed, 124 when --wait was over before the task was done or dead, 2 \
    for a wrong command line, 1 for everything else, such as a task that is dead, or without --wait not done yet."
)]
pub(super) struct ResultArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Id of the task
    #[arg(value_parser = task_id)]
    id: TaskId,
    /// Wait up to so many seconds for it; exit code 124 if it is not there by then
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0", hide_default_value = true)]
    wait: Duration,
}

/// Flags of `nyala task list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_parser = ["queued", "running", "done", "failed", "dead"])]
    state: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Flags of `nyala task redrive`.
#[derive(Debug, clap::Args)]
pub(super) struct RedriveArgs {
    #[command(flatten)]
    queue: QueueArgs,
    /// Ids of dead tasks; without any, all
    #[arg(value_parser = task_id)]
    ids: Vec<TaskId>,
}

/// How it ends for one who has waited so long.
fn ended(wait: Duration, state: TaskState) -> Ended {
    match wait.is_zero() || state.is_final() {
        true => Ended::Done,
        false => Ended::TimeOver,
    }
}

pub(super) async fn status(args: StatusArgs) -> Result<Ended, Box<dyn Error>> {
    let queue = args.queue.open_existing().await?;
    let status = queue.wait(&args.id, args.wait).await.map_err(advise)?;
    match args.json {
        true => table::print_json(&object(&status))?,
        false => print_line(status.state.as_str())?,
    }
    queue.close().await?;
    Ok(ended(args.wait, status.state))
}

pub(super) async fn result(args: ResultArgs) -> Result<Ended, Box<dyn Error>> {
    let queue = args.queue.open_existing().await?;
    if !args.wait.is_zero() {
        queue.wait(&args.id, args.wait).await.map_err(advise)?;
    }
    let (status, result) = queue.result(&args.id).await.map_err(advise)?;
    queue.close().await?;
    let Some(result) = result else {
        let (id, state) = (&status.id, status.state.as_str());
        let why = status.error.map_or_else(String::new, |error| {
            format!(": {}", String::from_utf8_lossy(&error))
        });
        return match ended(args.wait, status.state) {
            Ended::Done => Err(format!("task {id} has no result, it is {state}{why}").into()),
            Ended::TimeOver => {
                let waited = args.wait;
                tell!("nyala: task {id} has no result after {waited:?}, it is {state}{why}");
                Ok(Ended::TimeOver)
            }
        };
    };
    print_bytes(&result)?;
    Ok(Ended::Done)
}

pub(super) async fn list(args: ListArgs) -> Result<(), Box<dyn Error>> {
    let queue = args.queue.open_existing().await?;
    let mut tasks = queue.list().await.map_err(advise)?;
    queue.close().await?;
    let summary = summary(&tasks);
    if let Some(state) = &args.state {
        tasks.retain(|t| t.state.as_str() == state);
    }
    if args.json {
        let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        for task in &tasks {
            writeln!(out, "{}", object(task))?;
        }
        out.flush()?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = tasks.iter().map(row).collect();
    table::print(&["ID", "STATE", "ATTEMPTS", "WORKER", "SAYS"], &rows)?;
    match &args.state {
        None => tell!("nyala: {summary}"),
        Some(_) => tell!("nyala: of all: {summary}"),
    }
    Ok(())
}

/// How many are in which state.
fn summary(tasks: &[TaskStatus]) -> String {
    let count = |state: TaskState| tasks.iter().filter(|t| t.state == state).count();
    format!(
        "{} queued, {} running, {} done, {} failed, {} dead",
        count(TaskState::Queued),
        count(TaskState::Running),
        count(TaskState::Done),
        count(TaskState::Failed),
        count(TaskState::Dead),
    )
}

pub(super) async fn redrive(args: RedriveArgs) -> Result<(), Box<dyn Error>> {
    let queue = args.queue.open_existing().await?;
    let redriven = queue.redrive(&args.ids).await.map_err(advise)?;
    for id in &redriven {
        print_line(id.as_str())?;
    }
    let mut refused = Vec::new();
    for id in args.ids.iter().filter(|id| !redriven.contains(id)) {
        refused.push(refusal(&queue, id).await);
    }
    queue.close().await?;
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused.join("\nnyala: ").into()),
    }
}

/// Why a task was not submitted again.
async fn refusal(queue: &TaskQueue, id: &TaskId) -> String {
    let name = queue.name();
    match queue.status(id).await {
        Ok(status) if status.state == TaskState::Dead => {
            format!("queue {name}: task {id} is dead, but {name}.dead does not have it any more")
        }
        Ok(status) => {
            let state = status.state.as_str();
            format!("queue {name}: task {id} is not dead, it is {state}")
        }
        Err(error) => error.to_string(),
    }
}

fn text(bytes: Option<&bytes::Bytes>) -> Option<String> {
    bytes.map(|b| String::from_utf8_lossy(b).into_owned())
}

fn row(task: &TaskStatus) -> Vec<String> {
    // The error while there is one to mind, else how far it is.
    let says = match task.state {
        TaskState::Failed | TaskState::Dead => text(task.error.as_ref()),
        TaskState::Running => text(task.progress.as_ref()),
        TaskState::Queued | TaskState::Done => None,
    };
    let says = says.unwrap_or_default();
    vec![
        task.id.to_string(),
        task.state.as_str().to_owned(),
        task.attempts.to_string(),
        task.worker.clone().unwrap_or_default(),
        says.lines().next().unwrap_or_default().to_owned(),
    ]
}

fn object(task: &TaskStatus) -> Value {
    let mut object = json!({
        "id": task.id.as_str(),
        "state": task.state.as_str(),
        "attempts": task.attempts,
        "submitted_ms": task.submitted_ms,
        "changed_ms": task.changed_ms,
    });
    let more = [
        ("worker", task.worker.clone().map(Value::from)),
        ("progress", text(task.progress.as_ref()).map(Value::from)),
        ("error", text(task.error.as_ref()).map(Value::from)),
        ("due_ms", task.due_ms.map(Value::from)),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            object[name] = value;
        }
    }
    object
}
