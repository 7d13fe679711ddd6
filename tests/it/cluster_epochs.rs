//! What ZooKeeper has lost: leader epochs, and partitions of a topic.

use std::time::Duration;

use harness::brokers::{Brokers, Coordination, Options};
use harness::rdkafka::{producer, read_all};
use harness::scene::three;
use harness::znodes::Znodes;
use rdkafka::producer::FutureRecord;

const STATE: &str = "/brokers/topics/t/partitions/0/state";

fn set_epoch(znodes: &mut Znodes, epoch: i32) {
    let mut state = znodes.json(STATE).expect("it is there");
    state["leader_epoch"] = epoch.into();
    let set = znodes.set(STATE, state.to_string().as_bytes());
    assert!(set.expect("connected"), "it is there");
}

#[tokio::main(flavor = "current_thread")]
async fn produce(bootstrap: &str, text: &str) {
    let producer = producer(bootstrap, &[("acks", "all")]);
    let record = FutureRecord::<(), str>::to("t").payload(text);
    let sent = producer.send(record, Duration::from_secs(60)).await;
    sent.expect("it is acknowledged");
}

/// As when an old backup of ZooKeeper is put back while all brokers are down: what is written next must not
/// go under an epoch that others have records of.
#[test]
fn an_epoch_that_is_over_is_not_led_in_again() {
    let mut brokers = Brokers::start(Options {
        makers: three(),
        coordination: Coordination::Embedded,
        ..Options::default()
    });
    brokers.create_topic("t", 1, 3, &[]);
    let mut znodes = brokers.znodes();
    set_epoch(&mut znodes, 900);
    znodes.wait_for_full_isr("t");
    produce(&brokers.bootstrap(), "one");
    let ids: Vec<i32> = znodes.replicas("t").remove(&0).expect("it has replicas");
    for id in &ids {
        brokers.node(*id).terminate();
    }
    set_epoch(&mut znodes, 2);
    brokers.start_all();
    znodes.wait_for_state("t", 0, "an epoch above 900", |state| {
        state.leader >= 0 && state.leader_epoch > 900
    });
    znodes.wait_for_full_isr("t");
    produce(&brokers.bootstrap(), "two");
    let read = read_all(&brokers.bootstrap(), "t", 0);
    let texts: Vec<&[u8]> = read.iter().map(|(_, text)| &text[..]).collect();
    assert_eq!(texts, [b"one", b"two"]);
    let logs = brokers.replica_logs("t", 0);
    assert_eq!(logs.len(), ids.len());
    for pair in logs.windows(2) {
        assert_eq!(pair[0].batches, pair[1].batches, "replicas differ");
    }
}

/// Somebody empties a topic's node, so that no broker hears anything when the topic is deleted. The name can
/// be used again at once, and the old records are kept aside.
#[test]
fn what_a_deletion_missed_does_not_stand_in_the_way_of_the_next_topic() {
    const NODE: &str = "/brokers/topics/t";
    let mut brokers = Brokers::start(Options {
        makers: three(),
        coordination: Coordination::Embedded,
        ..Options::default()
    });
    brokers.create_topic("t", 1, 3, &[]);
    let mut znodes = brokers.znodes();
    let ids = znodes.replicas("t").remove(&0).expect("it has replicas");
    let mut node = znodes.json(NODE).expect("it is there");
    node["partitions"] = serde_json::json!({});
    let set = znodes.set(NODE, node.to_string().as_bytes());
    assert!(set.expect("connected"), "it is there");
    brokers.delete_topic("t");
    brokers.create_topic("t", 1, 3, &[]);
    produce(&brokers.bootstrap(), "new");
    for id in ids {
        let folders = std::fs::read_dir(&brokers.node(id).log_folder).expect("it is there");
        let names = folders.filter_map(|f| f.ok()?.file_name().into_string().ok());
        let stray = |name: &String| name.starts_with("t-0.") && name.ends_with("-stray");
        assert_eq!(names.filter(stray).count(), 1, "kept aside on broker {id}");
    }
}
