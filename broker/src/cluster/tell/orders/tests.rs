//! What one broker is told, step by step.

use nyala_coordinator::cluster::{BrokerInfo, TopicInfo};
use nyala_coordinator::ids::BrokerEpoch;

use super::*;

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn name() -> TopicName {
    TopicName::new("t").expect("legal")
}

fn orders(alive: &[i32]) -> Orders {
    let broker = |id: BrokerId| BrokerInfo {
        id,
        epoch: BrokerEpoch(1),
        endpoints: Vec::new(),
        rack: None,
    };
    let live = brokers(alive).into_iter();
    Orders {
        epoch: ControllerEpoch(9),
        snapshot: Arc::new(ClusterSnapshot {
            brokers: live.map(|id| (id, broker(id))).collect(),
            ..ClusterSnapshot::default()
        }),
        deleting: BTreeMap::new(),
        stopping: BTreeSet::new(),
        dropped: BTreeMap::new(),
        offline: BTreeSet::new(),
        unproven: BTreeSet::new(),
        log_dir_events: BTreeMap::new(),
    }
}

impl Orders {
    /// Sets partition 0 of topic `t`.
    fn with(mut self, replicas: &[i32], leader: i32, epoch: i32, isr: &[i32]) -> Self {
        let info = PartitionInfo {
            replicas: brokers(replicas),
            state: Some(PartitionState {
                leader: Some(BrokerId(leader)),
                leader_epoch: LeaderEpoch(epoch),
                isr: brokers(isr),
                controller_epoch: ControllerEpoch(1),
                version: epoch + 1,
                written: i64::MAX,
            }),
            ..PartitionInfo::default()
        };
        let topic = TopicInfo {
            id: Some(TopicId([7; 16])),
            partitions: BTreeMap::from([(PartitionIndex(0), info)]),
        };
        Arc::make_mut(&mut self.snapshot)
            .topics
            .insert(name(), Arc::new(topic));
        self
    }
}

/// What broker 2 is told: `lead`, `show`, `stop` with what matters in each.
fn plan(told: &Told, orders: &Orders) -> String {
    let mut words = Vec::new();
    if brokers_first(told, orders) {
        words.push("brokers".to_owned());
    }
    for lead in plan_leads(told, orders, BrokerId(2)) {
        let leader = lead.state.leader.map_or(-1, |b| b.0);
        words.push(format!("lead {leader} in {}", lead.state.leader_epoch));
    }
    for show in plan_shows(told, orders) {
        let gone: Vec<i32> = show.offline.iter().map(|b| b.0).collect();
        let deleting = if show.deleting { " deleting" } else { "" };
        words.push(format!(
            "show {} without {gone:?}{deleting}",
            show.state.isr.len()
        ));
    }
    for stop in plan_stops(told, orders, BrokerId(2)) {
        let how = if stop.delete { "delete" } else { "stop" };
        words.push(format!("{how} {:?}", stop.epoch.map(|e| e.0)));
    }
    words.join(", ")
}

fn follow(told: &mut Told, orders: &Orders) {
    let orders = Arc::new(orders.clone());
    told.led = Some(Arc::clone(&orders));
    told.shown = Some(Arc::clone(&orders));
    for stop in plan_stops(told, &orders, BrokerId(2)) {
        let done = (stop.topic_id, stop.delete);
        told.stopped.insert(stop.partition, done);
    }
}

#[test]
fn a_broker_is_told_what_it_does_not_know_yet() {
    let mut told = Told::default();
    let steps = [
        (
            orders(&[1, 2, 3]).with(&[1, 2], 1, 0, &[1, 2]),
            "brokers, lead 1 in 0, show 2 without []",
        ),
        (orders(&[1, 2, 3]).with(&[1, 2], 1, 0, &[1, 2]), ""),
        // Only the in-sync replicas: the leader knows them from its own request.
        (
            orders(&[1, 2, 3]).with(&[1, 2], 1, 0, &[1]),
            "show 1 without []",
        ),
        (
            orders(&[2, 3]).with(&[1, 2], 2, 1, &[2]),
            "brokers, lead 2 in 1, show 1 without [1]",
        ),
        // A broker comes back: what is shown changes, the lead does not.
        (
            orders(&[1, 2, 3]).with(&[1, 2], 2, 1, &[2]),
            "brokers, show 1 without []",
        ),
        // Not its partition any more.
        (
            orders(&[1, 2, 3]).with(&[1, 3], 1, 2, &[1]),
            "show 1 without []",
        ),
    ];
    for (orders, expected) in steps {
        assert_eq!(plan(&told, &orders), expected);
        follow(&mut told, &orders);
    }
}

#[test]
fn replicas_are_stopped_and_deleted() {
    let base = || orders(&[1, 2]).with(&[1, 2], 1, 3, &[1]);
    let mut told = Told::default();
    follow(&mut told, &base());
    let mut leaving = base();
    leaving.stopping = BTreeSet::from([BrokerId(2)]);
    assert_eq!(plan(&told, &leaving), "stop Some(3)");
    follow(&mut told, &leaving);
    assert_eq!(plan(&told, &leaving), "");
    let mut going = base();
    going.deleting = BTreeMap::from([(name(), Some(TopicId([7; 16])))]);
    assert_eq!(
        plan(&told, &going),
        "show 1 without [] deleting, delete None"
    );
    follow(&mut told, &going);
    assert_eq!(plan(&told, &going), "");

    // Moved away.
    let mut told = Told::default();
    let moved = || orders(&[1, 2]).with(&[1], 1, 4, &[1]);
    follow(&mut told, &moved());
    let mut dropped = moved();
    let tp = TopicPartition {
        topic: name(),
        partition: PartitionIndex(0),
    };
    dropped.dropped = BTreeMap::from([((BrokerId(2), tp), Some(TopicId([7; 16])))]);
    assert_eq!(plan(&told, &dropped), "delete Some(4)");
    follow(&mut told, &dropped);
    assert_eq!(plan(&told, &dropped), "");
}

#[test]
fn after_a_log_folder_failed_a_broker_is_told_all_again() {
    let mut told = Told::default();
    let base = || orders(&[1, 2]).with(&[1, 2], 1, 3, &[1]);
    follow(&mut told, &base());
    let mut event = base();
    event.log_dir_events = BTreeMap::from([(BrokerId(2), 1)]);
    assert_eq!(plan(&told, &event), "lead 1 in 3");
    follow(&mut told, &event);
    assert_eq!(plan(&told, &event), "");
}
