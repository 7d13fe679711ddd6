//! Partitions record by record.

use nyala_client::wire::batch::{BatchBuilder, BatchOptions};
use nyala_client::wire::compression::Codec;

use super::*;
use crate::groups::records::{group_key, offset_key};

type Pair = (bytes::Bytes, Option<bytes::Bytes>);

fn offset(group: &str, topic: &str, offset: Option<i64>) -> Pair {
    let value = offset.map(|offset| {
        let record = OffsetRecord {
            offset,
            leader_epoch: -1,
            metadata: "m".into(),
            commit_ms: 1,
            expire_ms: -1,
        };
        record.encode().unwrap()
    });
    (offset_key(group, topic, 0).unwrap(), value)
}

fn group(id: &str, generation: Option<i32>) -> Pair {
    let value = generation.map(|generation| {
        let record = GroupRecord {
            protocol_type: "consumer".into(),
            generation,
            protocol: None,
            leader: None,
            state_since_ms: 5,
            members: Vec::new(),
        };
        record.encode().unwrap()
    });
    (group_key(id).unwrap(), value)
}

fn batch(options: BatchOptions, records: &[Pair]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        builder.append(1, Some(key), value.as_deref(), &[]).unwrap();
    }
    builder.build().unwrap().to_vec()
}

fn at(base_offset: i64) -> BatchOptions {
    BatchOptions {
        base_offset,
        ..BatchOptions::default()
    }
}

fn transaction(base_offset: i64, producer_id: i64) -> BatchOptions {
    BatchOptions {
        producer_id,
        producer_epoch: 0,
        base_sequence: 0,
        transactional: true,
        ..at(base_offset)
    }
}

fn marker(base_offset: i64, producer_id: i64, commit: bool) -> Vec<u8> {
    let options = BatchOptions {
        control: true,
        base_sequence: -1,
        ..transaction(base_offset, producer_id)
    };
    let key = vec![0, 0, 0, u8::from(commit)];
    batch(options, &[(key.into(), Some(vec![0; 6].into()))])
}

fn replay(batches: &[Vec<u8>]) -> (BTreeMap<String, Replayed>, usize) {
    let mut replay = Replay::default();
    for bytes in batches {
        replay.batch(&BatchView::parse(bytes).unwrap()).unwrap();
    }
    replay.finish()
}

#[test]
fn later_records_win_and_tombstones_remove() {
    let records = [
        offset("g", "t", Some(1)),
        offset("g", "u", Some(2)),
        group("g", Some(4)),
        offset("simple", "t", Some(9)),
        group("gone", Some(7)),
        offset("gone", "t", Some(1)),
    ];
    let later = [
        offset("g", "t", Some(3)),
        offset("g", "u", None),
        group("g", Some(5)),
        group("gone", None),
        offset("gone", "t", None),
    ];
    let gzip = BatchOptions {
        codec: Codec::Gzip,
        ..at(6)
    };
    let (groups, skipped) = replay(&[batch(at(0), &records), batch(gzip, &later)]);
    assert_eq!(skipped, 0);
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["g", "simple"]);
    let g = groups.get("g").unwrap();
    assert_eq!(g.group.as_ref().unwrap().generation, 5);
    assert_eq!(g.offsets.get("t", 0).unwrap().offset, 3);
    assert_eq!(g.offsets.get("u", 0), None);
    assert!(groups.get("simple").unwrap().group.is_none());
}

#[test]
fn offsets_of_a_transaction_count_from_its_commit_on() {
    let (groups, _) = replay(&[
        batch(transaction(0, 1), &[offset("g", "t", Some(1))]),
        batch(transaction(1, 2), &[offset("g", "u", Some(2))]),
        batch(transaction(2, 3), &[offset("g", "v", Some(3))]),
        batch(at(3), &[offset("g", "w", Some(4))]),
        marker(4, 1, true),
        marker(5, 2, false),
    ]);
    let offsets = &groups.get("g").unwrap().offsets;
    assert_eq!(offsets.get("t", 0).unwrap().offset, 1);
    assert_eq!(offsets.get("u", 0), None, "aborted");
    assert_eq!(offsets.get("v", 0), None, "open");
    assert_eq!(offsets.get("w", 0).unwrap().offset, 4);
}

#[test]
fn a_transaction_that_commits_late_does_not_undo_a_later_commit() {
    let (groups, _) = replay(&[
        batch(transaction(0, 1), &[offset("g", "t", Some(1))]),
        batch(at(1), &[offset("g", "t", Some(2))]),
        marker(2, 1, true),
    ]);
    let offsets = &groups.get("g").unwrap().offsets;
    assert_eq!(offsets.get("t", 0).unwrap().offset, 2);
}

#[test]
fn what_is_not_understood_is_skipped() {
    let (groups, skipped) = replay(&[batch(
        at(0),
        &[
            (vec![0, 3, 0].into(), Some(vec![1].into())),
            (vec![0].into(), None),
            (group_key("g").unwrap(), Some(vec![0, 9].into())),
            (offset_key("g", "no/topic", 0).unwrap(), None),
            offset("g", "t", Some(2)),
        ],
    )]);
    assert_eq!(skipped, 4);
    assert_eq!(groups.get("g").unwrap().offsets.len(), 1);
}
