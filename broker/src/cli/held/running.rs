//! Our end of a command that runs under a hold: starts its guard, and tells it what to do.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::order::{Order, millis};
use super::{FAILED, family};

/// What a guard needs beside the grace to end what it guards.
const GUARD_MAX: Duration = Duration::from_secs(2);

/// Exit code of a Rust program that has panicked.
const PANICKED: i32 = 101;

/// The command, behind its guard. Dropping it ends both.
pub(super) struct Running {
    guard: Child,
    orders: PipeWriter,
    /// The guard opens it by its name in our folder of `/proc`.
    _reader: PipeReader,
    on_terminal: bool,
    /// What ran below this process before: a shell that became `nyala` has children of its own.
    others: HashSet<Pid>,
}

impl Running {
    /// Starts it; the hold is good until then ([`Order::Beat`]), unless the guard hears of more.
    pub(super) fn start(
        command: &[OsString],
        variables: &[(&str, String)],
        grace: Duration,
        good_until_ms: u64,
    ) -> std::io::Result<Self> {
        let (reader, orders) = std::io::pipe()?;
        // A guard that stands still must not make us wait.
        rustix::io::ioctl_fionbio(&orders, true)?;
        let pipe = format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd());
        let others = family::descendants().into_iter().collect();
        // What a guard that is killed leaves comes to us.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // A terminal gives its input, and ctrl-C, to one group only: the command is to be in that.
        let on_terminal = rustix::termios::isatty(std::io::stdin()) || is_in_front();
        let group = match on_terminal {
            true => rustix::process::getpgrp().as_raw_nonzero().get(),
            false => 0,
        };
        let words = [
            "run-guarded",
            &format!("--orders={pipe}"),
            &format!("--group={group}"),
            &format!("--good-until-ms={good_until_ms}"),
            &format!("--grace-ms={}", millis(grace)),
            "--",
        ];
        let mut guard = starter(&words.map(OsString::from), command);
        guard.envs(variables.iter().map(|(name, value)| (name, value)));
        // In a group of its own it is not stopped with us.
        let guard = guard.process_group(0).spawn()?;
        Ok(Self {
            guard,
            orders,
            _reader: reader,
            on_terminal,
            others,
        })
    }

    /// Whether a terminal interrupts it.
    pub(super) fn on_terminal(&self) -> bool {
        self.on_terminal
    }

    /// The hold is good until then.
    pub(super) fn beat(&mut self, good_until_ms: u64) {
        let come = family::children();
        // Looked at after that: while the guard lives what the command has started goes to it, and who comes to us is an
        // orphan of those others.
        if matches!(self.guard.try_wait(), Ok(None)) {
            let guard = self.guard_pid();
            let come = come.into_iter().filter(|pid| Some(*pid) != guard);
            self.others.extend(come);
        }
        self.order(Order::Beat(good_until_ms));
    }

    /// Resolves when it has ended; [`Self::settle`] is next. Cancel-safe.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.guard.wait().await
    }

    /// Its exit code. A guard that was killed, or has panicked, has left what the command has started: that is killed
    /// here.
    pub(super) async fn settle(&self, status: ExitStatus) -> i32 {
        if status.signal().is_some() || status.code() == Some(PANICKED) {
            family::kill_all(&self.others, None).await;
        }
        code_of(status)
    }

    /// Asks it to end, then makes it; gives its exit code.
    pub(super) async fn stop(&mut self, first: Signal, grace: Duration) -> i32 {
        self.order(Order::Stop(first, grace));
        // One that stands still hears nothing.
        if let Some(guard) = self.guard_pid() {
            let _ = kill_process(guard, Signal::CONT);
        }
        let limit = grace.saturating_add(GUARD_MAX);
        if let Ok(Ok(status)) = timeout(limit, self.guard.wait()).await {
            return self.settle(status).await;
        }
        // Nothing moves it. The kernel kills the command with it, if that runs as the same user still.
        let _ = self.guard.kill().await;
        self.settle(ExitStatus::from_raw(Signal::KILL.as_raw()))
            .await
    }

    fn guard_pid(&self) -> Option<Pid> {
        let id = self.guard.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw)
    }

    fn order(&mut self, order: Order) {
        // It may have ended, which `ended` tells.
        let _ = self.orders.write_all(order.to_string().as_bytes());
    }
}

/// Whether we are what the terminal has in front, whatever our standard input is.
fn is_in_front() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    let front = terminal.map(rustix::termios::tcgetpgrp);
    front.is_ok_and(|front| front == Ok(rustix::process::getpgrp()))
}

/// Our own program, even if its file was replaced meanwhile, to do something with `command`.
pub(super) fn starter(words: &[OsString], command: &[OsString]) -> Command {
    let mut starter = Command::new("/proc/self/exe");
    starter.arg0("nyala").args(words).args(command);
    starter
}

/// As a shell tells it.
pub(super) fn code_of(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (status, code) in [(0, 0), (7 << 8, 7), (9, 137), (15, 143)] {
            assert_eq!(code_of(ExitStatus::from_raw(status)), code);
        }
    }
}
