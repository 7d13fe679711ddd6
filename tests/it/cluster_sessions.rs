//! Sessions that are ended by force, a registration that somebody else holds, and a ZooKeeper that
//! is gone altogether.

use std::time::Duration;

use harness::brokers::{Brokers, Coordination, Options, SESSION};
use harness::scene::{Scene, TOPIC, three};
use harness::wait;
use harness::zookeeper_wire::Client;

fn options() -> Options {
    Options {
        makers: three(),
        coordination: Coordination::Real,
        ..Options::default()
    }
}

/// czxid of a broker's registration: its broker epoch.
fn broker_epoch(scene: &mut Scene, id: i32) -> Option<i64> {
    let path = format!("/brokers/ids/{id}");
    let node = scene.znodes.get(&path).ok().flatten();
    node.map(|(_, stat)| stat.czxid)
}

#[test]
fn a_session_that_is_ended_by_force_is_followed_by_another() {
    let mut scene = Scene::start(options(), 2);
    let victims = [scene.leader(), scene.znodes.controller().expect("one")];
    for victim in victims {
        let before = broker_epoch(&mut scene, victim).expect("registered");
        let pid = scene.brokers.node(victim).pid();
        scene.fault("expire session", |scene| {
            scene.znodes.expire(victim).expect("its session is closed");
            wait::until("a new registration", || match broker_epoch(scene, victim) {
                Some(epoch) if epoch > before => Ok(()),
                other => Err(other),
            });
        });
        scene.znodes.wait_for_full_isr(TOPIC);
        scene.wait_for_progress();
        assert!(scene.brokers.node(victim).is_running());
        assert_eq!(scene.brokers.node(victim).pid(), pid, "the same process");
    }
    // Its watches are armed again: it hears of a topic that is made now.
    scene.brokers.create_topic("made-later", 3, 3, &[]);
    scene.finish();
}

#[test]
fn without_zookeeper_leaders_go_on() {
    let mut scene = Scene::start(options(), 2);
    let before = scene.state();
    scene.fault("kill ZooKeeper", |scene| {
        scene.brokers.kill_zookeeper();
        let begun = scene.recorder.now();
        wait::until("three sessions' time", || match scene.recorder.now() {
            now if now > begun + 3 * SESSION => Ok(()),
            now => Err(now),
        });
        // Long after the sessions have timed out, produce, fetch and commit go on.
        scene.wait_for_progress();
        let gap = scene.longest_gap(begun);
        eprintln!("longest gap without ZooKeeper: {gap:?}");
        assert!(gap < 2 * SESSION, "{gap:?}");
        scene.brokers.restart_zookeeper();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();
    let after = scene.state();
    assert!(after.leader_epoch >= before.leader_epoch);
    scene.brokers.create_topic("made-later", 2, 3, &[]);
    scene.finish();
}

/// It cannot say goodbye, but closes its logs before whoever asked it to stop loses patience.
#[test]
fn without_zookeeper_a_broker_that_is_asked_to_stop_ends_soon() {
    let mut brokers = Brokers::start(options());
    brokers.create_topic(TOPIC, 2, 3, &[]);
    brokers.kill_zookeeper();
    let node = brokers.node(1);
    let took = node.stop();
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(node.log_folder.join(".kafka_cleanshutdown").exists());
    brokers.restart_zookeeper();
}

#[test]
fn a_registration_that_somebody_else_holds_is_not_taken() {
    let mut scene = Scene::start(options(), 1);
    let victim = scene.follower();
    scene.brokers.node(victim).kill();
    let znodes = &mut scene.znodes;
    wait::until("the old registration to go", || {
        match znodes.get(&format!("/brokers/ids/{victim}")) {
            Ok(None) => Ok(()),
            other => Err(other.map(|_| ())),
        }
    });
    // Somebody registers under its id, with a session that lives on.
    let address = scene.brokers.connect.clone();
    let mut foreign = Client::connect(&address);
    let path = format!("/brokers/ids/{victim}");
    foreign
        .create(&path, br#"{"version":5,"host":"192.0.2.1","port":9092,"endpoints":["PLAINTEXT://192.0.2.1:9092"],"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"features":{},"jmx_port":-1,"timestamp":"1"}"#, 1)
        .expect("free");
    let owner = foreign.session;
    let node = scene.brokers.node(victim);
    node.spawn();
    // It says so and ends, or it waits; it does not push the other out.
    wait::until("a word on the registration", || {
        let said = node.said();
        if !node.is_running() || said.to_lowercase().contains("regist") {
            Ok(())
        } else {
            Err(said)
        }
    });
    let held = scene.znodes.get(&path).expect("ZooKeeper answers");
    assert_eq!(held.map(|(_, stat)| stat.owner), Some(owner));
    foreign.close();
    let node = scene.brokers.node(victim);
    if node.is_running() {
        node.wait_until_ready();
    } else {
        node.start();
    }
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.finish();
}
