//! What a snapshot takes over from nodes, read in any order, sound or not.

use super::*;
use crate::session::Stat;

fn node(data: &[u8], version: i32) -> Node {
    Node {
        data: data.to_vec(),
        stat: Stat {
            czxid: 40,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version,
            cversion: 0,
            ephemeral_owner: 0,
            num_children: 0,
        },
    }
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TopicName::new(topic).expect("legal"),
        partition: PartitionIndex(partition),
    }
}

const ONE: &[u8] = br#"{"partitions":{"0":[1]},"topic_id":"VATKTL-xQ86vSWHGbIMG8w","adding_replicas":{},"removing_replicas":{},"version":3}"#;
const TWO: &[u8] = br#"{"partitions":{"0":[1],"1":[2]},"topic_id":"VATKTL-xQ86vSWHGbIMG8w","adding_replicas":{},"removing_replicas":{},"version":3}"#;
const ANEW: &[u8] = br#"{"partitions":{"0":[1]},"topic_id":"dWjXpO0VR0iDCuct8eVzzA","adding_replicas":{},"removing_replicas":{},"version":3}"#;
const STATE: &[u8] = br#"{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":3,"isr":[1]}"#;

#[test]
fn a_new_partition_is_read_and_a_known_one_keeps_its_state() {
    let mut snapshot = ClusterSnapshot::default();
    let topic = BrokersPath::Topic(tp("t", 0).topic);
    let state = |p| BrokersPath::State(tp("t", p));
    assert_eq!(snapshot.apply(&topic, Some(&node(ONE, 0))), [state(0)]);
    assert_eq!(snapshot.apply(&state(0), Some(&node(STATE, 4))), []);
    assert_eq!(snapshot.apply(&topic, Some(&node(TWO, 1))), [state(1)]);
    let read = snapshot
        .partition(&tp("t", 0))
        .and_then(|p| p.state.clone());
    let read = read.expect("it was read");
    assert_eq!((read.leader_epoch, read.version), (LeaderEpoch(3), 4));
    assert_eq!(
        snapshot.partition(&tp("t", 1)).expect("assigned").state,
        None
    );
}

#[test]
fn a_topic_made_anew_does_not_inherit_states() {
    let mut snapshot = ClusterSnapshot::default();
    let topic = BrokersPath::Topic(tp("t", 0).topic);
    let state = BrokersPath::State(tp("t", 0));
    snapshot.apply(&topic, Some(&node(ONE, 0)));
    snapshot.apply(&state, Some(&node(STATE, 4)));
    assert_eq!(snapshot.apply(&topic, Some(&node(ANEW, 0))), [state]);
    assert_eq!(
        snapshot.partition(&tp("t", 0)).expect("assigned").state,
        None
    );
}

#[test]
fn what_cannot_be_read_leaves_the_rest() {
    let mut snapshot = ClusterSnapshot::default();
    let broker = BrokersPath::Broker(BrokerId(1));
    let info = br#"{"version":2,"endpoints":["PLAINTEXT://h:9092"]}"#;
    snapshot.apply(&broker, Some(&node(info, 0)));
    snapshot.apply(&BrokersPath::Topic(tp("t", 0).topic), Some(&node(ONE, 0)));
    snapshot.apply(&BrokersPath::State(tp("t", 0)), Some(&node(STATE, 0)));
    let before = snapshot.clone();
    for what in [
        broker.clone(),
        BrokersPath::Topic(tp("t", 0).topic),
        BrokersPath::State(tp("t", 0)),
        BrokersPath::State(tp("other", 0)),
    ] {
        assert_eq!(snapshot.apply(&what, Some(&node(b"garbage", 0))), []);
        assert_eq!(snapshot, before);
    }
    assert_eq!(
        snapshot.leader(&tp("t", 0)).map(|b| b.epoch),
        Some(BrokerEpoch(40))
    );
    snapshot.apply(&broker, None);
    assert_eq!(snapshot.leader(&tp("t", 0)), None);
}
