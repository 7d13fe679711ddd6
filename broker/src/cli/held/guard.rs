//! `nyala run-guarded`: the process between `nyala` and the command that runs under its hold.
//!
//! ```text
//!   nyala  --pipe-->  run-guarded, in a group of its own  -->  run-bound, which becomes the command
//! ```
//!
//! It stops the command and all that this has started when `nyala` says so, is gone (the pipe ends), or
//! has not said for longer than the lease that the hold is still good (it stands still). Orphans of the
//! command come to it (a subreaper), so none of them is out of reach. Killed itself, it takes the command
//! with it, but not what that has started. What runs as another user cannot be stopped;
//! where CMD has left it running, it is waited for.
//! It knows nothing of ZooKeeper.

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgid, getpid, kill_process, kill_process_group, waitpid,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::order::Order;
use super::running::{code_of, starter};
use super::{FAILED, LOST, Signals};
use nyala_coordinator::clock;

/// Between looks at what is killed and has not ended.
const KILL_EVERY: Duration = Duration::from_millis(5);
/// A deadline that is never met.
const FAR: Duration = Duration::from_secs(365 * 86_400);

/// Flags of `nyala run-guarded`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct GuardArgs {
    /// The pipe
    #[arg(long)]
    orders: PathBuf,
    /// Process group of the command; 0 is a new one
    #[arg(long)]
    group: i32,
    /// As in a beat
    #[arg(long)]
    good_until_ms: u64,
    #[arg(long)]
    grace_ms: u64,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(in crate::cli) fn run_guarded(args: GuardArgs) -> Result<(), Box<dyn Error>> {
    // On this thread, whose end is what the kernel minds for `run-bound`.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let code = runtime.enable_all().build()?.block_on(guard(&args));
    std::process::exit(code.unwrap_or_else(|error| {
        eprintln!("nyala: {error}");
        FAILED
    }))
}

async fn guard(args: &GuardArgs) -> std::io::Result<i32> {
    let Ok(orders) = pipe::OpenOptions::new().open_receiver(&args.orders) else {
        // Whose it is has gone.
        return Ok(LOST);
    };
    let mut orders = BufReader::new(orders).lines();
    rustix::process::set_child_subreaper(Some(getpid()))?;
    if std::fs::read(format!("/proc/self/task/{}/children", getpid())).is_err() {
        eprintln!(
            "nyala: /proc does not list children: what the command leaves running is not found"
        );
    }
    let mut signals = Signals::new()?;
    let mut children = signal(SignalKind::child())?;
    let mut good_until_ms = args.good_until_ms;
    if clock::monotonic_ms() >= good_until_ms {
        eprintln!("nyala: the hold was over before the command could be started");
        return Ok(LOST);
    }
    let mut command = Guarded::start(args)?;
    let grace = Duration::from_millis(args.grace_ms);
    loop {
        tokio::select! {
            biased;
            order = orders.next_line() => match order.ok().flatten().as_deref().map(Order::parse) {
                Some(Some(Order::Beat(until_ms))) => good_until_ms = good_until_ms.max(until_ms),
                Some(Some(Order::Stop(signal, grace))) => return command.stop(signal, grace).await,
                // Nobody is left to hold anything.
                Some(None) | None => {
                    command.kill_all().await;
                    return Ok(LOST);
                }
            },
            ended = command.child.wait() => {
                command.end_rest(Instant::now() + grace).await;
                return ended.map(code_of);
            }
            () = sleep_until(instant(good_until_ms)) => {
                eprintln!("nyala: the process that holds stands still; stopping the command");
                command.stop(Signal::TERM, grace).await?;
                return Ok(LOST);
            }
            // Orphans that came to us and have ended.
            _ = children.recv() => command.reap(),
            // `nyala` gets them too, and decides.
            _ = signals.next() => {}
        }
    }
}

/// When it is so late by [`clock::monotonic_ms`].
fn instant(monotonic_ms: u64) -> Instant {
    let left = monotonic_ms.saturating_sub(clock::monotonic_ms());
    Instant::now() + Duration::from_millis(left).min(FAR)
}

/// The command as the guard has it.
struct Guarded {
    child: Child,
    pid: Option<Pid>,
    leads: bool,
}

impl Guarded {
    fn start(args: &GuardArgs) -> std::io::Result<Self> {
        let words = ["run-bound", "--"].map(OsString::from);
        let mut bound = starter(&words, &args.command);
        let child = bound.process_group(args.group).spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Self {
            pid: pid.and_then(Pid::from_raw),
            child,
            leads: args.group == 0,
        })
    }

    /// An error means that it is gone.
    fn send(&self, signal: Signal) {
        let _ = match (self.pid, self.leads) {
            (Some(pid), true) => kill_process_group(pid, signal),
            (Some(pid), false) => kill_process(pid, signal),
            (None, _) => Ok(()),
        };
    }

    /// Asks it to end, then makes it, with all that it has started.
    async fn stop(&mut self, first: Signal, grace: Duration) -> std::io::Result<i32> {
        let deadline = Instant::now() + grace.min(FAR);
        self.send(first);
        // One that stands still hears nothing.
        self.send(Signal::CONT);
        let status = match timeout_at(deadline, self.child.wait()).await {
            Ok(status) => {
                self.end_left(deadline).await;
                status?
            }
            Err(_) => {
                self.child.start_kill()?;
                let status = self.child.wait().await?;
                self.kill_all().await;
                status
            }
        };
        Ok(code_of(status))
    }

    /// Ends what the command has left running: nothing of it is to be there when the hold is another's.
    async fn end_rest(&mut self, deadline: Instant) {
        self.reap();
        let count = children().len();
        if count == 0 {
            return;
        }
        eprintln!("nyala: the command has ended and left {count} running; stopping what is left");
        if self.leads {
            self.send(Signal::TERM);
            self.send(Signal::CONT);
        }
        self.end_left(deadline).await;
    }

    /// The command has ended, and its group knows that it is to: asks what else it has started to end, each once
    /// and as it comes to us, until the deadline.
    async fn end_left(&mut self, deadline: Instant) {
        let mut asked = HashSet::new();
        let all_gone = async {
            loop {
                self.reap();
                let left = children();
                if left.is_empty() {
                    return;
                }
                for pid in left {
                    if asked.insert(pid) && !(self.leads && getpgid(Some(pid)).ok() == self.pid) {
                        let _ = kill_process(pid, Signal::TERM);
                        let _ = kill_process(pid, Signal::CONT);
                    }
                }
                sleep(KILL_EVERY).await;
            }
        };
        if timeout_at(deadline, all_gone).await.is_err() {
            self.kill_all().await;
        }
    }

    /// Kills all that is left. The children of who is killed come to us, and are next.
    async fn kill_all(&mut self) {
        if self.leads {
            self.send(Signal::KILL);
        }
        let mut told = HashSet::new();
        loop {
            let left = children();
            if left.is_empty() {
                return;
            }
            for pid in left {
                // The hold is given back only when it has ended.
                if kill_process(pid, Signal::KILL) == Err(Errno::PERM) && told.insert(pid) {
                    eprintln!(
                        "nyala: process {pid} runs as another user and cannot be stopped; waiting for its end"
                    );
                }
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            sleep(KILL_EVERY).await;
        }
    }

    /// Forgets children that have ended, but the command, which is waited for.
    fn reap(&self) {
        for pid in children() {
            if Some(pid) != self.pid {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Of all threads of this process.
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task");
    let tasks = tasks.into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        let raw = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        raw.filter_map(Pid::from_raw).collect()
    };
    lists.flat_map(pids).collect()
}

/// `nyala run-bound -- CMD...`: becomes CMD, after telling the kernel to kill it with its parent.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct BoundArgs {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(in crate::cli) fn run_bound(args: BoundArgs) -> Result<(), Box<dyn Error>> {
    let parent = rustix::process::getppid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before it could matter.
    if rustix::process::getppid() != parent {
        std::process::exit(LOST);
    }
    let (program, rest) = args.command.split_first().ok_or("no command")?;
    let error = std::process::Command::new(program).args(rest).exec();
    eprintln!("nyala: {}: {error}", program.to_string_lossy());
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    std::process::exit(if missing { 127 } else { 126 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let second = Duration::from_millis(1234);
        for order in [Order::Beat(1234), Order::Stop(Signal::HUP, second)] {
            assert_eq!(Order::parse(order.to_string().trim_end()), Some(order));
        }
        for bad in ["", "beat", "beat x", "stop 15", "stop 0 1", "stop 15 -1"] {
            assert_eq!(Order::parse(bad), None, "{bad}");
        }
    }
}
