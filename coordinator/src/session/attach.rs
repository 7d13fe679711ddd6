//! The session's thread: attach, keep the lease, notice loss, attach again.
//!
//! A connection that goes takes no session with it: the same session is attached again, every 250 ms, by one
//! server after the other, until one takes it or says that it has expired.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};

use super::calls::make_path;
use super::client::{Client, Ended, Identity, Reading, Refused};
use super::error::{SessionError, ZkError};
use super::handle::{Attached, Command, Phase, SessionState, Shared};
use super::lease::Lease;
use crate::clock;

/// Time from one attempt to the next.
const ATTEMPT_EVERY: Duration = Duration::from_millis(250);

/// Longest that a step of an attempt waits: a real ZooKeeper that is reached while it starts may never answer
/// that connection, and would answer the next.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// Each of several servers is given so long at least, if a step may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Longest that a clean close may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

type Ready = oneshot::Sender<Result<(), SessionError>>;

/// Starts the thread. `ready` hears of the first connection, or why there is none.
pub(super) fn start(
    shared: Arc<Shared>,
    commands: watch::Receiver<Command>,
    ready: Ready,
) -> io::Result<()> {
    let thread = Thread {
        shared,
        commands,
        ready: Some(ready),
        generation: 0,
        serial: 0,
        session: None,
        // Not everybody is to begin with the first one that is named.
        servers_tried: usize::from(rand::random::<u16>()),
        attached_at: None,
    };
    std::thread::Builder::new()
        .name("zookeeper".to_owned())
        .spawn(move || thread.run())
        .map(drop)
}

struct Thread {
    shared: Arc<Shared>,
    commands: watch::Receiver<Command>,
    ready: Option<Ready>,
    generation: u64,
    serial: u64,
    /// The session to attach to again; `None`: make a new one.
    session: Option<Identity>,
    /// Which server is next.
    servers_tried: usize,
    /// When the last connection was made.
    attached_at: Option<Instant>,
}

/// A connection that can be used. Dropping it leaves the session alone.
struct Connection {
    client: Client,
    /// Ends the connection when it is dropped.
    reading: Reading,
}

impl Connection {
    /// Ends the session. Says whether that was confirmed within `limit`.
    async fn close(mut self, limit: Duration) -> bool {
        // Whether or not a home reads.
        self.reading.take_over();
        matches!(timeout(limit, self.client.close()).await, Ok(Ok(())))
    }
}

/// Why a connection ended.
enum End {
    Detached(&'static str),
    Expired,
    Finished,
}

/// Why an attempt failed.
enum Failed {
    Expired,
    Auth,
    NoChroot,
    Other(String),
}

impl Thread {
    fn run(mut self) {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                // There is one thread a session, and one runtime a thread.
                let _ = self.shared.own.set(runtime.handle().clone());
                runtime.block_on(self.connections());
                // Without waiting for a name that is being looked up.
                runtime.shutdown_background();
            }
            Err(e) => {
                if let Some(ready) = self.ready.take() {
                    // Nobody is left to tell when the receiver is gone.
                    let _ = ready.send(Err(SessionError::Thread(e.to_string())));
                }
            }
        }
        self.shared.lease.revoke();
        let state = SessionState::Lost {
            generation: self.generation,
        };
        self.publish(state, None, true);
    }

    /// One connection after the other.
    async fn connections(&mut self) {
        loop {
            match self.connection().await {
                End::Detached(reason) => self.suspended(reason),
                End::Expired => self.lost(),
                End::Finished => return,
            }
        }
    }

    /// One connection from its first attempt to its end.
    async fn connection(&mut self) -> End {
        let mut connection = match self.attach().await {
            Ok(connection) => connection,
            Err(end) => return end,
        };
        let end = self.serve(&mut connection).await;
        if matches!(end, End::Finished) && *self.commands.borrow() == Command::Close {
            self.close(connection).await;
        }
        end
    }

    /// Tries until there is a connection, or the session is found to be gone, or it is time to end.
    async fn attach(&mut self) -> Result<Connection, End> {
        let mut commands = self.commands.clone();
        // A server that takes every connection only to drop it must not be hammered.
        let rest = self.attached_at.map_or(Duration::ZERO, |at| {
            ATTEMPT_EVERY.saturating_sub(clock::now().duration_since(at))
        });
        tokio::select! {
            () = sleep(rest) => {}
            () = finish_command(&mut commands) => return Err(self.finish_detached().await),
        }
        let begun = clock::now();
        let mut complained = begun;
        let mut said = false;
        loop {
            let attempt = clock::now();
            let failed = tokio::select! {
                tried = self.attempt() => match tried {
                    Ok(mut connection) => {
                        if let Some(home) = &self.shared.home {
                            connection.reading.go_home(home);
                        }
                        self.attached(&connection, attempt);
                        return Ok(connection);
                    }
                    Err(failed) => failed,
                },
                () = finish_command(&mut commands) => return Err(self.finish_detached().await),
            };
            let waited = clock::now().duration_since(begun);
            match failed {
                Failed::Expired if self.session.is_some() => return Err(End::Expired),
                failed if self.ready.is_some() => {
                    if let Some(error) = self.first_error(&failed, waited).await
                        && let Some(ready) = self.ready.take()
                    {
                        // Nobody is left to tell when the receiver is gone.
                        let _ = ready.send(Err(error));
                        return Err(End::Finished);
                    }
                    if !said {
                        said = true;
                        let hosts = &self.shared.connect.hosts;
                        let patience = self.shared.config.connect_timeout;
                        info!("no ZooKeeper at {hosts} yet, trying for {patience:?}: {failed}");
                    }
                }
                failed => {
                    if clock::now().duration_since(complained) > Duration::from_secs(10) {
                        complained = clock::now();
                        let hosts = &self.shared.connect.hosts;
                        warn!("no connection to ZooKeeper at {hosts} for {waited:.0?}: {failed}");
                    }
                }
            }
            let pause = ATTEMPT_EVERY.saturating_sub(clock::now().duration_since(attempt));
            tokio::select! {
                () = sleep(pause) => {}
                () = finish_command(&mut commands) => return Err(self.finish_detached().await),
            }
        }
    }

    /// Whether the first connect is to give up, and with what error.
    async fn first_error(&self, failed: &Failed, waited: Duration) -> Option<SessionError> {
        let config = &self.shared.config;
        let connect = config.connect.clone();
        match failed {
            Failed::Auth => {
                let user = config.auth.as_ref().map(|a| a.user.clone());
                let user = user.unwrap_or_default();
                Some(SessionError::AuthFailed { connect, user })
            }
            Failed::NoChroot => {
                let chroot = self.shared.connect.chroot.clone();
                Some(SessionError::ChrootMissing { connect, chroot })
            }
            Failed::Expired | Failed::Other(_) if waited < config.connect_timeout => None,
            Failed::Expired | Failed::Other(_) => Some(SessionError::Unreachable {
                connect,
                waited: config.connect_timeout,
                reason: match reach(&self.shared.connect.servers()).await {
                    Ok(()) => failed.to_string(),
                    Err(e) => e,
                },
            }),
        }
    }

    /// One attempt at a usable connection: session, identity, chroot, and caught up with the leader.
    async fn attempt(&mut self) -> Result<Connection, Failed> {
        // A server that takes the connection and then says nothing must not hold us up for long.
        let asked = self.shared.config.session_timeout;
        let patience = (asked / 3).clamp(ATTEMPT_EVERY, PATIENCE_MAX);
        let silent = |_| Failed::Other(format!("no answer within {patience:.1?}"));
        let mut connection = self.connect(patience).await?;
        let prepared = timeout(patience, self.prepare(&connection.client)).await;
        match prepared.unwrap_or_else(|late| Err(silent(late))) {
            Ok(client) => {
                connection.client = client;
                Ok(connection)
            }
            Err(failed) => {
                // A session that was made for this attempt is of no use; one to be taken up again is.
                if self.session.is_none() {
                    connection.close(ATTEMPT_EVERY).await;
                }
                Err(failed)
            }
        }
    }

    /// Asks one server after the other, from the one after the last asked on, for twice `patience` at most.
    async fn connect(&mut self, patience: Duration) -> Result<Connection, Failed> {
        let timeout = self.shared.config.session_timeout;
        let servers = self.shared.connect.servers();
        let each = match servers.len() {
            1 => patience,
            // One that says nothing must leave time for another.
            _ => (patience / 2).max(ANSWER_WITHIN).min(patience),
        };
        let begun = clock::now();
        let mut last = Failed::Other("no server to connect to".to_owned());
        for _ in 0..servers.len() {
            if clock::now().duration_since(begun) > patience {
                break;
            }
            let server = servers.get(self.servers_tried % servers.len());
            self.servers_tried = self.servers_tried.wrapping_add(1);
            let Some(server) = server else { continue };
            let again = self.session.as_ref();
            match Client::connect(server, timeout, again, each).await {
                Ok((client, reading)) => return Ok(Connection { client, reading }),
                Err(Refused::Expired) => return Err(Failed::Expired),
                Err(e) => last = Failed::Other(format!("{server}: {e}")),
            }
        }
        Err(last)
    }

    /// Says who we are, and makes sure that the chroot is there and that the server is not behind. Gives the
    /// client that sees the chroot.
    async fn prepare(&self, client: &Client) -> Result<Client, Failed> {
        if let Some(auth) = &self.shared.config.auth
            && !client.authenticate(&auth.user, &auth.password).await?
        {
            return Err(Failed::Auth);
        }
        let chroot = self.shared.connect.chroot.as_str();
        if !chroot.is_empty() {
            if self.shared.config.create_chroot {
                make_path(client, chroot, false).await.map_err(|e| {
                    Failed::Other(format!("cannot make the chroot {chroot:?}: {e}"))
                })?;
            } else if client.exists(chroot).await?.is_none() {
                return Err(Failed::NoChroot);
            }
        }
        // Another server of the ensemble may be behind what this session has seen (reads after a
        // reconnect may be stale otherwise).
        client.sync("/").await?;
        Ok(client.below(chroot))
    }

    fn attached(&mut self, connection: &Connection, attempt: Instant) {
        let client = &connection.client;
        let session_id = client.session().id;
        let negotiated = client.session().timeout;
        if self.session.is_none() {
            self.generation += 1;
            self.shared.own_ids.lock().push(session_id);
            let millis = u64::try_from(negotiated.as_millis()).unwrap_or(u64::MAX);
            self.shared.timeout_ms.store(millis, Ordering::Relaxed);
            info!(
                generation = self.generation,
                "ZooKeeper session {session_id:#x}"
            );
        } else {
            info!("ZooKeeper session {session_id:#x} attached again");
        }
        self.session = Some(client.session().clone());
        self.serial += 1;
        self.attached_at = Some(clock::now());
        self.shared.lease.begin(self.generation);
        self.shared.lease.renew(attempt, negotiated);
        let state = SessionState::Connected {
            generation: self.generation,
            session_id,
        };
        let attached = Attached {
            client: client.clone(),
            serial: self.serial,
        };
        self.publish(state, Some(attached), false);
        if let Some(ready) = self.ready.take() {
            // The caller of `connect` has gone; its dropped handle will end this thread.
            let _ = ready.send(Ok(()));
        }
    }

    /// Keeps the session until the connection ends.
    async fn serve(&mut self, connection: &mut Connection) -> End {
        let client = connection.client.clone();
        tokio::select! {
            ended = client.ended() => ended.into(),
            () = finish_command(&mut self.commands) => End::Finished,
            overdue = heartbeats(connection, &self.shared.lease) => overdue,
        }
    }

    fn suspended(&mut self, reason: &'static str) {
        info!("ZooKeeper connection lost: {reason}");
        let state = SessionState::Suspended {
            generation: self.generation,
            since: clock::now(),
        };
        self.publish(state, None, false);
    }

    fn lost(&mut self) {
        warn!(generation = self.generation, "ZooKeeper session expired");
        self.session = None;
        self.shared.lease.revoke();
        let state = SessionState::Lost {
            generation: self.generation,
        };
        self.publish(state, None, false);
    }

    fn publish(&self, state: SessionState, attached: Option<Attached>, closed: bool) {
        self.shared.phase.send_replace(Phase {
            state,
            attached,
            closed,
        });
        self.shared.states.send_replace(state);
    }

    /// Told to end while there is no connection: one more attempt, only to end the session.
    async fn finish_detached(&mut self) -> End {
        if *self.commands.borrow() == Command::Close
            && self.session.is_some()
            && let Ok(Ok(connection)) = timeout(CLOSE_MAX / 2, self.attempt()).await
        {
            self.close(connection).await;
        }
        End::Finished
    }

    /// Ends the session. What it holds is over before that: ZooKeeper may give it to others long before its
    /// answer is here.
    async fn close(&mut self, connection: Connection) {
        self.shared.lease.revoke();
        let state = SessionState::Lost {
            generation: self.generation,
        };
        self.publish(state, None, false);
        if !connection.close(CLOSE_MAX).await {
            warn!("ZooKeeper did not confirm the end of the session; it will time out");
        }
    }
}

/// Heartbeats, each of which renews the lease when it is answered, until one is not. Sees to it, too, that
/// answers are read.
///
/// Each asks the leader: a follower that lost it answers pings for `syncLimit` ticks, while it ends the session.
async fn heartbeats(connection: &mut Connection, lease: &Lease) -> End {
    let Connection { client, reading } = connection;
    let negotiated = client.session().timeout;
    let mut beats = interval((negotiated / 8).max(Duration::from_millis(10)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beats.tick() => {}
            () = reading.left() => {
                reading.take_over();
                continue;
            }
        }
        let sent = clock::now();
        client.sweep();
        let mut beat = pin!(timeout(negotiated * 2 / 5, client.sync("/")));
        let answer = tokio::select! {
            answer = &mut beat => answer,
            () = reading.neglected() => {
                reading.take_over();
                beat.await
            }
        };
        match answer {
            Ok(Ok(())) => lease.renew(sent, negotiated),
            Ok(Err(e)) => debug!("heartbeat: {e}"),
            Err(_) => return End::Detached("heartbeat overdue"),
        }
    }
}

/// Resolves when the handle wants the thread to end.
async fn finish_command(commands: &mut watch::Receiver<Command>) {
    // An error means that all handles are gone, without even a command.
    let _ = commands.wait_for(|c| *c != Command::Run).await;
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Lost(reason) => Self::Detached(reason),
            Ended::Expired => Self::Expired,
        }
    }
}

/// Whether any server takes a TCP connection; if none, the last error in the system's words.
async fn reach(servers: &[String]) -> Result<(), String> {
    let mut last = String::new();
    for server in servers {
        let tried = tokio::net::TcpStream::connect(server);
        match timeout(Duration::from_secs(1), tried).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(e)) => last = e.to_string(),
            Err(_) => last = "no answer".to_owned(),
        }
    }
    Err(last)
}

impl From<ZkError> for Failed {
    fn from(error: ZkError) -> Self {
        match error {
            ZkError::SessionExpired => Self::Expired,
            error => Self::Other(error.to_string()),
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Expired => f.write_str("session expired"),
            Self::Auth => f.write_str("identity refused"),
            Self::NoChroot => f.write_str("no chroot"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}
