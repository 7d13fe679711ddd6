//! Where clients, on whatever thread, note what they do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nyala_coordinator::clock;
use parking_lot::Mutex;

use super::{History, Operation, Outcome, What};

/// A history that is being written. Clones write into the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    start: Instant,
    /// The same moment by the clock on the wall, for what other processes tell.
    start_wall_ms: i64,
    history: Arc<Mutex<History>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            start: clock::now(),
            start_wall_ms: clock::wall_ms(),
            history: Arc::default(),
        }
    }
}

impl Recorder {
    /// The time since the history began.
    #[must_use]
    pub fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.start)
    }

    /// The time of this history at a time of the wall's clock.
    #[must_use]
    pub fn at_wall_ms(&self, ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(ms - self.start_wall_ms).unwrap_or(0))
    }

    /// Notes an operation that began at `begun` and ends now.
    pub fn note(&self, client: u32, begun: Duration, what: What) {
        self.note_until(client, (begun, self.now()), what);
    }

    /// Notes an operation with both its times.
    pub fn note_until(&self, client: u32, (begun, ended): (Duration, Duration), what: What) {
        let operation = Operation {
            client,
            begun,
            ended,
            what,
        };
        self.history.lock().operations.push(operation);
    }

    /// Number of operations so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.history.lock().operations.len()
    }

    /// Number of sends that were acknowledged so far.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.history.lock().acked_count()
    }

    /// The first send that began at or after `from` and was acknowledged: when that was.
    #[must_use]
    pub fn first_ack_of_a_send_after(&self, from: Duration) -> Option<Duration> {
        let history = self.history.lock();
        let acks = history.operations.iter().filter(|operation| {
            let acked = matches!(
                operation.what,
                What::Send {
                    outcome: Outcome::Acked(_),
                    ..
                }
            );
            acked && operation.begun >= from
        });
        acks.map(|operation| operation.ended).min()
    }

    /// Works on the history as it is so far.
    pub fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        work(&mut self.history.lock())
    }

    /// The history as it is so far.
    #[must_use]
    pub fn snapshot(&self) -> History {
        self.history.lock().clone()
    }
}
