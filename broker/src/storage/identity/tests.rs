//! A disk that is replaced, and a broker that is stopped at any moment of its start.

use std::path::Path;

use super::*;
use crate::storage::names::parse_partition_dir;
use crate::storage::{LogDirsConfig, durable};

/// Does something with the folders as a broker that starts, and is killed then.
fn start<T>(folders: &[&Path], does: impl FnOnce(&LogDirs) -> T) -> T {
    let config = LogDirsConfig {
        dirs: folders.iter().map(|&path| path.to_owned()).collect(),
        recovery_threads_per_dir: 1,
        min_free_bytes: 0,
    };
    let (dirs, _) = LogDirs::open(config, &|_| Arc::default(), 0).expect("opened");
    let done = does(&dirs);
    dirs.workers.stop();
    done
}

#[test]
fn a_folder_is_new_until_what_was_lost_is_noted() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let id = BrokerId(4);
    let check = |dirs: &LogDirs| dirs.check_identity(id, "abc").expect("ours, or nobody's");
    let own = |dirs: &LogDirs| dirs.set_identity(id, "abc").expect("written");
    let lost: BTreeSet<_> = parse_partition_dir("t-0").into_iter().collect();
    start(&[&a], own);
    for _ in 0..2 {
        start(&[&a, &b], |dirs| {
            check(dirs);
            assert!(dirs.has_other_dirs(), "at each start");
            assert!(dirs.lost_replicas().is_empty());
        });
    }
    start(&[&a, &b], |dirs| dirs.note_lost(&lost));
    start(&[&a, &b], |dirs| {
        assert_eq!(dirs.lost_replicas(), lost);
        own(dirs);
    });
    // Either folder knows it, and when the other is gone.
    for (folders, is_gone) in [(&[&*a, &*b][..], false), (&[&a], true), (&[&b], true)] {
        start(folders, |dirs| {
            check(dirs);
            assert_eq!(dirs.has_other_dirs(), is_gone);
            assert_eq!(dirs.lost_replicas(), lost);
        });
    }
    start(&[&a, &b], |dirs| {
        dirs.note_lost(&BTreeSet::new());
        dirs.note_lost(&BTreeSet::new());
        assert!(dirs.lost_replicas().is_empty());
    });
    assert!(!a.join("lost-replicas").exists());
}

#[test]
fn a_folder_stays_new_while_another_is_offline() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let id = BrokerId(4);
    std::fs::write(&a, "no folder").expect("writable");
    start(&[&a, &b], |dirs| {
        dirs.set_identity(id, "abc").expect("nobody's");
        assert!(dirs.has_other_dirs());
    });
    std::fs::remove_file(&a).expect("removable");
    for is_new in [true, false] {
        start(&[&a, &b], |dirs| {
            dirs.set_identity(id, "abc").expect("nobody's, or ours");
            assert_eq!(dirs.has_other_dirs(), is_new);
        });
    }
}

#[test]
fn a_folder_is_gone_until_that_is_noted() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b, c) = (
        root.path().join("a"),
        root.path().join("b"),
        root.path().join("c"),
    );
    let own = |dirs: &LogDirs| {
        dirs.set_identity(BrokerId(4), "abc").expect("written");
        dirs.has_other_dirs()
    };
    start(&[&a, &b, &c], own);
    assert!(!start(&[&a, &b, &c], own));
    // While another is offline nobody knows what was on it.
    durable::rename(&a, &root.path().join("away")).expect("movable");
    std::fs::write(&a, "no folder").expect("writable");
    assert!(start(&[&a, &b], own));
    std::fs::remove_file(&a).expect("removable");
    durable::rename(&root.path().join("away"), &a).expect("movable");
    for is_gone in [true, false] {
        assert_eq!(start(&[&a, &b], own), is_gone);
    }
    // One that comes back remembers how it was.
    for is_gone in [false, false] {
        assert_eq!(start(&[&a, &b, &c], own), is_gone);
    }
    assert!(start(&[&a, &c], own));
}

#[test]
fn a_log_in_a_folder_without_the_note_was_not_lost() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let lost: BTreeSet<_> = parse_partition_dir("t-0").into_iter().collect();
    let make = |dirs: &LogDirs| {
        for id in &lost {
            dirs.create(id, None, Arc::default(), 0).expect("made");
        }
    };
    // Noted while the folder that has it was away.
    start(&[&b], make);
    start(&[&a], |dirs| dirs.note_lost(&lost));
    start(&[&a], |dirs| assert_eq!(dirs.lost_replicas(), lost));
    start(&[&a, &b], |dirs| assert!(dirs.lost_replicas().is_empty()));
    // Made after the note.
    let c = root.path().join("c");
    start(&[&a, &c], |dirs| {
        dirs.note_lost(&lost);
        make(dirs);
    });
    start(&[&a, &c], |dirs| assert_eq!(dirs.lost_replicas(), lost));
    // Nobody knows what a damaged note said; the other one does.
    for folder in [&a, &c] {
        let note = folder.join("lost-replicas");
        let whole = std::fs::read(&note).expect("written");
        std::fs::write(&note, "0\n7\nx").expect("writable");
        start(&[&a, &c], |dirs| assert_eq!(dirs.lost_replicas(), lost));
        std::fs::write(&note, whole).expect("writable");
    }
}
