//! Sessions: deadlines, coming back, and a queue that does not grow.

use super::*;

const HERE: ConnectionId = ConnectionId(1);
const THERE: ConnectionId = ConnectionId(2);

fn record(id: i64, timeout_ms: i32) -> SessionRecord {
    SessionRecord {
        id,
        timeout_ms,
        password: [7; 16],
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_silent_session_expires_and_a_touched_one_does_not() {
    let start = crate::clock::now();
    let mut s = Sessions::default();
    s.insert(record(1, 100), start);
    s.insert(record(2, 100), start);
    assert_eq!(s.next_deadline(), Some(start + ms(100)));
    s.touch(2, start + ms(60));
    assert_eq!(s.expired(start + ms(99)), [0; 0]);
    assert_eq!(s.expired(start + ms(100)), [1]);
    assert_eq!(s.remove(1), Some(None));
    assert_eq!(s.next_deadline(), Some(start + ms(160)));
    assert_eq!(s.expired(start + ms(160)), [2]);
    s.remove(2);
    assert_eq!((s.next_deadline(), s.len()), (None, 0));
}

#[test]
fn only_the_password_brings_a_session_back() {
    let start = crate::clock::now();
    let mut s = Sessions::default();
    s.insert(record(1, 100), start);
    assert_eq!(s.attach(&record(1, 100), HERE, start), Ok(None));
    assert_eq!(s.attach(&record(1, 100), THERE, start), Ok(Some(HERE)));
    let wrong = SessionRecord {
        password: [8; 16],
        ..record(1, 100)
    };
    assert_eq!(s.attach(&wrong, HERE, start), Err(Refused));
    assert_eq!(s.attach(&record(2, 100), HERE, start), Err(Refused));
    // The connection that lost the session must not take it from the one that has it.
    s.detach(1, HERE);
    assert_eq!(s.remove(1), Some(Some(THERE)));
}

#[test]
fn the_timeout_of_the_last_connect_counts_and_the_queue_does_not_grow() {
    let start = crate::clock::now();
    let mut s = Sessions::default();
    s.insert(record(1, 1000), start);
    for i in 0..100 {
        let timeout = if i % 2 == 0 { 1000 } else { 100 };
        s.attach(&record(1, timeout), HERE, start)
            .expect("the right password");
    }
    assert_eq!(s.queue.len(), 2);
    assert_eq!(s.expired(start + ms(100)), [1]);
    s.remove(1);
    assert_eq!(s.expired(start + ms(1000)), [0; 0]);
    assert_eq!(s.queue.len(), 0);
}

#[test]
fn granted_time_moves_every_deadline() {
    let start = crate::clock::now();
    let mut s = Sessions::default();
    s.insert(record(1, 100), start);
    s.grant(ms(50));
    assert_eq!(s.expired(start + ms(149)), [0; 0]);
    assert_eq!(s.expired(start + ms(150)), [1]);
}
