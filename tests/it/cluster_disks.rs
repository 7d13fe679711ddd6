//! One broker's disk runs full, or is replaced by an empty one.

use std::fs;
use std::time::Duration;

use harness::brokers::{Brokers, Coordination, Options, SESSION};
use harness::disk::SmallDisk;
use harness::scene::{Scene, TOPIC, three};
use harness::wait;

#[test]
fn a_full_disk_of_one_broker_costs_no_record() {
    let disk = SmallDisk::mount(512);
    let mut brokers = Brokers::prepare(&Options {
        makers: three(),
        ..Options::default()
    });
    let logs = disk.path().join("logs");
    brokers.node(1).set("log.dirs", &logs.to_string_lossy());
    brokers.start_all();
    let mut scene = Scene::stage(brokers, 3);
    scene.begin();
    for _ in 0..2 {
        scene.fault("full disk", |scene| {
            let ballast = disk.ballast("ballast", usize::MAX);
            let begun = scene.recorder.now();
            wait::until("the time of the fault", || match scene.recorder.now() {
                now if now > begun + 2 * SESSION => Ok(()),
                now => Err(now),
            });
            assert!(scene.brokers.node(1).is_running());
            fs::remove_file(ballast).expect("removable");
        });
        // It helps itself as soon as there is room.
        scene.znodes.wait_for_full_isr(TOPIC);
        scene.wait_for_progress();
    }
    scene.finish();
}

/// The log of a new replica cannot be made; nobody restarts the broker, and no epoch changes.
#[test]
fn a_replica_that_met_a_full_disk_follows_when_there_is_room() {
    let disk = SmallDisk::mount(64);
    let mut brokers = Brokers::prepare(&Options {
        makers: three(),
        settings: vec!["min.free.bytes=0".to_owned()],
        ..Options::default()
    });
    let logs = disk.path().join("logs");
    brokers.node(1).set("log.dirs", &logs.to_string_lossy());
    brokers.start_all();
    let ballast = disk.ballast("ballast", usize::MAX);
    brokers.ask_for_topic("t", 2, 3, &[]);
    let mut znodes = brokers.znodes();
    for partition in 0..2 {
        znodes.wait_for_state("t", partition, "the others alone", |s| !s.isr.contains(&1));
    }
    fs::remove_file(ballast).expect("removable");
    znodes.wait_for_full_isr("t");
}

#[test]
fn a_broker_with_an_empty_disk_fills_it_before_it_leads() {
    let options = Options {
        makers: three(),
        coordination: Coordination::Embedded,
        ..Options::default()
    };
    let mut scene = Scene::start(options, 1);
    for _ in 0..2 {
        let leader = scene.leader();
        scene.fault("replace the leader's disk", |scene| {
            // Back at once, before anybody has noticed: its session still lives, and it is in the
            // ISR with nothing in its hands.
            let node = scene.brokers.node(leader);
            node.kill();
            fs::remove_dir_all(&node.log_folder).expect("removable");
            node.start();
        });
        scene.znodes.wait_for_full_isr(TOPIC);
        scene.wait_for_progress();
    }
    let follower = scene.follower();
    scene.fault("replace a follower's disk, kill the others", |scene| {
        let node = scene.brokers.node(follower);
        node.kill();
        fs::remove_dir_all(&node.log_folder).expect("removable");
        let others: Vec<i32> = (0..3).filter(|id| *id != follower).collect();
        for id in &others {
            scene.brokers.node(*id).kill();
        }
        // Stopped in the middle of its start: its former session lives, so it is named in sync still.
        let node = scene.brokers.node(follower);
        node.spawn();
        let identity = node.log_folder.join("meta.properties");
        wait::until("an identity", || identity.exists().then_some(()).ok_or(()));
        node.kill();
        // Alone it must not lead: others hold what was acknowledged.
        node.spawn();
        let begun = scene.recorder.now();
        wait::until("two sessions' time", || {
            let state = scene.znodes.state(TOPIC, 0);
            assert!(
                state.as_ref().is_none_or(|s| s.leader != follower),
                "{state:?}"
            );
            let now = scene.recorder.now();
            if now > begun + 2 * SESSION + Duration::from_secs(1) {
                Ok(())
            } else {
                Err(now)
            }
        });
        for id in &others {
            scene.brokers.node(*id).spawn();
        }
        for id in others {
            scene.brokers.node(id).wait_until_ready();
        }
        scene.brokers.node(follower).wait_until_ready();
    });
    scene.znodes.wait_for_full_isr(TOPIC);
    scene.wait_for_progress();
    scene.finish();
}
