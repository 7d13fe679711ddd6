//! Breaking things, for a while.

use std::time::Duration;

use nyala_coordinator::clock;
use rustix::process::Signal;

use crate::disk::SmallDisk;
use crate::network::Host;
use crate::scene::{GROUP, Scene};
use crate::wait;

use super::plan::{Kind, Window};

/// Breaks what `window` says, for as long as it says. Brokers and hosts are mended by the caller.
pub(super) fn run(scene: &mut Scene, disks: &[SmallDisk], window: &Window) {
    let hold = window.hold;
    match window.kind {
        Kind::KillLeader => kill(scene, Scene::leader, hold),
        Kind::KillFollower => kill(scene, Scene::follower, hold),
        Kind::KillController => kill(scene, controller, hold),
        Kind::KillCoordinator => kill(scene, coordinator, hold),
        Kind::StopLeader => {
            let leader = scene.leader();
            scene.brokers.node(leader).stop();
            pass(hold);
        }
        Kind::PauseLeaderShort | Kind::PauseLeaderLong => pause(scene, Scene::leader, hold),
        Kind::PauseFollower => pause(scene, Scene::follower, hold),
        Kind::PauseController => pause(scene, controller, hold),
        Kind::IsolateLeaderFromBrokers
        | Kind::IsolateLeaderFromZooKeeper
        | Kind::IsolateLeader
        | Kind::LeaderDeaf
        | Kind::LeaderMute
        | Kind::FollowerDeaf => cut(scene, window),
        Kind::KillZooKeeperFollower
        | Kind::KillZooKeeperLeader
        | Kind::PauseZooKeeperLeader
        | Kind::KillZooKeepers => zookeepers(scene, window),
        Kind::ExpireLeader | Kind::ExpireController => expire(scene, window),
        Kind::FullDiskFollower => fill(scene, disks, Scene::follower, hold),
        Kind::FullDiskLeader => fill(scene, disks, Scene::leader, hold),
    }
}

fn pass(time: Duration) {
    let end = clock::now() + time;
    wait::until_within(2 * time, "the time of the fault", || {
        if clock::now() >= end { Ok(()) } else { Err(()) }
    });
}

fn controller(scene: &mut Scene) -> i32 {
    let znodes = &mut scene.znodes;
    wait::until("a controller", || znodes.controller().ok_or("none"))
}

/// Leader of the partition that holds the commits of the scene's group.
fn coordinator(scene: &mut Scene) -> i32 {
    let hash = GROUP.bytes().fold(0_i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte))
    });
    let partition = (hash & i32::MAX) % 4;
    let led = scene
        .znodes
        .wait_for_state("__consumer_offsets", partition, "a coordinator", |s| {
            s.leader >= 0
        });
    led.leader
}

type Victim = fn(&mut Scene) -> i32;

fn kill(scene: &mut Scene, victim: Victim, hold: Duration) {
    let victim = victim(scene);
    scene.brokers.node(victim).kill();
    pass(hold);
}

fn pause(scene: &mut Scene, victim: Victim, hold: Duration) {
    let victim = victim(scene);
    scene.brokers.node(victim).pause();
    pass(hold);
    scene.brokers.node(victim).resume();
}

fn cut(scene: &mut Scene, window: &Window) {
    let leader = scene.leader();
    let victim = match window.kind {
        Kind::FollowerDeaf => scene.follower(),
        _ => leader,
    };
    let host_of = |id: i32| {
        let mut nodes = scene.brokers.nodes.iter();
        let node = nodes.find(|node| node.id == id).expect("a broker");
        node.host.clone().expect("a host")
    };
    let host = host_of(victim);
    let ids: Vec<i32> = scene.brokers.nodes.iter().map(|node| node.id).collect();
    let brokers: Vec<Host> = ids
        .into_iter()
        .filter(|id| *id != victim)
        .map(host_of)
        .collect();
    let zookeepers: Vec<Host> = scene.brokers.ensemble().hosts().cloned().collect();
    match window.kind {
        Kind::IsolateLeaderFromZooKeeper => host.drop_from(&zookeepers),
        Kind::IsolateLeader => host.drop_from(brokers.iter().chain(&zookeepers)),
        Kind::LeaderMute => brokers.iter().for_each(|broker| broker.drop_from([&host])),
        Kind::IsolateLeaderFromBrokers => {
            host.drop_from(&brokers);
            brokers.iter().for_each(|broker| broker.drop_from([&host]));
        }
        _ => host.drop_from(&brokers),
    }
    pass(window.hold);
}

fn zookeepers(scene: &mut Scene, window: &Window) {
    let ensemble = scene.brokers.ensemble();
    let leader = wait::until("a ZooKeeper that leads", || ensemble.leader().ok_or("none"));
    let members = match window.kind {
        Kind::KillZooKeeperFollower => vec![(leader + 1) % 3],
        Kind::KillZooKeepers => vec![0, 1, 2],
        _ => vec![leader],
    };
    if window.kind == Kind::PauseZooKeeperLeader {
        ensemble.signal(leader, Signal::STOP);
        pass(window.hold);
        ensemble.signal(leader, Signal::CONT);
    } else {
        members.iter().for_each(|member| ensemble.kill(*member));
        pass(window.hold);
        members.iter().for_each(|member| ensemble.restart(*member));
    }
    ensemble.wait_until_it_serves();
}

fn expire(scene: &mut Scene, window: &Window) {
    let victim = match window.kind {
        Kind::ExpireLeader => scene.leader(),
        _ => controller(scene),
    };
    let znodes = &mut scene.znodes;
    wait::until("the session to be closed", || znodes.expire(victim));
    pass(window.hold);
}

fn fill(scene: &mut Scene, disks: &[SmallDisk], victim: Victim, hold: Duration) {
    let victim = victim(scene);
    let disk = &disks[usize::try_from(victim).expect("ids count from 0")];
    let ballast = disk.ballast("ballast", usize::MAX);
    pass(hold);
    std::fs::remove_file(ballast).expect("removable");
}
