//! [`Session`], its states, and the one way in which every call goes to the connection.
//!
//! `attach.rs` publishes the current connection; a call waits for one, makes its requests on it, and
//! learns from its end that the connection is gone.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant as Deadline, timeout_at};

use super::attach;
use super::client::{Client, home};
use super::config::{ConnectString, SessionConfig};
use super::error::{SessionError, ZkError};
use super::lease::Lease;
use super::neighbours::Neighbours;

/// Longest that a call waits, whatever is asked for: what a clock can still count.
const OP_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Alive and connected.
    Connected {
        /// Counts sessions from 1.
        generation: u64,
        /// Owner of the ephemerals made now.
        session_id: i64,
    },
    /// The connection is gone, the session may live: go on serving, start nothing, and mind
    /// [`Session::lease`].
    Suspended {
        /// The session that may live.
        generation: u64,
        /// When the loss was noticed.
        since: Instant,
    },
    /// The session and all that it held is gone. A new one follows unless the handle was closed.
    Lost {
        /// The session that ended.
        generation: u64,
    },
}

impl SessionState {
    /// The session that the state speaks of.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match *self {
            Self::Connected { generation, .. }
            | Self::Suspended { generation, .. }
            | Self::Lost { generation } => generation,
        }
    }

    /// Whether calls go through at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// The live connection, as calls use it.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) client: Client,
    /// Counts connections, over all generations.
    pub(super) serial: u64,
}

/// What calls wait on.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    pub(super) state: SessionState,
    pub(super) attached: Option<Attached>,
    pub(super) closed: bool,
}

/// What the handle tells the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    /// End the session, so that its ephemerals go at once.
    Close,
    /// Leave without a word, as a killed process does.
    Abandon,
}

/// Shared by the handles and the thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: SessionConfig,
    pub(super) connect: ConnectString,
    pub(super) phase: watch::Sender<Phase>,
    /// The phases' states, for who follows them. Told after the phase.
    pub(super) states: watch::Sender<SessionState>,
    pub(super) lease: Lease,
    /// Negotiated with the server, in milliseconds.
    pub(super) timeout_ms: AtomicU64,
    /// Ids of all sessions that this handle has had.
    pub(super) own_ids: Mutex<Vec<i64>>,
    pub(super) neighbours: Neighbours,
    in_flight: Semaphore,
    /// The session's thread, while it runs.
    pub(super) own: OnceLock<Handle>,
    /// Where answers are read, if anywhere but on the session's thread.
    pub(super) home: Option<Handle>,
}

/// Closes the session when the last handle goes.
#[derive(Debug)]
struct CloseOnDrop {
    command: watch::Sender<Command>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.command.send_if_modified(|c| {
            let run = *c == Command::Run;
            if run {
                *c = Command::Close;
            }
            run
        });
    }
}

/// A ZooKeeper session that renews itself. Cheap to clone; any thread, any tokio runtime.
///
/// The session ends when [`Session::close`] is called or the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
    closer: Arc<CloseOnDrop>,
}

impl Session {
    /// Connects, trying every 250 ms until `connect_timeout`. Answers are read on the runtime that this is
    /// called on, if it has several threads; other callers have them as well, and the session outlives it.
    pub async fn connect(config: SessionConfig) -> Result<Self, SessionError> {
        let connect = ConnectString::parse(&config.connect)?;
        let state = SessionState::Lost { generation: 0 };
        let (phase, _) = watch::channel(Phase {
            state,
            attached: None,
            closed: false,
        });
        let (states, _) = watch::channel(state);
        let (command, commands) = watch::channel(Command::Run);
        let timeout_ms = u64::try_from(config.session_timeout.as_millis()).unwrap_or(u64::MAX);
        let shared = Arc::new(Shared {
            connect,
            phase,
            states,
            lease: Lease::new(),
            timeout_ms: AtomicU64::new(timeout_ms),
            own_ids: Mutex::new(Vec::new()),
            neighbours: Neighbours::default(),
            in_flight: Semaphore::new(config.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)),
            config,
            own: OnceLock::new(),
            home: home(),
        });
        let closer = Arc::new(CloseOnDrop { command });
        let (ready, started) = oneshot::channel();
        attach::start(Arc::clone(&shared), commands, ready)
            .map_err(|e| SessionError::Thread(e.to_string()))?;
        match started.await {
            Ok(Ok(())) => Ok(Self { shared, closer }),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(SessionError::Thread("it ended at once".to_owned())),
        }
    }

    /// The state now and all later ones (the latest wins: compare generations).
    #[must_use]
    pub fn states(&self) -> watch::Receiver<SessionState> {
        self.shared.states.subscribe()
    }

    /// The state now: the one that let the last call through, or a later one.
    #[must_use]
    pub fn state(&self) -> SessionState {
        // Where calls find their connection. `states` is told a moment later: a node made in between would count as
        // that of the session before, and stay where it is.
        self.shared.phase.borrow().state
    }

    /// The current session's id, while it is connected or may come back.
    #[must_use]
    pub fn session_id(&self) -> Option<i64> {
        match self.state() {
            SessionState::Lost { .. } => None,
            _ => self.shared.own_ids.lock().last().copied(),
        }
    }

    /// Whether `id` was a session of this handle that has ended since.
    #[must_use]
    pub fn is_former_session(&self, id: i64) -> bool {
        self.session_id() != Some(id) && self.shared.own_ids.lock().contains(&id)
    }

    /// What the callers of this session tell each other.
    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.shared.neighbours
    }

    /// The self-fencing clock: act on what the session holds only while it [`holds`](Lease::holds).
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.shared.lease.clone()
    }

    /// The timeout that the server granted.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.timeout_ms.load(Ordering::Relaxed))
    }

    /// Resolves when calls go through, or never will again: the session was closed.
    pub(crate) async fn connected_or_closed(&self) {
        let mut phases = self.shared.phase.subscribe();
        let settled = |p: &Phase| p.closed || p.state.is_connected();
        // An error means that the sender is gone; this has it.
        let _ = phases.wait_for(settled).await;
    }

    /// Does something on the session's thread, for who is dropped and cannot wait, wherever that is. It is given up
    /// when the session is closed: its ephemerals go then.
    pub fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(own) = self.shared.own.get() {
            own.spawn(work);
        }
    }

    /// Settings that the session was made with.
    #[must_use]
    pub fn config(&self) -> &SessionConfig {
        &self.shared.config
    }

    /// Ends the session: its ephemerals are gone when this returns, if ZooKeeper can be reached.
    pub async fn close(&self) {
        self.finish(Command::Close).await;
    }

    /// Leaves the session to its timeout, as a process that is killed does. For tests.
    pub async fn abandon(&self) {
        self.finish(Command::Abandon).await;
    }

    async fn finish(&self, how: Command) {
        self.closer.command.send_replace(how);
        let mut phase = self.shared.phase.subscribe();
        // An error means that the sender is gone, and the thread with it.
        let _ = phase.wait_for(|p| p.closed).await;
    }

    /// Runs a read; repeats it when the connection is lost meanwhile.
    pub(super) async fn read<T, F, Fut>(&self, op: F) -> Result<T, ZkError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, ZkError>>,
    {
        let call = self.begin().await?;
        let mut after = None;
        loop {
            let attached = self.attached(&call, after).await?;
            after = Some(attached.serial);
            match call.within(op(attached.client)).await {
                Err(ZkError::Unknown) if Deadline::now() < call.deadline => {}
                done => return done,
            }
        }
    }

    /// Runs a write, once.
    pub(super) async fn write<T, F, Fut>(&self, op: F) -> Result<T, ZkError>
    where
        F: FnOnce(Client) -> Fut,
        Fut: Future<Output = Result<T, ZkError>>,
    {
        let call = self.begin().await?;
        let attached = self.attached(&call, None).await?;
        call.within(op(attached.client)).await
    }

    async fn begin(&self) -> Result<Call<'_>, ZkError> {
        let waited = self.shared.config.op_timeout;
        let deadline = Deadline::now() + waited.min(OP_TIMEOUT_MAX);
        let permit = match timeout_at(deadline, self.shared.in_flight.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(ZkError::Closed),
            Err(_) => return Err(ZkError::NotConnected { waited }),
        };
        let generation = match self.shared.phase.borrow().state {
            SessionState::Lost { generation } => generation + 1,
            other => other.generation(),
        };
        Ok(Call {
            _permit: permit,
            deadline,
            waited,
            generation,
        })
    }

    /// Waits for a connection of the call's session, newer than the one numbered `after`.
    async fn attached(&self, call: &Call<'_>, after: Option<u64>) -> Result<Attached, ZkError> {
        let mut phases = self.shared.phase.subscribe();
        let usable = |p: &Phase| {
            let newer = p.attached.as_ref().map(|a| a.serial) > after;
            p.closed || call.is_over(p.state) || newer
        };
        let phase = match timeout_at(call.deadline, phases.wait_for(usable)).await {
            Ok(Ok(phase)) => Phase::clone(&phase),
            Ok(Err(_)) => return Err(ZkError::Closed),
            Err(_) => {
                return Err(ZkError::NotConnected {
                    waited: call.waited,
                });
            }
        };
        if phase.closed {
            return Err(ZkError::Closed);
        }
        if call.is_over(phase.state) {
            return Err(ZkError::SessionExpired);
        }
        phase.attached.ok_or(ZkError::Closed)
    }
}

/// One call on its way.
struct Call<'a> {
    _permit: tokio::sync::SemaphorePermit<'a>,
    deadline: Deadline,
    waited: Duration,
    generation: u64,
}

impl Call<'_> {
    /// The outcome, if it comes in time.
    async fn within<T>(
        &self,
        done: impl Future<Output = Result<T, ZkError>>,
    ) -> Result<T, ZkError> {
        let done = timeout_at(self.deadline, done).await;
        done.unwrap_or(Err(ZkError::Unknown))
    }

    /// Whether the session that the call was made in has ended.
    fn is_over(&self, state: SessionState) -> bool {
        match state {
            SessionState::Lost { generation } => generation >= self.generation,
            other => other.generation() > self.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::embedded::{Server, ServerConfig, SyncPolicy};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_state_is_never_older_than_what_calls_go_by() {
        const SESSIONS: u64 = 12;
        let folder = tempfile::tempdir().expect("a folder");
        let config = ServerConfig {
            sync: SyncPolicy::WriteOnly,
            ..ServerConfig::new(folder.path().join("zookeeper"))
        };
        let server = Server::start(config).await.expect("a server");
        let config = SessionConfig::new(server.address().to_string());
        let session = Session::connect(config).await.expect("a server is there");
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let phase = session.shared.phase.borrow().state;
                    let (new, state) = (phase.is_connected(), session.state());
                    let old = SessionState::Lost {
                        generation: phase.generation().wrapping_sub(1),
                    };
                    assert!(!new || state != old, "{phase:?}, then {state:?}");
                }
            });
            let ends = async {
                let mut states = session.states();
                for generation in 1..SESSIONS {
                    let id = session.session_id().expect("it is alive");
                    assert!(server.expire_session(id), "{id:#x} was alive");
                    let next = |s: &SessionState| s.is_connected() && s.generation() > generation;
                    states.wait_for(next).await.expect("it lives");
                }
                end.store(true, Ordering::Relaxed);
            };
            tokio::task::block_in_place(|| Handle::current().block_on(ends));
            looks.join().expect("no state of before");
        });
        server.shutdown().await;
    }
}
