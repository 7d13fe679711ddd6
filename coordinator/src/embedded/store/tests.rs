//! The data folder: recovery after any cut and any flipped bit, and refusal of a hole.

use super::*;
use crate::embedded::node::{Change, Kind};
use crate::embedded::sessions::SessionRecord;
use crate::embedded::tree::Tree;

fn config(dir: &Path) -> ServerConfig {
    ServerConfig::new(dir)
}

fn create_entry(zxid: i64) -> Vec<u8> {
    let tree = Tree::new();
    let acl = tree.get("/").expect("the root").acl.clone();
    let stamp = Stamp { zxid, time_ms: 5 };
    let changes = vec![Change::Create {
        path: format!("/n{zxid}"),
        data: None,
        acl,
        kind: Kind::Persistent,
    }];
    entry::encode(
        stamp,
        &Action::Changes {
            changes,
            closed: None,
        },
    )
}

/// A journal of entries `from..=to`, and where each of its records ends.
fn journal_bytes(from: i64, to: i64) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = journal::MAGIC.to_vec();
    let mut ends = vec![bytes.len()];
    for zxid in from..=to {
        journal::write_record(&mut bytes, &create_entry(zxid));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn write_journal(dir: &Path, from: i64, bytes: &[u8]) {
    std::fs::write(journal::journal_path(dir, from), bytes).expect("a folder");
}

fn write_snapshot(dir: &Path, zxid: i64) {
    let mut state = State::fresh();
    for zxid in 1..=zxid {
        let (stamp, action) = entry::decode(&create_entry(zxid)).expect("just encoded");
        assert!(apply(&mut state, stamp, action));
    }
    let bytes = snapshot::encode(zxid, 9, state.sessions.iter(), &state.tree);
    std::fs::write(journal::snapshot_path(dir, zxid), bytes).expect("a folder");
}

fn reopened(dir: &Path) -> Result<i64, OpenError> {
    open(&config(dir)).map(|store| store.state.zxid)
}

#[test]
fn a_fresh_folder_starts_at_zero_and_is_locked() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("deep/er");
    let store = open(&config(&dir)).expect("a fresh folder");
    assert_eq!((store.state.zxid, store.grown), (0, 0));
    assert!(matches!(open(&config(&dir)), Err(OpenError::Locked { .. })));
    drop(store);
    assert_eq!(reopened(&dir).expect("the lock is gone"), 0);
}

#[test]
fn any_cut_loses_only_what_was_cut_and_writing_goes_on_behind_it() {
    let (bytes, ends) = journal_bytes(1, 4);
    for cut in 0..=bytes.len() {
        let dir = tempfile::tempdir().expect("a folder");
        write_journal(dir.path(), 1, &bytes[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let zxid = i64::try_from(whole.saturating_sub(1)).expect("small");
        let mut store = open(&config(dir.path())).expect("a torn tail is no fault");
        assert_eq!(store.state.zxid, zxid, "cut at {cut}");
        let mut record = Vec::new();
        journal::write_record(&mut record, &create_entry(zxid + 1));
        store.target.file.write_all(&record).expect("space");
        drop(store);
        assert_eq!(
            reopened(dir.path()).expect("sound"),
            zxid + 1,
            "cut at {cut}"
        );
    }
}

/// Entries 1 to 6, two in a write, and where each of the writes starts.
fn journal_of_three_writes() -> (Vec<u8>, Vec<usize>) {
    let mut bytes = journal::MAGIC.to_vec();
    let mut starts = Vec::new();
    for first in [1, 3, 5] {
        let mut write = Vec::new();
        for zxid in [first, first + 1] {
            journal::write_record(&mut write, &create_entry(zxid));
        }
        starts.push(bytes.len());
        bytes.extend_from_slice(&write);
    }
    (bytes, starts)
}

#[test]
fn damage_before_what_was_acknowledged_is_refused_and_nothing_is_cut() {
    let (bytes, starts) = journal_of_three_writes();
    let dir = tempfile::tempdir().expect("a folder");
    let last = starts[2];
    for at in starts[0]..last {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        write_journal(dir.path(), 1, &damaged);
        match reopened(dir.path()) {
            Err(OpenError::Damaged { at: sound, .. }) => assert!(sound <= at, "{sound}, {at}"),
            other => panic!("flipped at {at}: {other:?}"),
        }
        let kept = std::fs::read(journal::journal_path(dir.path(), 1)).expect("a file");
        assert_eq!(kept, damaged, "flipped at {at}");
    }
}

#[test]
fn a_last_write_of_which_only_the_end_reached_the_disk_is_a_torn_tail() {
    let (mut bytes, starts) = journal_of_three_writes();
    let dir = tempfile::tempdir().expect("a folder");
    bytes[starts[2]..][..20].fill(0);
    write_journal(dir.path(), 1, &bytes);
    assert_eq!(
        reopened(dir.path()).expect("nothing acknowledged is lost"),
        4
    );
}

#[test]
fn zeros_behind_the_last_record_are_dropped() {
    let (mut bytes, _) = journal_bytes(1, 2);
    bytes.resize(bytes.len() + 4096, 0);
    let dir = tempfile::tempdir().expect("a folder");
    write_journal(dir.path(), 1, &bytes);
    assert_eq!(reopened(dir.path()).expect("sound"), 2);
}

#[test]
fn a_snapshot_stands_in_for_the_journals_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    write_snapshot(dir.path(), 3);
    write_journal(dir.path(), 4, &journal_bytes(4, 6).0);
    std::fs::write(dir.path().join("snapshot.tmp"), b"left over").expect("a folder");
    let store = open(&config(dir.path())).expect("sound");
    assert_eq!((store.state.zxid, store.state.session_id_last), (6, 9));
    assert_eq!(store.state.tree.descendants("/"), 3 + 6);
    assert!(!dir.path().join("snapshot.tmp").exists());
}

#[test]
fn a_damaged_snapshot_is_replaced_by_an_older_one_and_the_journals_after_that() {
    let dir = tempfile::tempdir().expect("a folder");
    write_snapshot(dir.path(), 3);
    write_journal(dir.path(), 4, &journal_bytes(4, 6).0);
    std::fs::write(journal::snapshot_path(dir.path(), 6), b"rotten").expect("a folder");
    write_journal(dir.path(), 7, &journal_bytes(7, 8).0);
    assert_eq!(reopened(dir.path()).expect("sound"), 8);
}

#[test]
fn a_hole_in_the_history_is_refused() {
    let hole = |dir: &Path| match reopened(dir) {
        Err(OpenError::Hole { after, .. }) => after,
        other => panic!("{other:?}"),
    };
    // A snapshot that cannot be read, and nothing before it.
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(journal::snapshot_path(dir.path(), 3), b"rotten").expect("a folder");
    assert_eq!(hole(dir.path()), 0);
    write_journal(dir.path(), 4, &journal_bytes(4, 4).0);
    assert_eq!(hole(dir.path()), 0);
    // A journal that ends before the next one starts.
    let dir = tempfile::tempdir().expect("a folder");
    let (bytes, _) = journal_bytes(1, 3);
    write_journal(dir.path(), 1, &bytes[..bytes.len() - 1]);
    write_journal(dir.path(), 4, &journal_bytes(4, 4).0);
    assert_eq!(hole(dir.path()), 2);
    write_journal(dir.path(), 4, journal::MAGIC);
    assert_eq!(hole(dir.path()), 2);
    // A journal whose head is not one.
    let dir = tempfile::tempdir().expect("a folder");
    write_journal(dir.path(), 1, b"NYZKJNL9 and more");
    assert_eq!(hole(dir.path()), 0);
}

#[test]
fn sessions_come_back_unless_they_were_closed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut bytes = journal::MAGIC.to_vec();
    let opened = |id| {
        Action::Opened(SessionRecord {
            id,
            timeout_ms: 4000,
            password: [1; 16],
        })
    };
    let closed = Action::Changes {
        changes: Vec::new(),
        closed: Some(10),
    };
    for (zxid, action) in (1..).zip([opened(10), opened(12), closed]) {
        let stamp = Stamp { zxid, time_ms: 0 };
        journal::write_record(&mut bytes, &entry::encode(stamp, &action));
    }
    write_journal(dir.path(), 1, &bytes);
    let state = open(&config(dir.path())).expect("sound").state;
    let ids: Vec<_> = state.sessions.iter().map(|s| s.id).collect();
    assert_eq!((ids, state.session_id_last), (vec![12], 12));
}
