//! [`Job`]: one task in the hands of a worker, until it is acknowledged.
//!
//! A report is repeated until it is in the log: the first result counts, so a second copy does no harm. Only a
//! worker that closes gives up in the end: a cluster that is away must not keep a process from ending.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nyala_coordinator::ids::PartitionIndex;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::super::error::TaskError;
use super::super::event::{ERROR_BYTES_MAX, Event, INLINE_BYTES_MAX, Report, Stored, WorkerId};
use super::super::queue::Parts;
use super::super::task::{Place, TaskId};
use super::RETRY;
use crate::error::SendError;
use crate::producer::Record;

/// A task that is done sooner than this needs no report that it began.
const STARTED_AFTER: Duration = Duration::from_millis(500);
/// Shortest time between two reports of progress; what comes between is dropped.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// How long a worker that closes goes on telling an absent cluster something: long enough for another broker
/// to take over from one that died (Kafka's `zookeeper.session.timeout.ms` is 18 s).
const CLOSING_PATIENCE: Duration = Duration::from_secs(20);
/// The same once it was not heard, and not since.
const NO_PATIENCE: Duration = Duration::from_secs(1);

/// Jobs that are not settled, and whether the worker closes.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    count: AtomicUsize,
    changed: Notify,
    closing: CancellationToken,
    /// What was told last came to nothing.
    unheard: AtomicBool,
}

impl Outstanding {
    /// From now on nothing is told for longer than [`CLOSING_PATIENCE`].
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    fn is_unheard(&self) -> bool {
        self.unheard.load(Ordering::Acquire)
    }

    /// What `telling` comes to; or that the worker closes and nobody has listened.
    pub(super) async fn patiently<T>(
        &self,
        telling: impl Future<Output = Result<T, TaskError>>,
    ) -> Result<T, TaskError> {
        let out_of_patience = async {
            self.closing.cancelled().await;
            let patience = match self.is_unheard() {
                true => NO_PATIENCE,
                false => CLOSING_PATIENCE,
            };
            tokio::time::sleep(patience).await;
        };
        let told = tokio::select! {
            told = telling => told,
            () = out_of_patience => Err(TaskError::Unheard),
        };
        let unheard = matches!(told, Err(TaskError::Unheard));
        self.unheard.store(unheard, Ordering::Release);
        told
    }

    /// Waits until all are settled.
    pub(super) async fn none(&self) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// One of them, counted while it lives.
#[derive(Debug)]
struct Counted(Arc<Outstanding>);

impl Counted {
    fn new(outstanding: &Arc<Outstanding>) -> Self {
        outstanding.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(outstanding))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// Says what became of a task.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) parts: Parts,
    pub(super) place: Place,
    pub(super) id: TaskId,
    pub(super) attempt: u32,
    pub(super) worker: WorkerId,
    pub(super) outstanding: Arc<Outstanding>,
}

impl Reporter {
    fn event(&self, report: Report) -> Event {
        Event::Reported {
            place: self.place,
            id: self.id.clone(),
            attempt: self.attempt,
            worker: self.worker.clone(),
            report,
        }
    }

    /// Appends `report`, however long that takes unless the worker closes.
    async fn report(&self, report: Report) -> Result<(), TaskError> {
        self.outstanding.patiently(self.append(report)).await
    }

    async fn append(&self, report: Report) -> Result<(), TaskError> {
        loop {
            let sent = match self.parts.append(self.event(report.clone())).await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(id = %self.id, %error, "a report is not in the log yet")
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    pub(super) async fn hand_back(&self) -> Result<(), TaskError> {
        self.report(Report::Returned).await
    }

    /// Puts a large result where it can be referred to.
    async fn store(&self, result: Bytes) -> Result<Stored, TaskError> {
        if result.len() <= INLINE_BYTES_MAX {
            return Ok(Stored::Inline(result));
        }
        self.outstanding.patiently(self.append_result(result)).await
    }

    async fn append_result(&self, result: Bytes) -> Result<Stored, TaskError> {
        loop {
            let record = Record::new(self.parts.topics.results.clone(), result.clone())
                .with_partition(PartitionIndex(0))
                .with_key(Bytes::copy_from_slice(self.id.as_str().as_bytes()));
            let sent = match self.parts.producer.send(record).await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match sent {
                // Without an offset it cannot be found: once more.
                Ok(placed) => {
                    if let Some(offset) = placed.offset {
                        return Ok(Stored::At(offset));
                    }
                }
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(id = %self.id, %error, "a result is not in the log yet")
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether the same record would be refused again.
fn is_final(error: &SendError) -> bool {
    error.is_too_large() || matches!(error, SendError::Closed | SendError::Batch { .. })
}

/// When the lease ends unless there is progress, and when that was said last.
#[derive(Clone, Copy, Debug)]
struct Pace {
    lease_end: Instant,
    said: Option<Instant>,
}

/// A task in the hands of this worker. It ends with [`ack`](Self::ack), [`retry`](Self::retry) or
/// [`reject`](Self::reject); one that is dropped is handed back, to run again.
#[derive(Debug)]
pub struct Job {
    payload: Bytes,
    reporter: Option<Reporter>,
    id: TaskId,
    attempt: u32,
    lease: Duration,
    pace: Mutex<Pace>,
    started: Option<AbortOnDropHandle<()>>,
    counted: Option<Counted>,
}

impl Drop for Job {
    fn drop(&mut self) {
        let (reporter, counted) = (self.reporter.take(), self.counted.take());
        if let Some(reporter) = reporter
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                // Unless it gets through, the task goes with the worker.
                let _ = reporter.hand_back().await;
                drop(counted);
            });
        }
    }
}

impl Job {
    pub(super) fn new(reporter: Reporter, payload: Bytes, lease: Duration) -> Self {
        let counted = Counted::new(&reporter.outstanding);
        let begun = reporter.clone();
        let started = tokio::spawn(async move {
            tokio::time::sleep(STARTED_AFTER).await;
            // Without it the task has no lease; the worker's session guards it all the same.
            let _ = begun.report(Report::Started).await;
        });
        Self {
            payload,
            id: reporter.id.clone(),
            attempt: reporter.attempt,
            reporter: Some(reporter),
            lease,
            pace: Mutex::new(Pace {
                lease_end: Instant::now() + lease,
                said: None,
            }),
            started: Some(AbortOnDropHandle::new(started)),
            counted: Some(counted),
        }
    }

    /// The task's id: the same whenever and wherever it runs.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// How often the task was given to a worker, this time included.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What the submitter handed over.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Says how far it is, and renews the lease.
    pub async fn progress(&self, text: impl Into<Bytes>) -> Result<(), TaskError> {
        let now = Instant::now();
        {
            let mut pace = self.pace.lock();
            pace.lease_end = now + self.lease;
            let recent = |said: Instant| now < said + PROGRESS_INTERVAL;
            if pace.said.is_some_and(recent) {
                return Ok(());
            }
            pace.said = Some(now);
        }
        match &self.reporter {
            // It would hold up what matters more.
            Some(reporter) if reporter.outstanding.is_unheard() => Ok(()),
            Some(reporter) => reporter.report(Report::Progress(text.into())).await,
            None => Ok(()),
        }
    }

    /// Resolves when the task has run for its lease without progress: another worker gets it soon.
    pub async fn lease_ended(&self) {
        loop {
            let end = self.pace.lock().lease_end;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// It is done. Returns when the result is safe.
    pub async fn ack(mut self, result: impl Into<Bytes>) -> Result<(), TaskError> {
        self.started = None;
        let Some(reporter) = &self.reporter else {
            return Ok(());
        };
        match reporter.store(result.into()).await {
            Ok(stored) => self.conclude(Report::Done(stored)).await,
            Err(error @ TaskError::Unheard) => {
                self.reporter = None;
                Err(error)
            }
            Err(error) => {
                // It would be as large the next time.
                let report = Report::Failed {
                    error: error.to_string().into(),
                    fatal: true,
                };
                self.conclude(report).await?;
                Err(error)
            }
        }
    }

    /// It failed: tried again after a pause, as often as the task allows, then given up.
    pub async fn retry(self, error: impl Into<Bytes>) -> Result<(), TaskError> {
        self.fail(error.into(), false).await
    }

    /// It failed for good: to the dead letters at once.
    pub async fn reject(self, error: impl Into<Bytes>) -> Result<(), TaskError> {
        self.fail(error.into(), true).await
    }

    pub(super) async fn fail(mut self, error: Bytes, fatal: bool) -> Result<(), TaskError> {
        let error = error.slice(..error.len().min(ERROR_BYTES_MAX));
        self.conclude(Report::Failed { error, fatal }).await
    }

    /// It was not done, through no fault of its own: another worker gets it at once.
    pub async fn hand_back(mut self) -> Result<(), TaskError> {
        self.conclude(Report::Returned).await
    }

    /// Says what became of it. Of what nobody has heard nothing more is said: it goes with the worker.
    async fn conclude(&mut self, report: Report) -> Result<(), TaskError> {
        self.started = None;
        let Some(reporter) = &self.reporter else {
            return Ok(());
        };
        let said = reporter.report(report).await;
        if matches!(said, Ok(()) | Err(TaskError::Unheard)) {
            self.reporter = None;
        }
        said
    }
}
