//! Groups that meet in ZooKeeper: who owns what, when, through every way of losing a member.
//!
//! A producer writes numbered records all the time; every member notes what it handles, under the
//! fencing token of its ownership. From these notes alone it is decided that no partition ever had
//! two live owners and that nothing was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use harness::cluster::{nyala, nyala_binary};
use harness::folder::in_memory;
use harness::ports::free_port;
use harness::process::Process;
use harness::proxy::Proxy;
use harness::wait;
use harness::zookeeper::EmbeddedZooKeeper;
use nyala_client::cluster::Cluster;
use nyala_client::config::{ClusterConfig, OffsetReset};
use nyala_client::consumer::{ConsumerBuilder, FencingToken};
use nyala_client::error::ConsumerError;
use nyala_client::producer::Record;
use nyala_client::{Consumer, Producer};
use nyala_coordinator::embedded::ServerConfig;
use nyala_coordinator::ids::{PartitionIndex, TopicName};
use nyala_coordinator::session::Session;
use parking_lot::Mutex;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::session::connect;

mod operator;

const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A ZooKeeper in this process, where sessions can be ended, and a broker as a process of its own.
struct Rig {
    runtime: tokio::runtime::Runtime,
    broker: Process,
    zookeeper: Option<EmbeddedZooKeeper>,
    zk_address: String,
    bootstrap: String,
    folder: TempDir,
}

impl Rig {
    fn start() -> Self {
        let folder = in_memory();
        let zookeeper = EmbeddedZooKeeper::start(folder.path());
        let bootstrap = format!("127.0.0.1:{}", free_port());
        let text = format!(
            "broker.id=0\nlisteners=PLAINTEXT://{bootstrap}\nlog.dirs={}\nzookeeper.connect={}\n\
             zookeeper.session.timeout.ms=3000\n",
            folder.path().join("logs").display(),
            zookeeper.address
        );
        std::fs::write(folder.path().join("server.properties"), text).expect("writable");
        Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            broker: start_broker(folder.path()),
            zk_address: zookeeper.address.clone(),
            zookeeper: Some(zookeeper),
            bootstrap,
            folder,
        }
    }

    fn zookeeper(&self) -> &EmbeddedZooKeeper {
        self.zookeeper.as_ref().expect("it runs")
    }

    fn restart_zookeeper(&mut self) {
        self.zookeeper = None;
        self.start_zookeeper();
    }

    fn start_zookeeper(&mut self) {
        let address = self.zk_address.parse().expect("it was an address");
        let config = ServerConfig {
            address,
            ..EmbeddedZooKeeper::config(self.folder.path())
        };
        self.zookeeper = Some(EmbeddedZooKeeper::start_with(config));
    }

    fn nyala(&self, args: &[&str]) {
        let bootstrap = ["--bootstrap", &self.bootstrap];
        let args = [args, &bootstrap].concat();
        nyala(self.folder.path(), &args).expect_success("nyala");
    }
}

fn start_broker(folder: &Path) -> Process {
    let mut command = Command::new(nyala_binary());
    command.args(["broker", "--config", "server.properties"]);
    let mut process = Process::start("broker", folder, command.current_dir(folder));
    process.wait_for_line("ready line of the broker", |l| {
        l.starts_with("ready").then_some(())
    });
    process
}

fn topic() -> TopicName {
    TopicName::new("ledger").expect("legal")
}

/// A record that somebody handled.
#[derive(Clone, Debug)]
struct Seen {
    member: usize,
    partition: PartitionIndex,
    offset: i64,
    token: FencingToken,
}

type Notes = Arc<Mutex<Vec<Seen>>>;

/// Writes numbered records, until it is told to end.
struct Feeder {
    stop: watch::Sender<bool>,
    task: JoinHandle<BTreeMap<PartitionIndex, BTreeSet<i64>>>,
}

impl Feeder {
    fn start(rig: &Rig) -> Self {
        let (stop, stopped) = watch::channel(false);
        let zookeeper = rig.zk_address.clone();
        let task = rig.runtime.spawn(async move {
            let built = Producer::builder().zookeeper(&zookeeper);
            let producer = built.build().await.expect("a cluster");
            let mut acked: BTreeMap<PartitionIndex, BTreeSet<i64>> = BTreeMap::new();
            let mut number = 0_u64;
            while !*stopped.borrow() {
                let mut acks = Vec::new();
                for _ in 0..20 {
                    number += 1;
                    // Keys spread the records over all partitions evenly.
                    let record = Record::new(topic(), number.to_string());
                    let record = record.with_key(number.to_string());
                    acks.push(producer.send(record).await.expect("room"));
                }
                for ack in acks {
                    let placed = ack.await.expect("the broker lives");
                    let offset = placed.offset.expect("acks=all tells the offset");
                    let new = acked.entry(placed.partition).or_default().insert(offset);
                    assert!(new, "two records at one offset");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            acked
        });
        Self { stop, task }
    }

    /// Ends, and says what was acknowledged.
    fn finish(self, rig: &Rig) -> BTreeMap<PartitionIndex, BTreeSet<i64>> {
        self.stop.send_replace(true);
        rig.runtime.block_on(self.task).expect("the feeder is fine")
    }
}

/// A member of the group, in this process.
struct Member {
    session: Session,
    stop: watch::Sender<bool>,
    assigned: watch::Receiver<BTreeSet<PartitionIndex>>,
    task: JoinHandle<()>,
}

impl Member {
    fn start(rig: &Rig, number: usize, notes: &Notes) -> Self {
        Self::start_committing(rig, number, notes, Duration::from_millis(200))
    }

    fn start_committing(rig: &Rig, number: usize, notes: &Notes, interval: Duration) -> Self {
        let built = Consumer::builder()
            .zookeeper(&rig.zk_address)
            .group("readers")
            .topics([topic()])
            .offset_reset(OffsetReset::Earliest)
            .session_timeout(SESSION_TIMEOUT)
            .configure(|c| c.auto_commit_interval = interval);
        let consumer = rig.runtime.block_on(built.build()).expect("a cluster");
        Self::of(rig, consumer, number, notes)
    }

    fn of(rig: &Rig, consumer: Consumer, number: usize, notes: &Notes) -> Self {
        let session = consumer.cluster().session().expect("native").clone();
        let (stop, stopped) = watch::channel(false);
        let (tell, assigned) = watch::channel(BTreeSet::new());
        let notes = Arc::clone(notes);
        let task = rig
            .runtime
            .spawn(read(consumer, number, notes, stopped, tell));
        Self {
            session,
            stop,
            assigned,
            task,
        }
    }

    fn share(&self) -> usize {
        self.assigned.borrow().len()
    }

    fn leave(self, rig: &Rig) {
        self.stop.send_replace(true);
        rig.runtime.block_on(self.task).expect("it leaves well");
    }

    /// Ends as a killed process does: without a word to anyone.
    fn die(self, rig: &Rig) {
        rig.runtime.block_on(self.session.abandon());
        self.task.abort();
    }
}

async fn read(
    mut consumer: Consumer,
    member: usize,
    notes: Notes,
    stopped: watch::Receiver<bool>,
    tell: watch::Sender<BTreeSet<PartitionIndex>>,
) {
    let mut tokens = BTreeMap::new();
    while !*stopped.borrow() {
        let records = match consumer.poll(Duration::from_millis(100)).await {
            Ok(records) => records,
            Err(error) => {
                eprintln!("member {member}: {error}");
                continue;
            }
        };
        let assignment = consumer.assignment();
        let mine = assignment.keys().map(|t| t.partition).collect();
        tell.send_replace(mine);
        for (target, (_, token)) in assignment {
            tokens.insert(target.partition, token.expect("native groups have tokens"));
        }
        let mut notes = notes.lock();
        for record in records {
            let token = tokens.get(&record.partition);
            notes.push(Seen {
                member,
                partition: record.partition,
                offset: record.offset,
                token: *token.expect("it was assigned"),
            });
        }
    }
    consumer.close().await.expect("it leaves well");
}

/// Waits until the members' shares are these, in order of size.
fn await_shares(members: &[&Member], expected: &[usize]) {
    let what = format!("shares {expected:?}");
    wait::until(&what, || {
        let mut shares: Vec<usize> = members.iter().map(|m| m.share()).collect();
        shares.sort_unstable_by(|a, b| b.cmp(a));
        (shares == expected).then_some(()).ok_or(shares)
    });
}

/// Two members, once each has `share` partitions.
fn two_members(rig: &Rig, notes: &Notes, share: usize) -> [Member; 2] {
    let members = [0, 1].map(|number| Member::start(rig, number, notes));
    await_shares(&members.iter().collect::<Vec<_>>(), &[share, share]);
    members
}

/// Waits until more than `count` records were handled in all.
fn await_records(notes: &Notes, count: usize) {
    wait::until("records flow", || {
        (notes.lock().len() > count).then_some(()).ok_or(())
    });
}

/// Waits until everything acknowledged was handled by somebody, then checks all notes.
fn check(notes: &Notes, acked: &BTreeMap<PartitionIndex, BTreeSet<i64>>) {
    wait::until("everything is read", || {
        let mut missing = acked.clone();
        for seen in notes.lock().iter() {
            missing
                .entry(seen.partition)
                .or_default()
                .remove(&seen.offset);
        }
        missing.retain(|_, offsets| !offsets.is_empty());
        let first: Vec<_> = missing
            .iter()
            .map(|(p, o)| (*p, o.len(), o.first().copied()))
            .collect();
        first.is_empty().then_some(()).ok_or(first)
    });
    let mut last: BTreeMap<PartitionIndex, Seen> = BTreeMap::new();
    for seen in notes.lock().iter() {
        if let Some(before) = last.get(&seen.partition) {
            assert!(
                seen.token >= before.token,
                "two live owners: {before:?}, then {seen:?}"
            );
            if seen.token == before.token {
                assert_eq!(seen.member, before.member, "one token, one member");
                assert_eq!(seen.offset, before.offset + 1, "{before:?}, then {seen:?}");
            } else {
                assert!(
                    seen.offset <= before.offset + 1,
                    "{before:?}, then {seen:?}"
                );
            }
        }
        last.insert(seen.partition, seen.clone());
    }
}

/// How often a record was handled again.
fn repeats(notes: &Notes) -> usize {
    let notes = notes.lock();
    let distinct: BTreeSet<(PartitionIndex, i64)> =
        notes.iter().map(|s| (s.partition, s.offset)).collect();
    notes.len() - distinct.len()
}

fn start(partitions: &str) -> (Rig, Feeder, Notes) {
    let rig = Rig::start();
    rig.nyala(&["topic", "create", "ledger", "--partitions", partitions]);
    let feeder = Feeder::start(&rig);
    (rig, feeder, Notes::default())
}

#[test]
fn partitions_are_shared_by_one_two_four_and_six_members() {
    let (rig, feeder, notes) = start("4");
    let mut members = Vec::new();
    for (count, expected) in [
        (1, &[4][..]),
        (2, &[2, 2]),
        (4, &[1, 1, 1, 1]),
        (6, &[1, 1, 1, 1, 0, 0]),
    ] {
        while members.len() < count {
            members.push(Member::start(&rig, members.len(), &notes));
        }
        await_shares(&members.iter().collect::<Vec<_>>(), expected);
        let seen = notes.lock().len();
        await_records(&notes, seen + 50);
    }
    for leaving in members.drain(1..) {
        leaving.leave(&rig);
    }
    await_shares(&members.iter().collect::<Vec<_>>(), &[4]);
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(
        repeats(&notes),
        0,
        "whoever goes in peace leaves nothing half done"
    );
    for last in members {
        last.leave(&rig);
    }
}

#[test]
fn a_member_that_dies_is_replaced_and_nothing_is_lost() {
    let (rig, feeder, notes) = start("4");
    let dying = Member::start(&rig, 0, &notes);
    let living = Member::start(&rig, 1, &notes);
    await_shares(&[&dying, &living], &[2, 2]);
    await_records(&notes, 200);
    dying.die(&rig);
    await_shares(&[&living], &[4]);
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    living.leave(&rig);
}

#[test]
fn zookeeper_may_restart_under_a_group() {
    let (mut rig, feeder, notes) = start("4");
    let members = two_members(&rig, &notes, 2);
    for _ in 0..2 {
        rig.restart_zookeeper();
        let seen = notes.lock().len();
        await_records(&notes, seen + 100);
        await_shares(&members.iter().collect::<Vec<_>>(), &[2, 2]);
    }
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    for member in members {
        member.leave(&rig);
    }
}

#[test]
fn after_a_silence_of_zookeeper_a_member_goes_on_where_it_was() {
    let (mut rig, feeder, notes) = start("4");
    // It commits when it leaves: what is committed is of no help.
    let interval = Duration::from_secs(3600);
    let member = Member::start_committing(&rig, 0, &notes, interval);
    await_shares(&[&member], &[4]);
    await_records(&notes, 200);
    let session = member.session.session_id();
    rig.zookeeper = None;
    await_shares(&[&member], &[0]);
    rig.start_zookeeper();
    await_shares(&[&member], &[4]);
    assert_eq!(member.session.session_id(), session, "nobody else had them");
    let seen = notes.lock().len();
    await_records(&notes, seen + 100);
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(repeats(&notes), 0);
    member.leave(&rig);
}

/// A cluster whose session gives a call up after 5 s.
fn enter(rig: &Rig) -> Cluster {
    let session = rig.runtime.block_on(connect(&rig.zk_address));
    let cluster = Cluster::zookeeper(session, ClusterConfig::default());
    rig.runtime.block_on(cluster).expect("a cluster")
}

fn build_in(rig: &Rig, built: ConsumerBuilder, cluster: Cluster) -> Consumer {
    let _runtime = rig.runtime.enter();
    built.build_in(cluster).expect("legal settings")
}

#[test]
fn the_next_topic_of_a_name_is_read_from_its_start() {
    let (rig, feeder, notes) = start("1");
    let member = Member::start(&rig, 0, &notes);
    await_records(&notes, 200);
    feeder.finish(&rig);
    member.leave(&rig);
    let committed = || {
        let session = rig.runtime.block_on(connect(&rig.zk_address));
        let node = session.get_if_exists("/consumers/readers/offsets/ledger/0");
        rig.runtime.block_on(node).expect("connected").is_some()
    };
    assert!(committed());
    rig.nyala(&["topic", "delete", "ledger"]);
    wait::until("the topic has gone", || {
        if committed() { Err(()) } else { Ok(()) }
    });
    rig.nyala(&["topic", "create", "ledger", "--partitions", "1"]);
    notes.lock().clear();
    let feeder = Feeder::start(&rig);
    let member = Member::start(&rig, 0, &notes);
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    member.leave(&rig);
}

#[test]
fn what_cannot_be_committed_is_an_error() {
    let (mut rig, feeder, notes) = start("1");
    let built = Consumer::builder()
        .group("readers")
        .topics([topic()])
        .offset_reset(OffsetReset::Earliest)
        .configure(|c| c.auto_commit_interval = Duration::from_secs(3600));
    let mut consumer = build_in(&rig, built, enter(&rig));
    let some = |rig: &Rig, consumer: &mut Consumer| {
        wait::until("records", || {
            let polled = consumer.poll(Duration::from_millis(100));
            match rig.runtime.block_on(polled).expect("records").len() {
                0 => Err(()),
                _ => Ok(()),
            }
        });
    };
    some(&rig, &mut consumer);
    rig.runtime.block_on(consumer.commit()).expect("in touch");
    // Another has it: what was handed out and not committed is told, once.
    some(&rig, &mut consumer);
    let session = consumer.cluster().session().expect("native").clone();
    let id = session.session_id().expect("connected");
    assert!(rig.zookeeper().server().expire_session(id));
    wait::until("a new session", || {
        let now = session.session_id();
        now.is_some_and(|now| now != id).then_some(()).ok_or(now)
    });
    wait::until("the partition again", || {
        let held = consumer.assignment();
        if held.is_empty() { Err(held) } else { Ok(()) }
    });
    let lost = rig.runtime.block_on(consumer.commit());
    assert!(
        matches!(lost, Err(ConsumerError::Fenced { .. })),
        "{lost:?}"
    );
    some(&rig, &mut consumer);
    rig.runtime.block_on(consumer.commit()).expect("its own");
    // In doubt.
    some(&rig, &mut consumer);
    rig.zookeeper = None;
    wait::until("it lets go", || {
        let held = consumer.assignment();
        if held.is_empty() { Ok(()) } else { Err(held) }
    });
    let unsure = rig.runtime.block_on(consumer.commit());
    assert!(unsure.is_err(), "{unsure:?}");
    let unsure = rig.runtime.block_on(consumer.close());
    assert!(unsure.is_err(), "{unsure:?}");
    rig.start_zookeeper();
    feeder.finish(&rig);
    drop(notes);
}

/// What is committed for a partition.
fn committed(rig: &Rig, session: &Session, partition: PartitionIndex) -> i64 {
    let path = format!("/consumers/readers/offsets/ledger/{partition}");
    let node = rig.runtime.block_on(session.get_if_exists(&path));
    let node = node.expect("connected");
    node.map_or(0, |node| {
        let text = String::from_utf8(node.data).expect("digits");
        text.parse().expect("an offset")
    })
}

/// A member that commits when it is told to; through `address`, in a session of its own.
fn committing_by_hand(rig: &Rig, address: &str, interval: Duration) -> Consumer {
    let built = Consumer::builder()
        .zookeeper(address)
        .group("readers")
        .topics([topic()])
        .offset_reset(OffsetReset::Earliest)
        .session_timeout(Duration::from_secs(8))
        .configure(|c| c.auto_commit_interval = interval);
    rig.runtime.block_on(built.build()).expect("a cluster")
}

/// Polls; the next offset of each partition that something came of goes to `next`.
fn take(rig: &Rig, consumer: &mut Consumer, next: &mut BTreeMap<PartitionIndex, i64>) {
    let polled = consumer.poll(Duration::from_millis(50));
    match rig.runtime.block_on(polled) {
        Err(error) => eprintln!("{error}"),
        Ok(records) => next.extend(records.iter().map(|r| (r.partition, r.offset + 1))),
    }
}

#[test]
fn a_commit_that_succeeds_has_written_all_that_was_handled() {
    let (rig, feeder, notes) = start("4");
    let observer = rig.runtime.block_on(connect(&rig.zk_address));
    let mut consumer = committing_by_hand(&rig, &rig.zk_address, Duration::from_secs(3600));
    let mut next = BTreeMap::new();
    let (mut succeeded, mut refused) = (0, 0);
    let mut commit = |consumer: &mut Consumer, next: &mut BTreeMap<PartitionIndex, i64>| {
        // Whether it is refused or not, what it was asked for has been told then.
        let handled = std::mem::take(next);
        match rig.runtime.block_on(consumer.commit()) {
            Err(ConsumerError::Fenced { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(()) => {
                succeeded += usize::from(!handled.is_empty());
                for (partition, offset) in handled {
                    let written = committed(&rig, &observer, partition);
                    assert!(written >= offset, "{partition}: {written}, not {offset}");
                }
            }
        }
    };
    for number in 1..=6 {
        let before = consumer.assignment().len();
        let other = Member::start(&rig, number, &notes);
        // In the middle of what the other's coming and going takes away and brings.
        wait::until("two each", || {
            take(&rig, &mut consumer, &mut next);
            commit(&mut consumer, &mut next);
            let held = consumer.assignment().len();
            (held == 2).then_some(()).ok_or((before, held))
        });
        other.leave(&rig);
        wait::until("all of them", || {
            take(&rig, &mut consumer, &mut next);
            commit(&mut consumer, &mut next);
            let held = consumer.assignment().len();
            (held == 4).then_some(()).ok_or(held)
        });
    }
    assert!(succeeded > 6, "{succeeded} commits, {refused} refused");
    rig.runtime.block_on(consumer.close()).expect("it leaves");
    feeder.finish(&rig);
}

#[test]
fn a_commit_whose_answer_is_lost_does_not_undo_a_later_one() {
    let (rig, feeder, notes) = start("1");
    let observer = rig.runtime.block_on(connect(&rig.zk_address));
    let proxy = rig.runtime.block_on(Proxy::start(&rig.zk_address));
    let partition = PartitionIndex(0);
    let mut consumer = committing_by_hand(&rig, &proxy.address, Duration::from_millis(200));
    let mut next = BTreeMap::new();
    let mut highest = 0;
    let mut written = || {
        let written = committed(&rig, &observer, partition);
        assert!(written >= highest, "back from {highest} to {written}");
        highest = written;
        written
    };
    for _ in 0..3 {
        let begun = written();
        wait::until("its own commits", || {
            take(&rig, &mut consumer, &mut next);
            let now = written();
            (now > begun + 100).then_some(()).ok_or(now)
        });
        wait::until("a commit that it does not hear of", || {
            proxy.lose_answers();
            let before = written();
            for _ in 0..40 {
                take(&rig, &mut consumer, &mut next);
                let now = written();
                if now > before {
                    return Ok(());
                }
            }
            // One was under way already, and no other follows before its answer.
            proxy.cut();
            proxy.heal();
            Err(before)
        });
        take(&rig, &mut consumer, &mut next);
        let handled = next[&partition];
        proxy.cut();
        proxy.heal();
        let done = rig.runtime.block_on(consumer.commit());
        done.expect("the session goes on");
        let now = written();
        assert!(now >= handled, "{now}, not {handled}");
    }
    let handled = next[&partition];
    rig.runtime.block_on(consumer.close()).expect("it leaves");
    assert!(written() >= handled);
    feeder.finish(&rig);
    drop(notes);
}

#[test]
fn members_that_share_a_session_are_two() {
    let (rig, feeder, notes) = start("2");
    let build = |cluster: Cluster| {
        let built = Consumer::builder()
            .group("readers")
            .topics([topic()])
            .offset_reset(OffsetReset::Earliest)
            .configure(|c| c.auto_commit_interval = Duration::from_millis(200));
        build_in(&rig, built, cluster)
    };
    let cluster = enter(&rig);
    let mut members = vec![Member::of(&rig, build(cluster.clone()), 0, &notes)];
    await_shares(&[&members[0]], &[2]);
    await_records(&notes, 100);
    members.push(Member::of(&rig, build(cluster), 1, &notes));
    await_shares(&members.iter().collect::<Vec<_>>(), &[1, 1]);
    let seen = notes.lock().len();
    await_records(&notes, seen + 100);
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(repeats(&notes), 0);
    // Dropped, it gives back what it has: the session goes on.
    members.remove(0).task.abort();
    await_shares(&[&members[0]], &[2]);
    for member in members {
        member.leave(&rig);
    }
}

#[test]
fn a_member_whose_session_expires_comes_back_with_a_new_one() {
    let (rig, feeder, notes) = start("4");
    let members = two_members(&rig, &notes, 2);
    for member in &members {
        let session = member.session.session_id().expect("connected");
        assert!(rig.zookeeper().server().expire_session(session));
        let seen = notes.lock().len();
        wait::until("a new session", || {
            let now = member.session.session_id();
            now.is_some_and(|id| id != session).then_some(()).ok_or(now)
        });
        await_records(&notes, seen + 100);
        await_shares(&members.iter().collect::<Vec<_>>(), &[2, 2]);
    }
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    for member in members {
        member.leave(&rig);
    }
}

#[test]
fn new_partitions_are_read_by_somebody() {
    let (rig, feeder, notes) = start("2");
    let members = two_members(&rig, &notes, 1);
    rig.nyala(&["topic", "alter", "ledger", "--partitions", "6"]);
    await_shares(&members.iter().collect::<Vec<_>>(), &[3, 3]);
    wait::until("records in a new partition", || {
        let new = |s: &&Seen| s.partition.0 >= 2;
        let count = notes.lock().iter().filter(new).count();
        (count > 50).then_some(()).ok_or(count)
    });
    let acked = feeder.finish(&rig);
    assert_eq!(acked.len(), 6);
    check(&notes, &acked);
    for member in members {
        member.leave(&rig);
    }
}

/// Partition and offset of each line that `nyala consume` printed.
fn printed(text: &str) -> Vec<(PartitionIndex, i64)> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let pair = |line: &str| {
        let mut fields = line.split('\t');
        let mut number = || fields.next().and_then(|f| f.parse::<i64>().ok());
        let partition = i32::try_from(number()?).ok()?;
        Some((PartitionIndex(partition), number()?))
    };
    whole.lines().filter_map(pair).collect()
}

#[test]
fn a_paused_member_hands_out_nothing_that_is_anothers() {
    // A pause may come between the handing out of a batch and its printing, which looks the same; but not
    // every time.
    for _ in 0..3 {
        let stale = printed_late_by_a_paused_member();
        if stale.is_empty() {
            return;
        }
        eprintln!("the other's by then: {stale:?}");
    }
    panic!("a member that stood still hands out what is another's, see above");
}

/// What a member prints after a pause although another one has read it meanwhile.
fn printed_late_by_a_paused_member() -> Vec<(PartitionIndex, i64)> {
    let (rig, feeder, notes) = start("4");
    let mut command = Command::new(nyala_binary());
    command.args([
        "consume",
        "ledger",
        "--group",
        "readers",
        "--from-beginning",
    ]);
    command.args(["--print-partition", "--print-offset"]);
    command.args([
        "--session-timeout-ms",
        "2000",
        "--zookeeper",
        &rig.zk_address,
    ]);
    let mut paused = Process::start("paused", rig.folder.path(), &mut command);
    wait::until("the child reads", || {
        let count = printed(&paused.stdout()).len();
        (count > 100).then_some(()).ok_or(count)
    });
    paused.pause();
    let before = printed(&paused.stdout());
    // Its session ends while it stands still, and another takes its partitions.
    let other = Member::start(&rig, 1, &notes);
    await_shares(&[&other], &[4]);
    await_records(&notes, 400);
    let taken: BTreeMap<PartitionIndex, i64> = notes
        .lock()
        .iter()
        .map(|s| (s.partition, s.offset))
        .collect();
    paused.signal(Signal::CONT);
    await_shares(&[&other], &[2]);
    wait::until("the child reads again", || {
        let count = printed(&paused.stdout()).len();
        (count > before.len() + 100).then_some(()).ok_or(count)
    });
    let mut late = printed(&paused.stdout()).split_off(before.len());
    late.retain(|(partition, offset)| taken.get(partition).is_some_and(|taken| offset <= taken));
    let acked = feeder.finish(&rig);
    // All that neither of them lost.
    wait::until("everything is read", || {
        let mut read: BTreeSet<(PartitionIndex, i64)> =
            printed(&paused.stdout()).into_iter().collect();
        read.extend(notes.lock().iter().map(|s| (s.partition, s.offset)));
        let all = acked
            .iter()
            .flat_map(|(p, o)| o.iter().map(move |o| (*p, *o)));
        let missing: Vec<_> = all.filter(|at| !read.contains(at)).collect();
        missing.is_empty().then_some(()).ok_or(missing.len())
    });
    let ended = paused.terminate();
    assert!(ended.status.success(), "{ended:?}");
    other.leave(&rig);
    late
}

#[test]
fn a_group_reads_on_through_restarts_of_the_broker() {
    let (mut rig, feeder, notes) = start("4");
    let member = Member::start(&rig, 0, &notes);
    await_shares(&[&member], &[4]);
    for _ in 0..2 {
        rig.broker.kill();
        rig.broker = start_broker(rig.folder.path());
        let seen = notes.lock().len();
        await_records(&notes, seen + 100);
    }
    let acked = feeder.finish(&rig);
    check(&notes, &acked);
    assert_eq!(repeats(&notes), 0, "the group did not change");
    member.leave(&rig);
}
