//! A cluster under load that something happens to, and the verdict at the end.
//!
//! Two producers, a reader, a committer and observers run all the time and note what they do.
//! [`Scene::finish`] heals everything, waits until the work goes on, reads all logs and replicas
//! and gives the history to the checker.

use std::time::Duration;

use nyala_coordinator::clock;

use crate::brokers::{Brokers, Maker, Options, SESSION};
use crate::history::liveness::{STUCK_AFTER, longest_gap};
use crate::history::{Anomaly, History, Outcome, Recorder, Value, What};
use crate::load::{Client, Work};
use crate::rdkafka::read_all;
use crate::wait;
use crate::znodes::{State, Znodes};

/// Name of the topic under load.
pub const TOPIC: &str = "load";

/// The group whose commits are watched.
pub const GROUP: &str = "keepers";

/// A new leader acknowledges within this time after the old one is gone: the session's timeout and
/// two seconds (`faults.md`, row 1), as much again where everything shares two cores.
pub const FAILOVER_MAX: Duration = SESSION.saturating_add(Duration::from_secs(4));

/// A cluster under load.
#[derive(Debug)]
pub struct Scene {
    /// The cluster.
    pub brokers: Brokers,
    /// What the clients note.
    pub recorder: Recorder,
    /// What the clients work on.
    pub work: Work,
    /// A reader of its znodes.
    pub znodes: Znodes,
    clients: Vec<Client>,
}

/// The makers of three brokers: ours, or real ones where `NYALA_TEST_MAKER=kafka` asks for it, to
/// see what the same test says of them.
#[must_use]
pub fn three() -> Vec<Maker> {
    let kafka = std::env::var("NYALA_TEST_MAKER").is_ok_and(|maker| maker == "kafka");
    vec![if kafka { Maker::Kafka } else { Maker::Nyala }; 3]
}

impl Scene {
    /// Starts the cluster, a topic with `partitions` and three replicas, and the clients.
    #[must_use]
    pub fn start(options: Options, partitions: i32) -> Self {
        let brokers = Brokers::start(options);
        let mut scene = Self::stage(brokers, partitions);
        scene.begin();
        scene
    }

    /// On a cluster that runs: creates the topic, starts no client yet.
    #[must_use]
    pub fn stage(brokers: Brokers, partitions: i32) -> Self {
        let replicas = i32::try_from(brokers.nodes.len().min(3)).expect("few");
        brokers.create_topic(TOPIC, partitions, replicas, &[]);
        let recorder = Recorder::default();
        let work = Work::new(&brokers.bootstrap(), TOPIC, partitions, &recorder);
        let znodes = brokers.znodes();
        Self {
            brokers,
            recorder,
            work,
            znodes,
            clients: Vec::new(),
        }
    }

    /// Starts the clients and waits until their work is under way.
    pub fn begin(&mut self) {
        let work = &self.work;
        self.clients.push(work.produce(1, 200));
        self.clients.push(work.produce(2, 200));
        self.clients.push(work.read(10));
        self.clients.push(work.observe(20));
        self.clients.push(work.commit(30, GROUP));
        let znodes = self.brokers.znodes();
        self.clients.push(work.watch_leaders(40, znodes));
        work.wait_for_acks(100);
        let partitions = usize::try_from(work.partitions).expect("above 0");
        wait::until("first commits", || {
            let commits = self.recorder.with(|history| {
                let done = |what: &What| matches!(what, What::Commit { done: true, .. });
                history.operations.iter().filter(|o| done(&o.what)).count()
            });
            if commits >= partitions {
                Ok(())
            } else {
                Err(commits)
            }
        });
    }

    /// State of the first partition.
    pub fn state(&mut self) -> State {
        self.znodes
            .wait_for_state(TOPIC, 0, "a leader", |state| state.leader >= 0)
    }

    /// Leader of the first partition.
    pub fn leader(&mut self) -> i32 {
        self.state().leader
    }

    /// A follower of the first partition that is not the controller: who is cut off from the
    /// controller cannot be taken out of the ISR by it.
    pub fn follower(&mut self) -> i32 {
        let (leader, controller) = (self.leader(), self.znodes.controller());
        let mut ids = self.brokers.nodes.iter().map(|node| node.id);
        ids.find(|id| *id != leader && Some(*id) != controller)
            .expect("three brokers")
    }

    /// Does something to the cluster and notes it as a fault from its begin to its end.
    pub fn fault<T>(&mut self, kind: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let begun = self.recorder.now();
        let done = act(self);
        let kind = kind.to_owned();
        self.recorder.note(0, begun, What::Fault { kind });
        done
    }

    /// Whether something sent to the partition after `from` has been acknowledged.
    #[must_use]
    pub fn acked_since(&self, partition: i32, from: Duration) -> bool {
        self.recorder.with(|history| {
            let mut sent = history.operations.iter().filter(|o| o.begun >= from);
            sent.any(|o| is_ack(&o.what, partition))
        })
    }

    /// Waits until something sent to the first partition after `from` is acknowledged, and returns
    /// when that was.
    pub fn first_ack(&self, from: Duration) -> Duration {
        wait::until("an acknowledgement", || {
            let ended = self.recorder.with(|history| {
                let mut acks = history.operations.iter().filter(|o| o.begun >= from);
                acks.find(|o| is_ack(&o.what, 0)).map(|o| o.ended)
            });
            ended.ok_or("none")
        })
    }

    /// Waits until every partition has a new acknowledgement of something that is sent from now on.
    pub fn wait_for_progress(&self) {
        let from = self.recorder.now();
        wait::until("acknowledgements at every partition", || {
            let lacking = self.recorder.with(|history| {
                let lacks = |partition: &i32| {
                    !history
                        .operations
                        .iter()
                        .rev()
                        .take_while(|o| o.ended >= from)
                        .any(|o| o.begun >= from && is_ack(&o.what, *partition))
                };
                (0..self.work.partitions).filter(lacks).collect::<Vec<_>>()
            });
            if lacking.is_empty() {
                Ok(())
            } else {
                Err(lacking)
            }
        });
    }

    /// Longest time between acknowledgements at one partition since `from`.
    #[must_use]
    pub fn longest_gap(&self, from: Duration) -> Duration {
        let now = self.recorder.now();
        let of = |partition| {
            let mut times = self.recorder.with(|history| {
                let acks = history.operations.iter();
                let acks = acks.filter(|o| o.ended >= from && is_ack(&o.what, partition));
                acks.map(|o| o.ended).collect::<Vec<_>>()
            });
            times.sort();
            longest_gap(&times, from, now)
        };
        (0..self.work.partitions).map(of).max().unwrap_or_default()
    }

    /// Number of sends that did not end with an acknowledgement.
    #[must_use]
    pub fn failed_sends(&self) -> usize {
        self.recorder.with(|history| {
            let failed = |what: &What| {
                matches!(
                    what,
                    What::Send {
                        outcome: Outcome::Unknown | Outcome::Refused,
                        ..
                    }
                )
            };
            history
                .operations
                .iter()
                .filter(|o| failed(&o.what))
                .count()
        })
    }

    /// Heals everything, lets the work go on, reads everything, and returns the history with what
    /// the checker found.
    pub fn judge(&mut self) -> (History, Vec<Anomaly>) {
        self.brokers.heal();
        self.judge_running()
    }

    /// As [`Self::judge`], where nothing is broken any more.
    pub fn judge_running(&mut self) -> (History, Vec<Anomaly>) {
        let healed = self.recorder.now();
        self.recorder.with(|history| history.healed = Some(healed));
        self.wait_for_work_of_all_kinds();
        self.znodes.wait_for_full_isr(TOPIC);
        for client in self.clients.drain(..) {
            client.stop();
        }
        let mut history = self.recorder.snapshot();
        let bootstrap = self.brokers.bootstrap();
        for partition in 0..self.work.partitions {
            let at = (TOPIC.into(), partition);
            let read = read_all(&bootstrap, TOPIC, partition);
            let log = read
                .iter()
                .map(|(offset, value)| (*offset, Value::of(value)));
            history.logs.insert(at, log.collect());
        }
        for partition in 0..self.work.partitions {
            let at = (TOPIC.into(), partition);
            let replicas = self.brokers.replica_logs(TOPIC, partition);
            history.replicas.insert(at, replicas);
        }
        let found = history.check();
        (history, found)
    }

    /// Waits until all that was done before the end of the faults is done again, or is stuck.
    fn wait_for_work_of_all_kinds(&self) {
        let deadline = clock::now() + STUCK_AFTER;
        while clock::now() < deadline
            && self
                .recorder
                .with(|history| !history.check_liveness().is_empty())
        {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As [`Self::judge`]; panics with all anomalies and keeps the files, if there are any.
    pub fn finish(mut self) -> History {
        let (history, found) = self.judge();
        if !found.is_empty() {
            let files = self.brokers.keep_files();
            let count = found.len();
            let told: Vec<String> = found.iter().take(30).map(ToString::to_string).collect();
            panic!("{count} anomalies, files in {}: {told:#?}", files.display());
        }
        eprintln!(
            "{} operations, {} acknowledged sends, no anomaly",
            history.operations.len(),
            history.acked_count()
        );
        history
    }
}

fn is_ack(what: &What, partition: i32) -> bool {
    matches!(
        what,
        What::Send { at, outcome: Outcome::Acked(_), .. } if at.1 == partition
    )
}
