use super::super::testing::{as_leader, batch};
use super::super::{AppendError, RoundReport};
use super::*;

fn partition(name: &str) -> TopicPartition {
    names::parse_partition_dir(name).expect("legal")
}

fn config(dirs: &[&Path]) -> LogDirsConfig {
    LogDirsConfig {
        dirs: dirs.iter().map(|d| d.to_path_buf()).collect(),
        recovery_threads_per_dir: 2,
        min_free_bytes: 0,
    }
}

fn open(dirs: &[&Path]) -> (Arc<LogDirs>, OpenReport) {
    LogDirs::open(config(dirs), &|_| Arc::default(), 0).expect("opens")
}

fn clean(report: RoundReport) {
    assert!(report.failed.is_empty(), "{:?}", report.failed);
}

#[test]
fn logs_outlive_a_clean_stop_without_being_read() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let (dirs, _) = open(&[&a, &b]);
    let id = TopicId::random();
    for i in 0..6 {
        let partition = partition(&format!("t-{i}"));
        let log = dirs
            .create(&partition, Some(id), Arc::default(), 0)
            .expect("created");
        let mut log = log.lock();
        for at in 0..10 {
            log.append(&batch(2, 10, at), &as_leader(0, at))
                .expect("appended");
        }
        log.set_high_watermark(20);
        log.delete_before(i).expect("deleted");
    }
    let in_a = std::fs::read_dir(&a)
        .expect("list")
        .filter(|e| e.as_ref().is_ok_and(|e| e.path().is_dir()));
    assert_eq!(in_a.count(), 3, "spread over the folders");
    dirs.set_identity(BrokerId(4), "abc").expect("written");
    clean(dirs.checkpoint_round(0));
    clean(dirs.close(0));
    let log = dirs.log(&partition("t-0")).expect("there");
    let error = log
        .lock()
        .append(&batch(1, 1, 1), &as_leader(0, 1))
        .expect_err("closed");
    assert!(error.to_string().contains("closed"), "{error}");
    drop((log, dirs));

    let marker = a.join(names::CLEAN_SHUTDOWN);
    assert!(marker.exists());
    let (dirs, report) = open(&[&a, &b]);
    assert!(!marker.exists(), "gone from the start of loading");
    assert_eq!((report.logs, report.bytes_scanned), (6, 0));
    for i in 0..6 {
        let log = dirs.log(&partition(&format!("t-{i}"))).expect("there");
        let log = log.lock();
        assert_eq!(
            (log.log_start(), log.high_watermark(), log.next_offset()),
            (i, 20, 20)
        );
        assert_eq!(log.topic_id(), Some(id));
    }
    assert_eq!(dirs.identity().broker_id, Some(BrokerId(4)));
    let error = dirs
        .set_identity(BrokerId(5), "abc")
        .expect_err("another broker's");
    assert!(error.to_string().contains("broker.id=4"), "{error}");
    let error = dirs
        .set_identity(BrokerId(4), "abd")
        .expect_err("another cluster's");
    assert!(error.to_string().contains("cluster.id=abc"), "{error}");
}

#[test]
fn a_kill_means_recovery_from_the_checkpoint() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    let log = dirs
        .create(&partition("t-0"), None, Arc::default(), 0)
        .expect("created");
    for at in 0..100 {
        log.lock()
            .append(&batch(1, 1000, at), &as_leader(0, at))
            .expect("appended");
    }
    log.lock().flush().expect("synced");
    clean(dirs.checkpoint_round(0));
    for at in 100..110 {
        log.lock()
            .append(&batch(1, 1000, at), &as_leader(0, at))
            .expect("appended");
    }
    dirs.workers.stop();
    drop((dirs, log));
    let (dirs, report) = open(&[root.path()]);
    assert!(report.bytes_scanned < 20_000, "{}", report.bytes_scanned);
    let log = dirs.log(&partition("t-0")).expect("there");
    assert_eq!(log.lock().next_offset(), 110);
}

#[test]
fn a_second_process_is_kept_out() {
    let root = tempfile::tempdir().expect("tempdir");
    let (_dirs, _) = open(&[root.path()]);
    let second = LogDirs::open(config(&[root.path()]), &|_| Arc::default(), 0);
    assert!(matches!(second, Err(LogDirsError::Locked(_))));
}

#[test]
fn a_folder_that_fails_goes_offline_and_the_others_go_on() {
    let root = tempfile::tempdir().expect("tempdir");
    let good = root.path().join("good");
    let bad = root.path().join("bad");
    std::fs::write(&bad, b"a file where a folder should be").expect("write");
    let (dirs, report) = open(&[&bad, &good]);
    assert_eq!(report.offline.len(), 1);
    assert!(
        report.offline[0].1.to_string().contains("bad"),
        "{:?}",
        report.offline
    );
    let log = dirs
        .create(&partition("t-0"), None, Arc::default(), 0)
        .expect("created");
    assert!(log.lock().dir().starts_with(&good));
    let states = dirs.states();
    assert!(states[0].offline.is_some() && states[1].offline.is_none());
    assert!(states[1].total_bytes > 0);
    let none = LogDirs::open(config(&[&bad]), &|_| Arc::default(), 0);
    assert!(matches!(none, Err(LogDirsError::NoneUsable(_))));
}

#[test]
fn deleted_partitions_are_renamed_and_removed_after_the_delay() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    let name = partition("t-0");
    let log = dirs
        .create(&name, None, Arc::default(), 0)
        .expect("created");
    log.lock()
        .append(&batch(1, 10, 1), &as_leader(0, 1))
        .expect("appended");
    assert!(dirs.delete(&name, 1000).expect("deleted"));
    assert!(!dirs.delete(&name, 1000).expect("gone"));
    let error = log
        .lock()
        .append(&batch(1, 10, 1), &as_leader(0, 1))
        .expect_err("closed");
    assert!(matches!(error, AppendError::Storage(_)), "{error}");
    let deleted = || {
        let entries = std::fs::read_dir(root.path()).expect("list");
        let names = entries.map(|e| e.expect("entry").file_name().into_string().expect("text"));
        names
            .filter(|n| n.starts_with("t-0.") && n.ends_with("-delete"))
            .count()
    };
    assert_eq!(deleted(), 1);
    assert_eq!(dirs.remove_deleted(1000 + 59_999).done, 0);
    assert_eq!(dirs.remove_deleted(1000 + 60_000).done, 1);
    assert_eq!(deleted(), 0);
    // The same name again is a new log.
    let log = dirs
        .create(&name, None, Arc::default(), 0)
        .expect("created");
    assert_eq!(log.lock().next_offset(), 0);
}

#[test]
fn another_topic_id_means_another_topic() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    let name = partition("t-0");
    let (old, new) = (TopicId::random(), TopicId::random());
    let log = dirs
        .create(&name, Some(old), Arc::default(), 0)
        .expect("created");
    log.lock()
        .append(&batch(1, 10, 1), &as_leader(0, 1))
        .expect("appended");
    let same = dirs
        .create(&name, Some(old), Arc::default(), 0)
        .expect("known");
    assert!(Arc::ptr_eq(&log, &same));
    let other = dirs
        .create(&name, Some(new), Arc::default(), 0)
        .expect("created");
    assert_eq!(other.lock().next_offset(), 0);
    assert!(log.lock().failure().is_some());
}

#[test]
fn retention_deletes_segments_and_gives_their_space_back() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    let settings = LogConfig {
        segment_bytes_max: 10_000,
        retention_bytes: Some(25_000),
        retention_ms: None,
        ..LogConfig::default()
    };
    let log = dirs
        .create(&partition("t-0"), None, Arc::new(settings), 0)
        .expect("created");
    for at in 0..100 {
        log.lock()
            .append(&batch(1, 900, at), &as_leader(0, at))
            .expect("appended");
    }
    let end = log.lock().set_high_watermark(i64::MAX);
    assert_eq!(end, 100);
    let report = dirs.retain(0);
    clean(report);
    let log = log.lock();
    assert!(log.size_bytes() <= 35_000, "{}", log.size_bytes());
    assert!(log.log_start() > 0);
    let files = std::fs::read_dir(log.dir()).expect("list").count();
    assert!(files < 20, "{files} files");
}

#[test]
fn thousands_of_quiet_logs_are_cheap() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    for i in 0..500 {
        dirs.create(&partition(&format!("t-{i}")), None, Arc::default(), 0)
            .expect("created");
    }
    let dir = root.path().join("t-0");
    let bytes: u64 = std::fs::read_dir(dir)
        .expect("list")
        .map(|e| e.expect("entry").metadata().expect("there").len())
        .sum();
    assert_eq!(bytes, 0, "nothing is allocated before the first append");
    assert!(size_of::<Log>() + size_of::<super::super::segment::Segment>() < 1500);
    clean(dirs.close(0));
}
