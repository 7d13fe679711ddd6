//! The native clients under load: a producer that finds everything through ZooKeeper, and members
//! of a group that meets in ZooKeeper, where a partition has one owner at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nyala_client::config::OffsetReset;
use nyala_client::consumer::{Consumer, FencingToken};
use nyala_client::producer::{Ack, Producer, Record};
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::history::{Outcome, Partition, Value, What};
use crate::load::{Client, Told, Work};

/// Starts a producer, number `client`, with `rate` records a second.
#[must_use]
pub fn produce(work: &Work, connect: &str, client: u32, rate: u64) -> Client {
    let (work, connect) = (work.clone(), connect.to_owned());
    Client::start("native producer", move |told| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime
            .expect("a runtime")
            .block_on(send_until(told, &work, &connect, (client, rate)));
    })
}

async fn send_until(told: &Told, work: &Work, connect: &str, (client, rate): (u32, u64)) {
    let built = Producer::builder()
        .zookeeper(connect)
        .idempotent(true)
        .linger(Duration::from_millis(2))
        .delivery_timeout(Duration::from_secs(300))
        .configure(|c| c.block_max = Duration::from_secs(120));
    let producer = built.build().await.expect("a cluster");
    let topic = TopicName::new(&work.topic).expect("legal");
    let partitions = u64::try_from(work.partitions).expect("above 0");
    let mut waiting = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
    let mut number = 0;
    while told.to_go_on() {
        tick.tick().await;
        let value = Value::new(client, number);
        let partition = i32::try_from(number % partitions).expect("small");
        let record =
            Record::new(topic.clone(), value.payload()).with_partition(PartitionIndex(partition));
        let sent = Sent {
            begun: work.recorder.now(),
            number,
            value,
            partition,
        };
        let ack = producer.send(record).await.expect("room in the buffer");
        waiting.spawn(settle(work.clone(), client, sent, ack));
        number += 1;
        while waiting.try_join_next().is_some() {}
    }
    producer.close().await.expect("all is settled");
    while waiting.join_next().await.is_some() {}
}

/// One record under way.
struct Sent {
    begun: Duration,
    number: u64,
    value: Value,
    partition: i32,
}

async fn settle(work: Work, client: u32, sent: Sent, ack: Ack) {
    let outcome = match ack.await {
        Ok(placed) => placed.offset.map_or(Outcome::InLog, Outcome::Acked),
        Err(error) => {
            eprintln!("{} failed: {error}", sent.value);
            Outcome::Unknown
        }
    };
    let what = What::Send {
        at: (work.topic.clone(), sent.partition),
        value: sent.value,
        number: sent.number,
        outcome,
    };
    work.recorder.note(client, sent.begun, what);
}

/// What a member knows of one of its partitions.
struct Held {
    token: Option<FencingToken>,
    /// From its first records under this claim to its last.
    since: Duration,
    until: Duration,
}

/// Starts a member of `group`, number `client`.
#[must_use]
pub fn consume(work: &Work, connect: &str, client: u32, group: &str) -> Client {
    let (work, connect) = (work.clone(), connect.to_owned());
    let group: Arc<str> = group.into();
    Client::start("native consumer", move |told| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let member = Member {
            work,
            client,
            group,
            held: BTreeMap::new(),
            claims: BTreeMap::new(),
        };
        runtime
            .expect("a runtime")
            .block_on(member.read_until(told, &connect));
    })
}

struct Member {
    work: Work,
    client: u32,
    group: Arc<str>,
    held: BTreeMap<Partition, Held>,
    /// Under which claim it read each partition last: under the same one it goes on where it was.
    claims: BTreeMap<Partition, FencingToken>,
}

impl Member {
    async fn read_until(mut self, told: &Told, connect: &str) {
        let built = Consumer::builder()
            .zookeeper(connect)
            .group(self.group.to_string())
            .topics([TopicName::new(&self.work.topic).expect("legal")])
            .offset_reset(OffsetReset::Earliest)
            .session_timeout(Duration::from_secs(6))
            .build();
        let mut consumer = built.await.expect("a cluster");
        while told.to_go_on() {
            self.poll(&mut consumer).await;
        }
        let places: Vec<Partition> = self.held.keys().cloned().collect();
        for at in places {
            self.give_up(&at);
        }
        // What it has not committed, others read again; nobody minds here.
        let _ = consumer.close().await;
    }

    /// Forgets what it does not hold any more: it lets go of everything while its session is in
    /// doubt.
    fn look_what_is_left(&mut self, consumer: &Consumer) {
        let assigned = consumer.assignment();
        let holds = |at: &Partition, held: &Held| {
            let mut assigned = assigned.iter();
            assigned.any(|(place, (_, token))| place.partition.0 == at.1 && *token == held.token)
        };
        let gone = self.held.iter().filter(|(at, held)| !holds(at, held));
        let gone: Vec<Partition> = gone.map(|(at, _)| at.clone()).collect();
        gone.iter().for_each(|at| self.give_up(at));
    }

    async fn poll(&mut self, consumer: &mut Consumer) {
        self.look_what_is_left(consumer);
        let begun = self.work.recorder.now();
        let records = match consumer.poll(Duration::from_millis(200)).await {
            Ok(records) => records,
            Err(error) => {
                eprintln!("native consumer {}: {error}", self.client);
                return;
            }
        };
        let came = self.work.recorder.now();
        let Some(first) = records.first() else {
            return;
        };
        let at: Partition = (self.work.topic.clone(), first.partition.0);
        let assigned = consumer.assignment();
        let token = assigned
            .iter()
            .find(|(place, _)| place.partition == first.partition)
            .and_then(|(_, (_, token))| *token);
        let same = self
            .held
            .get(&at)
            .is_some_and(|held| token.is_some() && held.token == token);
        if !same {
            self.give_up(&at);
            let before = token.and_then(|token| self.claims.insert(at.clone(), token));
            if token.is_none() || before != token {
                // Under another claim it goes on where the group was.
                self.note(came, came, What::Seek { at: at.clone() });
            }
            let held = Held {
                token,
                since: came,
                until: came,
            };
            self.held.insert(at.clone(), held);
        } else if let Some(held) = self.held.get_mut(&at) {
            held.until = begun.max(held.since);
        }
        let records = records
            .iter()
            .map(|r| (r.offset, Value::of(r.value.as_deref().unwrap_or_default())))
            .collect();
        let what = What::Poll {
            at: at.clone(),
            records,
        };
        self.note(came, came, what);
        if token.is_none() {
            // Lost while the records were handed out: whose they were is not known.
            self.held.remove(&at);
            self.note(came, came, What::Seek { at });
        }
    }

    fn give_up(&mut self, at: &Partition) {
        if let Some(held) = self.held.remove(at) {
            let what = What::Owns {
                group: Arc::clone(&self.group),
                at: at.clone(),
                generation: None,
            };
            self.note(held.since, held.until, what);
        }
    }

    fn note(&self, begun: Duration, ended: Duration, what: What) {
        self.work
            .recorder
            .note_until(self.client, (begun, ended), what);
    }
}
