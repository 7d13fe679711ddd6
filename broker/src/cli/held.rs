//! A command that runs only while something is held: started with the token, stopped when it is lost.
//!
//! `lock.rs` and `elect.rs` say what is held. The exit code is the command's own, as a shell gives it, but
//! for what `EXIT_CODES` tells.
//!
//! *Invariant*: the command does not outlive the hold by more than the grace: not when ZooKeeper is out of
//! reach (the lease ends the hold), nor when this process is killed (the kernel kills the command).

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::ExitStatus;
use std::time::Duration;

use nyala_coordinator::recipes::{Hold, Loss, MultiHold, RecipeError};
use nyala_coordinator::session::{Session, SessionConfig};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// What `--help` says about exit codes.
pub(super) const EXIT_CODES: &str = "\
Exit code: that of CMD (128 + N if signal N ended it), or
  123  the hold was lost and CMD was stopped
  124  not had within --timeout
  125  nyala itself failed, or ZooKeeper refused
  126  CMD cannot be run
  127  CMD was not found";

const LOST: i32 = 123;
const TIMED_OUT: i32 = 124;
const FAILED: i32 = 125;

/// Longest wait for ZooKeeper when all is done; the session's timeout does the rest.
const RELEASE_MAX: Duration = Duration::from_secs(5);

/// Flags of every command that holds something.
#[derive(Debug, clap::Args)]
pub(super) struct HeldArgs {
    /// ZooKeeper to ask
    #[arg(
        long,
        value_name = "HOST:PORT[/CHROOT]",
        default_value = "127.0.0.1:2181"
    )]
    zookeeper: String,
    /// Give up waiting after so long; 0 does not wait at all
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Who is silent for so long loses the hold; 1 to 3600, and ZooKeeper has limits of its own
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = session_seconds)]
    session_timeout: Duration,
    /// Time from SIGTERM to SIGKILL, when CMD has to stop
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    grace: Duration,
    /// What others see of this contender [default: host and process id]
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
}

/// Seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|e| e.to_string())
}

fn session_seconds(text: &str) -> Result<Duration, String> {
    let timeout = seconds(text)?;
    match timeout.as_millis() {
        1000..=3_600_000 => Ok(timeout),
        _ => Err("not from 1 to 3600".to_owned()),
    }
}

impl HeldArgs {
    pub(super) async fn connect(&self) -> Result<Session, Box<dyn Error>> {
        let config = SessionConfig {
            session_timeout: self.session_timeout,
            connect_timeout: Duration::from_secs(10),
            create_chroot: true,
            ..SessionConfig::new(&self.zookeeper)
        };
        let advice =
            "is ZooKeeper running there? `nyala dev` brings one; --zookeeper names another";
        let connected = Session::connect(config).await;
        connected.map_err(|e| format!("{e}\n  {advice}").into())
    }

    pub(super) fn data(&self) -> Vec<u8> {
        let given = self.data.clone();
        let data = given.unwrap_or_else(|| {
            let system = rustix::system::uname();
            let host = system.nodename().to_string_lossy();
            format!("{host} {}", std::process::id())
        });
        data.into_bytes()
    }
}

/// One hold, or several that count as one.
pub(super) enum Held {
    One(Hold),
    All(MultiHold),
}

impl Held {
    /// Variables for the command.
    fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::One(hold) => vec![("NYALA_FENCE", hold.fence().to_string())],
            Self::All(all) => {
                let each = all
                    .fences()
                    .map(|(path, fence)| (path.to_owned(), fence.0.into()));
                let each: serde_json::Map<String, serde_json::Value> = each.collect();
                let each = serde_json::Value::Object(each).to_string();
                vec![
                    ("NYALA_FENCE", all.fence().to_string()),
                    ("NYALA_FENCES", each),
                ]
            }
        }
    }

    async fn lost(&self) -> Loss {
        match self {
            Self::One(hold) => hold.lost().await,
            Self::All(all) => all.lost().await,
        }
    }

    async fn release(self) -> Result<(), RecipeError> {
        match self {
            Self::One(hold) => hold.release().await,
            Self::All(all) => all.release().await,
        }
    }
}

/// Waits for a hold, runs the command under it, and ends this process with its exit code.
pub(super) async fn run_under<F, Fut>(args: &HeldArgs, command: &[OsString], get: F) -> i32
where
    F: FnOnce(Session) -> Fut,
    Fut: Future<Output = Result<Option<Held>, RecipeError>>,
{
    let signals = Signals::new();
    let (session, mut signals) = match (args.connect().await, signals) {
        (Ok(session), Ok(signals)) => (session, signals),
        (Err(error), _) => return fail(&*error),
        (_, Err(error)) => return fail(&error),
    };
    let code = tokio::select! {
        got = get(session.clone()) => match got {
            Ok(Some(held)) => run(args, command, held, &mut signals).await,
            Ok(None) => {
                eprintln!("nyala: somebody else has it");
                TIMED_OUT
            }
            Err(error @ RecipeError::TimedOut { .. }) => {
                eprintln!("nyala: {error}");
                TIMED_OUT
            }
            Err(error) => fail(&error),
        },
        signal = signals.next() => 128 + signal.as_raw(),
    };
    session.close().await;
    code
}

/// Says what went wrong.
pub(super) fn fail(error: &dyn Error) -> i32 {
    eprintln!("nyala: {error}");
    FAILED
}

/// Runs the command to its end, or to that of the hold.
async fn run(args: &HeldArgs, command: &[OsString], held: Held, signals: &mut Signals) -> i32 {
    let mut running = match Running::start(command, &held.variables()) {
        Ok(running) => running,
        Err(error) => return fail(&error),
    };
    let code = tokio::select! {
        biased;
        why = held.lost() => {
            eprintln!("nyala: the hold is lost: {why}; stopping the command");
            running.stop(Signal::TERM, args.grace).await;
            LOST
        }
        ended = running.child.wait() => match ended {
            Ok(status) => code_of(status),
            Err(error) => fail(&error),
        },
        signal = signals.next() => match running.stop(signal, args.grace).await {
            Some(status) => code_of(status),
            None => 128 + signal.as_raw(),
        },
    };
    match timeout(RELEASE_MAX, held.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("nyala: {error}"),
        Err(_) => eprintln!("nyala: ZooKeeper does not answer; the hold ends with the session"),
    }
    code
}

/// As a shell tells it.
fn code_of(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => FAILED,
    }
}

/// The command.
struct Running {
    child: Child,
    /// It leads a process group, so that a signal reaches what it has started too.
    leads: bool,
}

impl Running {
    /// Starts it behind `nyala run-bound`, which ties its life to ours. Called on the main thread, whose
    /// end is what the kernel minds.
    fn start(command: &[OsString], variables: &[(&str, String)]) -> std::io::Result<Self> {
        // A terminal gives its input, and ctrl-C, to one group only.
        let leads = !rustix::termios::isatty(std::io::stdin());
        // Our own program, even if its file was replaced meanwhile.
        let mut starter = Command::new("/proc/self/exe");
        starter
            .arg0("nyala")
            .arg("run-bound")
            .arg("--")
            .args(command);
        starter.envs(variables.iter().map(|(name, value)| (name, value)));
        if leads {
            starter.process_group(0);
        }
        let child = starter.kill_on_drop(true).spawn()?;
        Ok(Self { child, leads })
    }

    /// Asks it to end, then makes it.
    async fn stop(&mut self, first: Signal, grace: Duration) -> Option<ExitStatus> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw);
        let send = |signal| match (pid, self.leads) {
            (Some(pid), true) => rustix::process::kill_process_group(pid, signal),
            (Some(pid), false) => rustix::process::kill_process(pid, signal),
            (None, _) => Err(Errno::SRCH),
        };
        // What ctrl-C does on a terminal has reached it already. An error means that it is gone.
        if self.leads || first != Signal::INT {
            let _ = send(first);
        }
        if let Ok(Ok(status)) = timeout(grace, self.child.wait()).await {
            if self.leads {
                // What it left behind in its group.
                let _ = send(Signal::KILL);
            }
            return Some(status);
        }
        let _ = send(Signal::KILL);
        self.child.wait().await.ok()
    }
}

/// SIGINT, SIGTERM and SIGHUP, to be passed on.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::HUP,
        }
    }
}

/// `nyala run-bound -- CMD...`: becomes CMD, after telling the kernel to kill it with its parent.
#[derive(Debug, clap::Args)]
pub(super) struct BoundArgs {
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run_bound(args: BoundArgs) -> Result<(), Box<dyn Error>> {
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
    fn seconds_have_fractions_and_bounds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for bad in ["", "x", "-1", "inf", "nan", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(session_seconds("3"), Ok(Duration::from_secs(3)));
        for bad in ["0", "0.5", "3601", "-3"] {
            assert!(session_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (status, code) in [(0, 0), (7 << 8, 7), (9, 137), (15, 143)] {
            assert_eq!(code_of(ExitStatus::from_raw(status)), code);
        }
    }
}
