use super::*;

fn head(epoch: i16, base_sequence: i32, records: i32, base_offset: i64) -> BatchHead {
    BatchHead {
        base_offset,
        size: 100,
        leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        max_timestamp: 1000 + base_offset,
        producer_id: 9,
        producer_epoch: epoch,
        base_sequence,
    }
}

fn noted(heads: &[BatchHead]) -> Producers {
    let mut producers = Producers::default();
    for head in heads {
        assert_eq!(producers.check(head).expect("in order"), Checked::New);
        producers.note(head, None);
    }
    producers
}

#[test]
fn a_repeated_batch_answers_its_first_offset_for_five_batches_back() {
    let heads: Vec<_> = (0..7)
        .map(|i| head(0, i * 3, 3, i64::from(i) * 3))
        .collect();
    let producers = noted(&heads);
    for (i, head) in heads.iter().enumerate() {
        let verdict = producers.check(head);
        if i < 2 {
            let error = verdict.expect_err("forgotten");
            assert!(matches!(error, AppendError::OutOfOrderSequence { .. }));
        } else {
            let Checked::Duplicate(batch) = verdict.expect("known") else {
                panic!("batch {i} is a duplicate");
            };
            assert_eq!(batch.first_offset(), head.base_offset);
        }
    }
}

#[test]
fn sequences_must_follow_and_wrap_at_the_end() {
    let producers = noted(&[head(0, i32::MAX - 1, 4, 0)]);
    assert_eq!(
        producers.check(&head(0, 2, 1, 4)).expect("follows"),
        Checked::New
    );
    for wrong in [1, 3, i32::MAX] {
        let error = producers.check(&head(0, wrong, 1, 4)).expect_err("gap");
        assert!(
            matches!(
                error,
                AppendError::OutOfOrderSequence {
                    last_sequence: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    let repeated = producers
        .check(&head(0, i32::MAX - 1, 4, 99))
        .expect("known");
    assert!(matches!(repeated, Checked::Duplicate(batch) if batch.first_offset() == 0));
    let at_end = noted(&[head(0, i32::MAX, 1, 0)]);
    assert_eq!(
        at_end.check(&head(0, 0, 1, 1)).expect("wraps"),
        Checked::New
    );
}

#[test]
fn an_unknown_producer_may_start_anywhere_a_new_epoch_only_at_zero() {
    let mut producers = noted(&[head(3, 500, 2, 0)]);
    assert!(producers.check(&head(4, 502, 1, 2)).is_err());
    assert_eq!(
        producers.check(&head(4, 0, 1, 2)).expect("new epoch"),
        Checked::New
    );
    producers.note(&head(4, 0, 1, 2), None);
    let error = producers.check(&head(3, 502, 1, 3)).expect_err("fenced");
    assert!(matches!(
        error,
        AppendError::InvalidProducerEpoch {
            current_epoch: 4,
            producer_epoch: 3,
            ..
        }
    ));
    // The old epoch's batches are no duplicates of the new one's.
    assert!(producers.check(&head(4, 500, 2, 3)).is_err());
}

#[test]
fn silent_producers_expire_unless_a_transaction_is_open() {
    let mut producers = noted(&[head(0, 0, 1, 0)]);
    let mut open = head(0, 0, 1, 5);
    open.producer_id = 10;
    open.attributes = 0x10;
    producers.note(&open, None);
    assert_eq!(producers.first_unstable_offset(), Some(5));
    producers.expire(1000 + 99, 100);
    assert_eq!(producers.len(), 2);
    producers.expire(5000, 100);
    assert_eq!(producers.len(), 1, "the open transaction's stays");
    let marker = Marker {
        commit: true,
        coordinator_epoch: 2,
    };
    open.attributes = 0x30;
    producers.note(&open, Some(marker));
    assert_eq!(producers.first_unstable_offset(), None);
    producers.expire(5000, 100);
    assert_eq!(producers.len(), 0);
}

#[test]
fn transactions_that_kafka_wrote_are_seen() {
    let transactional = |base| BatchHead {
        attributes: nyala_client::wire::batch::TRANSACTIONAL,
        ..head(0, 0, 1, base)
    };
    let mut producers = noted(&[head(0, 0, 1, 0)]);
    assert_eq!(producers.transactions(), Transactions::None);
    producers.note(&transactional(1), None);
    assert_eq!(producers.transactions(), Transactions::Some);
    let marker = |commit| {
        Some(Marker {
            commit,
            coordinator_epoch: 3,
        })
    };
    producers.note(&transactional(2), marker(true));
    assert_eq!(producers.transactions(), Transactions::Some);
    producers.note(&transactional(3), marker(false));
    producers.note(&transactional(4), marker(true));
    assert_eq!(producers.transactions(), Transactions::Aborted);

    // A snapshot says it only of producers whose transactions ended, or did not.
    let mut producers = Producers::default();
    producers.insert(1, Producer::new(0));
    assert_eq!(producers.transactions(), Transactions::None);
    let ended = Producer {
        coordinator_epoch: 0,
        ..Producer::new(0)
    };
    producers.insert(2, ended);
    assert_eq!(producers.transactions(), Transactions::Some);
}
