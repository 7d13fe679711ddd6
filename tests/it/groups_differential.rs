//! The same requests against a real Kafka 3.9.1 and ours: every answer of the group APIs, in every
//! version, has the same codes, states, generations and contents. Ids are numbered by appearance.

mod describing;
mod dynamic;
mod offsets;
mod static_members;
mod talk;

use std::fmt::Write as _;

use harness::cluster::Dev;
use harness::folder::in_memory;
use harness::kafka::KafkaBroker;
use harness::zookeeper::RealZooKeeper;

use self::talk::Talk;

/// A part of the script, with its name.
type Part = (&'static str, fn(&mut Talk));

/// Both sides start once; the parts use groups of their own.
#[test]
fn every_answer_of_the_group_apis_is_kafkas() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let theirs = KafkaBroker::start(folder.path(), 1, &zookeeper.address, &[]);
    let ours = Dev::start_with_overrides(&[
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=4",
    ]);
    let parts: [Part; 5] = [
        ("finding the coordinator", talk::find_coordinator),
        ("dynamic members", dynamic::script),
        ("static members", static_members::script),
        ("offsets", offsets::script),
        ("describing, listing, deleting", describing::script),
    ];
    let mut differences = String::new();
    for (name, script) in parts {
        let ours = talk::run(&ours.bootstrap(), script);
        let theirs = talk::run(&theirs.address, script);
        assert!(!theirs.is_empty());
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            if ours != theirs {
                let _ = writeln!(
                    differences,
                    "{name}, line {at}\n  ours:   {ours}\n  Kafka:  {theirs}"
                );
            }
        }
        if ours.len() != theirs.len() {
            let _ = writeln!(
                differences,
                "{name}: {} and {} lines",
                ours.len(),
                theirs.len()
            );
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
