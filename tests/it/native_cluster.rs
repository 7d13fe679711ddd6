//! Our producer and consumer while brokers are killed, stand still, stop and come back: of what
//! was acknowledged nothing is lost or doubled, and nobody sees anything out of order. The same
//! clients on brokers of ours and on real ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::brokers::{Brokers, Coordination, Maker, Options};
use harness::history::{Outcome, Recorder, Value, What};
use harness::rdkafka::{committed, read_all};
use harness::wait;
use nyala_client::config::OffsetReset;
use nyala_client::consumer::ConsumerBuilder;
use nyala_client::error::ConsumerError;
use nyala_client::producer::{ProducerBuilder, Record};
use nyala_client::{Consumer, Producer};
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 3;
const TOPIC: &str = "ride";
/// Sends that are not acknowledged yet, at most.
const UNDER_WAY_MAX: usize = 200;

fn topic() -> TopicName {
    TopicName::new(TOPIC).expect("legal")
}

/// How clients find the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bootstrap,
    ZooKeeper,
}

/// A cluster with one topic, and all that its clients note.
struct Ride {
    brokers: Brokers,
    runtime: Runtime,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
    way: Way,
}

impl Ride {
    fn start(maker: Maker, way: Way) -> Self {
        let brokers = Brokers::start(Options {
            makers: vec![maker; 3],
            coordination: Coordination::Real,
            ..Options::default()
        });
        brokers.create_topic(TOPIC, PARTITIONS, 3, &[]);
        Self {
            brokers,
            runtime: Runtime::new().expect("a runtime"),
            recorder: Recorder::default(),
            stop: Arc::default(),
            way,
        }
    }

    fn producer(&self) -> ProducerBuilder {
        let builder = match self.way {
            Way::Bootstrap => Producer::builder().bootstrap(&self.brokers.bootstrap()),
            Way::ZooKeeper => Producer::builder().zookeeper(&self.brokers.connect),
        };
        builder.linger(Duration::from_millis(2))
    }

    fn consumer(&self) -> ConsumerBuilder {
        let builder = match self.way {
            Way::Bootstrap => Consumer::builder().bootstrap(&self.brokers.bootstrap()),
            Way::ZooKeeper => Consumer::builder().zookeeper(&self.brokers.connect),
        };
        builder
            .topics([topic()])
            .offset_reset(OffsetReset::Earliest)
            .session_timeout(Duration::from_secs(6))
    }

    /// Sends numbered values round the partitions until told to stop; all must be acknowledged.
    fn produce(&self, client: u32) -> JoinHandle<()> {
        let (builder, recorder) = (self.producer(), self.recorder.clone());
        let stop = Arc::clone(&self.stop);
        self.runtime.spawn(async move {
            let producer = builder.build().await.expect("a cluster");
            let mut under_way = VecDeque::new();
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) || !under_way.is_empty() {
                if !stop.load(Ordering::Relaxed) && under_way.len() < UNDER_WAY_MAX {
                    let partition = i32::try_from(number % 3).expect("small");
                    let value = Value::new(client, number);
                    let record = Record::new(topic(), value.payload());
                    let record = record.with_partition(PartitionIndex(partition));
                    let begun = recorder.now();
                    let ack = producer.send(record).await.expect("room");
                    under_way.push_back((begun, number, partition, ack));
                    number += 1;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let Some((begun, number, partition, ack)) = under_way.pop_front() else {
                    continue;
                };
                let placed = ack.await.expect("retried until a leader is there");
                let what = What::Send {
                    at: (TOPIC.into(), partition),
                    value: Value::new(client, number),
                    number,
                    outcome: placed.offset.map_or(Outcome::InLog, Outcome::Acked),
                };
                recorder.note(client, begun, what);
            }
            producer.close().await.expect("all is settled");
        })
    }

    /// Reads everything from the start without a group, until told to stop.
    fn read(&self, client: u32) -> JoinHandle<()> {
        let (builder, recorder) = (self.consumer(), self.recorder.clone());
        let stop = Arc::clone(&self.stop);
        self.runtime.spawn(async move {
            let mut consumer = builder.build().await.expect("a cluster");
            while !stop.load(Ordering::Relaxed) {
                let begun = recorder.now();
                let polled = consumer.poll(Duration::from_millis(100)).await;
                let records = polled.expect("a failover is no error of the application's");
                let Some(first) = records.first() else {
                    continue;
                };
                let partition = first.partition.0;
                let value = |v: Option<&[u8]>| Value::of(v.unwrap_or_default());
                let what = What::Poll {
                    at: (TOPIC.into(), partition),
                    records: records
                        .iter()
                        .map(|r| (r.offset, value(r.value.as_deref())))
                        .collect(),
                };
                recorder.note(client, begun, what);
            }
        })
    }

    fn leader(&self, topic: &str, partition: i32) -> i32 {
        let mut znodes = self.brokers.znodes();
        wait::until("a leader", || {
            let state = znodes.state(topic, partition);
            let leader = state.as_ref().map(|s| s.leader).filter(|id| *id >= 0);
            leader.ok_or(state)
        })
    }

    fn wait_for_acks(&self, more: usize) {
        let enough = self.recorder.acked_count() + more;
        wait::until("more acknowledgements", || {
            let now = self.recorder.acked_count();
            if now >= enough { Ok(()) } else { Err(now) }
        });
    }

    /// Every partition takes records again: what is under way is bounded over all of them.
    fn goes_on(&self) {
        self.wait_for_acks(4 * UNDER_WAY_MAX);
    }

    /// Ends the clients and looks for anything that cannot be.
    fn check(self, clients: Vec<JoinHandle<()>>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in clients {
            self.runtime.block_on(client).expect("the client is well");
        }
        let mut history = self.recorder.snapshot();
        for partition in 0..PARTITIONS {
            let read = read_all(&self.brokers.bootstrap(), TOPIC, partition);
            let read = read.iter().map(|(offset, v)| (*offset, Value::of(v)));
            history
                .logs
                .insert((TOPIC.into(), partition), read.collect());
        }
        let found = history.check();
        assert!(found.is_empty(), "{found:#?}");
        assert!(history.acked_count() > 100, "hardly anything was sent");
    }
}

fn leaders_come_and_go(maker: Maker, way: Way) {
    let mut ride = Ride::start(maker, way);
    let clients = vec![ride.produce(1), ride.produce(2), ride.read(3)];
    ride.goes_on();
    let id = ride.leader(TOPIC, 0);
    ride.brokers.node(id).kill();
    ride.goes_on();
    ride.brokers.node(id).start();
    ride.brokers.znodes().wait_for_full_isr(TOPIC);
    // One that stands still for longer than its session, and wakes up as nobody.
    let id = ride.leader(TOPIC, 1);
    ride.brokers.node(id).pause();
    ride.goes_on();
    ride.brokers.node(id).resume();
    ride.brokers.znodes().wait_for_full_isr(TOPIC);
    let id = ride.leader(TOPIC, 2);
    ride.brokers.node(id).stop();
    ride.goes_on();
    ride.brokers.node(id).start();
    ride.brokers.znodes().wait_for_full_isr(TOPIC);
    ride.goes_on();
    ride.check(clients);
}

#[test]
fn leaders_come_and_go_under_clients_that_know_zookeeper() {
    leaders_come_and_go(Maker::Nyala, Way::ZooKeeper);
}

#[test]
fn leaders_come_and_go_under_clients_that_know_brokers() {
    leaders_come_and_go(Maker::Nyala, Way::Bootstrap);
}

#[test]
fn leaders_of_a_real_kafka_come_and_go_under_our_clients() {
    leaders_come_and_go(Maker::Kafka, Way::Bootstrap);
}

/// What the members of a group were given, together.
type Given = BTreeMap<i32, BTreeSet<i64>>;

/// A member that commits after every poll and notes what was committed.
fn member(ride: &Ride, client: u32) -> JoinHandle<Given> {
    let builder = ride.consumer().group("riders").auto_commit(false);
    let builder = builder.configure(|c| c.heartbeat_interval = Duration::from_millis(300));
    let (recorder, stop) = (ride.recorder.clone(), Arc::clone(&ride.stop));
    ride.runtime.spawn(async move {
        let mut consumer = builder.build().await.expect("a cluster");
        let mut given = Given::new();
        while !stop.load(Ordering::Relaxed) {
            let records = match consumer.poll(Duration::from_millis(100)).await {
                Ok(records) => records,
                Err(error @ ConsumerError::Closed) => panic!("{error}"),
                Err(error) => {
                    eprintln!("member {client}: {error}");
                    continue;
                }
            };
            let Some(last) = records.last() else {
                continue;
            };
            let (partition, next) = (last.partition.0, last.offset + 1);
            let offsets = records.iter().map(|r| r.offset);
            given.entry(partition).or_default().extend(offsets);
            let begun = recorder.now();
            let done = consumer.commit().await;
            if let Err(error) = &done {
                eprintln!("member {client} has not committed: {error}");
            }
            let what = What::Commit {
                group: "riders".into(),
                at: (TOPIC.into(), partition),
                offset: next,
                done: done.is_ok(),
            };
            recorder.note(client, begun, what);
        }
        // A close that fails leaves the group to its session timeout.
        let _ = consumer.close().await;
        given
    })
}

/// The partition of `__consumer_offsets`, out of the harness's four, that holds the group.
fn group_partition(group: &str) -> i32 {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
    hash.wrapping_abs() % 4
}

fn a_group_outlives_its_coordinator(maker: Maker, way: Way) {
    let mut ride = Ride::start(maker, way);
    let producers = vec![ride.produce(1)];
    let members = [member(&ride, 11), member(&ride, 12)];
    let mut znodes = ride.brokers.znodes();
    let committed_once = |recorder: &Recorder, more: usize| {
        let commits = |r: &Recorder| {
            r.with(|h| {
                let done = |what: &What| matches!(what, What::Commit { done: true, .. });
                h.operations.iter().filter(|o| done(&o.what)).count()
            })
        };
        let enough = commits(recorder) + more;
        wait::until("more commits", || {
            let now = commits(recorder);
            if now >= enough { Ok(()) } else { Err(now) }
        });
    };
    committed_once(&ride.recorder, 20);
    for kill in [true, false] {
        let offsets = "__consumer_offsets";
        let id = match way {
            Way::Bootstrap => ride.leader(offsets, group_partition("riders")),
            Way::ZooKeeper => ride.leader(TOPIC, 0),
        };
        match kill {
            true => ride.brokers.node(id).kill(),
            false => drop(ride.brokers.node(id).stop()),
        }
        committed_once(&ride.recorder, 20);
        ride.brokers.node(id).start();
        znodes.wait_for_full_isr(TOPIC);
        if way == Way::Bootstrap {
            znodes.wait_for_full_isr(offsets);
        }
    }
    committed_once(&ride.recorder, 20);
    ride.stop.store(true, Ordering::Relaxed);
    let mut given = Given::new();
    for member in members {
        let one = ride.runtime.block_on(member).expect("the member is well");
        for (partition, offsets) in one {
            given.entry(partition).or_default().extend(offsets);
        }
    }
    for (partition, offsets) in &given {
        let dense = offsets.iter().zip(0..).all(|(offset, n)| *offset == n);
        assert!(dense, "partition {partition}: records were passed over");
    }
    if way == Way::Bootstrap {
        let stored = committed(&ride.brokers.bootstrap(), "riders", TOPIC, PARTITIONS);
        for (partition, offsets) in &given {
            let last = offsets.last().expect("something was given");
            let stored = stored.get(partition).copied().unwrap_or(0);
            assert!(stored <= last + 1, "{partition}: {stored} after {last}");
        }
    }
    ride.check(producers);
}

#[test]
fn a_group_of_brokers_outlives_its_coordinator() {
    a_group_outlives_its_coordinator(Maker::Nyala, Way::Bootstrap);
}

#[test]
fn a_group_of_a_real_kafka_outlives_its_coordinator() {
    a_group_outlives_its_coordinator(Maker::Kafka, Way::Bootstrap);
}

#[test]
fn a_group_in_zookeeper_outlives_leaders() {
    a_group_outlives_its_coordinator(Maker::Nyala, Way::ZooKeeper);
}
