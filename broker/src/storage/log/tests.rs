use super::super::close::IDLE_MS;
use super::super::testing::{
    Bed, Chance, as_leader, as_producer, batch, batch_with, crashed, stopped,
};
use super::super::workers::Workers;
use super::super::{AppendError, Appended, LogConfig, ReadAt, ReadError, Transactions};
use super::*;

/// What the log should hold.
#[derive(Default)]
struct Model {
    batches: Vec<Entry>,
    log_start: i64,
    next_offset: i64,
}

struct Entry {
    base: i64,
    last: i64,
    max_timestamp: i64,
    bytes: Vec<u8>,
}

impl Model {
    fn append(&mut self, bytes: &[u8], epoch: i32, records: i64, first_timestamp: i64) {
        let mut bytes = bytes.to_vec();
        let base = self.next_offset;
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        self.next_offset += records;
        self.batches.push(Entry {
            base,
            last: self.next_offset - 1,
            max_timestamp: first_timestamp + records - 1,
            bytes,
        });
    }

    fn truncate(&mut self, offset: i64) {
        self.batches.retain(|b| b.last < offset);
        let end = self.batches.last().map_or(self.log_start, |b| b.last + 1);
        self.next_offset = end.max(self.log_start);
    }

    /// First record at or after the time: records of a batch are a millisecond apart.
    fn at_time(&self, timestamp: i64) -> Option<i64> {
        let found = self.batches.iter().find(|b| {
            b.max_timestamp >= timestamp && b.last >= self.log_start && {
                let first = b.max_timestamp - (b.last - b.base);
                let offset = b.base + (timestamp - first).max(0);
                offset.max(self.log_start) <= b.last
            }
        })?;
        let first = found.max_timestamp - (found.last - found.base);
        Some((found.base + (timestamp - first).max(0)).max(self.log_start))
    }
}

fn small() -> LogConfig {
    LogConfig {
        segment_bytes_max: 40_000,
        index_interval_bytes: 512,
        retention_ms: None,
        ..LogConfig::default()
    }
}

/// Reads and compares; what comes must be the model's bytes, and as much as allowed unless a segment ends.
fn check_read(log: &Log, model: &Model, at: ReadAt) {
    let slice = log.read(at).expect("within range");
    let bytes = slice.read_all().expect("readable");
    let start = model.batches.iter().position(|b| b.last >= at.offset);
    let upper = at.upper_bound.min(model.next_offset);
    let mut expected: Vec<&Entry> = Vec::new();
    let mut size = 0;
    for entry in model
        .batches
        .get(start.unwrap_or(usize::MAX)..)
        .unwrap_or_default()
    {
        let ends_segment =
            !expected.is_empty() && log.segments.iter().any(|s| s.base_offset == entry.base);
        size += entry.bytes.len();
        let fits = size <= at.max_bytes || (expected.is_empty() && at.at_least_one);
        if entry.last >= upper || !fits || ends_segment {
            break;
        }
        expected.push(entry);
    }
    let wanted: Vec<u8> = expected.iter().flat_map(|e| e.bytes.clone()).collect();
    assert!(
        bytes == wanted,
        "{at:?}: {} bytes, expected {}",
        bytes.len(),
        wanted.len()
    );
    let next = expected.last().map_or(at.offset, |e| e.last + 1);
    assert_eq!(slice.next_offset, next, "{at:?}");
}

fn check_all(log: &Log, model: &Model, chance: &mut Chance) {
    assert_eq!(log.next_offset(), model.next_offset);
    assert_eq!(log.log_start(), model.log_start);
    let everything = |offset| ReadAt {
        offset,
        max_bytes: usize::MAX,
        at_least_one: true,
        upper_bound: i64::MAX,
    };
    let mut offset = model.log_start;
    while offset < model.next_offset {
        check_read(log, model, everything(offset));
        let next = log.read(everything(offset)).expect("in range").next_offset;
        assert!(next > offset, "reading goes on");
        offset = next;
    }
    for _ in 0..8 {
        let at = ReadAt {
            offset: chance.offset(model.log_start, model.next_offset),
            max_bytes: chance.size(9000),
            at_least_one: chance.below(2) == 0,
            upper_bound: chance.offset(model.log_start, model.next_offset),
        };
        check_read(log, model, at);
        let time = chance.offset(0, 40 * model.next_offset.max(1));
        let found = log.offset_for_timestamp(time, i64::MAX).expect("searched");
        assert_eq!(found.map(|f| f.offset), model.at_time(time), "time {time}");
    }
}

struct Run {
    bed: Bed,
    log: Log,
    model: Model,
    chance: Chance,
    epoch: i32,
    now_ms: i64,
}

impl Run {
    fn new(seed: u64, with_workers: bool) -> Self {
        let mut bed = Bed::new(small());
        if with_workers {
            bed.workers = Some(Workers::start(|| ()).expect("threads"));
        }
        let log = bed.fresh();
        Self {
            bed,
            log,
            model: Model::default(),
            chance: Chance(seed),
            epoch: 0,
            now_ms: 1,
        }
    }

    fn append(&mut self) {
        let records = self.chance.size(20) + 1;
        let size = self.chance.size(300);
        // Times mostly grow, sometimes jump back.
        self.now_ms += self.chance.offset(-30, 60);
        self.now_ms = self.now_ms.max(1);
        let first = self.now_ms;
        let bytes = batch(records, size, first);
        let how = as_leader(self.epoch, self.now_ms);
        let appended = match self.chance.below(4) {
            0 => self.append_in_two_steps(&bytes, &how),
            _ => self.log.append(&bytes, &how),
        };
        let appended = appended.expect("appended");
        assert_eq!(appended.base_offset, self.model.next_offset);
        self.model.append(&bytes, self.epoch, records as i64, first);
        assert_eq!(appended.last_offset, self.model.next_offset - 1);
        self.log.set_high_watermark(i64::MAX);
    }

    /// Reserve, fill in pieces, perhaps with another append in between, commit.
    fn append_in_two_steps(
        &mut self,
        bytes: &[u8],
        how: &super::super::AppendAs<'_>,
    ) -> Result<Appended, AppendError> {
        let mut reservation = self.log.reserve(bytes.len())?;
        let half = self.chance.size(bytes.len());
        assert_eq!(reservation.fill(&bytes[..half]), half);
        if self.chance.below(2) == 0 {
            let other = batch(1, 10, self.now_ms);
            self.log.append(&other, how)?;
            self.model.append(&other, self.epoch, 1, self.now_ms);
        }
        if self.chance.below(8) == 0 {
            drop(reservation);
            reservation = self.log.reserve(bytes.len())?;
            reservation.fill(&bytes[..half]);
        }
        reservation.fill(&bytes[half..]);
        assert_eq!(reservation.filled(), bytes);
        self.log.commit(&reservation, how)
    }

    fn step(&mut self) {
        match self.chance.below(40) {
            0 => self.log.roll(self.now_ms).expect("rolled"),
            1 => {
                let offset = self
                    .chance
                    .offset(self.model.log_start, self.model.next_offset);
                self.log.truncate_to(offset).expect("cut");
                self.model.truncate(offset);
            }
            2 => {
                let offset = self
                    .chance
                    .offset(self.model.log_start, self.model.next_offset);
                self.log.delete_before(offset).expect("deleted");
                self.model.log_start = offset;
                let removed = self.log.retain(self.now_ms).expect("retained");
                removed
                    .iter()
                    .for_each(|f| std::fs::remove_file(f).expect("removed"));
            }
            3 => {
                let hints = stopped(&self.log);
                self.log.close().expect("closed");
                let (log, report) = self.bed.open(hints);
                assert_eq!(report.bytes_scanned, 0, "a clean start reads no segment");
                self.log = log;
            }
            4 => {
                // A dead process prepares nothing any more; its file keeps the allocated end.
                self.log.release_tail();
                let hints = crashed(&self.log);
                let (log, report) = self.bed.open(hints);
                assert_eq!(report.bytes_cut, 0);
                assert_eq!(report.synced_offsets_lost, 0);
                self.log = log;
                self.log.set_high_watermark(i64::MAX);
            }
            5 => self.log.flush().expect("synced"),
            6 => self.epoch += 1,
            7 => self.log.maintain(self.now_ms + IDLE_MS + 1).expect("kept"),
            _ => self.append(),
        }
    }
}

fn run(seed: u64, with_workers: bool) {
    println!("seed {seed}");
    let mut run = Run::new(seed, with_workers);
    for i in 0..250 {
        run.step();
        if i % 10 == 0 {
            check_all(&run.log, &run.model, &mut run.chance);
        }
    }
    check_all(&run.log, &run.model, &mut run.chance);
    drop(run.log);
    if let Some(workers) = run.bed.workers {
        workers.stop();
    }
}

#[test]
fn agrees_with_a_model_whatever_is_done() {
    (1..=12).for_each(|seed| run(seed, false));
}

#[test]
fn agrees_with_a_model_while_windows_are_prepared_ahead() {
    (100..=106).for_each(|seed| run(seed, true));
}

#[test]
fn a_large_log_grows_by_prepared_windows() {
    let mut bed = Bed::new(LogConfig {
        segment_bytes_max: 24 << 20,
        ..LogConfig::default()
    });
    bed.workers = Some(Workers::start(|| ()).expect("threads"));
    let mut log = bed.fresh();
    let mut model = Model::default();
    for i in 0..400 {
        let bytes = batch(1, 150_000, i);
        log.append(&bytes, &as_leader(0, i)).expect("appended");
        model.append(&bytes, 0, 1, i);
    }
    assert!(log.segment_count() >= 2);
    check_all(&log, &model, &mut Chance(7));
    let hints = crashed(&log);
    drop(log);
    let (log, report) = bed.open(hints);
    assert_eq!((log.next_offset(), report.bytes_cut), (400, 0));
    check_all(&log, &model, &mut Chance(8));
}

#[test]
fn a_repeated_batch_is_answered_and_not_appended_also_after_a_restart() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    let of = |sequence| batch_with(3, 10, 5, as_producer(7, 0, sequence));
    let how = as_leader(0, 5);
    for i in 0..4 {
        log.append(&of(i * 3), &how).expect("in order");
    }
    let repeated = |log: &mut Log| {
        let again = log.append(&of(9), &how).expect("known");
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.last_offset), (9, 11));
        assert_eq!(log.next_offset(), 12);
        let gap = log.append(&of(15), &how).expect_err("gap");
        assert!(
            matches!(gap, AppendError::OutOfOrderSequence { .. }),
            "{gap}"
        );
    };
    repeated(&mut log);
    let hints = crashed(&log);
    drop(log);
    let (mut log, _) = bed.open(hints);
    repeated(&mut log);
    let hints = stopped(&log);
    log.close().expect("closed");
    let (mut log, _) = bed.open(hints);
    repeated(&mut log);
}

#[test]
fn log_append_time_is_stamped_and_the_crc_still_holds() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    let mut how = as_leader(3, 777_000);
    how.log_append_time = true;
    let appended = log.append(&batch(3, 10, 5), &how).expect("appended");
    assert_eq!(appended.log_append_time_ms, 777_000);
    let at = ReadAt {
        offset: 0,
        max_bytes: 1 << 20,
        at_least_one: true,
        upper_bound: 3,
    };
    let bytes = log.read(at).expect("read").read_all().expect("bytes");
    let view = nyala_client::wire::batch::BatchView::parse(&bytes).expect("batch");
    assert!(view.crc_ok());
    assert_eq!(view.max_timestamp(), 777_000);
    assert_eq!(view.leader_epoch(), 3);
    let found = log.offset_for_timestamp(6, 3).expect("searched");
    assert_eq!(
        found.map(|f| (f.offset, f.timestamp_ms)),
        Some((0, 777_000))
    );
}

#[test]
fn reading_outside_of_the_log_says_its_bounds() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    log.append(&batch(3, 10, 5), &as_leader(0, 5))
        .expect("appended");
    log.set_high_watermark(3);
    log.delete_before(2).expect("deleted");
    let at = |offset| ReadAt {
        offset,
        max_bytes: 100,
        at_least_one: true,
        upper_bound: 3,
    };
    for offset in [-1, 0, 1, 4] {
        let error = log.read(at(offset)).expect_err("outside");
        assert!(matches!(
            error,
            ReadError::OffsetOutOfRange {
                log_start: 2,
                next_offset: 3,
                ..
            }
        ));
    }
    assert_eq!(log.read(at(3)).expect("the end").len, 0);
    assert!(log.read(at(2)).expect("inside").len > 0);
    assert!(log.delete_before(4).is_err(), "beyond the high watermark");
}

#[test]
fn bad_batches_are_refused_and_change_nothing() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    let good = batch(1, 10, 5);
    let how = as_leader(0, 5);
    let mut longer = good.clone();
    longer.push(0);
    let mut old = good.clone();
    old[16] = 1;
    let mut negative = good.clone();
    negative[23..27].copy_from_slice(&(-1_i32).to_be_bytes());
    for bad in [&[][..], &good[..60], &longer, &old, &negative] {
        let error = log.append(bad, &how).expect_err("bad");
        assert!(matches!(error, AppendError::Malformed(_)), "{error}");
    }
    let error = log
        .append(&batch(1, 50_000, 5), &how)
        .expect_err("too large");
    assert!(
        matches!(error, AppendError::LargerThanSegment { .. }),
        "{error}"
    );
    assert_eq!((log.next_offset(), log.size_bytes()), (0, 0));
}

#[test]
fn a_file_cut_by_an_outsider_takes_the_log_offline_and_nothing_else() {
    let bed = Bed::new(LogConfig::default());
    let mut log = bed.fresh();
    let how = as_leader(0, 5);
    log.append(&batch(1, 5000, 5), &how).expect("appended");
    let path = bed.dir().join("00000000000000000000.log");
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("open");
    file.set_len(100).expect("cut");
    let error = log
        .append(&batch(1, 5000, 5), &how)
        .expect_err("lost its pages");
    assert!(matches!(error, AppendError::Storage(_)), "{error}");
    assert_eq!(log.next_offset(), 1, "never acknowledged");
    let first = log.failure().expect("offline");
    assert!(first.to_string().contains("lost its pages"), "{first}");
    let again = log
        .append(&batch(1, 10, 5), &how)
        .expect_err("stays offline");
    assert!(again.to_string().contains("lost its pages"), "{again}");
}

#[test]
fn too_little_free_space_holds_clients_back_and_nobody_else() {
    let mut bed = Bed::new(small());
    bed.space = Arc::new(DirSpace::new(u64::MAX));
    let mut log = bed.fresh();
    let mut how = as_leader(0, 5);
    log.append(&batch(1, 10, 5), &how)
        .expect("not looked at yet");
    bed.space.refresh(bed.root.path()).expect("looked");
    let error = log.append(&batch(1, 10, 5), &how).expect_err("low");
    assert!(matches!(error, AppendError::LowSpace { .. }), "{error}");
    how.origin = super::super::Origin::Coordinator;
    log.append(&batch(1, 10, 5), &how)
        .expect("coordinators go on");
}

#[test]
fn segments_roll_by_time_and_by_index_size() {
    let mut bed = Bed::new(small());
    bed.config.segment_ms_max = 100;
    let mut log = bed.fresh();
    for at in [1000, 1050, 1100, 1101, 1150] {
        log.append(&batch(1, 10, at), &as_leader(0, at))
            .expect("appended");
    }
    let bases = |log: &Log| {
        log.segments
            .iter()
            .map(|s| s.base_offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(bases(&log), [0, 3]);

    let mut bed = Bed::new(small());
    bed.config.index_interval_bytes = 0;
    bed.config.segment_index_bytes_max = 24;
    let mut log = bed.fresh();
    for at in 0..6 {
        log.append(&batch(1, 10, at), &as_leader(0, at))
            .expect("appended");
    }
    assert_eq!(bases(&log), [0, 3]);
}

#[test]
fn epochs_outlive_a_restart_and_follow_the_end() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    log.start_epoch(LeaderEpoch(2)).expect("started");
    log.append(&batch(5, 10, 1), &as_leader(2, 1))
        .expect("appended");
    log.start_epoch(LeaderEpoch(4)).expect("started");
    log.append(&batch(5, 10, 1), &as_leader(4, 1))
        .expect("appended");
    let hints = crashed(&log);
    drop(log);
    let (mut log, _) = bed.open(hints);
    let end = |log: &Log, epoch| {
        log.epoch_end_offset(LeaderEpoch(epoch))
            .map(|e| (e.leader_epoch.0, e.end_offset))
    };
    assert_eq!(end(&log, 2), Some((2, 5)));
    assert_eq!(end(&log, 3), Some((2, 5)));
    assert_eq!(end(&log, 4), Some((4, 10)));
    log.truncate_to(5).expect("cut");
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(2)));
    assert_eq!(end(&log, 2), Some((2, 5)));
    std::fs::remove_file(bed.dir().join(names::LEADER_EPOCH_CHECKPOINT)).expect("removed");
    let hints = crashed(&log);
    drop(log);
    let (log, _) = bed.open(hints);
    assert_eq!(
        log.latest_epoch(),
        Some(LeaderEpoch(2)),
        "found again in the log"
    );
}

#[test]
fn replicated_batches_keep_their_offsets() {
    let (leader, follower) = (Bed::new(small()), Bed::new(small()));
    let (mut from, mut to) = (leader.fresh(), follower.fresh());
    for i in 0..5 {
        from.append(&batch(2, 10, i), &as_leader(3, i))
            .expect("appended");
    }
    let at = ReadAt {
        offset: 0,
        max_bytes: 1 << 20,
        at_least_one: true,
        upper_bound: 10,
    };
    let bytes = from.read(at).expect("read").read_all().expect("bytes");
    assert_eq!(to.append_replicated(&bytes, 0).expect("appended"), 10);
    assert_eq!(to.latest_epoch(), Some(LeaderEpoch(3)));
    let copy = to.read(at).expect("read").read_all().expect("bytes");
    assert_eq!(copy, bytes);
    let error = to.append_replicated(&bytes, 0).expect_err("twice");
    assert!(matches!(
        error,
        AppendError::OffsetOutOfOrder {
            found: 0,
            expected: 10
        }
    ));
}

#[test]
fn a_copy_may_begin_within_a_batch() {
    let (leader, follower) = (Bed::new(small()), Bed::new(small()));
    let (mut from, mut to) = (leader.fresh(), follower.fresh());
    for i in 0..3 {
        from.append(&batch(10, 10, i), &as_leader(3, i))
            .expect("appended");
    }
    from.set_high_watermark(30);
    from.delete_before(15).expect("deleted");
    let at = ReadAt {
        offset: 15,
        max_bytes: 1 << 20,
        at_least_one: true,
        upper_bound: 30,
    };
    let bytes = from.read(at).expect("read").read_all().expect("bytes");
    to.restart_at(15, 0).expect("restarted");
    assert_eq!(to.append_replicated(&bytes, 0).expect("appended"), 30);
    assert_eq!((to.log_start(), to.high_watermark()), (15, 15));
    to.set_high_watermark(30);
    let copy = to.read(at).expect("read").read_all().expect("bytes");
    assert_eq!(copy, bytes);
    // Only an empty log begins within a batch.
    assert!(to.append_replicated(&bytes, 0).is_err());
}

#[test]
fn an_index_of_aborted_transactions_beside_the_log_is_noticed() {
    let bed = Bed::new(small());
    let mut log = bed.fresh();
    log.append(&batch(1, 10, 0), &as_leader(0, 0))
        .expect("appends");
    assert_eq!(log.transactions(), Transactions::None);
    let hints = crashed(&log);
    drop(log);
    let index = bed.dir().join("00000000000000000000.txnindex");
    std::fs::write(&index, []).expect("writes");
    assert_eq!(bed.open(hints).0.transactions(), Transactions::None);
    std::fs::write(&index, [0; 34]).expect("writes");
    assert_eq!(bed.open(hints).0.transactions(), Transactions::Aborted);
}
