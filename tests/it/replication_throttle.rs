//! Replication throttles (KIP-73): a follower that is behind catches up no faster than it may, whichever side
//! holds it back, and joins the replicas in sync all the same.

use std::time::Duration;

use harness::brokers::{Brokers, Maker, Options};
use harness::rdkafka::producer;
use harness::wait::SOON;
use nyala_coordinator::clock;
use rdkafka::producer::FutureRecord;

const TOPIC: &str = "throttled";
const RATE: usize = 1_000_000;
const RECORDS: usize = 100;

fn catches_up_slowly(side: &str) {
    let mut brokers = Brokers::start(Options {
        makers: vec![Maker::Nyala; 2],
        settings: vec![format!("{side}.replication.throttled.rate={RATE}")],
        ..Options::default()
    });
    let throttled = [
        ("leader.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "*"),
        // Below it the high watermark would stay, and nobody be behind.
        ("min.insync.replicas", "1"),
    ];
    brokers.create_topic(TOPIC, 1, 2, &throttled);
    let leader = brokers.znodes().state(TOPIC, 0).map(|s| s.leader);
    let follower = 1 - leader.expect("it was made");
    brokers.node(follower).kill();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let settings = [("acks", "1"), ("enable.idempotence", "false")];
        let producer = producer(&brokers.bootstrap(), &settings);
        let value = vec![7_u8; 100_000];
        for _ in 0..RECORDS {
            let record = FutureRecord::<[u8], [u8]>::to(TOPIC).payload(&value);
            let sent = producer.send(record, SOON).await;
            sent.map_err(|(e, _)| e).expect("acknowledged");
        }
    });
    brokers
        .znodes()
        .wait_for_state(TOPIC, 0, "the leader alone in sync", |state| {
            state.isr.len() == 1
        });
    let began = clock::now();
    brokers.node(follower).start();
    brokers.znodes().wait_for_full_isr(TOPIC);
    // 10 MB at 1 MB a second, less what the quiet seconds before left over.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "{side}: {took:?}");
    let logs = brokers.replica_logs(TOPIC, 0);
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[0].batches.len(), logs[1].batches.len());
}

#[test]
fn a_throttled_leader_leaves_room_for_others() {
    catches_up_slowly("leader");
}

#[test]
fn a_throttled_follower_leaves_room_for_others() {
    catches_up_slowly("follower");
}
