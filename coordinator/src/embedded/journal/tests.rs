//! The journal: order, rotation, what is kept, and that the first error is the last word.

use super::*;
use crate::embedded::store;

fn target(dir: &Path) -> Target {
    Target {
        dir: dir.to_owned(),
        file: create(dir, 1).expect("a fresh folder"),
        sync: SyncPolicy::BeforeReply,
        is_new: true,
        reserved: 0,
    }
}

fn wait(journal: &Journal, zxid: i64) -> Progress {
    let mut progress = journal.progress();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let reached = |p: &Progress| p.zxid >= zxid || p.broken.is_some();
        progress.wait_for(reached).await.expect("a sender").clone()
    })
}

#[test]
fn records_are_split_where_they_end_and_nowhere_else() {
    let mut bytes = Vec::new();
    write_record(&mut bytes, b"one");
    let one = bytes.len();
    write_record(&mut bytes, b"two");
    let (entry, rest) = split_record(&bytes).expect("a whole record");
    assert_eq!((entry, rest.len()), (&b"one"[..], bytes.len() - one));
    for end in 0..one {
        assert_eq!(split_record(&bytes[..end]), None);
    }
    for at in 0..one {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert_eq!(split_record(&flipped), None, "flipped at {at}");
    }
    assert_eq!(split_record(&[0; 64]), None, "zeros are no record");
}

#[test]
fn a_rotation_keeps_the_last_two_snapshots_and_what_follows_the_older() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = Journal::start(target(dir.path()), 0, 0).expect("a thread");
    for zxid in 1..=9 {
        journal.append(zxid, b"entry");
        if zxid % 3 == 0 {
            journal.rotate(zxid, vec![1]);
            assert_eq!(journal.grown(), None, "a snapshot is under way");
        }
        journal.append(zxid * 100, b"after");
        assert_eq!(wait(&journal, zxid * 100).zxid, zxid * 100);
    }
    drop(journal);
    let files = store::list(dir.path()).expect("a folder");
    assert_eq!(files.snapshots, [6, 9]);
    assert_eq!(files.journals, [7, 10]);
}

#[test]
fn the_first_error_ends_it_with_its_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut target = target(dir.path());
    target.file = File::open(journal_path(dir.path(), 1)).expect("read only");
    let journal = Journal::start(target, 0, 0).expect("a thread");
    journal.append(1, b"entry");
    let progress = wait(&journal, 1);
    assert_eq!(progress.zxid, 0);
    assert!(progress.broken.is_some_and(|why| why.contains("os error")));
}
