//! What operators and old tools write in ZooKeeper by hand, and what the controller makes of it.

use harness::brokers::Brokers;
use harness::wait;
use harness::znodes::Znodes;
use harness::zookeeper_wire::{Acl, open};

const MOVES: &str = "/admin/reassign_partitions";

/// `/admin/reassign_partitions` for partition 0 of t: an entry for each list of replicas.
fn moves(lists: &[&[i32]]) -> Vec<u8> {
    let entry =
        |replicas: &&[i32]| format!(r#"{{"topic":"t","partition":0,"replicas":{replicas:?}}}"#);
    let entries: Vec<String> = lists.iter().map(entry).collect();
    format!(r#"{{"version":1,"partitions":[{}]}}"#, entries.join(",")).into_bytes()
}

fn wait_until_gone(znodes: &mut Znodes, topic: &str) {
    let path = format!("/brokers/topics/{topic}");
    wait::until("the topic's node to go", || match znodes.get(&path) {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// As with Kafka. If both counted, the partition would go there and back without end.
#[test]
fn of_two_moves_of_a_partition_the_last_one_counts() {
    let brokers = Brokers::three(&[]);
    brokers.create_topic("t", 1, 2, &[]);
    let mut znodes = brokers.znodes();
    let replicas = znodes.replicas("t").remove(&0).expect("a partition");
    let third = (0..3).find(|id| !replicas.contains(id)).expect("not there");
    let [first, second] = [[third, replicas[0]], [third, replicas[1]]];
    let before = znodes.state("t", 0).expect("a state").leader_epoch;
    let wanted = moves(&[&first, &second]);
    znodes.create(MOVES, &wanted, &open()).expect("made");
    wait::until("the node to go", || match znodes.get(MOVES) {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(znodes.replicas("t").get(&0), Some(&second.to_vec()));
    // It began and it ended.
    let state = znodes.state("t", 0).expect("a state");
    assert!(state.leader_epoch <= before + 3, "{state:?}");
}

/// One topic must not hold up the cluster: one without an id that the controller cannot give it.
#[test]
fn a_topic_that_nobody_may_write_holds_up_no_other() {
    let mut brokers = Brokers::three(&[]);
    brokers.create_topic("good", 3, 3, &[]);
    let mut znodes = brokers.znodes();
    let (path, anyone) = ("/brokers/topics/old", "anyone".to_owned());
    // Read, and change of the ACL.
    let acl: Acl = (1 | 16, "world".to_owned(), anyone);
    let old = br#"{"version":1,"partitions":{"0":[0,1,2]}}"#;
    znodes.create(path, old, &[acl]).expect("made");
    let killed = znodes.state("good", 0).expect("a state").leader;
    brokers.node(killed).kill();
    for partition in 0..3 {
        znodes.wait_for_state("good", partition, "a leader that lives", |s| {
            s.leader >= 0 && s.leader != killed
        });
    }
    brokers.create_topic("later", 1, 2, &[]);
    assert!(znodes.json(path).expect("there").get("topic_id").is_none());
    znodes.set_acl(path, &open()).expect("set");
    wait::until("its id", || {
        let node = znodes.json(path);
        let id = node.as_ref().and_then(|node| node.get("topic_id")).cloned();
        id.map(drop).ok_or(node)
    });
    znodes.wait_for_state("old", 0, "a leader", |s| s.leader >= 0);
}

/// Whoever may not delete one topic deletes the others, and hears what brokers ask meanwhile.
#[test]
fn a_topic_that_cannot_be_deleted_holds_up_no_other() {
    let mut brokers = Brokers::three(&[]);
    for topic in ["good", "del1", "del2"] {
        brokers.create_topic(topic, 1, 3, &[]);
    }
    let mut znodes = brokers.znodes();
    let below = "/brokers/topics/del1/partitions/0";
    // All but to delete what is below it.
    let acl: Acl = (31 & !8, "world".to_owned(), "anyone".to_owned());
    znodes.set_acl(below, &[acl]).expect("set");
    for topic in ["del1", "del2"] {
        let mark = format!("/admin/delete_topics/{topic}");
        znodes.create(&mark, b"", &open()).expect("made");
    }
    wait_until_gone(&mut znodes, "del2");
    let state = znodes.state("good", 0).expect("a state");
    let follower = (0..3).find(|id| *id != state.leader).expect("one of three");
    brokers.node(follower).stop();
    znodes.wait_for_state("good", 0, "two in sync", |s| s.isr.len() == 2);
    brokers.node(follower).start();
    znodes.wait_for_full_isr("good");
    assert!(znodes.get(below).expect("read").is_some());
    znodes.set_acl(below, &open()).expect("set");
    wait_until_gone(&mut znodes, "del1");
}
