use std::time::Duration;

use nyala_coordinator::clock;
use nyala_coordinator::ids::BrokerId;

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

/// A process that another test starts (`mount`) has our descriptors, and so our locks, until it has become
/// that program.
fn open(dirs: &[&Path]) -> (Arc<LogDirs>, OpenReport) {
    let deadline = clock::now() + Duration::from_secs(10);
    loop {
        match LogDirs::open(config(dirs), &|_| Arc::default(), 0) {
            Err(LogDirsError::Locked(_)) if clock::now() < deadline => std::thread::yield_now(),
            opened => return opened.expect("opens"),
        }
    }
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
    clean(dirs.close());
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
fn logs_made_at_a_time_are_spread_over_the_folders() {
    let root = tempfile::tempdir().expect("tempdir");
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    let (dirs, _) = open(&[&a, &b]);
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for i in 0..8 {
            let partition = partition(&format!("t-{i}"));
            let (dirs, together) = (&dirs, &together);
            scope.spawn(move || {
                together.wait();
                let made = dirs.create(&partition, None, Arc::default(), 0);
                made.expect("created");
            });
        }
    });
    let lies_in = |dir: &Path| {
        let of = |i: i32| dirs.dir_of(&partition(&format!("t-{i}")));
        (0..8).filter(|i| of(*i).as_deref() == Some(dir)).count()
    };
    let (in_a, in_b) = (lies_in(&a), lies_in(&b));
    assert_eq!(in_a + in_b, 8);
    assert!(in_a.abs_diff(in_b) <= 2, "{in_a} and {in_b}");
    assert!(dirs.making.lock().is_empty());
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
fn a_topic_made_again_does_not_start_where_the_deleted_one_did() {
    let root = tempfile::tempdir().expect("tempdir");
    let partition = partition("t-0");
    let fill = |dirs: &LogDirs| {
        let log = dirs.create(&partition, Some(TopicId::random()), Arc::default(), 0);
        let log = log.expect("created");
        for at in 0..10 {
            let appended = log.lock().append(&batch(1, 10, at), &as_leader(0, at));
            appended.expect("appended");
        }
        log.lock().set_high_watermark(10);
        log
    };
    // Deleted and made again, and made again only after a kill: the checkpoints are of before.
    for kill_between in [false, true] {
        let (mut dirs, _) = open(&[root.path()]);
        let log = fill(&dirs);
        log.lock().delete_before(7).expect("deleted");
        drop(log);
        clean(dirs.checkpoint_round(0));
        dirs.delete(&partition, 0).expect("deleted");
        if kill_between {
            dirs.workers.stop();
            drop(dirs);
            (dirs, _) = open(&[root.path()]);
        }
        drop(fill(&dirs));
        dirs.workers.stop();
        drop(dirs);
        let (dirs, report) = open(&[root.path()]);
        let log = dirs.log(&partition).expect("there");
        let offsets = |log: &Log| (log.log_start(), log.next_offset());
        assert_eq!(offsets(&log.lock()), (0, 10));
        assert!(report.synced_lost.is_empty(), "{:?}", report.synced_lost);
        drop(log);
        dirs.delete(&partition, 0).expect("deleted");
        dirs.workers.stop();
    }
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
    dirs.retain(super::super::close::IDLE_MS + 1);
    let open_files = std::fs::read_dir("/proc/self/fd").expect("list");
    let ours = open_files.filter(|entry| {
        let target = entry.as_ref().ok().and_then(|e| e.path().read_link().ok());
        target.is_some_and(|t| t.starts_with(root.path()))
    });
    assert!(ours.count() < 10, "quiet logs hold no descriptors");
    clean(dirs.close());
    let offline = dirs.health().offline;
    assert!(offline.is_empty(), "closed is not ill: {}", offline.len());
}

/// A small file system in memory; needs root, as the whole full-disk test of `tests/it` does.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .expect("mount runs");
        assert!(
            status.success(),
            "cannot mount a small file system (root is needed)"
        );
        Self(dir)
    }

    fn fill(&self) {
        use std::io::Write;
        let path = self.0.path().join("ballast");
        let mut options = std::fs::File::options();
        let mut file = options
            .create(true)
            .append(true)
            .open(path)
            .expect("create");
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("ballast")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let umount = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
        assert!(umount.is_ok());
    }
}

fn read_everything(log: &Log) -> i64 {
    let mut offset = log.log_start();
    while offset < log.next_offset() {
        let at = super::super::ReadAt {
            offset,
            max_bytes: 100_000,
            at_least_one: true,
            upper_bound: i64::MAX,
        };
        let slice = log.read(at).expect("read");
        let bytes = slice.read_all().expect("bytes");
        for batch in nyala_client::wire::batch::Batches::new(&bytes) {
            assert!(batch.expect("whole").crc_ok());
        }
        offset = slice.next_offset;
    }
    offset
}

#[test]
fn a_disk_filled_to_the_brim_is_an_error_that_passes() {
    let disk = SmallDisk::mount("24m");
    std::fs::write(disk.0.path().join("ballast"), vec![1; 4 << 20]).expect("ballast");
    let root = disk.0.path().join("data");
    let settings = LogConfig {
        segment_bytes_max: 3 << 20,
        retention_ms: None,
        ..LogConfig::default()
    };
    let settings = Arc::new(settings);
    let reopen = || LogDirs::open(config(&[&root]), &|_| Arc::clone(&settings), 0).expect("opens");
    let (dirs, _) = reopen();
    let names: Vec<_> = (0..3).map(|i| partition(&format!("t-{i}"))).collect();
    for name in &names {
        dirs.create(name, None, Arc::clone(&settings), 0)
            .expect("created");
    }
    let fill = |dirs: &LogDirs| {
        let mut full = 0;
        for at in 0..20_000 {
            let log = dirs
                .log(&names[usize::try_from(at % 3).expect("small")])
                .expect("there");
            let mut log = log.lock();
            let end = log.next_offset();
            match log.append(&batch(1, 5000, at), &as_leader(0, at)) {
                Ok(appended) => assert_eq!(appended.base_offset, end),
                Err(AppendError::NoSpace(_)) => {
                    assert_eq!(log.next_offset(), end);
                    full += 1;
                    if full > 50 {
                        return;
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        panic!("never full");
    };
    fill(&dirs);
    disk.fill();
    fill(&dirs);
    let ends: Vec<i64> = names
        .iter()
        .map(|name| read_everything(&dirs.log(name).expect("there").lock()))
        .collect();
    // The checkpoints cannot be written just now; that is told, and passes.
    let report = dirs.checkpoint_round(0);
    assert!(
        report.failed.iter().all(|(_, e)| e.is_no_space()),
        "{:?}",
        report.failed
    );
    assert!(dirs.states()[0].offline.is_none());
    dirs.workers.stop();
    drop(dirs);

    // Killed, and started again at 100% full: cutting the unused ends gives a little back, so fill it.
    let (dirs, report) = reopen();
    disk.fill();
    assert!(report.offline.is_empty(), "{:?}", report.offline);
    assert_eq!((report.logs, report.bytes_cut), (3, 0));
    for (name, end) in names.iter().zip(&ends) {
        assert_eq!(
            read_everything(&dirs.log(name).expect("there").lock()),
            *end
        );
    }
    fill(&dirs);
    disk.free();
    for (name, end) in names.iter().zip(&ends) {
        let log = dirs.log(name).expect("there");
        let mut log = log.lock();
        for at in 0..20 {
            log.append(&batch(1, 5000, at), &as_leader(0, at))
                .expect("goes on by itself");
        }
        assert!(read_everything(&log) >= end + 20);
    }
    clean(dirs.close());
}

#[test]
fn min_free_bytes_holds_producers_back_and_lets_them_go_on() {
    let disk = SmallDisk::mount("24m");
    let root = disk.0.path().join("data");
    let mut settings = config(&[&root]);
    settings.min_free_bytes = 8 << 20;
    let (dirs, _) = LogDirs::open(settings, &|_| Arc::default(), 0).expect("opens");
    let log = dirs
        .create(&partition("t-0"), None, Arc::default(), 0)
        .expect("created");
    let append = |at| log.lock().append(&batch(1, 50_000, at), &as_leader(0, at));
    let refused = (0..1000)
        .find_map(|at| append(at).err())
        .expect("low at last");
    assert!(
        matches!(refused, AppendError::LowSpace { limit, .. } if limit == 8 << 20),
        "{refused}"
    );
    let low = dirs.health().low;
    assert!(low.len() == 1 && low[0].path == root, "{low:?}");
    assert!(low[0].free < low[0].limit, "{low:?}");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 << 20]).expect("still space for others");
    // Space returns: the look at it comes by itself, twice a second.
    let end = log.lock().next_offset();
    log.lock().set_high_watermark(end);
    log.lock().delete_before(end).expect("deleted");
    log.lock().roll(0).expect("rolled");
    dirs.retain(0);
    std::fs::remove_file(ballast).expect("removed");
    let deadline = nyala_coordinator::clock::now() + std::time::Duration::from_secs(20);
    while let Err(error) = append(0) {
        assert!(nyala_coordinator::clock::now() < deadline, "still: {error}");
        std::thread::yield_now();
    }
    clean(dirs.close());
}

#[test]
fn many_waiters_share_a_sync() {
    let root = tempfile::tempdir().expect("tempdir");
    let (dirs, _) = open(&[root.path()]);
    let log = dirs
        .create(&partition("t-0"), None, Arc::default(), 0)
        .expect("created");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime");
    let waits: Vec<_> = (0..100)
        .map(|at| {
            let mut log = log.lock();
            log.append(&batch(1, 10, at), &as_leader(0, at))
                .expect("appended");
            log.durable(log.next_offset())
        })
        .collect();
    let served = runtime.block_on(futures::future::join_all(waits));
    assert!(served.iter().all(Result::is_ok));
    assert_eq!(log.lock().recovery_point(), 100);
    clean(dirs.close());
}
