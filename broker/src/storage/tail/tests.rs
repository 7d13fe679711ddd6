use super::*;

fn tail() -> (tempfile::TempDir, Arc<Tail>) {
    tail_on(DirSpace::new(0))
}

fn tail_on(space: DirSpace) -> (tempfile::TempDir, Arc<Tail>) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("f");
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&path)
        .expect("create");
    let target = TailFile {
        file: Arc::new(file),
        path,
        fault: Arc::default(),
        limit: 1 << 20,
        space: Arc::new(space),
    };
    (dir, Tail::new(target, 0, None))
}

const STAMP: Stamp = Stamp {
    base_offset: 0x0101_0101_0101_0101,
    leader_epoch: 0x0202_0202,
    log_append_time_ms: None,
};

fn on_disk(dir: &tempfile::TempDir, at: usize, len: usize) -> Vec<u8> {
    let bytes = std::fs::read(dir.path().join("f")).expect("read");
    bytes[at..at + len].to_vec()
}

/// A batch that is large enough to be written, of bytes `value`.
fn large(value: u8) -> Vec<u8> {
    vec![value; WRITE_BYTES_MIN]
}

#[test]
fn what_is_to_be_kept_free_is_not_allocated_ahead() {
    let limit = 1 << 30;
    let allocated = |room| {
        let (_dir, tail) = tail_on(DirSpace::with_free(limit, limit + room));
        tail.state.lock().step = STEP_BYTES_MAX;
        tail.write(0, &[7; 20], &STAMP, 0).expect("written");
        tail.state.lock().allocated
    };
    assert_eq!(allocated(PAGE_BYTES), STEP_BYTES_MIN);
    assert_eq!(
        allocated(STEP_BYTES_MAX),
        INLINE_STEP_BYTES_MAX,
        "there is room"
    );
}

#[test]
fn a_small_batch_is_copied_and_stamped() {
    let (dir, tail) = tail();
    tail.write(0, &[7; 20], &STAMP, 0).expect("written");
    assert!(tail.state.lock().window.is_some());
    assert_eq!(on_disk(&dir, 0, 8), [1; 8]);
    assert_eq!(on_disk(&dir, 8, 4), [7; 4]);
    assert_eq!(on_disk(&dir, 12, 4), [2; 4]);
    assert_eq!(on_disk(&dir, 16, 4), [7; 4]);
}

#[test]
fn a_large_batch_is_written_and_stamped_and_nothing_is_mapped_for_it() {
    let (dir, tail) = tail();
    tail.write(0, &large(7), &STAMP, 0).expect("written");
    assert!(tail.state.lock().window.is_none());
    assert_eq!(on_disk(&dir, 0, 8), [1; 8]);
    assert_eq!(on_disk(&dir, 8, 4), [7; 4]);
    assert_eq!(on_disk(&dir, 12, 4), [2; 4]);
    assert_eq!(on_disk(&dir, 16, WRITE_BYTES_MIN - 16), large(7)[16..]);
    assert_eq!(tail.state.lock().allocated, WRITE_BYTES_MIN as u64);
}

#[test]
fn mapped_and_written_batches_see_each_other() {
    let (dir, tail) = tail();
    let mut at = 0;
    let sizes = [20, 70_000, 300, 65_536, 65_537, 30, 100_000, 40_000];
    for (size, value) in sizes.into_iter().zip(10..) {
        tail.write(at, &vec![value; size], &STAMP, 0)
            .expect("written");
        at += size as u64;
    }
    let mut at = 0;
    for (size, value) in sizes.into_iter().zip(10..) {
        assert_eq!(on_disk(&dir, at + 16, size - 16), vec![value; size - 16]);
        assert_eq!(on_disk(&dir, at, 8), [1; 8]);
        at += size;
    }
}

#[test]
fn a_large_batch_of_log_append_time_gets_its_checksum_in_the_map() {
    let (dir, tail) = tail();
    let stamp = Stamp {
        log_append_time_ms: Some(5),
        ..STAMP
    };
    tail.write(0, &large(7), &stamp, 0).expect("written");
    assert!(tail.state.lock().window.is_some());
    let mut expected = large(7);
    stamp.put(&mut expected);
    assert_eq!(on_disk(&dir, 0, WRITE_BYTES_MIN), expected);
}

/// What ext2 answers; nothing in a test's reach does.
#[test]
fn a_file_system_that_cannot_allocate_is_told_from_one_that_is_full() {
    let error = |code| {
        let source = std::io::Error::from_raw_os_error(code);
        StorageError::io("allocate", std::path::Path::new("f"), source)
    };
    assert!(error(libc::EOPNOTSUPP).is_unsupported() && !error(libc::EOPNOTSUPP).is_no_space());
    assert!(!error(libc::ENOSPC).is_unsupported() && error(libc::ENOSPC).is_no_space());
}

#[test]
fn where_nothing_can_be_allocated_all_is_written() {
    let (dir, tail) = tail();
    tail.state.lock().maps = false;
    let stamp = Stamp {
        log_append_time_ms: Some(5),
        ..STAMP
    };
    tail.write(0, &[7; 20], &STAMP, 0).expect("written");
    tail.write(20, &[8; 100], &stamp, 0).expect("written");
    tail.write(120, &large(9), &stamp, 0).expect("written");
    assert!(tail.state.lock().window.is_none());
    let mut expected = vec![];
    for (mut bytes, stamp) in [
        (vec![7; 20], STAMP),
        (vec![8; 100], stamp),
        (large(9), stamp),
    ] {
        stamp.put(&mut bytes);
        expected.extend(bytes);
    }
    assert_eq!(on_disk(&dir, 0, expected.len()), expected);
}

#[test]
fn a_failed_write_leaves_nothing_behind_the_end() {
    let (dir, tail) = tail();
    tail.write(0, &[7; 100], &STAMP, 0).expect("written");
    // What a write that failed half-way has left, before and behind what is allocated.
    let file = &tail.target.file;
    file.write_all_at(&large(9), 161).expect("written");
    let len = 161 + WRITE_BYTES_MIN;
    assert!(len as u64 > tail.state.lock().allocated);
    tail.take_back(100, len as u64 + 1000).expect("cleared");
    assert_eq!(on_disk(&dir, 100, len - 100), vec![0; len - 100]);
    assert_eq!(file.metadata().expect("metadata").len(), len as u64);
    assert_eq!(on_disk(&dir, 16, 84), [7; 84]);
}

#[test]
fn steps_follow_the_rate() {
    let (_dir, tail) = tail();
    let mut state = tail.state.lock();
    adapt_step(&mut state, 1_000_000);
    assert_eq!(state.step, STEP_BYTES_MIN);
    for i in 1..9 {
        adapt_step(&mut state, 1_000_000 + i * 100);
    }
    assert_eq!(state.step, STEP_BYTES_MAX);
    for i in 1..9 {
        adapt_step(&mut state, 2_000_000 + i * 20_000);
    }
    assert_eq!(state.step, STEP_BYTES_MIN);
}

#[test]
fn a_prepared_window_covers_what_comes_next() {
    let (dir, tail) = tail();
    tail.write(0, &[1; 100], &STAMP, 0).expect("written");
    let (from, to) = (page_floor(60_000), 1 << 18);
    tail.state.lock().next = Next::Wanted { from, to };
    tail.prepare();
    let state = tail.state.lock();
    assert!(matches!(&state.next, Next::Ready(w) if w.covers(60_000, 1000)));
    assert_eq!(state.allocated, 1 << 18);
    drop(state);
    tail.write(65_000, &[3; 2000], &STAMP, 0).expect("written");
    assert!(matches!(tail.state.lock().next, Next::None));
    assert_eq!(on_disk(&dir, 65_100, 5), [3; 5]);
}

/// The same file, with workers.
fn worked(tail: &Tail, workers: &Arc<Workers>) -> Arc<Tail> {
    let target = TailFile {
        file: Arc::clone(&tail.target.file),
        path: tail.target.path.clone(),
        fault: Arc::default(),
        limit: 1 << 20,
        space: Arc::new(DirSpace::new(0)),
    };
    Tail::new(target, 0, Some(Arc::clone(workers)))
}

#[test]
fn space_is_made_ahead_of_large_batches_and_not_mapped() {
    let (dir, tail) = tail();
    let workers = Workers::start(|| ()).expect("threads");
    let tail = worked(&tail, &workers);
    let mut at = 0;
    for value in 1..=4 {
        tail.write(at, &large(value), &STAMP, 0).expect("written");
        at += WRITE_BYTES_MIN as u64;
        let end = nyala_coordinator::clock::now() + std::time::Duration::from_secs(60);
        while !tail.is_idle() {
            assert!(nyala_coordinator::clock::now() < end, "no space yet");
            std::thread::yield_now();
        }
        let allocated = tail.state.lock().allocated;
        assert!(allocated > at, "{allocated} behind {at}");
        let len = tail.target.file.metadata().expect("metadata").len();
        assert_eq!(len, allocated);
    }
    assert!(tail.state.lock().window.is_none());
    let last = WRITE_BYTES_MIN * 3;
    assert_eq!(
        on_disk(&dir, last + 16, WRITE_BYTES_MIN - 16),
        large(4)[16..]
    );
    workers.stop();
}

#[test]
fn a_window_that_large_batches_pass_makes_way_for_space() {
    let (_dir, tail) = tail();
    let workers = Workers::start(|| ()).expect("threads");
    let tail = worked(&tail, &workers);
    tail.state.lock().next = Next::Wanted { from: 0, to: 4096 };
    tail.prepare();
    assert!(matches!(tail.state.lock().next, Next::Ready(_)));
    tail.write(0, &large(1), &STAMP, 0).expect("written");
    let end = nyala_coordinator::clock::now() + std::time::Duration::from_secs(60);
    while tail.state.lock().allocated <= WRITE_BYTES_MIN as u64 {
        assert!(nyala_coordinator::clock::now() < end, "no space yet");
        std::thread::yield_now();
    }
    assert!(!matches!(tail.state.lock().next, Next::Ready(_)));
    workers.stop();
}

#[test]
fn space_that_is_made_while_the_file_is_released_is_not_counted() {
    let (_dir, tail) = tail();
    tail.write(0, &large(7), &STAMP, 0).expect("written");
    tail.state.lock().next = Next::Space { to: 1 << 20 };
    assert!(!tail.is_idle());
    tail.release();
    // As on a worker that had begun before.
    tail.prepare_space(1 << 20);
    assert_eq!(tail.state.lock().allocated, WRITE_BYTES_MIN as u64);
    assert!(tail.is_idle());
}
