//! What the commands on recipes share: how they reach ZooKeeper, how they wait, and how they end.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use nyala_coordinator::session::{Session, SessionConfig, SessionError, SessionState};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use super::process;
use crate::cli::tell::tell;

/// Nothing came, or not all did, within the time that was given; as `timeout` of coreutils has it.
const TIME_OVER: i32 = 124;
/// Between looks whether a chroot is there by now.
const CHROOT_EVERY: Duration = Duration::from_millis(500);
/// An attempt to connect that is under way may end by itself, and tells more then.
const CONNECT_SLACK: Duration = Duration::from_millis(400);

/// An absence that is shorter is not told.
const ABSENCE_TOLD_AFTER: Duration = Duration::from_secs(5);

/// What `--help` says about exit codes.
pub(super) const EXIT_CODES: &str = "\
Exit code: 0 when done, 2 for a wrong command line, 124 when the time was over first, 1 for everything else (ZooKeeper \
cannot be reached, too), with the reason on standard error. A command that ctrl-C or SIGTERM cuts short ends by that signal, so that \
scripts stop; one that runs until it is stopped ends with 0.";

/// How a command ends that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    TimeOver,
}

impl Ended {
    /// Ends this process here with the exit code of a time that was over, if it was.
    pub(super) fn settle(self) {
        match self {
            Self::Done => {}
            Self::TimeOver => std::process::exit(TIME_OVER),
        }
    }
}

/// Why a command does not have what it waited for.
pub(super) enum NotHad {
    TimeOver(String),
    Failed(Box<dyn Error>),
}

impl<E: Error + 'static> From<E> for NotHad {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How a command goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// A chroot that is missing is made by commands that write: others would hide a typing error.
    makes_chroot: bool,
    /// It may be made while this command waits for it.
    chroot_wait: Duration,
    limit: Option<Duration>,
    until_stopped: bool,
    tells_absence: bool,
}

impl How {
    pub(super) fn reads() -> Self {
        Self {
            makes_chroot: false,
            chroot_wait: Duration::ZERO,
            limit: None,
            until_stopped: false,
            tells_absence: false,
        }
    }

    pub(super) fn writes() -> Self {
        Self {
            makes_chroot: true,
            ..Self::reads()
        }
    }

    /// The time that the user gave for all of it; connecting is a part.
    pub(super) fn within(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// What it waits for may be made meanwhile.
    pub(super) fn waiting(self, chroot_wait: Duration) -> Self {
        Self {
            chroot_wait,
            ..self
        }
    }

    /// Whether a stop signal is its natural end.
    pub(super) fn until_stopped(self, until_stopped: bool) -> Self {
        Self {
            until_stopped,
            ..self
        }
    }

    /// Says when ZooKeeper is away, where nothing that it prints does.
    pub(super) fn telling_absence(self) -> Self {
        Self {
            tells_absence: true,
            ..self
        }
    }
}

/// Flags of every command that talks to ZooKeeper.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ZooKeeperArgs {
    /// ZooKeeper to ask; what writes makes a chroot that is missing
    #[arg(
        long,
        value_name = "HOST:PORT[/CHROOT]",
        default_value = "127.0.0.1:2181",
        global = true
    )]
    zookeeper: String,
    /// Who is silent for so long loses what it holds; 1 to 3600, and ZooKeeper has limits of its own
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = session_seconds, global = true)]
    session_timeout: Duration,
    /// Give up connecting after so long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, global = true)]
    connect_timeout: Duration,
}

/// Seconds, with a fraction if need be.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|e| e.to_string())
}

pub(super) fn session_seconds(text: &str) -> Result<Duration, String> {
    let timeout = seconds(text)?;
    match timeout.as_millis() {
        1000..=3_600_000 => Ok(timeout),
        _ => Err("not from 1 to 3600".to_owned()),
    }
}

/// `count` things, in words.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{count} {word}")
}

/// What is left of a limit; one that was not zero, "do not wait", does not become so.
pub(super) fn left(limit: Option<Duration>, begun: Instant) -> Option<Duration> {
    let left = |limit: Duration| limit.saturating_sub(begun.elapsed());
    limit.map(|limit| left(limit).max(limit.min(Duration::from_millis(1))))
}

impl ZooKeeperArgs {
    /// Whether `/` is but a part of the tree.
    pub(super) fn has_chroot(&self) -> bool {
        let chroot = self.zookeeper.split_once('/');
        chroot.is_some_and(|(_, chroot)| !chroot.is_empty())
    }

    pub(super) async fn connect(&self, how: &How) -> Result<Session, Box<dyn Error>> {
        let limit = how.limit.filter(|limit| !limit.is_zero());
        let patience = limit.map_or(self.connect_timeout, |l| l.min(self.connect_timeout));
        let config = SessionConfig {
            session_timeout: self.session_timeout,
            connect_timeout: patience,
            create_chroot: how.makes_chroot,
            ..SessionConfig::new(&self.zookeeper)
        };
        let begun = Instant::now();
        let failed = loop {
            let connecting = Session::connect(config.clone());
            match timeout(patience.saturating_add(CONNECT_SLACK), connecting).await {
                Ok(Ok(session)) => {
                    tell_less_granted(self.session_timeout, session.session_timeout());
                    return Ok(session);
                }
                Ok(Err(SessionError::ChrootMissing { .. }))
                    if begun.elapsed() < how.chroot_wait =>
                {
                    sleep(CHROOT_EVERY.min(how.chroot_wait)).await;
                }
                Ok(Err(error)) => break error,
                Err(_) => {
                    break SessionError::Unreachable {
                        connect: self.zookeeper.clone(),
                        waited: patience,
                        reason: "no answer".to_owned(),
                    };
                }
            }
        };
        // Never a time that was over, by which scripts know that another has what they wait for.
        Err(advised(&failed).into())
    }
}

/// What is held ends sooner then than the user thinks.
fn tell_less_granted(asked: Duration, granted: Duration) {
    if granted < asked {
        tell!(
            "nyala: ZooKeeper grants {granted:?}, not a --session-timeout of {asked:?} (its maxSessionTimeout)"
        );
    }
}

/// The error, with what to do about it.
fn advised(error: &SessionError) -> String {
    let advice = match error {
        SessionError::BadConnectString { .. } => return error.to_string(),
        SessionError::ChrootMissing { .. } => {
            "is the chroot right? the first command that writes makes it"
        }
        _ => "is ZooKeeper running there? `nyala dev` brings one; --zookeeper names another",
    };
    format!("{error}\n  {advice}")
}

/// How a run came to its end.
enum End {
    Ended(Ended),
    Stopped(Signal),
    NotHad(NotHad),
}

/// Runs a command on a session of its own, and closes that whatever happens.
pub(super) fn run<F, Fut>(args: &ZooKeeperArgs, how: How, main: F) -> Result<(), Box<dyn Error>>
where
    F: FnOnce(Session) -> Fut,
    Fut: Future<Output = Result<Ended, Box<dyn Error>>>,
{
    process::start_warnings();
    let end = process::block_on(async {
        let mut stop = pin!(process::stop_signal());
        let session = tokio::select! {
            connected = args.connect(&how) => match connected {
                Ok(session) => session,
                Err(error) => return Ok(End::NotHad(NotHad::Failed(error))),
            },
            signal = &mut stop => return signal.map(End::Stopped),
        };
        let end = tokio::select! {
            ended = main(session.clone()) => Ok(ended.map_or_else(|e| End::NotHad(NotHad::Failed(e)), End::Ended)),
            signal = &mut stop => signal.map(End::Stopped),
            never = tell_absence(&session), if how.tells_absence => match never {},
        };
        match &end {
            // The next signal ends us at once.
            Ok(End::Stopped(_)) => session.close().await,
            _ => tokio::select! {
                () = session.close() => {}
                signal = &mut stop => return signal.map(End::Stopped),
            },
        }
        end
    })?;
    match end? {
        End::Ended(ended) => {
            ended.settle();
            Ok(())
        }
        End::Stopped(_) if how.until_stopped => Ok(()),
        End::Stopped(signal) => process::die_by(signal),
        End::NotHad(NotHad::TimeOver(words)) => {
            tell!("nyala: {words}");
            std::process::exit(TIME_OVER)
        }
        End::NotHad(NotHad::Failed(error)) => Err(error),
    }
}

/// Says when ZooKeeper is away for longer than a restart of it takes, and when it is back.
pub(super) async fn tell_absence(session: &Session) -> Infallible {
    let mut states = session.states();
    loop {
        if states
            .wait_for(|state| !state.is_connected())
            .await
            .is_err()
        {
            break;
        }
        let back = states.wait_for(SessionState::is_connected);
        match timeout(ABSENCE_TOLD_AFTER, back).await {
            Ok(Ok(_)) => continue,
            Ok(Err(_)) => break,
            Err(_) => tell!("nyala: ZooKeeper is away; waiting for it"),
        }
        if states.wait_for(SessionState::is_connected).await.is_err() {
            break;
        }
        tell!("nyala: ZooKeeper is back");
    }
    // The session is closed: that is another's to tell.
    std::future::pending().await
}

/// Data as text, as far as it is text.
pub(super) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
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

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_a_limit_never_becomes_do_not_wait() {
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let of = |seconds| left(Some(Duration::from_secs(seconds)), begun);
        assert_eq!(of(5), Some(Duration::from_secs(3)));
        assert_eq!(of(1), Some(Duration::from_millis(1)));
        assert_eq!(of(0), Some(Duration::ZERO));
        assert_eq!(left(None, begun), None);
    }
}
