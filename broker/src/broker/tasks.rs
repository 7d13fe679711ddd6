//! The background tasks of one broker: each has a name, all end and are joined at shutdown.
//!
//! Only `broker.rs` uses it. Rounds that touch the disk run on the blocking pool, so that a slow disk
//! never holds up a thread that serves connections.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Longest wait for one task at shutdown.
const JOIN_MAX: Duration = Duration::from_secs(10);

/// Running tasks and what stops them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    stop: CancellationToken,
    running: Vec<(&'static str, JoinHandle<()>)>,
}

impl Tasks {
    /// A token that is cancelled when the tasks shall end.
    pub(super) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `task`, which ends by itself once the stop token is cancelled.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.push((name, tokio::spawn(task)));
    }

    /// Runs `round` on the blocking pool every `period`, one at a time.
    pub(super) fn every(
        &mut self,
        name: &'static str,
        period: Duration,
        round: impl Fn() + Clone + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            let mut ticks = interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                if let Err(error) = tokio::task::spawn_blocking(round.clone()).await {
                    tracing::error!(task = name, %error, "a round was cut short; the next one comes");
                }
            }
        });
    }

    /// Ends all tasks, the newest first, and waits for each.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        while let Some((name, task)) = self.running.pop() {
            let abort = task.abort_handle();
            match tokio::time::timeout(JOIN_MAX, task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(task = name, %error, "this task had failed"),
                Err(_) => {
                    tracing::warn!(task = name, waited = ?JOIN_MAX, "this task does not end: left behind");
                    abort.abort();
                }
            }
        }
    }
}
