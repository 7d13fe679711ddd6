//! `nyala run-guarded`: the process between `nyala` and the command that runs under its hold.
//!
//! ```text
//!   nyala  --pipe-->  run-guarded, in a group of its own  -->  run-bound, which becomes the command
//! ```
//!
//! It stops the command and all that this has started when `nyala` says so, is gone (the pipe ends), or
//! has not said for longer than the lease that the hold is still good (it stands still). Orphans of the
//! command come to it (a subreaper), so none of them is out of reach. Killed itself, it takes the command
//! with it, and what that has started comes to `nyala`, which kills it. What runs as another user cannot be
//! stopped, and is waited for. It knows nothing of ZooKeeper.

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SIGTTOU, SigSet};
use rustix::process::{Pid, Signal, getpgid, getpid, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use super::order::Order;
use super::running::{code_of, starter};
use super::{FAILED, LOST, Signals, family};
use crate::cli::tell::tell;
use nyala_coordinator::clock;

/// Between looks at what was asked to end: at first, and later.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// A deadline that is never met.
const FAR: Duration = Duration::from_secs(365 * 86_400);
/// Of a hold whose end is not minded: `nyala` has said what to do.
const NOT_MINDED: u64 = u64::MAX;

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
    // Not in the terminal's group, it would be stopped by what it says there (`stty tostop`).
    writing().thread_block()?;
    // On this thread, whose end is what the kernel minds for `run-bound`.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let code = runtime.enable_all().build()?.block_on(guard(&args));
    std::process::exit(code.unwrap_or_else(|error| {
        tell!("nyala: {error}");
        FAILED
    }))
}

async fn guard(args: &GuardArgs) -> std::io::Result<i32> {
    let orders = match pipe::OpenOptions::new().open_receiver(&args.orders) {
        Ok(orders) => orders,
        // Whose it is has gone.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(LOST),
        Err(error) => return Err(error),
    };
    let mut orders = Orders(BufReader::new(orders).lines());
    rustix::process::set_child_subreaper(Some(getpid()))?;
    if !family::is_listed() {
        tell!("nyala: /proc does not list children: what the command leaves running is not found");
    }
    let mut signals = Signals::new()?;
    let mut children = signal(SignalKind::child())?;
    let mut good_until_ms = args.good_until_ms;
    if clock::monotonic_ms() >= good_until_ms {
        tell!("nyala: the hold was over before the command could be started");
        return Ok(LOST);
    }
    let mut command = Guarded::start(args)?;
    let grace = Duration::from_millis(args.grace_ms);
    loop {
        tokio::select! {
            biased;
            order = orders.next() => match order {
                Some(Order::Beat(until_ms)) => good_until_ms = good_until_ms.max(until_ms),
                Some(Order::Stop(signal, grace)) => {
                    command.ask(signal);
                    return command.end(orders.patience(grace, NOT_MINDED)).await;
                }
                // Nobody is left to hold anything.
                None => {
                    command.kill_all().await;
                    return Ok(LOST);
                }
            },
            _ = command.child.wait() => {
                command.tell_left();
                return command.end(orders.patience(grace, good_until_ms)).await;
            }
            () = sleep_until(instant(good_until_ms)) => {
                tell!("nyala: the process that holds stands still; stopping the command");
                command.ask(Signal::TERM);
                command.end(orders.patience(grace, NOT_MINDED)).await?;
                return Ok(LOST);
            }
            // Orphans that came to us and have ended.
            _ = children.recv() => command.reap(),
            // `nyala` gets them too, and decides.
            _ = signals.next() => {}
        }
    }
}

/// What a terminal sends to who writes and is not in front.
fn writing() -> SigSet {
    SigSet::from(SIGTTOU)
}

/// When it is so late by [`clock::monotonic_ms`].
fn instant(monotonic_ms: u64) -> Instant {
    let left = monotonic_ms.saturating_sub(clock::monotonic_ms());
    Instant::now() + Duration::from_millis(left).min(FAR)
}

/// What `nyala` says.
struct Orders(Lines<BufReader<pipe::Receiver>>);

impl Orders {
    /// `None`: it is gone, or speaks no more sense. Cancel-safe.
    async fn next(&mut self) -> Option<Order> {
        let line = self.0.next_line().await;
        Order::parse(line.ok()??.as_str())
    }

    /// Resolves when what was asked to end is to be killed: after the grace, or when the hold is nobody's any more.
    async fn patience(&mut self, grace: Duration, mut good_until_ms: u64) {
        let mut deadline = Instant::now() + grace.min(FAR);
        loop {
            tokio::select! {
                biased;
                order = self.next() => match order {
                    Some(Order::Beat(until_ms)) => good_until_ms = good_until_ms.max(until_ms),
                    Some(Order::Stop(_, grace)) => {
                        deadline = deadline.min(Instant::now() + grace.min(FAR));
                        good_until_ms = NOT_MINDED;
                    }
                    None => return,
                },
                () = sleep_until(deadline.min(instant(good_until_ms))) => return,
            }
        }
    }
}

/// The command as the guard has it.
struct Guarded {
    child: Child,
    pid: Option<Pid>,
    /// It has a group of its own.
    leads: bool,
    /// Who has been asked to end.
    asked: HashSet<Pid>,
}

impl Guarded {
    fn start(args: &GuardArgs) -> std::io::Result<Self> {
        let words = ["run-bound", "--"].map(OsString::from);
        let mut bound = starter(&words, &args.command);
        let child = bound.process_group(args.group).spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            child,
            pid,
            leads: args.group == 0,
            asked: HashSet::new(),
        })
    }

    /// To the command, with its group if it has one of its own. `false`: it was waited for, and its number may be
    /// another's by now.
    fn send(&self, signal: Signal) -> bool {
        let Some(pid) = self.pid.filter(|_| self.child.id().is_some()) else {
            return false;
        };
        // An error means that it has just ended, or is not ours to stop.
        let _ = match self.leads {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
        true
    }

    /// Asks the command and its group by `signal`, and by SIGTERM all else that it has started. Not what it starts
    /// from now on, as that may be its way of ending.
    fn ask(&mut self, signal: Signal) {
        let all = family::descendants();
        let sent = self.send(signal);
        // One that stands still hears nothing.
        self.send(Signal::CONT);
        self.asked.extend(self.pid);
        for pid in all {
            let in_group = sent && self.leads && getpgid(Some(pid)).ok() == self.pid;
            match (in_group, signal) {
                (true, Signal::TERM) => drop(self.asked.insert(pid)),
                // What a shell has in the background ignores SIGINT: it is asked once more when the command has ended.
                (true, _) => {}
                (false, _) => self.ask_one(pid),
            }
        }
    }

    /// By SIGTERM, once.
    fn ask_one(&mut self, pid: Pid) {
        if self.asked.insert(pid) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// The command has ended by itself: nothing of it is to be there when the hold is another's.
    fn tell_left(&self) {
        self.reap();
        let count = family::children().len();
        if count > 0 {
            tell!("nyala: the command has ended and left {count} running; stopping what is left");
        }
    }

    /// Forgets orphans that came to us and have ended.
    fn reap(&self) {
        family::reap(|pid| Some(pid) == self.pid);
    }

    /// Waits until all who were asked to have ended, and kills what is left when `patience` is over. Gives the exit code of
    /// the command.
    async fn end(&mut self, patience: impl Future<Output = ()>) -> std::io::Result<i32> {
        tokio::select! {
            biased;
            () = self.all_gone() => {}
            () = patience => self.kill_all().await,
        }
        self.child.wait().await.map(code_of)
    }

    /// Resolves when the command and all that it has started have ended; what it leaves is asked to.
    async fn all_gone(&mut self) {
        let _ = self.child.wait().await;
        let (mut pause, longest) = LOOK;
        loop {
            self.reap();
            let left = family::descendants();
            if left.is_empty() {
                return;
            }
            for pid in left {
                self.ask_one(pid);
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn kill_all(&mut self) {
        // Whatever `/proc` lists.
        self.send(Signal::KILL);
        let nobody = HashSet::new();
        let killed = family::kill_all(&nobody, self.pid);
        let _ = tokio::join!(killed, self.child.wait());
    }
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
    // The guard's, and not the command's.
    writing().thread_unblock()?;
    let error = std::process::Command::new(program).args(rest).exec();
    writing().thread_block()?;
    tell!("nyala: {}: {error}", program.to_string_lossy());
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
