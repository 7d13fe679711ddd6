//! The server's own thread and runtime: accepts connections, ends sessions, stops.
//!
//! A thread of its own, so that no burst of work on the data path of a broker in the same process
//! delays a ping (and with it, ends a session).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::ServerConfig;
use super::connection::{self, Shared};
use super::engine::{Engine, Limits, Now};
use super::journal::Journal;
use super::store::{self, OpenError};
use crate::port::bind_patiently;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It has no authentication worth the name, so it serves this machine only.
    #[error("the embedded ZooKeeper listens on loopback only, not on {address}")]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The data folder cannot be used.
    #[error("ZooKeeper data: {0}")]
    Open(#[from] OpenError),
    /// No thread or runtime could be made.
    #[error("cannot start the ZooKeeper thread for {}: {source}", data_dir.display())]
    Thread {
        /// The data folder, to tell which server it is.
        data_dir: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// A running server. Dropping it stops it without waiting; its data is safe either way.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    stopped: Option<oneshot::Receiver<()>>,
}

impl Server {
    /// Recovers the data folder and listens; returns when connections are served.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let address = config.address;
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { address });
        }
        let data_dir = config.data_dir.clone();
        let stop = CancellationToken::new();
        let theirs = stop.clone();
        let (ready, started) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("zookeeper".to_owned())
            .spawn(move || {
                own_thread(config, theirs, ready);
                // Nobody waits when the server was dropped.
                let _waiting = ended.send(());
            })
            .map_err(|source| StartError::Thread {
                data_dir: data_dir.clone(),
                source,
            })?;
        let (address, shared) = started.await.map_err(|_| StartError::Thread {
            data_dir,
            source: io::Error::other("it ended early"),
        })??;
        Ok(Self {
            address,
            shared,
            stop,
            stopped: Some(stopped),
        })
    }

    /// Where it listens; port 0 has become a real one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and the data folder. Sessions stay: they wait for the next start.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(stopped) = self.stopped.take() {
            // An error means that the thread is gone already.
            let _ended = stopped.await;
        }
    }

    /// Ends a session as if it had been silent for its timeout; false when it is not alive.
    #[must_use]
    pub fn expire_session(&self, id: i64) -> bool {
        self.shared.engine.lock().end_session(id, Now::read())
    }

    /// Ids of the sessions that are alive, connected or not.
    #[must_use]
    pub fn sessions(&self) -> Vec<i64> {
        let engine = self.shared.engine.lock();
        engine.sessions.iter().map(|session| session.id).collect()
    }

    /// The newest zxid.
    #[must_use]
    pub fn last_zxid(&self) -> i64 {
        self.shared.engine.lock().zxid
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Started = Result<(SocketAddr, Arc<Shared>), StartError>;

fn own_thread(config: ServerConfig, stop: CancellationToken, ready: oneshot::Sender<Started>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            let data_dir = config.data_dir;
            // Nobody waits for the answer of a start that was given up.
            let _waiting = ready.send(Err(StartError::Thread { data_dir, source }));
            return;
        }
    };
    runtime.block_on(async move {
        let (listener, shared, lock) = match prepare(config).await {
            Ok(prepared) => prepared,
            Err(error) => {
                let _waiting = ready.send(Err(error));
                return;
            }
        };
        let address = match listener.local_addr() {
            Ok(address) => address,
            Err(_) => shared.config.address,
        };
        if ready.send(Ok((address, shared.clone()))).is_ok() {
            run(listener, &shared, &stop).await;
        }
        // In this order: who gets the lock next must find a journal that nobody writes.
        shared.engine.lock().stop();
        drop(lock);
    });
}

async fn prepare(
    config: ServerConfig,
) -> Result<(TcpListener, Arc<Shared>, std::fs::File), StartError> {
    let address = config.address;
    // The port first: a folder must not change when the server cannot serve it.
    let listener = bind_patiently(|| TcpListener::bind(address))
        .await
        .map_err(|source| StartError::Listen { address, source })?;
    let store = store::open(&config)?;
    let data_dir = config.data_dir.clone();
    let journal = Journal::start(store.target, store.state.zxid, store.grown);
    let journal = journal.map_err(|source| StartError::Thread { data_dir, source })?;
    let progress = journal.progress();
    let engine = Engine::new(store.state, journal, Limits::of(&config), Now::read());
    let shared = Shared {
        config,
        engine: Mutex::new(engine),
        progress,
        changed: Notify::new(),
    };
    Ok((listener, Arc::new(shared), store.lock))
}

async fn run(listener: TcpListener, shared: &Arc<Shared>, stop: &CancellationToken) {
    let tasks = TaskTracker::new();
    let mut progress = shared.progress.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(listener, shared, stop, &tasks) => {}
        () = housekeep(shared) => {}
        _ = progress.wait_for(|progress| progress.broken.is_some()) => {
            tracing::error!("the embedded ZooKeeper stops: its journal is broken");
            stop.cancel();
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn accept(
    listener: TcpListener,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others must end before more can come.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if tasks.len() >= shared.config.connections_max {
            let limit = shared.config.connections_max;
            tracing::warn!(limit, "refusing a connection: too many of them");
            tasks.spawn(connection::refuse(stream));
            continue;
        }
        let (shared, stop) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            let serve = connection::run(shared, stream, peer.ip());
            stop.run_until_cancelled(serve).await;
        });
    }
}

/// Ends sessions when their time is up and removes what containers and TTLs leave behind.
/// Sleeps until the next of these is due: an idle server does nothing.
async fn housekeep(shared: &Shared) {
    let mut reap_at = None;
    loop {
        let deadline = {
            let engine = shared.engine.lock();
            if reap_at.is_none() && engine.tree.has_reapable_kinds() {
                reap_at = Some(crate::clock::now() + shared.config.reap_interval);
            }
            engine.next_deadline().into_iter().chain(reap_at).min()
        };
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = shared.changed.notified() => continue,
        }
        let now = Now::read();
        let mut engine = shared.engine.lock();
        // A stopped process hears nobody, and so must not judge anybody by that time.
        let late = deadline.map_or(Duration::ZERO, |at| now.instant.duration_since(at));
        if late > shared.config.tick_time {
            engine.grant(late);
        }
        engine.expire(now);
        if reap_at.is_some_and(|at| at <= now.instant) {
            engine.reap(now);
            reap_at = None;
        }
    }
}
