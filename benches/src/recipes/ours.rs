//! Our own side: the recipes in this process, each session with its own connection and thread.
//!
//! It does what `peer.rs` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nyala_coordinator::recipes::Lock;
use nyala_coordinator::recipes::queue::{Priority, Queue, QueueOptions};
use nyala_coordinator::session::{Session, SessionConfig};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::Taken;

const BATCH: usize = 100;
const WINDOW: usize = 100;
/// Callers that share a session.
const CALLERS: usize = 50;
const ITEM: &[u8] = &[b'x'; 100];

/// Our sessions, and the runtime that their callers run on.
#[derive(Debug)]
pub(super) struct Ours {
    runtime: Runtime,
    address: String,
    sessions: Vec<Session>,
}

impl Ours {
    /// With no session yet.
    pub(super) fn new(address: &str) -> Result<Self> {
        Ok(Self {
            runtime: Runtime::new()?,
            address: address.to_owned(),
            sessions: Vec::new(),
        })
    }

    /// Opens sessions.
    pub(super) fn open(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let config = SessionConfig {
                session_timeout: Duration::from_secs(30),
                ..SessionConfig::new(self.address.as_str())
            };
            let session = self.runtime.block_on(Session::connect(config))?;
            self.sessions.push(session);
        }
        Ok(())
    }

    /// Closes them.
    pub(super) fn close(&mut self) {
        for session in self.sessions.drain(..) {
            self.runtime.block_on(session.close());
        }
    }

    /// Runs one measurement at `path`.
    pub(super) fn measure(&self, command: &str, path: &str, seconds: f64) -> Result<Taken> {
        let time = Duration::from_secs_f64(seconds);
        // On a worker of the runtime, as a program's own tasks are.
        let (path, sessions) = (path.to_owned(), self.sessions.clone());
        let task = match command {
            "lock" => self.runtime.spawn(lock(path, sessions, time)),
            "contend" => self.runtime.spawn(contend(path, sessions, time, false)),
            "turns" => self.runtime.spawn(contend(path, sessions, time, true)),
            "share" => {
                let shared = vec![sessions[0].clone(); CALLERS];
                self.runtime.spawn(contend(path, shared, time, false))
            }
            "put" => self.runtime.spawn(put(path, sessions, time, 1)),
            "push" => self.runtime.spawn(push(path, sessions, time)),
            "batch" => self.runtime.spawn(put(path, sessions, time, BATCH)),
            "leased" => self.runtime.spawn(pass(path, sessions, time, true)),
            "unleased" => self.runtime.spawn(pass(path, sessions, time, false)),
            other => bail!("no measurement {other}"),
        };
        self.runtime.block_on(task)?
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn taken(operations: usize, begun: Instant, latencies_us: Vec<u64>) -> Taken {
    Taken {
        operations: operations as u64,
        seconds: begun.elapsed().as_secs_f64(),
        latencies_us,
    }
}

async fn lock(path: String, sessions: Vec<Session>, time: Duration) -> Result<Taken> {
    let lock = Lock::new(&sessions[0], path)?;
    let mut latencies = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let start = Instant::now();
        lock.acquire().await?.release().await?;
        latencies.push(micros(start.elapsed()));
    }
    Ok(taken(latencies.len(), begun, latencies))
}

/// When the last holder called release, and how long each hand-over took. Touched under the lock only.
#[derive(Debug, Default)]
struct HandOvers {
    released: Option<Instant>,
    latencies: Vec<u64>,
}

impl HandOvers {
    /// One has it now, and calls release next.
    fn had(&mut self) {
        let latency = self.released.map(|at| micros(at.elapsed()));
        self.latencies.extend(latency);
        self.released = Some(Instant::now());
    }
}

/// Everybody takes it again and again; `passes_on`: and lets go in the same step.
async fn contend(
    path: String,
    sessions: Vec<Session>,
    time: Duration,
    passes_on: bool,
) -> Result<Taken> {
    let seen = Arc::new(Mutex::new(HandOvers::default()));
    let begun = Instant::now();
    let mut contenders = JoinSet::new();
    for session in sessions {
        let lock = Lock::new(&session, path.as_str())?;
        let seen = Arc::clone(&seen);
        contenders.spawn(async move {
            let mut hold = lock.acquire().await?;
            seen.try_lock()?.had();
            while begun.elapsed() < time {
                hold = match passes_on {
                    true => lock.pass_on(hold).await?,
                    false => {
                        hold.release().await?;
                        lock.acquire().await?
                    }
                };
                seen.try_lock()?.had();
            }
            hold.release().await?;
            anyhow::Ok(())
        });
    }
    while let Some(ended) = contenders.join_next().await {
        ended??;
    }
    let latencies = std::mem::take(&mut seen.lock().await.latencies);
    Ok(taken(latencies.len(), begun, latencies))
}

async fn queue(path: &str, session: &Session) -> Result<Queue> {
    Ok(Queue::open(session.clone(), path, QueueOptions::default()).await?)
}

async fn put(path: String, sessions: Vec<Session>, time: Duration, many: usize) -> Result<Taken> {
    let queue = queue(&path, &sessions[0]).await?;
    let mut latencies = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let start = Instant::now();
        queue
            .put_all(&vec![ITEM; many], Priority::default())
            .await?;
        latencies.push(micros(start.elapsed()));
    }
    Ok(taken(latencies.len() * many, begun, latencies))
}

async fn push(path: String, sessions: Vec<Session>, time: Duration) -> Result<Taken> {
    let queue = queue(&path, &sessions[0]).await?;
    let mut latencies = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let start = Instant::now();
        queue.push(ITEM, Priority::default()).await?;
        latencies.push(micros(start.elapsed()));
    }
    Ok(taken(latencies.len(), begun, latencies))
}

async fn pass(path: String, sessions: Vec<Session>, time: Duration, leased: bool) -> Result<Taken> {
    let (into, out) = (
        queue(&path, &sessions[0]).await?,
        queue(&path, &sessions[1]).await?,
    );
    let room = Arc::new(Semaphore::new(WINDOW));
    let put = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let producer = {
        let (room, put, ended) = (Arc::clone(&room), Arc::clone(&put), Arc::clone(&ended));
        tokio::spawn(async move {
            while begun.elapsed() < time {
                room.acquire().await?.forget();
                into.put(ITEM, Priority::default()).await?;
                put.fetch_add(1, Ordering::SeqCst);
            }
            ended.store(true, Ordering::SeqCst);
            anyhow::Ok(())
        })
    };
    let take = async || {
        let wait = Some(Duration::from_millis(200));
        if !leased {
            return anyhow::Ok(out.pop(wait).await?.is_some());
        }
        match out.take(wait).await? {
            Some(item) => item.ack().await?,
            None => return Ok(false),
        }
        Ok(true)
    };
    let mut done = 0;
    while !ended.load(Ordering::SeqCst) || done < put.load(Ordering::SeqCst) {
        if take().await? {
            done += 1;
            room.add_permits(1);
        }
    }
    producer.await??;
    Ok(taken(done, begun, Vec::new()))
}
