//! Brokers on hosts of their own that are cut off: from each other, from ZooKeeper, in one
//! direction. Three real ZooKeepers keep the truth, each on its own host as well.

use std::time::Duration;

use bytes::Bytes;
use harness::brokers::{Coordination, Options, SESSION};
use harness::network::Host;
use harness::scene::{FAILOVER_MAX, Scene, TOPIC, three};
use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::ErrorCode;
use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_client::wire::messages::metadata::MetadataRequest;
use nyala_client::wire::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};

fn scene(partitions: i32) -> Scene {
    let options = Options {
        makers: three(),
        coordination: Coordination::Ensemble,
        network: true,
        ..Options::default()
    };
    Scene::start(options, partitions)
}

fn host_of(scene: &Scene, id: i32) -> Host {
    let mut nodes = scene.brokers.nodes.iter();
    let node = nodes.find(|node| node.id == id).expect("its broker");
    node.host.clone().expect("a host of its own")
}

fn other_brokers(scene: &Scene, id: i32) -> Vec<Host> {
    let others = scene.brokers.nodes.iter().filter(|node| node.id != id);
    others.filter_map(|node| node.host.clone()).collect()
}

fn zookeepers(scene: &mut Scene) -> Vec<Host> {
    scene.brokers.ensemble().hosts().cloned().collect()
}

/// Waits until another broker leads, then until it acknowledges.
fn wait_for_another_leader(scene: &mut Scene, leader: i32, since: Duration) {
    let other = |l: i32| l >= 0 && l != leader;
    scene
        .znodes
        .wait_for_state(TOPIC, 0, "another leader", |state| other(state.leader));
    let elected = scene.recorder.now().saturating_sub(since);
    assert!(elected < FAILOVER_MAX, "{elected:?}");
    let gap = scene.first_ack(scene.recorder.now()).saturating_sub(since);
    eprintln!("another leads after {elected:?} and acknowledges after {gap:?}");
}

/// A request for one record on all replicas.
fn one_record(partition: i32) -> ProduceRequest {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    let appended = batch.append(1_700_000_000_000, None, Some(b"x"), &[]);
    appended.expect("fits");
    let data = PartitionProduceData {
        index: partition,
        records: Some(Bytes::from(batch.build().expect("builds").to_vec())),
    };
    let topic = TopicProduceData {
        name: TOPIC.into(),
        partition_data: vec![data],
    };
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
    }
}

#[test]
fn leaders_that_are_cut_off() {
    let mut scene = scene(2);

    // From everybody but its clients: it must acknowledge nothing that is lost with it.
    let leader = scene.leader();
    let (host, zookeepers) = (host_of(&scene, leader), zookeepers(&mut scene));
    let others = other_brokers(&scene, leader);
    scene.fault("isolate leader from all", |scene| {
        let begun = scene.recorder.now();
        host.drop_from(others.iter().chain(&zookeepers));
        wait_for_another_leader(scene, leader, begun);
        // A client that is still with it must not learn the cluster from it, for ever the old one.
        let address = scene.brokers.node(leader).address.clone();
        let mut asking = Caller::connect(&address, "asks for the cluster");
        let asked = asking.send(9, &MetadataRequest::default());
        assert!(asking.receive::<MetadataRequest>(9, asked).is_none());
        let mut producing = Caller::connect(&address, "produces");
        let answer = producing.call(10, &one_record(0));
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(
            ErrorCode::from(refused.error_code),
            ErrorCode::NotLeaderOrFollower
        );
        assert_eq!(refused.current_leader.leader_id, -1, "it knows of none");
        host.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);

    // From ZooKeeper only: its session ends, another leads, and it follows although nobody can
    // tell it but the new leader and the controller.
    let leader = scene.leader();
    let host = host_of(&scene, leader);
    scene.fault("isolate leader from ZooKeeper", |scene| {
        let begun = scene.recorder.now();
        host.drop_from(&zookeepers);
        wait_for_another_leader(scene, leader, begun);
        host.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);

    // From brokers only: it shrinks its ISR to itself, and as two are asked for, acknowledges
    // nothing; its session lives, so it leads on until it is healed.
    let leader = scene.leader();
    let host = host_of(&scene, leader);
    let others = other_brokers(&scene, leader);
    let is_controller = scene.znodes.controller() == Some(leader);
    scene.fault("isolate leader from brokers", |scene| {
        host.drop_from(&others);
        if is_controller {
            let alone = |isr: &[i32]| isr == [leader];
            scene
                .znodes
                .wait_for_state(TOPIC, 0, "the ISR alone", |s| alone(&s.isr));
        } else {
            // The controller cannot be asked to shrink it; nothing is acknowledged all the same.
            let from = scene.recorder.now() + Duration::from_millis(500);
            wait::until("the time of a session", || {
                let now = scene.recorder.now();
                if now > from + SESSION {
                    Ok(())
                } else {
                    Err(now)
                }
            });
            let state = scene.state();
            if state.leader == leader {
                let acked = scene.recorder.first_ack_of_a_send_after(from);
                let led_by_it = scene
                    .znodes
                    .state(TOPIC, 1)
                    .is_some_and(|s| s.leader == leader);
                assert!(
                    acked.is_none() || !led_by_it,
                    "acknowledged by one of three"
                );
            }
        }
        host.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();
    scene.finish();
}

/// A leader whose ISR is itself alone has what nobody else has: once it is lost nobody may lead, and since less than
/// `min.insync.replicas` are there, it has acknowledged nothing that would be missed.
#[test]
fn a_leader_that_is_left_alone_and_then_lost() {
    let mut scene = scene(3);
    // One that is the controller, too: another could ask nobody for a smaller ISR.
    let leader = scene.znodes.controller().expect("a controller");
    let leads = |scene: &mut Scene, partition: &i32| {
        let state = scene.znodes.state(TOPIC, *partition);
        state.is_some_and(|state| state.leader == leader)
    };
    let led = (0..3).find(|partition| leads(&mut scene, partition));
    let led = led.expect("each leads one of three");
    let (host, others) = (host_of(&scene, leader), other_brokers(&scene, leader));
    scene.fault("isolate leader from brokers, then kill it", |scene| {
        host.drop_from(&others);
        let alone = |isr: &[i32]| isr == [leader];
        let znodes = &mut scene.znodes;
        znodes.wait_for_state(TOPIC, led, "the leader alone", |s| alone(&s.isr));
        let address = scene.brokers.node(leader).address.clone();
        let answer = Caller::connect(&address, "produces").call(10, &one_record(led));
        let refused = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(ErrorCode::from(refused), ErrorCode::NotEnoughReplicas);

        let lost = scene.recorder.now();
        scene.brokers.node(leader).kill();
        host.heal();
        let znodes = &mut scene.znodes;
        znodes.wait_for_state(TOPIC, led, "no leader", |s| s.leader == -1);
        for partition in (0..3).filter(|partition| *partition != led) {
            let other = |l: i32| l >= 0 && l != leader;
            znodes.wait_for_state(TOPIC, partition, "another leader", |s| other(s.leader));
        }
        // The others go on, and still nobody leads what only the lost one had.
        wait::until("another partition that goes on", || {
            let acked = (0..3).filter(|partition| scene.acked_since(*partition, lost));
            if acked.count() == 2 { Ok(()) } else { Err(()) }
        });
        let state = scene.znodes.state(TOPIC, led).expect("it is there");
        assert_eq!((state.leader, state.isr), (-1, vec![leader]));
        assert!(!scene.acked_since(led, lost), "acknowledged by nobody");
        scene.brokers.node(leader).start();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();
    scene.finish();
}

#[test]
fn cuts_in_one_direction() {
    let mut scene = scene(2);
    let leader = scene.leader();
    let (host, others) = (host_of(&scene, leader), other_brokers(&scene, leader));

    // The leader hears nobody, its followers hear it.
    scene.fault("one-way: leader deaf to brokers", |scene| {
        host.drop_from(&others);
        let follower = scene.follower();
        let begun = scene.recorder.now();
        wait::until("two sessions' time", || {
            let now = scene.recorder.now();
            if now > begun + 2 * SESSION {
                Ok(())
            } else {
                Err(now)
            }
        });
        assert!(scene.brokers.node(follower).is_running());
        host.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();

    // A follower hears nobody: it leaves the ISR, the others go on.
    let follower = scene.follower();
    let host = host_of(&scene, follower);
    let others = other_brokers(&scene, follower);
    scene.fault("one-way: follower deaf to brokers", |scene| {
        host.drop_from(&others);
        let gone = |isr: &[i32]| !isr.contains(&follower);
        scene
            .znodes
            .wait_for_state(TOPIC, 0, "a smaller ISR", |s| gone(&s.isr));
        // What it leads itself stands still: it can ask nobody for a smaller ISR, and its session
        // lives. What others lead goes on.
        scene.first_ack(scene.recorder.now());
        host.heal();
    });
    scene.znodes.wait_for_full_isr(TOPIC);

    // ZooKeeper does not hear the leader, but it hears ZooKeeper.
    let leader = scene.leader();
    let host = host_of(&scene, leader);
    let zookeepers = zookeepers(&mut scene);
    scene.fault("one-way: ZooKeeper deaf to leader", |scene| {
        let begun = scene.recorder.now();
        for zookeeper in &zookeepers {
            zookeeper.drop_from([&host]);
        }
        wait_for_another_leader(scene, leader, begun);
        zookeepers.iter().for_each(Host::heal);
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.finish();
}

#[test]
fn an_ensemble_that_loses_one_member_and_its_leader() {
    let mut scene = scene(2);
    let before = scene.state();
    for round in 0..2 {
        let begun = scene.recorder.now();
        let ensemble = scene.brokers.ensemble();
        let leader = ensemble.leader().expect("an ensemble has a leader");
        let member = if round == 0 { (leader + 1) % 3 } else { leader };
        let kind = ["kill ZooKeeper follower", "kill ZooKeeper leader"][round];
        scene.fault(kind, |scene| {
            scene.brokers.ensemble().kill(member);
            scene.wait_for_progress();
            wait::until("a ZooKeeper that serves again", || {
                scene.znodes.controller().ok_or("none")
            });
        });
        scene.brokers.ensemble().restart(member);
        scene.brokers.ensemble().wait_until_it_serves();
        let gap = scene.longest_gap(begun);
        eprintln!("{kind}: longest gap {gap:?}");
        assert!(gap < FAILOVER_MAX, "{gap:?}");
    }
    // Sessions survive, so nobody was elected anew.
    assert_eq!(scene.state().leader_epoch, before.leader_epoch);
    scene.finish();
}
