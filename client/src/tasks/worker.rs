//! A worker: takes the tasks that it was given, one [`Job`] each, and says what became of them.
//!
//! One task follows the events and keeps the worker registered. Under each session the worker has a new
//! name: what was given to the old one is another's by then, so what was not begun is dropped. Nothing is
//! begun while the session's lease does not hold.

mod job;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nyala_coordinator::session::SessionState;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::error::TaskError;
use super::event::{Event, Fence, Verdict, WorkerId};
use super::queue::Parts;
use super::tail::{Batch, Following, Tail, read_at};
use super::task::{Place, TaskId};
use super::topics::Topics;
use crate::consumer::positions::{OffsetSpec, lookup};

pub use job::Job;
use job::{Outstanding, Reporter};

/// Pause before something that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How often the lease is looked at while it does not hold.
const LEASE_CHECK: Duration = Duration::from_millis(20);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Most tasks that the worker holds at a time, begun or not.
    pub prefetch: usize,
    /// The first part of the worker's name.
    pub name: String,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            prefetch: 10,
            name: "worker".to_owned(),
        }
    }
}

/// A task that was given to this worker.
#[derive(Debug)]
struct Given {
    place: Place,
    id: TaskId,
    attempt: u32,
    worker: WorkerId,
    lease: Duration,
    payload: Option<Bytes>,
}

/// Takes tasks. Dropping it gives what it holds to others, in the background and whether its jobs are
/// settled or not; [`Worker::close`] waits for them.
#[derive(Debug)]
pub struct Worker {
    parts: Parts,
    given: mpsc::UnboundedReceiver<Given>,
    /// Taken out of there, and not handed out yet.
    pending: Option<Given>,
    me: watch::Receiver<Option<WorkerId>>,
    outstanding: Arc<Outstanding>,
    driver: AbortOnDropHandle<()>,
    left: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.driver.abort();
        let me = self.me.borrow().clone();
        let Some(me) = me.filter(|_| !self.left) else {
            return;
        };
        let (parts, outstanding) = (self.parts.clone(), Arc::clone(&self.outstanding));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = leave(&parts, &me, &outstanding).await {
                    tracing::debug!(%error, "the worker leaves with its session");
                }
            });
        }
    }
}

/// Says that the worker has nothing any more, and takes it off the list in any case: that needs ZooKeeper only. A
/// repeat does no harm.
async fn leave(parts: &Parts, me: &WorkerId, outstanding: &Outstanding) -> Result<(), TaskError> {
    let said = outstanding.patiently(say(parts, Event::Left(me.clone())));
    let said = said.await;
    let gone = outstanding.patiently(unregister(parts, me)).await;
    said.and(gone)
}

/// Returns when `event` is in the log.
async fn say(parts: &Parts, event: Event) -> Result<(), TaskError> {
    parts.append(event).await?.await?;
    Ok(())
}

async fn unregister(parts: &Parts, me: &WorkerId) -> Result<(), TaskError> {
    Ok(parts
        .registry
        .leave_group(&parts.topics.group(), me)
        .await?)
}

impl Worker {
    pub(super) async fn start(parts: Parts, config: WorkerConfig) -> Result<Self, TaskError> {
        let events = Topics::log(&parts.topics.events);
        // Known before the worker is: no task can be given to it earlier than that.
        let end = lookup(&parts.cluster, &events, OffsetSpec::Latest).await?;
        let tail = Tail::new(&parts.cluster, events, end);
        let (sender, given) = mpsc::unbounded_channel();
        let (publish, me) = watch::channel(None);
        let driver = Driver {
            parts: parts.clone(),
            name: config
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            capacity: i32::try_from(config.prefetch.max(1)).unwrap_or(i32::MAX),
            events: Following::start(tail),
            generation: 0,
            fence: Fence(0),
            me: publish,
            given: sender,
        };
        Ok(Self {
            parts,
            given,
            pending: None,
            me,
            outstanding: Arc::default(),
            driver: AbortOnDropHandle::new(tokio::spawn(driver.run())),
            left: false,
        })
    }

    /// The next task; waits until there is one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Job, TaskError> {
        loop {
            if self.pending.is_none() {
                self.pending = Some(self.given.recv().await.ok_or(TaskError::Closed)?);
            }
            // It stays there across all waiting: whoever gives this future up loses nothing.
            let Some(given) = &self.pending else {
                continue;
            };
            if !self.may_begin(&given.worker).await {
                self.pending = None;
                continue;
            }
            let fetched = match &given.payload {
                Some(payload) => Ok(payload.clone()),
                None => {
                    let target = self.parts.topics.lane(given.place.index());
                    let read = read_at(&self.parts.cluster, &target, given.place.offset);
                    read.await.map(|record| record.value.unwrap_or_default())
                }
            };
            let Some(given) = self.pending.take() else {
                continue;
            };
            let lease = given.lease;
            let reporter = self.reporter(given);
            match fetched {
                Ok(payload) => return Ok(Job::new(reporter, payload, lease)),
                Err(error) => {
                    tracing::warn!(%error, "a payload could not be read");
                    let fatal = matches!(error, TaskError::Gone { .. });
                    let job = Job::new(reporter, Bytes::new(), lease);
                    tokio::spawn(job.fail(error.to_string().into(), fatal));
                }
            }
        }
    }

    fn reporter(&self, given: Given) -> Reporter {
        Reporter {
            parts: self.parts.clone(),
            place: given.place,
            id: given.id,
            attempt: given.attempt,
            worker: given.worker,
            outstanding: Arc::clone(&self.outstanding),
        }
    }

    /// Whether what `worker` was given is still this worker's; waits while that is not certain.
    async fn may_begin(&self, worker: &WorkerId) -> bool {
        loop {
            if self.me.borrow().as_ref() != Some(worker) {
                return false;
            }
            if self.parts.session().lease().holds() {
                return true;
            }
            tokio::time::sleep(LEASE_CHECK).await;
        }
    }

    /// Takes no more: hands back what was not begun, waits until all jobs that were handed out are
    /// settled, and leaves.
    ///
    /// An absent cluster is told nothing for longer than about 20 s: [`TaskError::Unheard`]. Others get what this worker
    /// has held when they see that it is gone.
    pub async fn close(mut self) -> Result<(), TaskError> {
        let outstanding = Arc::clone(&self.outstanding);
        outstanding.close();
        let me = self.me.borrow().clone();
        let said = match &me {
            Some(me) => self.hand_back_rest(me).await,
            None => Ok(()),
        };
        // A session that ends now is not followed by another name, to which tasks would be given.
        self.driver.abort();
        outstanding.none().await;
        let now = self
            .me
            .borrow()
            .clone()
            .filter(|now| Some(now) != me.as_ref());
        let mut left = Ok(());
        for me in me.iter().chain(&now) {
            left = left.and(leave(&self.parts, me, &outstanding).await);
        }
        self.left = left.is_ok();
        said.and(left)
    }

    /// Says that no more is wanted, then gives back what was not begun: the other way round it would be
    /// given to this worker again.
    async fn hand_back_rest(&mut self, me: &WorkerId) -> Result<(), TaskError> {
        let leaving = say(&self.parts, Event::Leaving(me.clone()));
        self.outstanding.patiently(leaving).await?;
        self.given.close();
        loop {
            let given = match self.pending.take() {
                Some(given) => given,
                None => match self.given.recv().await {
                    Some(given) => given,
                    None => return Ok(()),
                },
            };
            self.reporter(given).hand_back().await?;
        }
    }
}

/// The worker's own task.
struct Driver {
    parts: Parts,
    name: String,
    capacity: i32,
    events: Following,
    generation: u64,
    /// The last scheduler that the log knows.
    fence: Fence,
    me: watch::Sender<Option<WorkerId>>,
    given: mpsc::UnboundedSender<Given>,
}

impl Driver {
    async fn run(mut self) {
        let mut states = self.parts.session().states();
        loop {
            let state = *states.borrow_and_update();
            self.look_at_session(state).await;
            tokio::select! {
                Ok(()) = states.changed() => {}
                batch = self.events.next() => match batch {
                    Ok(batch) => {
                        if !self.take_in(batch) {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(queue = self.parts.topics.queue, %error, "the events cannot be read");
                        return;
                    }
                },
            }
        }
    }

    /// Under a new session everything begins anew.
    async fn look_at_session(&mut self, state: SessionState) {
        if let SessionState::Lost { generation } = state
            && generation == self.generation
        {
            self.me.send_replace(None);
        }
        let SessionState::Connected { generation, .. } = state else {
            return;
        };
        if generation == self.generation {
            return;
        }
        let me: WorkerId = format!("{}-{:016x}", self.name, rand::random::<u64>()).into();
        let (group, topic) = (self.parts.topics.group(), &self.parts.topics.events);
        let capacity = BTreeMap::from([(topic.as_str().to_owned(), self.capacity)]);
        // Known before it is registered: it is never given anything that it would not take for its own.
        self.me.send_replace(Some(me.clone()));
        loop {
            match self.parts.registry.join_group(&group, &me, &capacity).await {
                Ok(_) => break,
                Err(error) => tracing::debug!(%error, "cannot register yet"),
            }
            if self.parts.session().state().generation() != generation {
                // The next look takes another name.
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        self.generation = generation;
    }

    /// Picks out what is given to this worker; `false`: nobody takes it any more.
    fn take_in(&mut self, batch: Batch) -> bool {
        let me = self.me.borrow().clone();
        for record in &batch.records {
            let name = record.headers.first().map(|h| h.key.as_str());
            if !matches!(name, Some("assigned" | "elected")) {
                continue;
            }
            match Event::read(record) {
                Some(Event::Elected(fence)) => self.fence = self.fence.max(fence),
                Some(Event::Decided {
                    fence,
                    place,
                    id,
                    attempt,
                    verdict:
                        Verdict::Assigned {
                            worker,
                            lease_ms,
                            payload,
                        },
                }) if fence >= self.fence && me.as_ref() == Some(&worker) => {
                    let lease = u64::try_from(lease_ms).unwrap_or(0);
                    let given = Given {
                        place,
                        id,
                        attempt,
                        worker,
                        lease: Duration::from_millis(lease),
                        // Not a slice: it would keep the whole batch.
                        payload: payload.as_deref().map(Bytes::copy_from_slice),
                    };
                    if self.given.send(given).is_err() {
                        return self.me.receiver_count() > 0;
                    }
                }
                _ => {}
            }
        }
        true
    }
}
