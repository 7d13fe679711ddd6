//! The registry: who may register, who decides, and that every znode is what a real Kafka writes.
//!
//! Against the embedded server and a real one; the comparison with Kafka needs the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::folder::in_memory;
use harness::kafka::{KafkaBroker, tool, tool_reading};
use harness::proxy::Proxy;
use harness::wait::until_async;
use harness::zookeeper::RealZooKeeper;
use nyala_coordinator::clock;
use nyala_coordinator::cluster::{ClusterSnapshot, ClusterView};
use nyala_coordinator::ids::{
    BrokerId, ControllerEpoch, LeaderEpoch, PartitionIndex, TopicName, TopicPartition,
};
use nyala_coordinator::registry::{
    BrokerRegistration, ConfigEntity, Controllership, CreateTopicError, Election, Endpoint,
    FencedError, NewState, OwnerClaim, PartitionState, RefusedState, RegisterError, Registry,
    TopicAssignment, paths,
};
use nyala_coordinator::session::{Acl, CreateMode, Session, ZkError};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::session::{connect, cut_once, make, on_both};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal")
}

fn tp(name: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic(name),
        partition: PartitionIndex(partition),
    }
}

fn registration(port: u16) -> BrokerRegistration {
    BrokerRegistration {
        endpoints: vec![Endpoint {
            listener_name: "PLAINTEXT".to_owned(),
            security_protocol: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        }],
        rack: Some("rack-1".to_owned()),
        timestamp_ms: clock::wall_ms(),
    }
}

fn assignment(partitions: i32, broker: i32) -> TopicAssignment {
    TopicAssignment {
        id: Some(nyala_coordinator::ids::TopicId::random()),
        replicas: (0..partitions)
            .map(|p| (PartitionIndex(p), vec![BrokerId(broker)]))
            .collect(),
        ..TopicAssignment::default()
    }
}

fn led_by(broker: i32, epoch: i32, proof: &Controllership) -> PartitionState {
    PartitionState {
        leader: Some(BrokerId(broker)),
        leader_epoch: LeaderEpoch(epoch),
        isr: vec![BrokerId(broker)],
        controller_epoch: proof.epoch,
    }
}

fn new_states(name: &str, partitions: i32, broker: i32, proof: &Controllership) -> Vec<NewState> {
    let state = |p| NewState {
        partition: tp(name, p),
        state: led_by(broker, 0, proof),
        version: None,
    };
    (0..partitions).map(state).collect()
}

async fn registry(place: &str) -> Registry {
    let registry = Registry::new(connect(place).await);
    registry.ensure_roots().await.expect("connected");
    registry
}

async fn win(registry: &Registry, broker: i32) -> Controllership {
    match registry.elect(BrokerId(broker)).await.expect("connected") {
        Election::Won(proof) => proof,
        lost @ Election::Lost(_) => panic!("{lost:?}"),
    }
}

#[test]
fn the_registry_on_both_servers() {
    on_both(async_cases![
        a_second_broker_waits_for_the_first_ones_session,
        cuts_leave_no_registration_undecided,
        a_live_broker_keeps_its_id,
        what_is_in_the_way_is_never_overwritten,
        generated_ids_count_up,
        only_the_latest_controller_writes,
        topics_come_and_go,
        producer_ids_are_given_once,
        overrides_are_announced,
        a_partition_has_one_owner,
        an_offset_that_cannot_be_read_hides_no_other,
        the_view_follows,
        the_view_takes_thousands_of_partitions,
    ]);
}

async fn a_second_broker_waits_for_the_first_ones_session(place: String) {
    let (a, b) = (registry(&place).await, registry(&place).await);
    let first = a
        .register_broker(BrokerId(1), &registration(1))
        .await
        .expect("nobody has it");
    // Again in the same session: the same incarnation.
    let again = a
        .register_broker(BrokerId(1), &registration(2))
        .await
        .expect("it is ours");
    assert_eq!(first, again);
    let (info, _) = a
        .broker(BrokerId(1))
        .await
        .expect("connected")
        .expect("registered");
    assert_eq!(info.endpoints[0].port, 2);
    // As when a broker is killed and started again at once.
    a.session().abandon().await;
    let begun = clock::now();
    let second = b
        .register_broker(BrokerId(1), &registration(3))
        .await
        .expect("in the end");
    assert!(begun.elapsed() > Duration::from_secs(1), "it did not wait");
    assert!(second > first, "{first} {second}");
    b.unregister_broker(BrokerId(1)).await.expect("connected");
    assert_eq!(b.broker_ids().await.expect("connected"), []);
    b.session().close().await;
}

async fn cuts_leave_no_registration_undecided(place: String) {
    let (address, chroot) = place.split_once('/').expect("a chroot");
    let proxy = Proxy::start(address).await;
    let ours = registry(&format!("{}/{chroot}", proxy.address)).await;
    let session = ours.session().clone();
    let enough = CancellationToken::new();
    let over = enough.clone();
    let registering = tokio::spawn(async move {
        let now = registration(1);
        let later = registration(2);
        while !over.is_cancelled() {
            for info in [&now, &later] {
                let registered = ours.register_broker(BrokerId(1), info);
                registered.await.expect("there in the end");
                let seen = ours.broker(BrokerId(1)).await.expect("connected");
                assert_eq!(seen.map(|(seen, _)| seen).as_ref(), Some(info));
            }
            let left = ours.unregister_broker(BrokerId(1));
            left.await.expect("gone in the end");
            let seen = ours.broker(BrokerId(1)).await.expect("connected");
            assert_eq!(seen, None);
        }
    });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cut_once(&proxy, &session).await;
    }
    enough.cancel();
    registering.await.expect("no panic");
    session.close().await;
}

async fn a_live_broker_keeps_its_id(place: String) {
    let (a, b) = (registry(&place).await, registry(&place).await);
    a.register_broker(BrokerId(1), &registration(1))
        .await
        .expect("nobody has it");
    let refused = b.register_broker(BrokerId(1), &registration(2)).await;
    let owner = a.session().session_id().expect("connected");
    match refused {
        Err(RegisterError::Taken { owner: o, .. }) if o == owner => {}
        other => panic!("{other:?}"),
    }
    b.unregister_broker(BrokerId(1))
        .await
        .expect("it is not ours to remove");
    assert_eq!(a.broker_ids().await.expect("connected"), [BrokerId(1)]);
    a.session().close().await;
    b.session().close().await;
}

async fn what_is_in_the_way_is_never_overwritten(place: String) {
    let a = registry(&place).await;
    make(a.session(), "/brokers/ids/5", CreateMode::Persistent).await;
    let refused = a.register_broker(BrokerId(5), &registration(1)).await;
    assert!(
        matches!(refused, Err(RegisterError::NotEphemeral { .. })),
        "{refused:?}"
    );
    assert_eq!(
        a.session().get("/brokers/ids/5").await.expect("there").data,
        b"x"
    );
    let unreadable = a.broker(BrokerId(5)).await.expect_err("x is no JSON");
    assert!(
        unreadable.to_string().contains("/brokers/ids/5"),
        "{unreadable}"
    );
    a.session().close().await;
}

async fn generated_ids_count_up(place: String) {
    let a = registry(&place).await;
    for expected in [1001, 1002, 1003] {
        assert_eq!(a.generate_broker_id(1000).await, Ok(BrokerId(expected)));
    }
    a.session().close().await;
}

async fn only_the_latest_controller_writes(place: String) {
    let (a, b) = (registry(&place).await, registry(&place).await);
    let old = win(&a, 1).await;
    assert_eq!(old.epoch, ControllerEpoch(1));
    // Asking again in the same session finds the same controllership.
    assert_eq!(win(&a, 1).await, old);
    assert_eq!(
        b.elect(BrokerId(2)).await,
        Ok(Election::Lost(Some(BrokerId(1))))
    );
    let (holder, gone) = b.controller_watch().await.expect("connected");
    assert_eq!(holder, Some(BrokerId(1)));
    a.session()
        .delete("/controller", None)
        .await
        .expect("as when the session ends");
    gone.changed().await;
    let new = win(&b, 2).await;
    assert_eq!(new.epoch, ControllerEpoch(2));
    a.create_topic(&topic("t"), &assignment(1, 1), &BTreeMap::new())
        .await
        .expect("fresh");
    let states = new_states("t", 1, 1, &old);
    assert_eq!(
        a.write_states(&old, &states).await,
        Err(FencedError::Fenced)
    );
    assert_eq!(a.resign(&old).await, Err(FencedError::Fenced));
    assert_eq!(
        a.delete_topic(&old, &topic("t")).await,
        Err(FencedError::Fenced)
    );
    assert_eq!(b.partition_state(&tp("t", 0)).await, Ok(None));
    b.write_states(&new, &new_states("t", 1, 1, &new))
        .await
        .expect("not fenced");
    b.resign(&new).await.expect("not fenced");
    assert_eq!(b.controller_watch().await.expect("connected").0, None);
    a.session().close().await;
    b.session().close().await;
}

async fn topics_come_and_go(place: String) {
    let a = registry(&place).await;
    let proof = win(&a, 1).await;
    let own = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    let wanted = assignment(700, 1);
    a.create_topic(&topic("t"), &wanted, &own)
        .await
        .expect("fresh");
    let twice = a.create_topic(&topic("t"), &assignment(1, 1), &own).await;
    assert_eq!(twice, Err(CreateTopicError::Exists(topic("t"))));
    a.write_states(&proof, &new_states("t", 700, 1, &proof))
        .await
        .expect("not fenced");
    let (state, version) = a
        .partition_state(&tp("t", 699))
        .await
        .expect("connected")
        .expect("there");
    assert_eq!((state.leader_epoch, version), (LeaderEpoch(0), 0));
    let next = led_by(1, 1, &proof);
    assert_eq!(a.set_partition_state(&tp("t", 699), &next, 0).await, Ok(1));
    assert!(
        a.set_partition_state(&tp("t", 699), &next, 0)
            .await
            .is_err()
    );
    // One stale version does not spoil the others.
    let stale = [
        NewState {
            partition: tp("t", 0),
            state: next.clone(),
            version: Some(0),
        },
        NewState {
            partition: tp("t", 699),
            state: next.clone(),
            version: Some(0),
        },
    ];
    let refused = a.write_states(&proof, &stale).await.expect("not fenced");
    assert_eq!(
        refused,
        [RefusedState {
            partition: tp("t", 699),
            error: ZkError::BadVersion,
        }]
    );
    assert_eq!(
        a.partition_state(&tp("t", 0))
            .await
            .expect("connected")
            .expect("there")
            .1,
        1
    );
    assert_eq!(a.mark_for_deletion(&topic("t")).await, Ok(true));
    assert_eq!(a.mark_for_deletion(&topic("t")).await, Ok(false));
    assert_eq!(
        a.topics_to_delete().await.expect("connected").0,
        [topic("t")]
    );
    a.delete_topic(&proof, &topic("t"))
        .await
        .expect("not fenced");
    for path in [
        "/brokers/topics/t",
        "/config/topics/t",
        "/admin/delete_topics/t",
    ] {
        assert_eq!(a.session().exists(path).await, Ok(None), "{path}");
    }
    a.mark_for_deletion(&topic("none"))
        .await
        .expect("connected");
    a.forget_deletion(&proof, &topic("none"))
        .await
        .expect("not fenced");
    assert_eq!(a.topics_to_delete().await.expect("connected").0, []);
    a.session().close().await;
}

async fn producer_ids_are_given_once(place: String) {
    let mut takers = Vec::new();
    for broker in 0..4 {
        let registry = registry(&place).await;
        takers.push(tokio::spawn(async move {
            let mut firsts = Vec::new();
            for _ in 0..10 {
                let block = registry.take_producer_ids(BrokerId(broker)).await;
                let block = block.expect("connected").expect("there are more");
                assert_eq!(block.last, block.first + 999);
                firsts.push(block.first);
            }
            firsts
        }));
    }
    let mut all = BTreeSet::new();
    for taker in takers {
        all.extend(taker.await.expect("no panic"));
    }
    assert!(all.into_iter().eq((0..40).map(|i| i * 1000)));
}

async fn overrides_are_announced(place: String) {
    let (a, b) = (registry(&place).await, registry(&place).await);
    let entity = ConfigEntity::Topic(topic("t"));
    let (none, more) = b.config_changes(None).await.expect("connected");
    assert_eq!(none, []);
    let own = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
    a.set_config(&entity, &own, None).await.expect("fresh");
    more.changed().await;
    let (changes, _) = b.config_changes(None).await.expect("connected");
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].entity, Some(entity.clone()));
    assert_eq!(
        b.config(&entity).await.expect("connected"),
        (own.clone(), Some(0))
    );
    assert!(a.set_config(&entity, &own, Some(7)).await.is_err());
    a.set_config(&ConfigEntity::BrokerDefault, &own, None)
        .await
        .expect("fresh");
    let (later, _) = b
        .config_changes(Some(changes[0].sequence))
        .await
        .expect("connected");
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].entity, Some(ConfigEntity::BrokerDefault));
    // An operator's notice that nobody can read hides none of the others.
    let bad = a.session().create(
        "/config/changes/config_change_",
        b"?",
        CreateMode::PersistentSequential,
        Acl::Open,
    );
    bad.await.expect("connected");
    let (all, _) = b.config_changes(None).await.expect("connected");
    assert_eq!(
        all.iter().map(|c| c.entity.is_some()).collect::<Vec<_>>(),
        [true, true, false]
    );
    b.purge_config_changes(&all, i64::MAX)
        .await
        .expect("connected");
    assert_eq!(b.config_changes(None).await.expect("connected").0, []);
}

/// The others are told by the list, which does not change with what a member says.
async fn a_member_that_is_overwritten_joins_anew(
    a: &Registry,
    b: &Registry,
    topics: &BTreeMap<String, i32>,
) {
    let (before, listed) = b.group_members("g").await.expect("connected");
    let again = a.join_group("g", "a", topics).await;
    assert_eq!(again, Ok(before[0].czxid), "it is there");
    let set = b.session().set("/consumers/g/ids/a", b"garbage", None);
    set.await.expect("it is there");
    let foreign = b.join_group("g", "a", topics).await;
    let foreign = foreign.expect_err("it is another session's");
    assert_eq!(foreign.zk(), Some(&ZkError::NodeExists));
    let made = a.join_group("g", "a", topics).await.expect("its own");
    assert!(made > before[0].czxid);
    listed.changed().await;
    let (after, _) = b.group_members("g").await.expect("connected");
    assert_eq!(after[0].subscription, *topics);
}

async fn a_partition_has_one_owner(place: String) {
    let (a, b) = (registry(&place).await, registry(&place).await);
    let topics = BTreeMap::from([("t".to_owned(), 1)]);
    a.join_group("g", "a", &topics).await.expect("connected");
    let (alone, joined) = a.group_members("g").await.expect("connected");
    assert_eq!(alone.len(), 1);
    b.join_group("g", "b", &topics).await.expect("connected");
    joined.changed().await;
    let (members, _) = a.group_members("g").await.expect("connected");
    assert_eq!(
        members.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(members[1].subscription, topics);
    a_member_that_is_overwritten_joins_anew(&a, &b, &topics).await;
    let claim = a
        .claim_partition("g", &tp("t", 0), "a")
        .await
        .expect("connected");
    assert!(matches!(claim, OwnerClaim::Ours { .. }));
    assert_eq!(a.claim_partition("g", &tp("t", 0), "a").await, Ok(claim));
    let taken = OwnerClaim::Taken {
        owner: "a".to_owned(),
    };
    assert_eq!(
        b.claim_partition("g", &tp("t", 0), "b").await,
        Ok(taken.clone())
    );
    // Two members of one session are two.
    assert_eq!(a.claim_partition("g", &tp("t", 0), "c").await, Ok(taken));
    a.release_partition("g", &tp("t", 0), "c")
        .await
        .expect("it is not c's to release");
    b.release_partition("g", &tp("t", 0), "a")
        .await
        .expect("it is not ours to release");
    let (owner, gone) = b
        .partition_owner("g", &tp("t", 0))
        .await
        .expect("connected");
    assert_eq!(owner.as_deref(), Some("a"));
    a.session().close().await;
    gone.changed().await;
    let claim = b
        .claim_partition("g", &tp("t", 0), "b")
        .await
        .expect("connected");
    assert!(matches!(claim, OwnerClaim::Ours { .. }));
    for offset in [7, 9] {
        b.commit_offset("g", &tp("t", 0), offset)
            .await
            .expect("connected");
    }
    let partitions = [PartitionIndex(0), PartitionIndex(1)];
    let committed = b
        .committed_offsets("g", &topic("t"), &partitions)
        .await
        .expect("connected");
    assert_eq!(committed, BTreeMap::from([(PartitionIndex(0), 9)]));
    b.leave_group("g", "b").await.expect("connected");
    assert_eq!(b.group_members("g").await.expect("connected").0, []);
}

async fn an_offset_that_cannot_be_read_hides_no_other(place: String) {
    let a = registry(&place).await;
    let partitions = [0, 1, 2].map(PartitionIndex);
    for partition in partitions {
        let target = tp("t", partition.0);
        let made = a.commit_offset("g", &target, 7).await;
        made.expect("connected");
    }
    let node = paths::group_offset("g", &tp("t", 1));
    let set = a.session().set(&node, b"seven", None).await;
    set.expect("it is there");
    let found = a.committed_offsets("g", &topic("t"), &partitions).await;
    let readable = [(PartitionIndex(0), 7), (PartitionIndex(2), 7)];
    assert_eq!(found, Ok(BTreeMap::from(readable)));
}

async fn seen(view: &ClusterView, what: &str, ok: impl Fn(&ClusterSnapshot) -> bool) {
    let mut snapshots = view.subscribe();
    let reached = tokio::time::timeout(Duration::from_secs(60), snapshots.wait_for(|s| ok(s)));
    assert!(reached.await.is_ok(), "{what}: {:#?}", view.snapshot());
}

async fn the_view_follows(place: String) {
    // The view may come first, in an empty ZooKeeper.
    let view = ClusterView::start(connect(&place).await)
        .await
        .expect("connected");
    assert_eq!(*view.snapshot(), ClusterSnapshot::default());
    let a = registry(&place).await;
    a.register_broker(BrokerId(1), &registration(9))
        .await
        .expect("nobody has it");
    seen(&view, "the broker", |s| {
        s.brokers.contains_key(&BrokerId(1))
    })
    .await;
    let id = a.cluster_id_or_create().await.expect("connected");
    let proof = win(&a, 1).await;
    seen(&view, "the controller", |s| {
        s.controller == Some(BrokerId(1))
    })
    .await;
    assert_eq!(view.snapshot().cluster_id, Some(id));
    let mut wanted = assignment(2, 1);
    a.create_topic(&topic("t"), &wanted, &BTreeMap::new())
        .await
        .expect("fresh");
    seen(&view, "the topic", |s| s.topics.contains_key("t")).await;
    a.write_states(&proof, &new_states("t", 2, 1, &proof))
        .await
        .expect("not fenced");
    seen(&view, "the leader", |s| {
        s.leader(&tp("t", 1)).is_some_and(|b| b.rack.is_some())
    })
    .await;
    wanted.replicas.insert(PartitionIndex(2), vec![BrokerId(1)]);
    a.set_topic(&topic("t"), &wanted, 0)
        .await
        .expect("version 0");
    seen(&view, "the new partition", |s| {
        s.partition(&tp("t", 2)).is_some()
    })
    .await;
    // What cannot be read changes nothing else.
    a.session()
        .set("/brokers/ids/1", b"garbage", None)
        .await
        .expect("connected");
    make(
        a.session(),
        "/brokers/topics/not a topic",
        CreateMode::Persistent,
    )
    .await;
    make(a.session(), "/brokers/topics/u", CreateMode::Persistent).await;
    a.set_partition_state(&tp("t", 0), &led_by(1, 5, &proof), 0)
        .await
        .expect("version 0");
    let epoch_of = |s: &ClusterSnapshot| {
        let state = s.partition(&tp("t", 0)).and_then(|p| p.state.clone());
        state.map(|s| s.leader_epoch)
    };
    seen(&view, "the epoch", |s| epoch_of(s) == Some(LeaderEpoch(5))).await;
    assert_eq!(view.snapshot().topics.len(), 1);
    a.mark_for_deletion(&topic("t")).await.expect("connected");
    a.delete_topic(&proof, &topic("t"))
        .await
        .expect("not fenced");
    seen(&view, "the deletion", |s| s.topics.is_empty()).await;
    a.session().close().await;
    seen(&view, "the end", |s| {
        s.brokers.is_empty() && s.controller.is_none()
    })
    .await;
}

async fn the_view_takes_thousands_of_partitions(place: String) {
    let a = registry(&place).await;
    let proof = win(&a, 1).await;
    for n in 0..10 {
        let name = format!("t{n}");
        a.create_topic(&topic(&name), &assignment(300, 1), &BTreeMap::new())
            .await
            .expect("fresh");
        a.write_states(&proof, &new_states(&name, 300, 1, &proof))
            .await
            .expect("not fenced");
    }
    let begun = clock::now();
    let view = ClusterView::start(connect(&place).await)
        .await
        .expect("connected");
    let read = begun.elapsed();
    let led = |s: &ClusterSnapshot| {
        let all = s.topics.values().flat_map(|t| t.partitions.values());
        all.filter(|p| p.state.is_some()).count()
    };
    assert_eq!(led(&view.snapshot()), 3000);
    let begun = clock::now();
    for n in 0..3000 {
        let (name, partition) = (format!("t{}", n / 300), n % 300);
        let state = led_by(1, 1, &proof);
        a.set_partition_state(&tp(&name, partition), &state, 0)
            .await
            .expect("version 0");
    }
    let written = begun.elapsed();
    let fresh = |s: &ClusterSnapshot| {
        let all = s.topics.values().flat_map(|t| t.partitions.values());
        let epoch = |p: &&nyala_coordinator::cluster::PartitionInfo| {
            p.state
                .as_ref()
                .is_some_and(|s| s.leader_epoch == LeaderEpoch(1))
        };
        all.filter(epoch).count() == 3000
    };
    seen(&view, "all changes", fresh).await;
    let followed = begun.elapsed().saturating_sub(written);
    eprintln!("3000 partitions: read in {read:?}; written in {written:?}, seen {followed:?} later");
    a.session().close().await;
}

/// Paths with their data, JSON where it is; what differs by nature is blanked.
async fn tree(session: &Session) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut paths = vec![String::new()];
    while let Some(parent) = paths.pop() {
        let name = if parent.is_empty() { "/" } else { &parent };
        for child in session.children(name).await.expect("connected") {
            let path = format!("{parent}/{child}");
            let node = session.get(&path).await.expect("it was listed");
            let text = String::from_utf8_lossy(&node.data).into_owned();
            let mut json = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if let Value::Object(fields) = &mut json {
                for (field, value) in fields.iter_mut() {
                    let by_nature = ["timestamp", "topic_id", "id", "port", "endpoints"];
                    if by_nature.contains(&field.as_str()) {
                        *value = match value {
                            Value::Array(a) => format!("{} items", a.len()).into(),
                            Value::String(s) => format!("{} characters", s.len()).into(),
                            _ => "number".into(),
                        };
                    }
                }
            }
            let kind = if node.stat.ephemeral_owner == 0 {
                ""
            } else {
                " ephemeral"
            };
            found.insert(format!("{path}{kind}"), json);
            paths.push(path);
        }
    }
    found
}

#[test]
fn every_znode_is_what_a_real_kafka_writes() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let kafkas_place = format!("{}/kafka", zookeeper.address);
    let kafka = KafkaBroker::start(folder.path(), 7, &kafkas_place, &["broker.rack=rack-1"]);
    let server = ["--bootstrap-server", &kafka.address];
    let create = [
        "--create",
        "--topic",
        "t",
        "--partitions",
        "2",
        "--config",
        "retention.ms=5000",
    ];
    let alter = [
        "--alter",
        "--entity-type",
        "brokers",
        "--entity-default",
        "--add-config",
        "message.max.bytes=2000000",
    ];
    tool(
        folder.path(),
        "org.apache.kafka.tools.TopicCommand",
        &[&server[..], &create].concat(),
    )
    .expect_success("create");
    tool(
        folder.path(),
        "kafka.admin.ConfigCommand",
        &[&server[..], &alter].concat(),
    )
    .expect_success("alter");
    tool_reading(
        folder.path(),
        "kafka.tools.ConsoleProducer",
        &[&server[..], &["--topic", "t"]].concat(),
        "hello\n",
    )
    .expect_success("produce");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let a = registry(&format!("{}/ours", zookeeper.address)).await;
        a.cluster_id_or_create().await.expect("connected");
        a.register_broker(BrokerId(7), &registration(9))
            .await
            .expect("nobody has it");
        let proof = win(&a, 7).await;
        a.ensure_feature().await.expect("connected");
        let own = BTreeMap::from([("retention.ms".to_owned(), "5000".to_owned())]);
        a.create_topic(&topic("t"), &assignment(2, 7), &own)
            .await
            .expect("fresh");
        a.write_states(&proof, &new_states("t", 2, 7, &proof))
            .await
            .expect("not fenced");
        let all = BTreeMap::from([("message.max.bytes".to_owned(), "2000000".to_owned())]);
        a.set_config(&ConfigEntity::BrokerDefault, &all, None)
            .await
            .expect("fresh");
        a.take_producer_ids(BrokerId(7))
            .await
            .expect("connected")
            .expect("there are more");
        let ours = tree(a.session()).await;
        let kafkas = tree(&connect(&kafkas_place).await).await;
        let differs: Vec<_> = ours
            .keys()
            .chain(kafkas.keys())
            .filter(|path| ours.get(*path) != kafkas.get(*path))
            .map(|path| {
                format!(
                    "{path}: ours {:?}, Kafka's {:?}",
                    ours.get(path),
                    kafkas.get(path)
                )
            })
            .collect();
        assert!(differs.is_empty(), "{}", differs.join("\n"));
    });
}

#[test]
fn a_real_kafka_starts_on_our_znodes_and_we_read_its() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let place = format!("{}/mixed", zookeeper.address);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let a = runtime.block_on(registry(&place));
    let id = runtime
        .block_on(a.cluster_id_or_create())
        .expect("connected");
    let kafka = KafkaBroker::start(folder.path(), 3, &place, &["broker.rack=r"]);
    let server = ["--bootstrap-server", &kafka.address];
    let create = ["--create", "--topic", "t", "--partitions", "3"];
    tool(
        folder.path(),
        "org.apache.kafka.tools.TopicCommand",
        &[&server[..], &create].concat(),
    )
    .expect_success("create");
    // Its producer is idempotent: Kafka takes a block of producer ids from the node that we made.
    tool_reading(
        folder.path(),
        "kafka.tools.ConsoleProducer",
        &[&server[..], &["--topic", "t"]].concat(),
        "hello\n",
    )
    .expect_success("produce");
    runtime.block_on(async {
        let block = a
            .take_producer_ids(BrokerId(9))
            .await
            .expect("connected")
            .expect("more");
        assert_eq!(block.first, 1000, "Kafka has the first block");
        let view = ClusterView::start(connect(&place).await)
            .await
            .expect("connected");
        let snapshot = view.snapshot();
        assert_eq!(snapshot.cluster_id, Some(id));
        assert_eq!(snapshot.controller, Some(BrokerId(3)));
        assert_eq!(snapshot.brokers[&BrokerId(3)].rack.as_deref(), Some("r"));
        assert_eq!(snapshot.topics["t"].partitions.len(), 3);
        assert!(snapshot.topics["t"].id.is_some());
        assert_eq!(
            snapshot.leader(&tp("t", 2)).map(|b| b.id),
            Some(BrokerId(3))
        );
        let lost = a.elect(BrokerId(9)).await;
        assert_eq!(lost, Ok(Election::Lost(Some(BrokerId(3)))));
        // And Kafka obeys what we announce.
        let entity = ConfigEntity::Topic(topic("t"));
        let (mut own, version) = a.config(&entity).await.expect("connected");
        own.insert("retention.ms".to_owned(), "77000".to_owned());
        a.set_config(&entity, &own, version)
            .await
            .expect("nobody else writes");
    });
    let describe = [
        "--describe",
        "--entity-type",
        "topics",
        "--entity-name",
        "t",
    ];
    runtime.block_on(until_async("Kafka's view of our override", async || {
        let described = tool(
            folder.path(),
            "kafka.admin.ConfigCommand",
            &[&server[..], &describe].concat(),
        );
        let text = described.expect_success("describe");
        if text.contains("retention.ms=77000") {
            Ok(())
        } else {
            Err(text)
        }
    }));
}
