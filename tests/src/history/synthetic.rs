//! Histories of a cluster that does everything right, made up from a seed: what the checker must
//! find nothing in, and what anomalies are put into to see that it finds them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, History, Operation, Outcome, Partition, ReplicaLog, Value, What};
use crate::seed::Seed;

const PARTITIONS: i32 = 2;
const PRODUCERS: u32 = 2;
/// Readers have numbers above the producers'.
const READERS: std::ops::Range<u32> = 10..12;
/// Asks for watermarks and committed offsets.
const OBSERVER: u32 = 20;

/// A send under way.
struct Sending {
    number: u64,
    value: Value,
    begun: Duration,
}

struct Model {
    seed: Seed,
    now: Duration,
    history: History,
    group: Arc<str>,
    numbers: BTreeMap<u32, u64>,
    sending: BTreeMap<(u32, i32), VecDeque<Sending>>,
    logs: BTreeMap<i32, Vec<(i64, Value)>>,
    batches: BTreeMap<i32, Vec<Batch>>,
    epochs: BTreeMap<i32, (i32, i32)>,
    positions: BTreeMap<(u32, i32), usize>,
    committed: BTreeMap<i32, i64>,
    generation: (i32, Duration),
    lock: (u32, Duration),
}

/// A right history of about `steps` operations.
#[must_use]
pub fn clean(seed: u64, steps: usize) -> History {
    let mut model = Model {
        seed: Seed::new(seed),
        now: Duration::from_millis(1),
        history: History::default(),
        group: "group".into(),
        numbers: BTreeMap::new(),
        sending: BTreeMap::new(),
        logs: (0..PARTITIONS).map(|p| (p, Vec::new())).collect(),
        batches: BTreeMap::new(),
        epochs: BTreeMap::new(),
        positions: BTreeMap::new(),
        committed: BTreeMap::new(),
        generation: (1, Duration::ZERO),
        lock: (READERS.start, Duration::ZERO),
    };
    for partition in 0..PARTITIONS {
        model.elect(partition);
    }
    for _ in 0..steps {
        model.step();
    }
    model.end()
}

impl Model {
    fn at(partition: i32) -> Partition {
        ("topic".into(), partition)
    }

    fn note(&mut self, client: u32, begun: Duration, what: What) {
        let operation = Operation {
            client,
            begun,
            ended: self.now,
            what,
        };
        self.history.operations.push(operation);
    }

    fn pass_time(&mut self) {
        self.now += Duration::from_millis(1 + self.seed.number() % 3);
    }

    fn partition(&mut self) -> i32 {
        i32::try_from(self.seed.number() % 2).expect("0 or 1")
    }

    fn reader(&mut self) -> u32 {
        READERS.start + u32::from(self.seed.percent(50))
    }

    fn step(&mut self) {
        self.pass_time();
        let partition = self.partition();
        let producer = 1 + u32::from(self.seed.percent(50)) % PRODUCERS;
        match self.seed.below(100) {
            0..35 => self.send(producer, partition),
            35..65 => self.answer(producer, partition),
            65..80 => {
                let reader = self.reader();
                self.poll(reader, partition);
            }
            80..85 => self.commit(partition, 90),
            85..90 => self.observe(partition),
            90..93 => self.elect(partition),
            93..95 => self.seek(partition),
            95..97 => self.rebalance(),
            97..99 => self.hand_over(),
            _ => self.fault(),
        }
    }

    fn send(&mut self, producer: u32, partition: i32) {
        let number = self.numbers.entry(producer).or_default();
        *number += 1;
        let sending = Sending {
            number: *number,
            value: Value::new(producer, *number),
            begun: self.now,
        };
        let queue = self.sending.entry((producer, partition)).or_default();
        queue.push_back(sending);
    }

    fn answer(&mut self, producer: u32, partition: i32) {
        let queue = self.sending.entry((producer, partition)).or_default();
        let Some(sending) = queue.pop_front() else {
            return;
        };
        let outcome = match self.seed.below(100) {
            0..90 => Outcome::Acked(self.append(partition, sending.value)),
            90..93 => {
                self.append(partition, sending.value);
                Outcome::Unknown
            }
            93..96 => Outcome::Unknown,
            _ => Outcome::Refused,
        };
        let what = What::Send {
            at: Self::at(partition),
            value: sending.value,
            number: sending.number,
            outcome,
        };
        self.note(producer, sending.begun, what);
    }

    fn append(&mut self, partition: i32, value: Value) -> i64 {
        let log = self.logs.entry(partition).or_default();
        let offset = i64::try_from(log.len()).expect("small");
        log.push((offset, value));
        self.batches.entry(partition).or_default().push(Batch {
            first: offset,
            last: offset,
            epoch: self.epochs.get(&partition).map_or(0, |(epoch, _)| *epoch),
            sum: (7, value.0),
        });
        offset
    }

    fn poll(&mut self, reader: u32, partition: i32) {
        let begun = self.now;
        self.pass_time();
        let log = &self.logs[&partition];
        let position = self.positions.entry((reader, partition)).or_default();
        let end = log.len().min(*position + 5);
        let records = log[*position..end].to_vec();
        *position = end;
        let what = What::Poll {
            at: Self::at(partition),
            records,
        };
        self.note(reader, begun, what);
    }

    fn seek(&mut self, partition: i32) {
        let reader = self.reader();
        let length = self.logs[&partition].len();
        let to = self.seed.below(length + 1);
        self.positions.insert((reader, partition), to);
        let what = What::Seek {
            at: Self::at(partition),
        };
        self.note(reader, self.now, what);
    }

    fn commit(&mut self, partition: i32, done_percent: usize) {
        let begun = self.now;
        self.pass_time();
        let reader = self.reader();
        let offset = self
            .committed
            .get(&partition)
            .map_or(1, |offset| offset + 3);
        let done = self.seed.percent(done_percent);
        if done || self.seed.percent(50) {
            self.committed.insert(partition, offset);
        }
        let what = What::Commit {
            group: Arc::clone(&self.group),
            at: Self::at(partition),
            offset,
            done,
        };
        self.note(reader, begun, what);
    }

    fn observe(&mut self, partition: i32) {
        let begun = self.now;
        self.pass_time();
        let high = i64::try_from(self.logs[&partition].len()).expect("small");
        let at = Self::at(partition);
        let what = What::Watermark {
            at: at.clone(),
            high,
        };
        self.note(OBSERVER, begun, what);
        let begun = self.now;
        self.pass_time();
        let what = What::Committed {
            group: Arc::clone(&self.group),
            at,
            offset: self.committed.get(&partition).copied(),
        };
        self.note(OBSERVER, begun, what);
    }

    fn elect(&mut self, partition: i32) {
        let leader = i32::try_from(self.seed.number() % 3).expect("0 to 2");
        let (epoch, broker) = self
            .epochs
            .get(&partition)
            .map_or((0, leader), |(epoch, _)| (epoch + 1, leader));
        self.epochs.insert(partition, (epoch, broker));
        let what = What::Leader {
            at: Self::at(partition),
            epoch,
            broker,
        };
        self.note(OBSERVER, self.now, what);
    }

    /// Ends a generation: who owned what in it.
    fn rebalance(&mut self) {
        let (generation, begun) = self.generation;
        for partition in 0..PARTITIONS {
            let owner = self.reader();
            let what = What::Owns {
                group: Arc::clone(&self.group),
                at: Self::at(partition),
                generation: Some(generation),
            };
            self.note(owner, begun, what);
        }
        self.generation = (generation + 1, self.now);
    }

    /// Ends a claim by lock.
    fn hand_over(&mut self) {
        let (owner, begun) = self.lock;
        let what = What::Owns {
            group: "locks".into(),
            at: Self::at(0),
            generation: None,
        };
        self.note(owner, begun, what);
        self.pass_time();
        self.lock = (self.reader(), self.now);
    }

    fn fault(&mut self) {
        let begun = self.now;
        self.pass_time();
        let kind = "kill".to_owned();
        self.note(0, begun, What::Fault { kind });
    }

    /// Answers what is under way, then shows that everything works; the logs as they are.
    fn end(mut self) -> History {
        let open: Vec<(u32, i32)> = self.sending.keys().copied().collect();
        for (producer, partition) in open {
            while !self.sending[&(producer, partition)].is_empty() {
                self.pass_time();
                self.answer(producer, partition);
            }
        }
        self.rebalance();
        self.hand_over();
        self.history.healed = Some(self.now);
        for partition in 0..PARTITIONS {
            let acked = |history: &History| history.acked_count();
            let before = acked(&self.history);
            while acked(&self.history) == before {
                self.pass_time();
                self.send(1, partition);
                self.pass_time();
                self.answer(1, partition);
            }
            for reader in READERS {
                let length = self.logs[&partition].len();
                let position = self.positions.get(&(reader, partition)).copied();
                // At least one record is new to everyone.
                for _ in position.unwrap_or(0)..length {
                    self.pass_time();
                    self.poll(reader, partition);
                }
            }
            self.commit(partition, 100);
            self.pass_time();
            self.observe(partition);
        }
        for (partition, log) in &self.logs {
            let at = Self::at(*partition);
            let batches = self.batches.get(partition).cloned().unwrap_or_default();
            let replica = |broker| ReplicaLog {
                broker,
                batches: batches.clone(),
            };
            self.history
                .replicas
                .insert(at.clone(), (0..3).map(replica).collect());
            self.history.logs.insert(at, log.clone());
        }
        self.history
    }
}
