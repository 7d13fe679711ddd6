use super::*;

fn tail() -> (tempfile::TempDir, Arc<Tail>) {
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
        space: Arc::new(DirSpace::new(0)),
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

#[test]
fn a_claim_is_filled_in_place_and_settled() {
    let (dir, tail) = tail();
    let mut claim = tail.claim(0, 20, 0).expect("claimed");
    assert_eq!(claim.fill(&[7; 15]), 15);
    assert_eq!(claim.remaining(), 5);
    assert_eq!(claim.fill(&[8; 15]), 5, "no more than was reserved");
    assert!(tail.settle(&claim, 0, &STAMP, 0).expect("in place"));
    assert_eq!(on_disk(&dir, 0, 8), [1; 8]);
    assert_eq!(on_disk(&dir, 8, 4), [7; 4]);
    assert_eq!(on_disk(&dir, 12, 4), [2; 4]);
    assert_eq!(on_disk(&dir, 16, 4), [8; 4]);
}

#[test]
fn a_second_writer_moves_the_first_to_the_heap() {
    let (dir, tail) = tail();
    let mut first = tail.claim(0, 20, 0).expect("claimed");
    first.fill(&[7; 10]);
    let mut second = tail.claim(0, 20, 0).expect("claimed");
    second.fill(&[9; 4]);
    tail.write(0, &[5; 16], &STAMP, 0).expect("goes ahead");
    // Both go on where they were.
    first.fill(&[8; 10]);
    second.fill(&[9; 16]);
    assert!(!tail.settle(&first, 0, &STAMP, 0).expect("moved"));
    assert!(!tail.settle(&second, 16, &STAMP, 0).expect("moved"));
    assert_eq!(first.into_bytes(), [[7; 10], [8; 10]].concat());
    assert_eq!(second.with_filled(<[u8]>::to_vec), [9; 20]);
    assert_eq!(on_disk(&dir, 8, 4), [5; 4]);
    drop(second);
    assert!(tail.state.lock().moved.is_empty());
}

#[test]
fn a_revoked_claim_keeps_its_bytes_before_it_is_touched_again() {
    let (_dir, tail) = tail();
    let mut claim = tail.claim(0, 6, 0).expect("claimed");
    claim.fill(&[7; 6]);
    tail.write(0, &[5; 16], &STAMP, 0).expect("goes ahead");
    assert_eq!(claim.with_filled(<[u8]>::to_vec), [7; 6]);
    assert_eq!(claim.into_bytes(), [7; 6]);
}

#[test]
fn a_dropped_claim_gives_its_room_back() {
    let (_dir, tail) = tail();
    let claim = tail.claim(0, 20, 0).expect("claimed");
    assert!(!tail.is_idle());
    drop(claim);
    assert!(tail.is_idle());
}

#[test]
fn fill_with_passes_errors_on_and_counts_nothing_then() {
    let (_dir, tail) = tail();
    let mut claim = tail.claim(0, 20, 0).expect("claimed");
    assert_eq!(claim.fill_with(|_| Err::<usize, _>("later")), Err("later"));
    let read = |room: &mut [u8]| {
        room[..3].fill(1);
        Ok::<_, ()>(3)
    };
    assert_eq!(claim.fill_with(read), Ok(3));
    assert_eq!(claim.remaining(), 17);
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
