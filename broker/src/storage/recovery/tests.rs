use super::super::open::Hints;
use super::super::testing::{Bed, as_leader, as_producer, batch, batch_with, copy_dir, crashed};
use super::super::{LogConfig, ReadAt};
use super::*;

fn config() -> LogConfig {
    LogConfig {
        index_interval_bytes: 200,
        ..LogConfig::default()
    }
}

fn log_file(bed: &Bed, base: i64) -> std::path::PathBuf {
    names::segment_file(&bed.dir(), base, names::LOG)
}

/// Three batches of two records; returns the bed, closed by a kill, and where the third batch starts.
fn three() -> (Bed, u64, u64) {
    let bed = Bed::new(config());
    let mut log = bed.fresh();
    let mut sizes = Vec::new();
    for i in 0..3 {
        let bytes = batch_with(
            2,
            40,
            i,
            as_producer(5, 0, i32::try_from(i).expect("small") * 2),
        );
        sizes.push(bytes.len() as u64);
        log.append(&bytes, &as_leader(0, i)).expect("appended");
    }
    drop(log);
    (bed, sizes[0] + sizes[1], sizes.iter().sum())
}

fn reopened(bed: &Bed) -> (Log, RecoveryReport) {
    bed.open(Hints::default())
}

fn append_works(log: &mut Log, base: i64) {
    let appended = log
        .append(&batch(1, 10, 9), &as_leader(0, 9))
        .expect("appended");
    assert_eq!(appended.base_offset, base);
}

#[test]
fn cut_at_every_byte_of_the_last_batch() {
    let (bed, third, end) = three();
    let whole = std::fs::read(log_file(&bed, 0)).expect("read");
    assert!(whole.len() as u64 > end, "the file is allocated ahead");
    for cut in third..=end {
        for zeros in [0, 1, 5000] {
            let len = usize::try_from(cut).expect("small");
            let mut bytes = whole[..len].to_vec();
            bytes.resize(len + zeros, 0);
            std::fs::write(log_file(&bed, 0), &bytes).expect("write");
            let (mut log, _) = reopened(&bed);
            // The batch's own last byte is a zero (no headers): a zero tail can make it whole.
            let kept = usize::try_from(end).expect("small");
            let is_whole = bytes.get(..kept).is_some_and(|b| b == &whole[..kept]);
            let expected = if is_whole { 6 } else { 4 };
            assert_eq!(log.next_offset(), expected, "cut at {cut}, {zeros} zeros");
            assert_eq!(log.producers.len(), 1);
            let size = std::fs::metadata(log_file(&bed, 0)).expect("there").len();
            assert_eq!(size, if is_whole { end } else { third }, "the rest is gone");
            append_works(&mut log, expected);
        }
    }
}

#[test]
fn any_flipped_bit_ends_the_log_before_its_batch() {
    let (bed, third, end) = three();
    let whole = std::fs::read(log_file(&bed, 0)).expect("read");
    for at in third..end {
        let mut bytes = whole.clone();
        bytes[usize::try_from(at).expect("small")] ^= 0x10;
        std::fs::write(log_file(&bed, 0), &bytes).expect("write");
        let (log, report) = reopened(&bed);
        // Base offset (as long as it grows) and leader epoch are not covered by the CRC.
        let covered = !(third..third + 8).contains(&at) && !(third + 12..third + 16).contains(&at);
        if covered {
            assert_eq!(log.next_offset(), 4, "flipped at {at}");
            assert!(report.bytes_cut > 0);
        }
    }
}

#[test]
fn stale_batches_behind_a_hole_do_not_rise_again() {
    let (bed, third, _) = three();
    let mut bytes = std::fs::read(log_file(&bed, 0)).expect("read");
    // The disk lost the page of the second batch; the third is whole.
    let second = usize::try_from(third / 2).expect("small");
    bytes[second..usize::try_from(third).expect("small")].fill(0);
    std::fs::write(log_file(&bed, 0), &bytes).expect("write");
    let (mut log, report) = reopened(&bed);
    assert_eq!(log.next_offset(), 2);
    assert!(report.bytes_cut > 0);
    append_works(&mut log, 2);
    drop(log);
    let (log, _) = reopened(&bed);
    assert_eq!(
        log.next_offset(),
        3,
        "the new batch, and not the stale third"
    );
}

#[test]
fn segments_behind_a_hole_are_cleared() {
    let bed = Bed::new(config());
    let mut log = bed.fresh();
    for i in 0..4 {
        log.append(&batch(2, 40, i), &as_leader(0, i))
            .expect("appended");
        log.roll(i).expect("rolled");
    }
    let hints = Hints {
        recovery_point: 2,
        ..Hints::default()
    };
    drop(log);
    let path = log_file(&bed, 2);
    let len = std::fs::metadata(&path).expect("there").len();
    std::fs::write(&path, vec![0; usize::try_from(len).expect("small")]).expect("zeroed");
    let (mut log, report) = bed.open(hints);
    assert_eq!(log.next_offset(), 2);
    assert_eq!(report.segments_removed, 3);
    assert_eq!(report.synced_offsets_lost, 0);
    append_works(&mut log, 2);
    let names: Vec<_> = std::fs::read_dir(bed.dir()).expect("list").collect();
    assert!(names.iter().all(|n| {
        !n.as_ref()
            .expect("entry")
            .path()
            .ends_with("00000000000000000006.log")
    }));
}

#[test]
fn only_what_lies_behind_the_recovery_point_is_read() {
    let bed = Bed::new(config());
    let mut log = bed.fresh();
    for i in 0..200 {
        log.append(&batch(1, 1000, i), &as_leader(0, i))
            .expect("appended");
    }
    log.flush().expect("synced");
    log.append(&batch(1, 1000, 200), &as_leader(0, 200))
        .expect("appended");
    let hints = crashed(&log);
    assert_eq!(hints.recovery_point, 200);
    log.prepare_checkpoint().expect("written");
    drop(log);
    let (log, report) = bed.open(hints);
    assert_eq!(log.next_offset(), 201);
    assert!(report.bytes_scanned < 4000, "{}", report.bytes_scanned);
    assert_eq!(log.recovery_point(), 200, "the tail was read, not synced");
}

#[test]
fn a_loss_below_the_recovery_point_is_told() {
    let (bed, _, _) = three();
    std::fs::write(log_file(&bed, 0), b"").expect("emptied");
    let hints = Hints {
        recovery_point: 6,
        ..Hints::default()
    };
    let (mut log, report) = bed.open(hints);
    assert_eq!(report.synced_offsets_lost, 6);
    append_works(&mut log, 0);
}

/// Every kind of damage to an index; lookups must not notice.
#[test]
fn damaged_indexes_are_found_out() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 8] = [
        ("odd size", |b| b.truncate(b.len() - 3)),
        ("emptied", Vec::clear),
        ("zero tail", |b| b.extend([0; 240])),
        ("zeros", |b| b.fill(0)),
        ("beyond the log", |b| {
            b.iter_mut().skip(40).for_each(|x| *x = 0x7f)
        }),
        ("not monotonic", |b| b.reverse()),
        ("between batches", |b| {
            b.chunks_mut(8).for_each(|e| e[e.len() - 1] ^= 3)
        }),
        ("ones", |b| b.fill(0xff)),
    ];
    for (what, damage) in damages {
        for clean in [false, true] {
            for extension in [names::INDEX, names::TIME_INDEX] {
                let bed = Bed::new(config());
                let mut log = bed.fresh();
                for i in 0..60 {
                    log.append(&batch(1, 90, i * 10), &as_leader(0, i))
                        .expect("appended");
                }
                log.roll(600).expect("rolled");
                for i in 60..90 {
                    log.append(&batch(1, 90, i * 10), &as_leader(0, i))
                        .expect("appended");
                }
                let hints = Hints {
                    clean,
                    recovery_point: if clean { 90 } else { 30 },
                    ..Hints::default()
                };
                log.close().expect("closed");
                for base in [0, 60] {
                    let path = names::segment_file(&bed.dir(), base, extension);
                    let mut bytes = std::fs::read(&path).expect("read");
                    damage(&mut bytes);
                    std::fs::write(&path, bytes).expect("write");
                }
                let (mut log, _) = bed.open(hints);
                let context = format!("{what}, clean {clean}, {extension}");
                check_lookups(&log, &context, extension == names::INDEX || !clean);
                log.maintain(0).expect("maintained");
                check_lookups(&log, &context, extension == names::INDEX || !clean);
            }
        }
    }
}

fn check_lookups(log: &Log, context: &str, times_too: bool) {
    assert_eq!(log.next_offset(), 90, "{context}");
    for offset in 0..90 {
        let at = ReadAt {
            offset,
            max_bytes: 1,
            at_least_one: true,
            upper_bound: 90,
        };
        let slice = log
            .read(at)
            .unwrap_or_else(|e| panic!("{context}, offset {offset}: {e}"));
        let bytes = slice.read_all().expect("readable");
        let head = BatchHead::parse(&bytes).expect("a batch");
        assert_eq!(head.base_offset, offset, "{context}");
        if times_too {
            let found = log.offset_for_timestamp(offset * 10, 90).expect("searched");
            assert_eq!(found.map(|f| f.offset), Some(offset), "{context}, time");
        }
    }
}

#[test]
fn damaged_snapshots_mean_a_replay() {
    let (bed, _, _) = three();
    let (mut log, _) = reopened(&bed);
    log.roll(5).expect("rolled");
    log.append(
        &batch_with(2, 40, 9, as_producer(5, 0, 6)),
        &as_leader(0, 9),
    )
    .expect("appended");
    let expected: Vec<_> = log
        .producers
        .iter()
        .map(|(id, p)| (id, p.last_batch().copied()))
        .collect();
    let hints = crashed(&log);
    drop(log);
    let original = tempfile::tempdir().expect("tempdir");
    copy_dir(&bed.dir(), original.path());
    let snapshot = names::segment_file(&bed.dir(), 6, names::SNAPSHOT);
    let bytes = std::fs::read(&snapshot).expect("written at the roll");
    let damaged: [Vec<u8>; 4] = [
        Vec::new(),
        bytes[..bytes.len() - 1].to_vec(),
        vec![0; bytes.len()],
        [&bytes[..10], &[0xff], &bytes[11..]].concat(),
    ];
    for bytes in damaged {
        std::fs::remove_dir_all(bed.dir()).expect("removed");
        copy_dir(original.path(), &bed.dir());
        std::fs::write(&snapshot, bytes).expect("write");
        // One that knows more than the log is not believed either.
        std::fs::copy(
            names::segment_file(original.path(), 6, names::SNAPSHOT),
            names::segment_file(&bed.dir(), 99, names::SNAPSHOT),
        )
        .expect("copied");
        let (log, _) = bed.open(hints);
        let found: Vec<_> = log
            .producers
            .iter()
            .map(|(id, p)| (id, p.last_batch().copied()))
            .collect();
        assert_eq!(found, expected);
        assert!(!names::segment_file(&bed.dir(), 99, names::SNAPSHOT).exists());
    }
}

#[test]
fn old_message_formats_are_refused_not_cut() {
    let bed = Bed::new(config());
    let body = [
        &[1_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0xff; 4],
        &[0, 0, 0, 1, 65],
    ]
    .concat();
    let mut message = 0_i64.to_be_bytes().to_vec();
    message.extend((i32::try_from(body.len()).expect("small") + 4).to_be_bytes());
    message.extend(crc32fast::hash(&body).to_be_bytes());
    message.extend(&body);
    std::fs::write(log_file(&bed, 0), &message).expect("write");
    let error = bed.try_open(Hints::default()).expect_err("refused");
    assert!(error.to_string().contains("format v0 or v1"), "{error}");
    message[30] ^= 1;
    std::fs::write(log_file(&bed, 0), &message).expect("write");
    assert_eq!(reopened(&bed).0.next_offset(), 0, "damage is cut");
}

#[test]
fn the_plan_starts_at_the_segment_of_the_recovery_point() {
    assert_eq!(plan(&[0, 10, 20], 0), 0);
    assert_eq!(plan(&[0, 10, 20], 9), 0);
    assert_eq!(plan(&[0, 10, 20], 10), 1);
    assert_eq!(plan(&[0, 10, 20], 99), 2);
    assert_eq!(plan(&[5], 0), 0);
}
