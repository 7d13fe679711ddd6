//! Clients under which a cluster stands while it is broken: librdkafka's producers, readers,
//! committers and observers on threads of their own, all of which note what they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nyala_coordinator::clock;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::history::{Outcome, Partition, Recorder, Value, What};
use crate::rdkafka::config;
use crate::wait;
use crate::znodes::Znodes;

/// What a client is told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    stop: AtomicBool,
    /// Its test has failed: nobody waits for what is still under way.
    abandoned: AtomicBool,
}

impl Told {
    pub(crate) fn to_go_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// A client that runs until it is told to stop.
#[derive(Debug)]
pub struct Client {
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub(crate) fn start(name: &str, work: impl FnOnce(&Told) + Send + 'static) -> Self {
        let told = Arc::new(Told::default());
        let flags = Arc::clone(&told);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || work(&flags)).expect("a thread");
        Self {
            told,
            thread: Some(thread),
        }
    }

    /// Tells it to stop and waits until it has: a producer waits for its last answers.
    pub fn stop(mut self) {
        self.told.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the client has not failed");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let abandoned = self.thread.is_some();
        self.told.abandoned.store(abandoned, Ordering::Relaxed);
        self.told.stop.store(true, Ordering::Relaxed);
    }
}

/// Where and what clients work on.
#[derive(Clone, Debug)]
pub struct Work {
    /// Brokers to begin with.
    pub bootstrap: String,
    /// The topic.
    pub topic: Arc<str>,
    /// Its partitions are 0 to this, exclusive.
    pub partitions: i32,
    /// Where everything is noted.
    pub recorder: Recorder,
}

impl Work {
    /// Work on `topic`, noted in `recorder`.
    #[must_use]
    pub fn new(bootstrap: &str, topic: &str, partitions: i32, recorder: &Recorder) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.into(),
            partitions,
            recorder: recorder.clone(),
        }
    }

    fn at(&self, partition: i32) -> Partition {
        (Arc::clone(&self.topic), partition)
    }

    fn list(&self, offset: Offset) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.topic, partition, offset)
                .expect("a legal offset");
        }
        list
    }

    /// An idempotent producer with acks=all: number `client`, `rate` records a second, round robin.
    #[must_use]
    pub fn produce(&self, client: u32, rate: u64) -> Client {
        self.produce_with(client, rate, &[])
    }

    /// As [`Self::produce`], with settings of librdkafka on top.
    #[must_use]
    pub fn produce_with(&self, client: u32, rate: u64, settings: &[(&str, &str)]) -> Client {
        let work = self.clone();
        let mut built = config(
            &self.bootstrap,
            &[
                ("enable.idempotence", "true"),
                // With more, librdkafka begins a new epoch when the first of them fails and the next is
                // out of order, and sends what is in the log already again (its issue 4953).
                ("max.in.flight.requests.per.connection", "1"),
                ("acks", "all"),
                ("linger.ms", "2"),
                ("message.timeout.ms", "300000"),
                ("request.timeout.ms", "3000"),
                ("socket.timeout.ms", "4000"),
                ("topic.metadata.refresh.interval.ms", "5000"),
            ],
        );
        for (key, value) in settings {
            built.set(*key, *value);
        }
        Client::start("producer", move |told| {
            let notes = Notes {
                client,
                work: work.clone(),
            };
            let producer: ThreadedProducer<Notes> = built
                .create_with_context(notes)
                .expect("producer settings are legal");
            work.send_until(told, &producer, client, rate);
            let end = clock::now() + wait::SOON * 2;
            while producer.in_flight_count() > 0 && !told.is_abandoned() {
                let left = producer.in_flight_count();
                assert!(clock::now() < end, "{left} records were never answered");
                // What is left is told by the error of the next round.
                let _ = producer.flush(Duration::from_millis(200));
            }
            if told.is_abandoned() {
                producer.purge(PurgeConfig::default().queue().inflight());
            }
        })
    }

    fn send_until(&self, told: &Told, producer: &ThreadedProducer<Notes>, client: u32, rate: u64) {
        let start = self.recorder.now();
        let mut number = 0;
        while told.to_go_on() {
            let due = Duration::from_micros(number * 1_000_000 / rate);
            let ahead = due.saturating_sub(self.recorder.now().saturating_sub(start));
            if ahead > Duration::ZERO {
                std::thread::sleep(ahead.min(Duration::from_millis(20)));
                continue;
            }
            let value = Value::new(client, number);
            let partitions = u64::try_from(self.partitions).expect("above 0");
            let partition = i32::try_from(number % partitions).expect("small");
            let sending = Sending {
                begun: self.recorder.now(),
                number,
                value,
                partition,
            };
            let payload = value.payload();
            let record: BaseRecord<'_, (), String, Box<Sending>> =
                BaseRecord::with_opaque_to(&self.topic, Box::new(sending))
                    .partition(partition)
                    .payload(&payload);
            match producer.send(record) {
                Ok(()) => number += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{value} is refused at once: {error}"),
            }
        }
    }

    /// A reader of all partitions from their start, number `client`.
    #[must_use]
    pub fn read(&self, client: u32) -> Client {
        let work = self.clone();
        Client::start("reader", move |told| {
            let consumer = work.consumer(&format!("reader-{client}"));
            consumer
                .assign(&work.list(Offset::Beginning))
                .expect("assignable");
            while told.to_go_on() {
                work.poll(client, &consumer);
            }
        })
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        config(
            &self.bootstrap,
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("auto.offset.reset", "error"),
                ("check.crcs", "true"),
                ("fetch.wait.max.ms", "100"),
                ("socket.timeout.ms", "10000"),
                ("topic.metadata.refresh.interval.ms", "5000"),
            ],
        )
        .create()
        .expect("consumer settings are legal")
    }

    /// Takes what is there, at most a few hundred records, and notes it by partition.
    fn poll(&self, client: u32, consumer: &BaseConsumer) {
        let begun = self.recorder.now();
        let mut came: BTreeMap<i32, Vec<(i64, Value)>> = BTreeMap::new();
        let mut patience = Duration::from_millis(200);
        for _ in 0..300 {
            match consumer.poll(patience) {
                Some(Ok(message)) => {
                    let value = Value::of(message.payload().unwrap_or_default());
                    let record = (message.offset(), value);
                    came.entry(message.partition()).or_default().push(record);
                    patience = Duration::ZERO;
                }
                Some(Err(KafkaError::MessageConsumption(
                    code @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange),
                ))) => panic!("a reader lost its place: {code}"),
                Some(Err(_)) | None => break,
            }
        }
        for (partition, records) in came {
            let at = self.at(partition);
            self.recorder
                .note(client, begun, What::Poll { at, records });
        }
    }

    /// Commits rising offsets for `group`, and reads them back through another client.
    #[must_use]
    pub fn commit(&self, client: u32, group: &str) -> Client {
        let work = self.clone();
        let group: Arc<str> = group.into();
        Client::start("committer", move |told| {
            let (writer, reader) = (work.consumer(&group), work.consumer(&group));
            let mut offset = 0;
            while told.to_go_on() {
                offset += 1;
                work.commit_once(client, &group, &writer, offset);
                work.read_commits(client + 1, &group, &reader);
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    }

    fn commit_once(&self, client: u32, group: &Arc<str>, consumer: &BaseConsumer, offset: i64) {
        let begun = self.recorder.now();
        let done = consumer
            .commit(&self.list(Offset::Offset(offset)), CommitMode::Sync)
            .is_ok();
        for partition in 0..self.partitions {
            let what = What::Commit {
                group: Arc::clone(group),
                at: self.at(partition),
                offset,
                done,
            };
            self.recorder.note(client, begun, what);
        }
    }

    fn read_commits(&self, client: u32, group: &Arc<str>, consumer: &BaseConsumer) {
        let begun = self.recorder.now();
        let answer =
            consumer.committed_offsets(self.list(Offset::Invalid), Duration::from_secs(10));
        let Ok(answer) = answer else {
            return;
        };
        for element in answer.elements() {
            if element.error().is_err() {
                continue;
            }
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            let what = What::Committed {
                group: Arc::clone(group),
                at: self.at(element.partition()),
                offset,
            };
            self.recorder.note(client, begun, what);
        }
    }

    /// Asks for the visible end of each partition, again and again.
    #[must_use]
    pub fn observe(&self, client: u32) -> Client {
        let work = self.clone();
        Client::start("observer", move |told| {
            let consumer = work.consumer("observer");
            while told.to_go_on() {
                for partition in 0..work.partitions {
                    let begun = work.recorder.now();
                    let patience = Duration::from_secs(5);
                    let ends = consumer.fetch_watermarks(&work.topic, partition, patience);
                    if let Ok((_, high)) = ends {
                        let at = work.at(partition);
                        let what = What::Watermark { at, high };
                        work.recorder.note(client, begun, what);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    }

    /// Notes who leads each partition in which epoch, as the znodes say.
    #[must_use]
    pub fn watch_leaders(&self, client: u32, mut znodes: Znodes) -> Client {
        let work = self.clone();
        Client::start("leaders", move |told| {
            while told.to_go_on() {
                for partition in 0..work.partitions {
                    let begun = work.recorder.now();
                    if let Some(state) = znodes.state(&work.topic, partition)
                        && state.leader >= 0
                    {
                        let what = What::Leader {
                            at: work.at(partition),
                            epoch: state.leader_epoch,
                            broker: state.leader,
                        };
                        work.recorder.note(client, begun, what);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    }

    /// Waits until `more` sends than now are acknowledged.
    pub fn wait_for_acks(&self, more: usize) {
        let enough = self.recorder.acked_count() + more;
        wait::until("more acknowledgements", || {
            match self.recorder.acked_count() {
                now if now >= enough => Ok(()),
                now => Err(format!("{now} of {enough}")),
            }
        });
    }

    /// Whether anything was acknowledged of what was sent within the last `time`.
    #[must_use]
    pub fn acked_lately(&self, time: Duration) -> bool {
        let from = self.recorder.now().saturating_sub(time);
        self.recorder.first_ack_of_a_send_after(from).is_some()
    }
}

/// A record under way.
struct Sending {
    begun: Duration,
    number: u64,
    value: Value,
    partition: i32,
}

/// Notes what becomes of each record.
struct Notes {
    client: u32,
    work: Work,
}

impl ClientContext for Notes {}

impl ProducerContext for Notes {
    type DeliveryOpaque = Box<Sending>;

    fn delivery(&self, result: &DeliveryResult<'_>, sending: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) if message.offset() < 0 => Outcome::InLog,
            Ok(message) => Outcome::Acked(message.offset()),
            Err((
                KafkaError::MessageProduction(
                    RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight,
                ),
                _,
            )) => Outcome::Unknown,
            Err((error, _)) => {
                eprintln!("{} failed: {error}", sending.value);
                Outcome::Unknown
            }
        };
        let what = What::Send {
            at: self.work.at(sending.partition),
            value: sending.value,
            number: sending.number,
            outcome,
        };
        self.work.recorder.note(self.client, sending.begun, what);
    }
}
