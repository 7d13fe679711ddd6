//! Sessions as readers open, continue, forge and forget them.
//! Every test drives the cache alone: no log, no clock.

use super::*;

fn principal() -> Principal {
    Principal::anonymous()
}

fn asked(topic: &str, partition: i32, offset: i64) -> Asked {
    Asked {
        topic: TopicKey::Name(TopicName::new(topic).unwrap()),
        partition,
        leader_epoch: -1,
        offset,
        last_epoch: -1,
        log_start: -1,
        max_bytes: 1000,
    }
}

fn open(
    sessions: &FetchSessions,
    (id, epoch, now_ms): (i32, i32, i64),
    asks: &[Asked],
    forgotten: &[(TopicKey, i32)],
) -> Result<(Session, Vec<Asked>), ErrorCode> {
    let principal = principal();
    let request = SessionRequest {
        id,
        epoch,
        principal: &principal,
        now_ms,
    };
    sessions.open(request, asks.to_vec(), forgotten)
}

fn new_session(sessions: &FetchSessions, asks: &[Asked]) -> i32 {
    match open(sessions, (0, 0, 0), asks, &[]) {
        Ok((Session::New(id), _)) => id,
        other => panic!("no session: {other:?}"),
    }
}

fn quiet(high_watermark: i64) -> Told {
    Told {
        high_watermark,
        log_start: 0,
        failed: false,
        has_records: false,
    }
}

#[test]
fn a_reader_without_session_gets_everything() {
    let sessions = FetchSessions::new(10);
    let asks = [asked("a", 0, 5)];
    assert_eq!(
        open(&sessions, (0, -1, 0), &asks, &[]),
        Ok((Session::None, asks.to_vec()))
    );
}

#[test]
fn a_session_remembers_and_forgets_partitions() {
    let sessions = FetchSessions::new(10);
    let asks = [asked("a", 0, 0), asked("b", 0, 0)];
    let id = new_session(&sessions, &asks);
    let (session, all) = open(&sessions, (id, 1, 0), &[], &[]).unwrap();
    assert_eq!((session, all.len()), (Session::Incremental(id), 2));
    let moved = asked("b", 0, 7);
    let gone = (asks[0].topic.clone(), 0);
    let (_, all) = open(&sessions, (id, 2, 0), std::slice::from_ref(&moved), &[gone]).unwrap();
    assert_eq!(all, [moved]);
}

#[test]
fn only_news_are_told() {
    let sessions = FetchSessions::new(10);
    let asks = [asked("a", 0, 0), asked("a", 1, 0)];
    let id = new_session(&sessions, &asks);
    let tell = |session, told: [Told; 2]| {
        let answers = asks.iter().zip(told);
        sessions.news(session, answers.map(|(a, t)| (&a.topic, a.partition, t)))
    };
    assert_eq!(tell(Session::New(id), [quiet(3), quiet(4)]), [true, true]);
    let again = Session::Incremental(id);
    assert_eq!(tell(again, [quiet(3), quiet(5)]), [false, true]);
    let failed = Told {
        failed: true,
        ..quiet(-1)
    };
    assert_eq!(tell(again, [quiet(3), failed]), [false, true]);
    assert_eq!(tell(again, [quiet(3), failed]), [false, true]);
    assert_eq!(tell(again, [quiet(3), quiet(5)]), [false, true]);
    let records = Told {
        has_records: true,
        ..quiet(3)
    };
    assert_eq!(tell(again, [records, quiet(5)]), [true, false]);
    // The partition that was served waits behind the other one now.
    let (_, all) = open(&sessions, (id, 1, 0), &[], &[]).unwrap();
    assert_eq!(all.iter().map(|a| a.partition).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn forged_sessions_and_epochs_are_refused() {
    let sessions = FetchSessions::new(10);
    let id = new_session(&sessions, &[asked("a", 0, 0)]);
    let wrong = if id == 1 { 2 } else { 1 };
    let not_found = Err(ErrorCode::FetchSessionIdNotFound);
    assert_eq!(open(&sessions, (wrong, 1, 0), &[], &[]), not_found);
    let epoch = Err(ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(open(&sessions, (id, 3, 0), &[], &[]), epoch);
    let by_id = Asked {
        topic: TopicKey::Id(TopicId([1; 16])),
        ..asked("a", 0, 0)
    };
    let mixed = Err(ErrorCode::FetchSessionTopicIdError);
    assert_eq!(open(&sessions, (id, 1, 0), &[by_id], &[]), mixed);
    let other = Principal {
        kind: "User".into(),
        name: "eve".into(),
    };
    let request = SessionRequest {
        id,
        epoch: 1,
        principal: &other,
        now_ms: 0,
    };
    assert_eq!(sessions.open(request, Vec::new(), &[]), not_found);
}

#[test]
fn a_full_cache_serves_without_session_until_one_is_stale() {
    let sessions = FetchSessions::new(2);
    let asks = [asked("a", 0, 0)];
    let first = new_session(&sessions, &asks);
    new_session(&sessions, &asks);
    let (session, all) = open(&sessions, (0, 0, 1000), &asks, &[]).unwrap();
    assert_eq!((session, all.len()), (Session::None, 1));
    open(&sessions, (first, 1, 100_000), &[], &[]).unwrap();
    let late = open(&sessions, (0, 0, 120_000), &asks, &[]).unwrap();
    assert!(matches!(late.0, Session::New(_)));
    assert!(open(&sessions, (first, 2, 120_000), &[], &[]).is_ok());
    assert_eq!(sessions.inner.lock().partitions, 2);
}

#[test]
fn a_session_ends_when_asked_or_empty() {
    let sessions = FetchSessions::new(10);
    let asks = [asked("a", 0, 0)];
    let id = new_session(&sessions, &asks);
    open(&sessions, (id, -1, 0), &asks, &[]).unwrap();
    let id = new_session(&sessions, &asks);
    let gone = (asks[0].topic.clone(), 0);
    assert_eq!(
        open(&sessions, (id, 1, 0), &[], &[gone]),
        Ok((Session::None, Vec::new()))
    );
    let inner = sessions.inner.lock();
    assert_eq!((inner.sessions.len(), inner.partitions), (0, 0));
}
