//! One broker of three is lost, or asked to go: who leads next, how soon, and what is kept.

use std::time::Duration;

use harness::brokers::{Brokers, Options, SESSION};
use harness::scene::{FAILOVER_MAX, GROUP, Scene, TOPIC, three};
use harness::wait;
use harness::wire::Caller;
use nyala_client::wire::messages::metadata::MetadataRequest;
use nyala_coordinator::clock;

fn scene(partitions: i32) -> Scene {
    let options = Options {
        makers: three(),
        ..Options::default()
    };
    Scene::start(options, partitions)
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut scene = scene(3);
    for _ in 0..3 {
        let before = scene.state();
        let killed_at = scene.recorder.now();
        scene.fault("kill leader", |scene| {
            scene.brokers.node(before.leader).kill();
            let ended = scene.first_ack(killed_at);
            let gap = ended.saturating_sub(killed_at);
            eprintln!("first acknowledgement after {gap:?}");
            assert!(gap < FAILOVER_MAX, "{gap:?}");
        });
        let after = scene.state();
        assert_ne!(after.leader, before.leader);
        assert!(after.leader_epoch > before.leader_epoch);
        scene.brokers.node(before.leader).start();
        scene.znodes.wait_for_full_isr(TOPIC);
    }
    scene.finish();
}

/// The states of many partitions are written together; one that nobody can read must not hold up the rest.
#[test]
fn one_unreadable_state_holds_up_no_other_partition() {
    let mut brokers = Brokers::three(&[]);
    brokers.create_topic("good", 6, 3, &[]);
    brokers.create_topic("bad", 1, 3, &[]);
    let mut znodes = brokers.znodes();
    let state = "/brokers/topics/bad/partitions/0/state";
    let (whole, _) = znodes.get(state).expect("read").expect("there");
    assert!(znodes.set(state, b"{garbage").expect("written"));
    // Who leads what is told by the good one only; it is led by each of three brokers.
    let killed = znodes.state("good", 0).expect("a state").leader;
    brokers.node(killed).kill();
    for partition in 0..6 {
        let lives = |leader: i32| leader >= 0 && leader != killed;
        znodes.wait_for_state("good", partition, "a leader that lives", |s| {
            lives(s.leader)
        });
    }
    // A topic is made as ever, and the repaired state counts again.
    brokers.node(killed).start();
    brokers.create_topic("later", 2, 3, &[]);
    assert!(znodes.set(state, &whole).expect("written"));
    znodes.wait_for_full_isr("bad");
}

#[test]
fn a_killed_follower_leaves_the_isr_and_comes_back() {
    let mut scene = scene(2);
    let follower = scene.follower();
    scene.fault("kill follower", |scene| {
        scene.brokers.node(follower).kill();
        let gone = |isr: &[i32]| !isr.contains(&follower);
        let state = scene
            .znodes
            .wait_for_state(TOPIC, 0, "a smaller ISR", |state| gone(&state.isr));
        assert_eq!(state.isr.len(), 2);
        scene.wait_for_progress();
        scene.brokers.node(follower).start();
        scene.znodes.wait_for_full_isr(TOPIC);
    });
    assert_eq!(scene.failed_sends(), 0);
    scene.finish();
}

#[test]
fn a_killed_controller_is_replaced() {
    let mut scene = scene(2);
    let controller = scene.znodes.controller().expect("there is one");
    scene.fault("kill controller", |scene| {
        scene.brokers.node(controller).kill();
        let znodes = &mut scene.znodes;
        wait::until("another controller", || match znodes.controller() {
            Some(other) if other != controller => Ok(()),
            other => Err(other),
        });
        scene.wait_for_progress();
    });
    scene.brokers.node(controller).start();
    // The new one does a controller's work.
    scene.brokers.create_topic("made-later", 4, 3, &[]);
    scene.finish();
}

#[test]
fn a_leader_that_is_asked_to_go_hands_over_first() {
    let mut scene = scene(3);
    for _ in 0..2 {
        let leader = scene.leader();
        let begun = scene.recorder.now();
        scene.fault("SIGTERM leader", |scene| {
            let took = scene.brokers.node(leader).stop();
            assert!(took < Duration::from_secs(10), "it took {took:?} to end");
            scene.wait_for_progress();
            let gap = scene.longest_gap(begun);
            eprintln!("ended after {took:?}, longest gap between acknowledgements {gap:?}");
            // Nobody waited for its session to end.
            assert!(gap < SESSION, "{gap:?}");
        });
        assert_ne!(scene.leader(), leader);
        scene.brokers.node(leader).start();
        scene.znodes.wait_for_full_isr(TOPIC);
    }
    assert_eq!(scene.failed_sends(), 0, "no error reaches the producer");
    scene.finish();
}

/// A client that was told "not the leader" asks again after a back-off; by then the old leader must not
/// be gone, or librdkafka loses a second.
#[test]
fn a_leader_that_goes_stays_until_clients_have_heard_of_the_next() {
    let mut brokers = Brokers::three(&[]);
    brokers.create_topic("t", 1, 3, &[]);
    let mut znodes = brokers.znodes();
    znodes.wait_for_full_isr("t");
    let old = znodes.state("t", 0).expect("a state").leader;
    let mut client = Caller::connect(&brokers.node(old).address, "asks and asks");
    brokers.node(old).ask_to_stop();
    let (mut first, mut last) = (None, None);
    loop {
        let asked = client.send(9, &MetadataRequest::default());
        let Some(answer) = client.receive::<MetadataRequest>(9, asked) else {
            break;
        };
        let leader = answer.topics[0].partitions[0].leader_id;
        if leader >= 0 && leader != old && answer.brokers.iter().any(|b| b.node_id == old) {
            last = Some(clock::now());
            first = first.or(last);
        }
    }
    let stayed = last.expect("the next leader is told") - first.expect("as above");
    // A back-off of librdkafka and of Java.
    assert!(stayed >= Duration::from_millis(100), "{stayed:?}");
    assert!(brokers.node(old).wait_for_end().status.success());
}

#[test]
fn a_group_keeps_its_offsets_when_its_coordinator_dies() {
    let mut scene = scene(1);
    let partition = group_partition();
    for _ in 0..2 {
        let offsets = "__consumer_offsets";
        let led = |leader: i32| leader >= 0;
        let state = scene
            .znodes
            .wait_for_state(offsets, partition, "a coordinator", |s| led(s.leader));
        scene.fault("kill group coordinator", |scene| {
            scene.brokers.node(state.leader).kill();
            let next = |leader: i32| led(leader) && leader != state.leader;
            scene
                .znodes
                .wait_for_state(offsets, partition, "another", |s| next(s.leader));
            scene.wait_for_progress();
        });
        scene.brokers.node(state.leader).start();
        scene.znodes.wait_for_full_isr(offsets);
    }
    // The committer reads back what it has committed all the time; the checker compares.
    scene.finish();
}

#[test]
fn brokers_that_are_all_told_to_stop_do_not_wait_for_each_other() {
    // Asked again it would be after this.
    let mut brokers = Brokers::three(&["controlled.shutdown.retry.backoff.ms=60000"]);
    brokers.create_topic("t", 6, 3, &[]);
    brokers.znodes().wait_for_full_isr("t");
    let begun = clock::now();
    for node in &mut brokers.nodes {
        node.ask_to_stop();
    }
    for node in &mut brokers.nodes {
        let ended = node.wait_for_end();
        assert!(ended.status.success(), "{ended:?}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(50), "{took:?}: {ended:?}");
    }
}

/// Partition of `__consumer_offsets` that holds [`GROUP`]: Java's hash of the name, of 4 partitions.
fn group_partition() -> i32 {
    let hash = GROUP.bytes().fold(0_i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    });
    (hash & i32::MAX) % 4
}
