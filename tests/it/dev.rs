//! `nyala dev`: starts from nothing, says where it is, ends cleanly, comes back after a kill.

use std::time::Duration;

use harness::cluster::{Dev, DevOptions, nyala};
use harness::raw::{Answer, Raw};
use harness::rdkafka::read_all;
use harness::wait::until;
use harness::znodes::Znodes;

#[test]
fn dev_says_where_it_is_and_ends_cleanly() {
    let mut dev = Dev::start();
    let ready = dev.ready().clone();
    assert_eq!(ready.brokers.len(), 1);
    assert!(ready.zookeeper.starts_with("127.0.0.1:"), "{ready:?}");
    dev.stop();
    dev.restart();
    assert_eq!(dev.ready().zookeeper, ready.zookeeper, "same port again");
    dev.stop();
}

#[test]
fn dev_comes_back_after_a_kill_without_waiting_for_its_old_session() {
    let mut dev = Dev::start();
    for _ in 0..3 {
        dev.kill();
        dev.restart();
        // The session timeout is 18 s: a start that had to wait for it would take longer than this.
        assert!(dev.ready().ms < 9_000, "{:?}", dev.ready());
    }
    dev.stop();
}

/// librdkafka asks once who is the controller; told that there is none, it waits until its time is over.
#[test]
fn there_is_a_controller_when_dev_is_ready() {
    for _ in 0..5 {
        let dev = Dev::start();
        let mut raw = Raw::connect(&dev.ready().brokers[0]);
        // Metadata 1 of no topics: the controller's id follows the brokers (one without rack).
        let sent = raw.request((3, 1), 7, false, &0_i32.to_be_bytes());
        sent.expect("an open connection");
        let Answer::Frame(answer) = raw.answer(Duration::from_secs(20)) else {
            panic!("no answer");
        };
        let controller = answer[answer.len() - 8..][..4].to_vec();
        assert_eq!(controller, 0_i32.to_be_bytes(), "{answer:?}");
    }
}

/// Records of `t`, over its three partitions.
fn count(dev: &Dev) -> usize {
    let bootstrap = dev.bootstrap();
    (0..3).map(|p| read_all(&bootstrap, "t", p).len()).sum()
}

fn produce(dev: &Dev, lines: usize) {
    let file = dev.folder().join("lines");
    let text: String = (0..lines).map(|n| format!("line {n}\n")).collect();
    std::fs::write(&file, text).expect("a file");
    let (file, bootstrap) = (file.to_string_lossy(), dev.bootstrap());
    let args = ["produce", "t", "--file", &file, "--bootstrap", &bootstrap];
    nyala(dev.folder(), &args).expect_success("produce");
}

#[test]
fn dev_with_three_brokers_is_a_cluster_with_three_copies() {
    let mut dev = Dev::start_with(DevOptions {
        brokers: 3,
        ..DevOptions::default()
    });
    assert_eq!(dev.ready().brokers.len(), 3);
    let bootstrap = dev.bootstrap();
    let args = ["topic", "create", "t", "--partitions", "3"];
    let args = [&args[..], &["--bootstrap", &bootstrap]].concat();
    nyala(dev.folder(), &args).expect_success("create");
    let mut znodes = Znodes::new(dev.zookeeper());
    znodes.wait_for_full_isr("t");
    let copies = znodes.replicas("t");
    assert!(
        copies.values().all(|replicas| replicas.len() == 3),
        "{copies:?}"
    );
    produce(&dev, 1_000);
    for broker in 0..3 {
        assert!(
            dev.log_folder(broker).join("t-2").exists(),
            "broker {broker}"
        );
    }
    dev.kill();
    dev.restart();
    assert_eq!(count(&dev), 1_000, "after a kill");
    produce(&dev, 500);
    let begun = nyala_coordinator::clock::now();
    dev.stop();
    let took = begun.elapsed();
    assert!(took.as_secs() < 10, "it took {took:?} to end");
    dev.restart();
    eprintln!(
        "ended after {took:?}, ready again after {} ms",
        dev.ready().ms
    );
    assert_eq!(count(&dev), 1_500, "after a stop");
    Znodes::new(dev.zookeeper()).wait_for_full_isr("t");
    let args = ["topic", "delete", "t", "--bootstrap", &bootstrap];
    nyala(dev.folder(), &args).expect_success("delete");
    until("all copies to go", || {
        let here = (0..3).filter(|b| dev.log_folder(*b).join("t-0").exists());
        match here.count() {
            0 => Ok(()),
            n => Err(n),
        }
    });
    dev.stop();
}
