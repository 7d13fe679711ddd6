//! What the commands on recipes share: how they reach ZooKeeper, how they wait, and how they end.

use std::error::Error;
use std::time::Duration;

use nyala_coordinator::session::{Session, SessionConfig, SessionError};

use super::process;

/// Nothing came, or not all did, within the time that was given; as `timeout` of coreutils has it.
const TIME_OVER: i32 = 124;

/// What `--help` says about exit codes.
pub(super) const EXIT_CODES: &str = "\
Exit code: 0 when done, 124 when the time was over first, 1 for everything else, with the reason on standard error.";

/// How a command ends that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    TimeOver,
    /// As this command of the user's did.
    With(i32),
}

/// Flags of every command that talks to ZooKeeper alone.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ZooKeeperArgs {
    /// ZooKeeper to ask; a chroot that is missing is made
    #[arg(
        long,
        value_name = "HOST:PORT[/CHROOT]",
        default_value = "127.0.0.1:2181"
    )]
    zookeeper: String,
    /// A command that is silent for so long has lost what it holds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    session_timeout: Duration,
}

/// Seconds, with a fraction if need be.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|e| e.to_string())
}

impl ZooKeeperArgs {
    pub(super) async fn connect(&self) -> Result<Session, Box<dyn Error>> {
        let config = SessionConfig {
            session_timeout: self.session_timeout,
            connect_timeout: Duration::from_secs(10),
            create_chroot: true,
            ..SessionConfig::new(&self.zookeeper)
        };
        Session::connect(config).await.map_err(|e| match e {
            SessionError::BadConnectString { .. } => e.into(),
            e => format!(
                "{e}\n  is ZooKeeper running there? `nyala dev` brings one; --zookeeper names another"
            )
            .into(),
        })
    }
}

/// Runs a command on a session of its own, and closes that whatever happens. A stop signal ends the
/// command; it counts as done.
pub(super) fn run<F, Fut>(args: &ZooKeeperArgs, main: F) -> Result<(), Box<dyn Error>>
where
    F: FnOnce(Session) -> Fut,
    Fut: Future<Output = Result<Ended, Box<dyn Error>>>,
{
    process::start_warnings();
    let ended = process::block_on(async {
        let session = args.connect().await?;
        let ended = tokio::select! {
            ended = main(session.clone()) => ended,
            signal = process::stop_signal() => signal.map(|()| Ended::Done).map_err(Into::into),
        };
        session.close().await;
        ended
    })?;
    match ended? {
        Ended::Done | Ended::With(0) => Ok(()),
        Ended::TimeOver => std::process::exit(TIME_OVER),
        Ended::With(code) => std::process::exit(code),
    }
}

/// Data as text, as far as it is text.
pub(super) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}
