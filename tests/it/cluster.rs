//! Brokers in a cluster, without their clients: registration, controller, topics, overrides, producer
//! ids. Each broker has a session through a proxy that can be cut, logs and a partition table.

mod ear;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use harness::proxy::Proxy;
use harness::wait::until_async;
use nyala::cluster::{
    self, Alter, AlterConfigs, Cluster, ClusterParts, Configs, NewPartitions, NewTopic, TopicError,
    TopicRef,
};
use nyala::config::{Live, Properties, Settings};
use nyala::replication::Table;
use nyala::storage::{LogConfig, LogDirs, LogDirsConfig};
use nyala_coordinator::clock;
use nyala_coordinator::cluster::ClusterSnapshot;
use nyala_coordinator::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicName, TopicPartition};
use nyala_coordinator::registry::{BrokerRegistration, ConfigEntity, Endpoint, Registry};
use nyala_coordinator::session::{Session, SessionState};

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::session::{TIMEOUT, connect, on_both, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// A broker that only the controller speaks to.
struct Member {
    _ear: AbortOnDropHandle<()>,
    session: Session,
    proxy: Proxy,
    cluster: Arc<Cluster>,
    table: Arc<Table>,
    logs: Arc<LogDirs>,
    live: Arc<Live>,
}

impl Member {
    async fn start(place: &str, id: i32, folder: &Path) -> Self {
        Self::start_on(place, id, vec![folder.join(format!("broker-{id}"))]).await
    }

    async fn start_on(place: &str, id: i32, dirs: Vec<PathBuf>) -> Self {
        let (address, chroot) = place.split_once('/').expect("a chroot");
        let proxy = Proxy::start(address).await;
        let session = connect(&format!("{}/{chroot}", proxy.address)).await;
        let cluster_id = cluster::found(&session).await.expect("connected");
        let settings = Properties::parse(
            b"zookeeper.connect=x:1\nfile.delete.delay.ms=0\noffsets.topic.num.partitions=4\n\
              offsets.topic.replication.factor=1\n",
        );
        let settings = Settings::load(&settings.expect("lines")).expect("legal").0;
        let live = Arc::new(Live::new(settings));
        let (logs, _) = LogDirs::open(
            LogDirsConfig {
                dirs,
                recovery_threads_per_dir: 1,
                min_free_bytes: 0,
            },
            &|_| Arc::new(LogConfig::default()),
            clock::wall_ms(),
        )
        .expect("a fresh folder");
        let this_broker = BrokerId(id);
        let registry = Registry::new(session.clone());
        let configs = Configs::load(registry, Arc::clone(&live), this_broker).await;
        let table = Arc::new(Table::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let cluster = Cluster::join(ClusterParts {
            session: session.clone(),
            this_broker,
            cluster_id,
            registration: BrokerRegistration {
                endpoints: vec![Endpoint {
                    listener_name: "PLAINTEXT".to_owned(),
                    security_protocol: "PLAINTEXT".to_owned(),
                    host: "127.0.0.1".to_owned(),
                    port,
                }],
                rack: None,
                timestamp_ms: 0,
            },
            configs: configs.expect("connected"),
            partitions: Arc::clone(&table),
            logs: Arc::clone(&logs),
        })
        .await
        .expect("nobody has the id");
        let ear = tokio::spawn(ear::listen(listener, Arc::downgrade(&cluster)));
        Self {
            _ear: AbortOnDropHandle::new(ear),
            session,
            proxy,
            cluster,
            table,
            logs,
            live,
        }
    }

    async fn create(&self, name: &str, partitions: i32) {
        let mut made = self
            .cluster
            .create_topics(vec![new(name, partitions)], false, SOON)
            .await;
        made.pop().expect("one answer").expect("it is legal");
    }

    async fn seen(&self, what: &str, ok: impl Fn(&ClusterSnapshot) -> bool) {
        let mut snapshots = self.cluster.subscribe();
        let reached = tokio::time::timeout(SOON, snapshots.wait_for(|s| ok(s))).await;
        assert!(reached.is_ok(), "{what}: {:#?}", self.cluster.snapshot());
    }

    async fn leads(&self, topic: &str, partition: i32, epoch: i32) {
        let mut leading = self.cluster.leading();
        let wanted = Some(&LeaderEpoch(epoch));
        let reached = leading.wait_for(|l| l.get(&tp(topic, partition)) == wanted);
        let reached = tokio::time::timeout(SOON, reached).await.is_ok();
        assert!(
            reached,
            "{topic}-{partition} at {epoch}: {:?}",
            self.cluster.leading().borrow()
        );
        let led = self.table.get(topic, partition).and_then(|p| p.leading());
        assert_eq!(led, Some(LeaderEpoch(epoch)));
    }

    async fn stop(self) {
        self.cluster.leave().await;
        self.logs.close();
        self.session.close().await;
    }

    /// As a process that is killed.
    async fn die(self) {
        self.session.abandon().await;
        drop(self.cluster);
        self.logs.close();
    }
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: -1,
        ..NewTopic::default()
    }
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicName::new(topic).expect("legal"),
        partition: PartitionIndex(partition),
    }
}

fn leader(snapshot: &ClusterSnapshot, topic: &str, partition: i32) -> Option<(i32, i32)> {
    let state = snapshot.partition(&tp(topic, partition))?.state.as_ref()?;
    Some((state.leader.map_or(-1, |b| b.0), state.leader_epoch.0))
}

#[test]
fn brokers_on_both_servers() {
    on_both(async_cases![
        topics_are_made_led_extended_and_deleted,
        topics_made_at_the_same_time_all_get_their_leaders_at_once,
        a_restart_alone_changes_no_leader,
        files_outlive_a_zookeeper_that_forgot_them,
        a_mark_set_while_the_broker_was_away_deletes_its_files,
        a_marked_topic_that_cannot_be_read_keeps_nobody_waiting,
        a_leader_epoch_that_is_set_back_goes_on_above_what_was_seen,
        partitions_that_a_topics_node_lost_go_with_the_topic,
        a_missing_log_is_not_made_anew_while_a_folder_is_offline,
        partitions_wait_for_their_broker,
        a_lost_session_leads_to_a_new_registration,
        the_controllers_seat_moves_on,
        overrides_reach_every_broker,
        producer_ids_differ,
    ]);
}

async fn topics_are_made_led_extended_and_deleted(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    let begun = clock::now();
    let made = a.cluster.create_topics(
        vec![
            new("t", 3),
            new("t/bad", 1),
            new("u", 0),
            new("dup", 1),
            new("dup", 1),
        ],
        false,
        SOON,
    );
    let made = made.await;
    let took = begun.elapsed();
    assert!(
        matches!(made[0], Ok(ref t) if t.partitions == 3),
        "{made:?}"
    );
    assert!(matches!(made[1], Err(TopicError::InvalidName(_))));
    assert!(matches!(made[2], Err(TopicError::InvalidPartitions(_))));
    assert!(matches!(made[3], Err(TopicError::InvalidRequest(_))));
    a.leads("t", 2, 0).await;
    let id = made[0].as_ref().expect("made").id;
    assert_eq!(a.cluster.topic_name(id), Some(tp("t", 0).topic));
    assert_eq!(a.table.get("t", 0).and_then(|p| p.topic_id()), Some(id));
    let again = a
        .cluster
        .create_topics(vec![new("t", 1)], false, SOON)
        .await;
    assert!(matches!(again[0], Err(TopicError::Exists(_))));
    let only = a.cluster.create_topics(vec![new("v", 1)], true, SOON).await;
    assert!(only[0].is_ok() && !a.cluster.snapshot().topics.contains_key("v"));
    let more = NewPartitions {
        topic: "t".to_owned(),
        count: 5,
        assignments: None,
    };
    let added = a.cluster.create_partitions(vec![more], false, SOON).await;
    assert!(added[0].is_ok(), "{added:?}");
    a.leads("t", 4, 0).await;
    let begun = clock::now();
    let names = [
        TopicRef::Name("t".to_owned()),
        TopicRef::Name("none".to_owned()),
    ];
    let gone = a.cluster.delete_topics(names.to_vec(), SOON).await;
    assert!(gone[0].is_ok(), "{gone:?}");
    assert!(matches!(gone[1], Err(TopicError::Unknown(_))));
    eprintln!("created in {took:?}, deleted in {:?}", begun.elapsed());
    assert_eq!(a.table.all().len(), 0);
    assert_eq!(a.logs.logs().len(), 0);
    // The same name again is another topic.
    a.create("t", 1).await;
    a.leads("t", 0, 0).await;
    assert_ne!(a.table.get("t", 0).and_then(|p| p.topic_id()), Some(id));
    // However soon: what is left of the one before says nothing of the next.
    for partitions in [5, 1].repeat(15) {
        let t = TopicRef::Name("t".to_owned());
        let gone = a.cluster.delete_topics(vec![t], SOON).await;
        assert!(gone[0].is_ok(), "{gone:?}");
        a.create("t", partitions).await;
        a.leads("t", partitions - 1, 0).await;
    }
    let made = a
        .cluster
        .auto_create("__consumer_offsets")
        .await
        .expect("it is legal");
    assert_eq!(made.partitions, 4);
    assert!(made.config.cleanup_policy.compact);
    a.leads("__consumer_offsets", 3, 0).await;
    let offsets = tp("__consumer_offsets", 0).topic;
    assert_eq!(a.cluster.topic_config(&offsets).segment_bytes, 104_857_600);
    a.stop().await;
}

async fn topics_made_at_the_same_time_all_get_their_leaders_at_once(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    for round in 0..20 {
        let topics = (0..4).map(|n| new(&format!("t{round}-{n}"), 3)).collect();
        let made = a.cluster.create_topics(topics, false, SOON).await;
        assert!(made.iter().all(Result::is_ok), "round {round}: {made:?}");
    }
    a.stop().await;
}

async fn a_restart_alone_changes_no_leader(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 300).await;
    a.stop().await;
    for _ in 0..3 {
        let begun = clock::now();
        let a = Member::start(&place, 1, folder.path()).await;
        // Led when it has joined, in the epoch that it had.
        assert_eq!(a.cluster.leading().borrow().len(), 300);
        eprintln!("300 partitions are back in {:?}", begun.elapsed());
        until_async("the seat", async || {
            if a.cluster.is_controller() {
                Ok(())
            } else {
                Err(())
            }
        })
        .await;
        a.create("u", 1).await;
        a.leads("t", 299, 0).await;
        let gone = a
            .cluster
            .delete_topics(vec![TopicRef::Name("u".to_owned())], SOON)
            .await;
        assert!(gone[0].is_ok(), "{gone:?}");
        a.stop().await;
    }
}

async fn files_outlive_a_zookeeper_that_forgot_them(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 2).await;
    let other = connect(&place).await;
    other
        .delete_tree("/brokers/topics/t")
        .await
        .expect("an operator's mistake");
    a.seen("the loss", |s| !s.topics.contains_key("t")).await;
    let mut leading = a.cluster.leading();
    tokio::time::timeout(SOON, leading.wait_for(|l| l.is_empty()))
        .await
        .expect("in time")
        .expect("alive");
    assert_eq!(a.logs.logs().len(), 2, "the files are still there");
    other.close().await;
    a.stop().await;
}

async fn a_mark_set_while_the_broker_was_away_deletes_its_files(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 2).await;
    a.stop().await;
    let other = Registry::new(connect(&place).await);
    other
        .mark_for_deletion(&tp("t", 0).topic)
        .await
        .expect("connected");
    let a = Member::start(&place, 1, folder.path()).await;
    a.seen("the deletion", |s| s.topics.is_empty()).await;
    assert_eq!(a.logs.logs().len(), 0);
    a.stop().await;
    other.session().close().await;
}

async fn a_marked_topic_that_cannot_be_read_keeps_nobody_waiting(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("read-once", 1).await;
    let other = Registry::new(connect(&place).await);
    for topic in ["read-once", "never-read"] {
        let (node, name) = (format!("/brokers/topics/{topic}"), tp(topic, 0).topic);
        let session = other.session();
        session.ensure_path(&node).await.expect("connected");
        session.set(&node, b"{", None).await.expect("it is there");
        other.mark_for_deletion(&name).await.expect("connected");
    }
    // The controller answers, and deletes what it can read.
    a.create("t", 1).await;
    let gone = a
        .cluster
        .delete_topics(vec![TopicRef::Name("t".to_owned())], SOON)
        .await;
    assert!(gone[0].is_ok(), "{gone:?}");
    let node = other.session().exists("/brokers/topics/read-once").await;
    assert!(node.expect("connected").is_some(), "it is left alone");
    // One that goes takes its mark with it, and the name is free.
    let session = other.session();
    let removed = session.delete("/brokers/topics/never-read", None).await;
    removed.expect("nothing is below it");
    until_async("its mark to go", async || {
        match session.exists("/admin/delete_topics/never-read").await {
            Ok(None) => Ok(()),
            other => Err(other.map(drop)),
        }
    })
    .await;
    a.create("never-read", 1).await;
    other.session().close().await;
    a.stop().await;
}

async fn a_leader_epoch_that_is_set_back_goes_on_above_what_was_seen(place: String) {
    const STATE: &str = "/brokers/topics/t/partitions/0/state";
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 1).await;
    a.leads("t", 0, 0).await;
    let other = connect(&place).await;
    let first = other.get(STATE).await.expect("it is there").data;
    let text = String::from_utf8(first.clone()).expect("JSON");
    let raised = text.replace(r#""leader_epoch":0"#, r#""leader_epoch":2000000000"#);
    assert_ne!(raised, text);
    let set = other.set(STATE, raised.as_bytes(), None).await;
    set.expect("it is there");
    a.leads("t", 0, 2_000_000_000).await;
    other.set(STATE, &first, None).await.expect("it is there");
    // What clients are told is what the leader goes by.
    a.leads("t", 0, 2_000_000_001).await;
    a.seen("the epoch above", |snapshot| {
        let state = snapshot.partition(&tp("t", 0));
        let epoch = state.and_then(|p| Some(p.state.as_ref()?.leader_epoch));
        epoch == Some(LeaderEpoch(2_000_000_001))
    })
    .await;
    other.close().await;
    a.stop().await;
}

async fn partitions_that_a_topics_node_lost_go_with_the_topic(place: String) {
    const NODE: &str = "/brokers/topics/t";
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 2).await;
    a.leads("t", 1, 0).await;
    let other = connect(&place).await;
    let node = other.get(NODE).await.expect("it is there").data;
    let mut node: serde_json::Value = serde_json::from_slice(&node).expect("JSON");
    let lost = node["partitions"].as_object_mut().map(|p| p.remove("1"));
    assert!(lost.flatten().is_some(), "{node}");
    let set = other.set(NODE, node.to_string().as_bytes(), None).await;
    set.expect("it is there");
    a.seen("the loss", |snapshot| {
        snapshot.partition(&tp("t", 1)).is_none()
    })
    .await;
    let gone = a
        .cluster
        .delete_topics(vec![TopicRef::Name("t".to_owned())], SOON)
        .await;
    assert!(gone[0].is_ok(), "{gone:?}");
    assert_eq!(a.logs.logs().len(), 0, "nothing stands in the name's way");
    a.create("t", 2).await;
    a.leads("t", 1, 0).await;
    other.close().await;
    a.stop().await;
}

async fn a_missing_log_is_not_made_anew_while_a_folder_is_offline(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 2).await;
    a.stop().await;
    // The folder's disk is not mounted, say: a file stands where it should be.
    let own = folder.path().join("broker-1");
    rustix::fs::rename(&own, folder.path().join("away")).expect("it is closed");
    std::fs::write(&own, b"").expect("in its place");
    let second = folder.path().join("second");
    let a = Member::start_on(&place, 1, vec![own.clone(), second.clone()]).await;
    a.create("u", 1).await;
    a.leads("u", 0, 0).await;
    assert!(a.table.get("t", 0).is_none(), "it must wait for its folder");
    a.stop().await;
    std::fs::remove_file(&own).expect("it is ours");
    rustix::fs::rename(folder.path().join("away"), &own).expect("mounted again");
    let a = Member::start_on(&place, 1, vec![own, second]).await;
    a.leads("t", 1, 0).await;
    a.leads("u", 0, 0).await;
    a.stop().await;
}

async fn partitions_wait_for_their_broker(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    let b = Member::start(&place, 2, folder.path()).await;
    a.seen("both", |s| s.brokers.len() == 2).await;
    let by_hand = NewTopic {
        assignment: BTreeMap::from([(0, vec![1]), (1, vec![2])]),
        ..new("t", -1)
    };
    let made = a.cluster.create_topics(vec![by_hand], false, SOON).await;
    assert!(made[0].is_ok(), "{made:?}");
    b.leads("t", 1, 0).await;
    assert_eq!(a.table.of_topic("t").len(), 1);
    b.stop().await;
    // As Kafka: nobody leads while it is away.
    a.seen("nobody", |s| leader(s, "t", 1) == Some((-1, 1)))
        .await;
    assert_eq!(leader(&a.cluster.snapshot(), "t", 0), Some((1, 0)));
    let b = Member::start(&place, 2, folder.path()).await;
    b.leads("t", 1, 2).await;
    // Killed and started again: the id is free only when the old session has ended.
    b.die().await;
    let b = Member::start(&place, 2, folder.path()).await;
    a.seen("back", |s| {
        leader(s, "t", 1).is_some_and(|(l, e)| l == 2 && e > 2)
    })
    .await;
    let gone = a
        .cluster
        .delete_topics(vec![TopicRef::Name("t".to_owned())], SOON)
        .await;
    assert!(gone[0].is_ok(), "{gone:?}");
    until_async("both have deleted it", async || {
        match a.logs.logs().len() + b.logs.logs().len() {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
    b.stop().await;
    a.stop().await;
}

async fn a_lost_session_leads_to_a_new_registration(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    a.create("t", 2).await;
    let before = a.cluster.broker_epoch().expect("registered");
    let other = connect(&place).await;
    a.proxy.cut();
    until_async("the registration to end", async || {
        match other.exists("/brokers/ids/1").await {
            Ok(None) => Ok(()),
            still => Err(still),
        }
    })
    .await;
    // ZooKeeper is away: what is led stays led.
    assert_eq!(a.cluster.leading().borrow().len(), 2);
    a.proxy.heal();
    wait_for(&a.session, "a new session", |s| {
        matches!(s, SessionState::Connected { generation: 2, .. })
    })
    .await;
    until_async("a new epoch", async || match a.cluster.broker_epoch() {
        Some(epoch) if epoch > before => Ok(()),
        other => Err(other),
    })
    .await;
    until_async("the seat", async || {
        if a.cluster.is_controller() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    a.create("after", 1).await;
    a.leads("after", 0, 0).await;
    assert_eq!(a.cluster.leading().borrow().len(), 3);
    // An operator removes the registration: it comes back in the same session.
    other
        .delete("/brokers/ids/1", None)
        .await
        .expect("it is there");
    until_async("the registration", async || {
        match other.exists("/brokers/ids/1").await {
            Ok(Some(_)) => Ok(()),
            still => Err(still),
        }
    })
    .await;
    other.close().await;
    a.stop().await;
}

async fn the_controllers_seat_moves_on(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    until_async("the seat", async || {
        if a.cluster.is_controller() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    let b = Member::start(&place, 2, folder.path()).await;
    assert!(!b.cluster.is_controller());
    // Cut off, it sleeps; the other one takes over when its session has ended.
    a.proxy.cut();
    until_async("the other", async || {
        if b.cluster.is_controller() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    b.create("t", 2).await;
    b.leads("t", 0, 0).await;
    a.proxy.heal();
    a.seen("the other controller", |s| {
        s.controller == Some(BrokerId(2)) && s.brokers.len() == 2
    })
    .await;
    until_async("it gave up", async || {
        if a.cluster.is_controller() {
            Err(())
        } else {
            Ok(())
        }
    })
    .await;
    // Leaving gives the seat up at once.
    let begun = clock::now();
    b.stop().await;
    until_async("the seat", async || {
        if a.cluster.is_controller() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    assert!(begun.elapsed() < TIMEOUT, "it waited for the session");
    a.seen("nobody", |s| leader(s, "t", 0) == Some((-1, 1)))
        .await;
    a.stop().await;
}

async fn overrides_reach_every_broker(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    let b = Member::start(&place, 2, folder.path()).await;
    a.create("t", 1).await;
    let t = tp("t", 0).topic;
    let alter = |entity: ConfigEntity, key: &str, alter: Alter| AlterConfigs {
        entity,
        replace_all: false,
        changes: vec![(key.to_owned(), alter)],
        validate_only: false,
    };
    let of_topic = |key: &str, change: Alter| alter(ConfigEntity::Topic(t.clone()), key, change);
    let change = of_topic("max.message.bytes", Alter::Set("7777".to_owned()));
    a.cluster.alter_configs(&change).await.expect("legal");
    let change = of_topic("cleanup.policy", Alter::Append("compact".to_owned()));
    b.cluster.alter_configs(&change).await.expect("legal");
    for member in [&a, &b] {
        until_async("the override", async || {
            let config = member.cluster.topic_config(&t);
            let ok = config.max_message_bytes == 7777 && config.cleanup_policy.compact;
            if ok {
                Ok(())
            } else {
                Err(config.overrides().clone())
            }
        })
        .await;
    }
    until_async("the partition's part", async || {
        let led = [&a, &b].map(|member| member.table.get("t", 0));
        let mut bytes = led.iter().flatten().map(|p| p.config().max_message_bytes);
        match bytes.next() {
            Some(7777) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    for (key, change) in [
        ("no.such.key", Alter::Set("1".to_owned())),
        ("retention.ms", Alter::Set("soon".to_owned())),
        ("retention.ms", Alter::Append("1".to_owned())),
    ] {
        let refused = a.cluster.alter_configs(&of_topic(key, change)).await;
        assert!(refused.is_err(), "{key}");
    }
    let change = alter(
        ConfigEntity::BrokerDefault,
        "message.max.bytes",
        Alter::Set("8888".to_owned()),
    );
    a.cluster.alter_configs(&change).await.expect("legal");
    let change = alter(
        ConfigEntity::Broker(BrokerId(2)),
        "message.max.bytes",
        Alter::Set("9999".to_owned()),
    );
    assert!(
        a.cluster.alter_configs(&change).await.is_err(),
        "another broker's"
    );
    b.cluster.alter_configs(&change).await.expect("its own");
    for (member, bytes) in [(&a, 8888), (&b, 9999)] {
        until_async("the broker's setting", async || {
            let now = member.live.get().message_max_bytes;
            if now == bytes { Ok(()) } else { Err(now) }
        })
        .await;
    }
    // A cut hides notices; they are made up for.
    b.proxy.cut();
    wait_for(&b.session, "suspended", |s| !s.is_connected()).await;
    let change = of_topic("max.message.bytes", Alter::Delete);
    a.cluster.alter_configs(&change).await.expect("legal");
    b.proxy.heal();
    until_async("the override to go", async || {
        let bytes = b.cluster.topic_config(&t).max_message_bytes;
        if bytes == 9999 { Ok(()) } else { Err(bytes) }
    })
    .await;
    b.stop().await;
    a.stop().await;
}

async fn producer_ids_differ(place: String) {
    let folder = tempfile::tempdir().expect("a folder");
    let a = Member::start(&place, 1, folder.path()).await;
    let b = Member::start(&place, 2, folder.path()).await;
    assert_eq!(a.cluster.next_producer_id().await.expect("connected"), 0);
    assert_eq!(b.cluster.next_producer_id().await.expect("connected"), 1000);
    for expected in 1..1000 {
        assert_eq!(
            a.cluster.next_producer_id().await.expect("connected"),
            expected
        );
    }
    assert_eq!(a.cluster.next_producer_id().await.expect("connected"), 2000);
    b.stop().await;
    a.stop().await;
}
