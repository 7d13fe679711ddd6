//! A command that runs only while something is held: started with the token, stopped when it is lost.
//!
//! `lock.rs`, `elect.rs`, `name.rs` and `barrier.rs` say what is held. The exit code is the command's own,
//! as a shell gives it, but for what `EXIT_CODES` tells.
//!
//! *Invariant*: the command, with all that it has started, does not outlive the hold by more than the grace:
//! not when ZooKeeper is out of reach (the lease ends the hold), nor when this process is killed or stands
//! still (`guard.rs`, a process of its own, minds that). Who kills both at once breaks that for all but the command
//! itself. What pauses both, such as a machine that sleeps, pauses the command too, and it is stopped when they wake;
//! what it does until then only its token refuses.

mod family;
mod guard;
mod order;
mod running;

use std::error::Error;
use std::ffi::OsString;
use std::time::Duration;

use futures::FutureExt as _;
use nyala_coordinator::clock;
use nyala_coordinator::recipes::double_barrier::{BarrierError, Entered};
use nyala_coordinator::recipes::{Hold, Loss, MultiHold, RecipeError};
use nyala_coordinator::session::Session;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::process;
use super::zookeeper::{How, NotHad, ZooKeeperArgs, left, seconds, tell_absence};
use crate::cli::tell::tell;
pub(super) use guard::{BoundArgs, GuardArgs, run_bound, run_guarded};
use order::millis;
use running::Running;

/// What `--help` says about exit codes.
pub(super) const EXIT_CODES: &str = "\
Exit code: that of CMD (128 + N if signal N ended it), or
  2    the command line is wrong
  123  the hold was lost and CMD was stopped
  124  not had within --timeout
  125  nyala itself failed, or ZooKeeper refused or could not be reached
  126  CMD cannot be run
  127  CMD was not found
Ctrl-C and SIGTERM are passed on to CMD; if they end it, or what waits, nyala ends by that signal too. CMD is
stopped with all that it has started, also when nyala is killed or stands still for longer than its lease.";

const LOST: i32 = 123;
const TIMED_OUT: i32 = 124;
const FAILED: i32 = 125;

/// Longest wait for ZooKeeper when all is done; the session's timeout does the rest.
const RELEASE_MAX: Duration = Duration::from_secs(5);
/// The guard hears from us no more often.
const BEAT_MIN: Duration = Duration::from_millis(100);

/// Flags of every command that holds something.
#[derive(Debug, clap::Args)]
pub(super) struct HeldArgs {
    #[command(flatten)]
    pub(super) zookeeper: ZooKeeperArgs,
    /// Give up waiting after so long, connecting included; 0 does not wait at all
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    #[command(flatten)]
    pub(super) grace: GraceArgs,
    /// What others see of this contender [default: host and process id]
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
}

/// How a command is stopped.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct GraceArgs {
    /// Time from SIGTERM to SIGKILL, when CMD has to stop [default: a fifth of
    /// --session-timeout, so that it has ended before another can hold]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    grace: Option<Duration>,
}

impl GraceArgs {
    /// A lease is two thirds of the session timeout, and the guard gives it a twelfth more: that leaves a twentieth
    /// for SIGKILL to be done.
    fn under(self, session: &Session) -> Duration {
        let fifth = session.session_timeout() / 5;
        self.grace.unwrap_or(fifth)
    }
}

impl HeldArgs {
    pub(super) fn data(&self) -> Vec<u8> {
        let given = self.data.clone();
        let data = given.unwrap_or_else(|| {
            let system = rustix::system::uname();
            let host = system.nodename().to_string_lossy();
            format!("{host} {}", std::process::id())
        });
        data.into_bytes()
    }

    pub(super) fn under<'a>(&'a self, command: &'a [OsString]) -> Under<'a> {
        Under {
            zookeeper: &self.zookeeper,
            timeout: self.timeout,
            grace: self.grace,
            command,
        }
    }
}

/// One hold, or several that count as one.
pub(super) enum Held {
    One(Hold),
    All(MultiHold),
    Named(String, Hold),
    /// With the limit for going out.
    Inside(Entered, Option<Duration>),
}

impl Held {
    /// Variables for the command.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let fence = |fence: String| ("NYALA_FENCE", fence);
        match self {
            Self::One(hold) => vec![fence(hold.fence().to_string())],
            Self::Named(name, hold) => {
                vec![
                    fence(hold.fence().to_string()),
                    ("NYALA_NAME", name.clone()),
                ]
            }
            Self::Inside(entered, _) => vec![fence(entered.fence().to_string())],
            Self::All(all) => {
                let each = all
                    .fences()
                    .map(|(path, fence)| (path.to_owned(), fence.0.into()));
                let each: serde_json::Map<String, serde_json::Value> = each.collect();
                let each = serde_json::Value::Object(each).to_string();
                vec![fence(all.fence().to_string()), ("NYALA_FENCES", each)]
            }
        }
    }

    async fn lost(&self) -> Loss {
        match self {
            Self::One(hold) | Self::Named(_, hold) => hold.lost().await,
            Self::All(all) => all.lost().await,
            Self::Inside(entered, _) => entered.lost().await,
        }
    }

    /// Lets go; the exit code if something is wrong with that.
    async fn release(self) -> Option<i32> {
        let released = match self {
            Self::One(hold) | Self::Named(_, hold) => timeout(RELEASE_MAX, hold.release()).await,
            Self::All(all) => timeout(RELEASE_MAX, all.release()).await,
            // It waits for the others, who may be long.
            Self::Inside(entered, limit) => return leave(entered, limit).await,
        };
        match released {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tell!("nyala: {error}"),
            Err(_) => tell!("nyala: ZooKeeper does not answer; the hold ends with the session"),
        }
        None
    }
}

async fn leave(entered: Entered, limit: Option<Duration>) -> Option<i32> {
    match entered.leave(limit).await {
        Ok(()) => None,
        Err(error @ BarrierError::TimedOut { .. }) => {
            tell!("nyala: still there: {error}");
            Some(TIMED_OUT)
        }
        Err(error) => Some(fail(&error)),
    }
}

/// What is run under what.
#[derive(Clone, Copy)]
pub(super) struct Under<'a> {
    pub(super) zookeeper: &'a ZooKeeperArgs,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: GraceArgs,
    pub(super) command: &'a [OsString],
}

/// How it ended: an exit code, and the signal by which somebody wanted it to end, if one did. That ends this process,
/// too, where it has ended the command, and nobody waits for others at a barrier's way out.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    code: i32,
    signal: Option<Signal>,
}

impl Outcome {
    fn of(code: i32) -> Self {
        let signal = None;
        Self { code, signal }
    }

    fn by(signal: Signal, code: i32) -> Self {
        let signal = Some(signal);
        Self { code, signal }
    }
}

/// Waits for a hold, runs the command under it, and ends this process as that ended.
///
/// `get` is told what is left of the limit, of which connecting is a part.
pub(super) fn run_under<F, Fut>(under: Under<'_>, get: F) -> Result<(), Box<dyn Error>>
where
    F: FnOnce(Session, Option<Duration>) -> Fut,
    Fut: Future<Output = Result<Held, NotHad>>,
{
    process::start_warnings();
    let outcome = process::block_on(hold_and_run(under, get))?;
    match outcome {
        Outcome { code: 0, .. } => Ok(()),
        Outcome {
            code,
            signal: Some(signal),
        } if code == died_by(signal) => process::die_by(signal),
        Outcome { code, .. } => std::process::exit(code),
    }
}

async fn hold_and_run<F, Fut>(under: Under<'_>, get: F) -> Outcome
where
    F: FnOnce(Session, Option<Duration>) -> Fut,
    Fut: Future<Output = Result<Held, NotHad>>,
{
    let begun = Instant::now();
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return Outcome::of(fail(&error)),
    };
    let how = How::writes().within(under.timeout);
    let session = tokio::select! {
        connected = under.zookeeper.connect(&how) => match connected {
            Ok(session) => session,
            Err(error) => return Outcome::of(fail(&*error)),
        },
        signal = signals.next() => return Outcome::by(signal, died_by(signal)),
    };
    let got = tokio::select! {
        got = get(session.clone(), left(under.timeout, begun)) => got,
        never = tell_absence(&session) => match never {},
        signal = signals.next() => {
            session.close().await;
            return Outcome::by(signal, died_by(signal));
        }
    };
    let outcome = match got {
        Ok(held) => run(&under, &session, held, &mut signals).await,
        Err(error) => Outcome::of(not_had(error)),
    };
    session.close().await;
    outcome
}

fn not_had(error: NotHad) -> i32 {
    match error {
        NotHad::TimeOver(words) => {
            tell!("nyala: {words}");
            TIMED_OUT
        }
        NotHad::Failed(error) => fail(&*error),
    }
}

/// What was not to be waited for, and is another's.
pub(super) fn taken(paths: &[String]) -> NotHad {
    let words = match paths {
        [path] => format!("{path}: somebody else has it"),
        paths => format!("{}: somebody else has one of them", paths.join(", ")),
    };
    NotHad::TimeOver(words)
}

/// Tells a limit that was over from other errors; `limit` is what the user gave.
pub(super) fn overdue(limit: Option<Duration>) -> impl Fn(RecipeError) -> NotHad {
    move |error| match error {
        RecipeError::TimedOut { path, waited } => {
            let waited = limit.unwrap_or(waited);
            NotHad::TimeOver(RecipeError::TimedOut { path, waited }.to_string())
        }
        error => error.into(),
    }
}

/// The exit code of what `signal` has ended, as a shell gives it.
fn died_by(signal: Signal) -> i32 {
    128 + signal.as_raw()
}

/// Says what went wrong.
fn fail(error: &dyn Error) -> i32 {
    tell!("nyala: {error}");
    FAILED
}

/// Runs the command to its end, or to that of the hold, and lets go.
async fn run(under: &Under<'_>, session: &Session, held: Held, signals: &mut Signals) -> Outcome {
    let outcome = match attend(under, session, &held, signals).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::of(fail(&error)),
    };
    if outcome.signal.is_some() && matches!(held, Held::Inside(..)) {
        // Nobody who is to stop waits for others; the end of the session takes it out.
        return outcome;
    }
    tokio::select! {
        wrong = held.release() => match wrong {
            Some(code) if outcome.code == 0 => Outcome { code, ..outcome },
            _ => outcome,
        },
        signal = signals.next() => Outcome::by(signal, died_by(signal)),
    }
}

async fn attend(
    under: &Under<'_>,
    session: &Session,
    held: &Held,
    signals: &mut Signals,
) -> std::io::Result<Outcome> {
    let (lease, session_timeout) = (session.lease(), session.session_timeout());
    // So much longer than the lease: who can speak of its end speaks first.
    let slack = session_timeout / 12;
    let good_until_ms = || {
        // In this order: what stands still in between makes it shorter, not longer.
        let now_ms = clock::monotonic_ms();
        let left = lease.until().saturating_duration_since(clock::now()) + slack;
        now_ms.saturating_add(millis(left))
    };
    let mut beats = interval((session_timeout / 6).max(BEAT_MIN));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let grace = under.grace.under(session);
    let (command, variables) = (under.command, held.variables());
    let mut running = Running::start(command, &variables, grace, good_until_ms())?;
    let mut seen: Option<Signal> = None;
    loop {
        tokio::select! {
            biased;
            why = held.lost() => {
                tell!("nyala: the hold is lost: {why}; stopping the command");
                running.stop(Signal::TERM, grace).await;
                return Ok(Outcome::of(LOST));
            }
            status = running.ended() => {
                let code = running.settle(status?).await;
                // One that the command has survived does not matter any more.
                let seen = seen.filter(|signal| code == died_by(*signal));
                let signal = seen.or_else(|| signals.next().now_or_never());
                return Ok(Outcome { code, signal });
            }
            signal = signals.next() => {
                // A terminal has interrupted the command itself, which may live on, as shells do. (Whoever sends it to this
                // process alone reaches nobody.)
                if signal != Signal::INT || !running.on_terminal() {
                    let code = running.stop(signal, grace).await;
                    return Ok(Outcome::by(signal, code));
                }
                seen = Some(signal);
            }
            _ = beats.tick() => running.beat(good_until_ms()),
        }
    }
}

/// SIGINT, SIGTERM and SIGHUP, to be passed on. What is ignored, as by `nohup`, stays ignored.
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hang_up: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let ignored = ignored();
        let heard = |kind: SignalKind| {
            let bit = 1_u64 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: heard(SignalKind::interrupt())?,
            terminate: heard(SignalKind::terminate())?,
            hang_up: heard(SignalKind::hangup())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            () = heard(&mut self.interrupt) => Signal::INT,
            () = heard(&mut self.terminate) => Signal::TERM,
            () = heard(&mut self.hang_up) => Signal::HUP,
        }
    }
}

/// Resolves when it comes: one that is ignored, never.
async fn heard(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, a bit each, the lowest for number 1.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
