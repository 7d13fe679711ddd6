//! librdkafka in groups: members join, leave, hang, restart; nothing is lost, and every partition
//! has its owner again.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use harness::cluster::Dev;
use harness::member::Member;
use harness::rdkafka::{committed, producer};
use harness::wait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::FutureRecord;

const TOPIC: &str = "work";
const PARTITIONS: i32 = 6;
const EAGER: &[(&str, &str)] = &[("partition.assignment.strategy", "range")];

/// A broker with the topic, quick to rebalance.
fn broker() -> Dev {
    let dev = Dev::start_with_overrides(&[
        "group.initial.rebalance.delay.ms=100",
        "offsets.topic.num.partitions=4",
    ]);
    create(&dev.bootstrap());
    dev
}

fn create(bootstrap: &str) {
    let admin: AdminClient<DefaultClientContext> = harness::rdkafka::config(bootstrap, &[])
        .create()
        .expect("an admin client");
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let results = block_on(admin.create_topics(&[topic], &AdminOptions::new()));
    for result in results.expect("an answer") {
        result.expect("the topic is created");
    }
}

/// Produces values `from..to`, over all partitions.
fn produce(bootstrap: &str, from: usize, to: usize) {
    let producer = producer(bootstrap, &[]);
    let sends = (from..to).map(|n| {
        let value = n.to_string();
        let producer = producer.clone();
        async move {
            let record = FutureRecord::<(), _>::to(TOPIC)
                .payload(&value)
                .partition(i32::try_from(n).expect("small") % PARTITIONS);
            producer
                .send(record, Duration::from_secs(30))
                .await
                .expect("acknowledged");
        }
    });
    block_on(futures::future::join_all(sends));
}

/// Waits until these members own all partitions between them, each at least `least`.
fn shared(what: &str, members: &[&Member], least: usize) {
    wait::until(what, || {
        let shares: Vec<BTreeSet<i32>> = members.iter().map(|m| m.assigned()).collect();
        let sum: usize = shares.iter().map(BTreeSet::len).sum();
        let all: BTreeSet<i32> = shares.iter().flatten().copied().collect();
        let whole = usize::try_from(PARTITIONS).expect("small");
        if all.len() == whole && sum == whole && shares.iter().all(|s| s.len() >= least) {
            Ok(())
        } else {
            Err(shares)
        }
    });
}

/// Waits until every value below `count` was read by someone.
fn all_read(count: usize, members: &[&Member], before: &[String]) {
    wait::until("every record to be read", || {
        let read: BTreeSet<usize> = members
            .iter()
            .flat_map(|m| m.values())
            .chain(before.iter().cloned())
            .map(|v| v.parse().expect("a number"))
            .collect();
        let missing: Vec<usize> = (0..count).filter(|n| !read.contains(n)).take(5).collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing)
        }
    });
}

#[test]
fn three_members_share_lose_one_and_take_a_hanging_one_back() {
    let dev = broker();
    let bootstrap = dev.bootstrap();
    let writer = {
        let bootstrap = bootstrap.clone();
        thread::spawn(move || {
            for round in 0..20 {
                produce(&bootstrap, round * 100, (round + 1) * 100);
            }
        })
    };
    let hang = [EAGER, &[("max.poll.interval.ms", "6000")]].concat();
    let a = Member::join(&bootstrap, "g", TOPIC, EAGER);
    shared("one member to own all", &[&a], 6);
    let b = Member::join(&bootstrap, "g", TOPIC, &hang);
    shared("two members to share", &[&a, &b], 3);
    let c = Member::join(&bootstrap, "g", TOPIC, EAGER);
    shared("three members to share", &[&a, &b, &c], 2);
    let read_by_c = c.close();
    shared("two members to share what the third left", &[&a, &b], 3);
    b.pause(true);
    wait::until("the one that polls to own all", || {
        match a.assigned().len() {
            6 => Ok(()),
            other => Err(other),
        }
    });
    b.pause(false);
    shared("the other one to come back", &[&a, &b], 3);
    writer.join().expect("all acknowledged");
    all_read(2000, &[&a, &b], &read_by_c);
    // What was read is committed, each partition up to its end.
    wait::until("the ends to be committed", || {
        let ends: Vec<i64> = committed(&bootstrap, "g", TOPIC, PARTITIONS)
            .into_values()
            .collect();
        let sum: i64 = ends.iter().sum();
        if ends.len() == 6 && sum == 2000 {
            Ok(())
        } else {
            Err(ends)
        }
    });
}

#[test]
fn a_static_member_that_restarts_gets_its_partitions_back_and_disturbs_nobody() {
    let dev = broker();
    let bootstrap = dev.bootstrap();
    produce(&bootstrap, 0, 600);
    let box_of = |name| {
        [
            EAGER,
            &[("group.instance.id", name), ("session.timeout.ms", "30000")],
        ]
        .concat()
    };
    let a = Member::join(&bootstrap, "s", TOPIC, &box_of("a"));
    let b = Member::join(&bootstrap, "s", TOPIC, &box_of("b"));
    shared("two members to share", &[&a, &b], 3);
    all_read(600, &[&a, &b], &[]);
    let (mine, assignments, revoked) = (b.assigned(), a.assignments(), a.revoked().len());
    // A static member does not leave when it closes: it will be back.
    let read_by_b = b.close();
    let b = Member::join(&bootstrap, "s", TOPIC, &box_of("b"));
    wait::until("the same partitions", || match b.assigned() {
        ours if ours == mine => Ok(()),
        other => Err(other),
    });
    produce(&bootstrap, 600, 1200);
    all_read(1200, &[&a, &b], &read_by_b);
    assert_eq!((a.assignments(), a.revoked().len()), (assignments, revoked));
    // Nothing that was committed is read again.
    let twice: Vec<usize> = b
        .values()
        .iter()
        .filter_map(|v| v.parse().ok())
        .filter(|n| *n < 600)
        .collect();
    assert!(twice.is_empty(), "{twice:?}");
    // A second one under the same name fences the first, which loses its partitions.
    let again = Member::join(&bootstrap, "s", TOPIC, &box_of("b"));
    wait::until("the newer one to own them", || match again.assigned() {
        ours if ours == mine => Ok(()),
        other => Err(other),
    });
}

#[test]
fn cooperative_members_give_up_only_what_moves() {
    let dev = broker();
    let bootstrap = dev.bootstrap();
    produce(&bootstrap, 0, 600);
    let cooperative = [("partition.assignment.strategy", "cooperative-sticky")];
    let a = Member::join(&bootstrap, "c", TOPIC, &cooperative);
    shared("one member to own all", &[&a], 6);
    let b = Member::join(&bootstrap, "c", TOPIC, &cooperative);
    shared("two members to share", &[&a, &b], 3);
    let c = Member::join(&bootstrap, "c", TOPIC, &cooperative);
    shared("three members to share", &[&a, &b, &c], 2);
    let given_up: Vec<usize> = a
        .revoked()
        .iter()
        .map(BTreeSet::len)
        .filter(|n| *n > 0)
        .collect();
    assert_eq!(given_up.iter().sum::<usize>(), 4, "{:?}", a.revoked());
    produce(&bootstrap, 600, 1200);
    all_read(1200, &[&a, &b, &c], &[]);
    let read_by_c = c.close();
    shared("two members to share again", &[&a, &b], 3);
    produce(&bootstrap, 1200, 1800);
    all_read(1800, &[&a, &b], &read_by_c);
}

#[test]
fn groups_and_offsets_survive_kill_and_restart() {
    let mut dev = broker();
    let bootstrap = dev.bootstrap();
    produce(&bootstrap, 0, 600);
    let member = Member::join(&bootstrap, "k", TOPIC, EAGER);
    all_read(600, &[&member], &[]);
    wait::until("everything to be committed", || {
        match committed(&bootstrap, "k", TOPIC, PARTITIONS)
            .values()
            .sum::<i64>()
        {
            600 => Ok(()),
            other => Err(other),
        }
    });
    dev.kill();
    dev.restart();
    let bootstrap = dev.bootstrap();
    assert_eq!(
        committed(&bootstrap, "k", TOPIC, PARTITIONS)
            .values()
            .sum::<i64>(),
        600
    );
    // The member goes on by itself: same group, same place.
    produce(&bootstrap, 600, 1200);
    all_read(1200, &[&member], &[]);
    let twice = member.values().len();
    assert_eq!(
        twice, 1200,
        "records were read again although they were committed"
    );
    // A member that fell silent while nobody looked after the group is gone after its session.
    drop(member);
    dev.kill();
    dev.restart();
    let bootstrap = dev.bootstrap();
    let next = Member::join(&bootstrap, "k", TOPIC, EAGER);
    shared("the next member to own all", &[&next], 6);
    produce(&bootstrap, 1200, 1300);
    wait::until("only what is new", || {
        let values = next.values();
        if values.len() >= 100 {
            Ok(())
        } else {
            Err(values.len())
        }
    });
    assert_eq!(next.values().len(), 100);
}
