//! A librdkafka consumer in a group, on a thread of its own: reads, commits as it goes, and can be
//! paused (it stops polling), closed (it leaves) or dropped dead (it falls silent).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::Message;

use crate::rdkafka::config;

/// What the consumer tells while it runs.
#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    pause: AtomicBool,
    assigned: Mutex<BTreeSet<i32>>,
    assignments: AtomicUsize,
    revoked: Mutex<Vec<BTreeSet<i32>>>,
    values: Mutex<Vec<String>>,
}

/// Notes every assignment and revocation.
struct Listener {
    told: Arc<Told>,
    incremental: bool,
}

impl ClientContext for Listener {}

impl ConsumerContext for Listener {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let partitions = |list: &rdkafka::TopicPartitionList| -> BTreeSet<i32> {
            list.elements().iter().map(|e| e.partition()).collect()
        };
        match rebalance {
            Rebalance::Assign(list) => {
                let mut assigned = self.told.assigned.lock();
                if !self.incremental {
                    assigned.clear();
                }
                assigned.extend(partitions(list));
                self.told.assignments.fetch_add(1, Ordering::Relaxed);
            }
            Rebalance::Revoke(list) => {
                let gone = partitions(list);
                self.told.assigned.lock().retain(|p| !gone.contains(p));
                self.told.revoked.lock().push(gone);
            }
            Rebalance::Error(_) => {}
        }
    }
}

/// A member of a group. Dropping it closes the consumer, which leaves the group unless it is static.
#[derive(Debug)]
pub struct Member {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins `group` on `topic`; `extra` settings of librdkafka on top.
    #[must_use]
    pub fn join(bootstrap: &str, group: &str, topic: &str, extra: &[(&str, &str)]) -> Self {
        let mut config = config(
            bootstrap,
            &[
                ("group.id", group),
                ("auto.offset.reset", "earliest"),
                ("auto.commit.interval.ms", "100"),
                // What the closing consumer still fetches is read by nobody, and must not be committed.
                ("enable.auto.offset.store", "false"),
                ("session.timeout.ms", "6000"),
                ("heartbeat.interval.ms", "300"),
                ("topic.metadata.refresh.interval.ms", "1000"),
            ],
        );
        for (key, value) in extra {
            config.set(*key, *value);
        }
        let told = Arc::new(Told::default());
        let listener = Listener {
            told: Arc::clone(&told),
            incremental: extra.iter().any(|(_, v)| v.contains("cooperative")),
        };
        let consumer: BaseConsumer<Listener> = config
            .create_with_context(listener)
            .expect("consumer settings are legal");
        consumer.subscribe(&[topic]).expect("a topic");
        let state = Arc::clone(&told);
        let thread = std::thread::spawn(move || run(&consumer, &state));
        Self {
            told,
            thread: Some(thread),
        }
    }

    /// Partitions that it has now.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<i32> {
        self.told.assigned.lock().clone()
    }

    /// How often it was given partitions.
    #[must_use]
    pub fn assignments(&self) -> usize {
        self.told.assignments.load(Ordering::Relaxed)
    }

    /// What it had to give up, each time.
    #[must_use]
    pub fn revoked(&self) -> Vec<BTreeSet<i32>> {
        self.told.revoked.lock().clone()
    }

    /// Values read so far.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.told.values.lock().clone()
    }

    /// Stops polling, as an application does that hangs; or goes on.
    pub fn pause(&self, pause: bool) {
        self.told.pause.store(pause, Ordering::Relaxed);
    }

    /// Closes the consumer and waits for that; what it read.
    pub fn close(mut self) -> Vec<String> {
        self.end();
        self.values()
    }

    fn end(&mut self) {
        self.told.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the consumer's thread ends well");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(consumer: &BaseConsumer<Listener>, told: &Told) {
    while !told.stop.load(Ordering::Relaxed) {
        if told.pause.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(20));
            continue;
        }
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
            let value = message.payload().unwrap_or_default();
            let value = String::from_utf8_lossy(value).into_owned();
            told.values.lock().push(value);
            // Refused when the partition has just been taken away: another reads it again.
            let _ = consumer.store_offset_from_message(&message);
        }
    }
}
