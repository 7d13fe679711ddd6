use nyala_client::wire::compression::Codec;

use super::super::fences::fence_marks;
use super::super::fences::tests::fenced;
use super::super::open::Hints;
use super::super::testing::{Bed, as_leader, crashed, stopped};
use super::super::{AppendAs, Appended};
use super::*;

fn guarded() -> Bed {
    Bed::new(LogConfig {
        fence_enable: true,
        segment_bytes_max: 1000,
        ..LogConfig::default()
    })
}

fn append(log: &mut Log, value: &str) -> Result<Appended, AppendError> {
    let batch = fenced(Codec::Zstd, &[&[value]]);
    let fences = &fence_marks(&batch)?;
    let how = AppendAs {
        fences,
        ..as_leader(1, 0)
    };
    let appended = log.append(&batch, &how);
    log.set_high_watermark(i64::MAX);
    appended
}

fn is_fenced(log: &mut Log, value: &str) -> bool {
    let end = log.next_offset();
    let refused = matches!(append(log, value), Err(AppendError::Fence(_)));
    assert_eq!(refused, log.next_offset() == end);
    refused
}

/// Opened as the broker does it: before the topic's settings are known.
fn reopen(bed: &Bed, hints: Hints) -> (Log, Bed) {
    let unknowing = Bed {
        root: tempfile::tempdir().expect("tempdir"),
        config: LogConfig::default(),
        workers: None,
        space: Arc::clone(&bed.space),
    };
    super::super::testing::copy_dir(&bed.dir(), &unknowing.dir());
    let mut log = unknowing.open(hints).0;
    log.set_config(Arc::new(bed.config.clone()));
    (log, unknowing)
}

#[test]
fn tokens_survive_a_kill_a_stop_and_retention() {
    let bed = guarded();
    let mut log = bed.fresh();
    for token in 1..=40 {
        append(&mut log, &token.to_string()).expect("grows");
    }
    assert!(log.segment_count() > 2, "{} segments", log.segment_count());
    assert!(is_fenced(&mut log, "39"));
    assert!(!is_fenced(&mut log, "40"));
    assert!(is_fenced(&mut reopen(&bed, crashed(&log)).0, "39"));
    // All that told of the token goes.
    for _ in 0..20 {
        append(&mut log, "other:1").expect("another lock");
    }
    log.delete_before(55).expect("below the watermark");
    log.retain(0).expect("retained");
    assert!(is_fenced(&mut reopen(&bed, crashed(&log)).0, "39"));
    let hints = stopped(&log);
    log.close().expect("closed");
    let (mut log, _kept) = reopen(&bed, hints);
    assert!(is_fenced(&mut log, "39"));
    assert!(!is_fenced(&mut log, "41"));
}

#[test]
fn a_truncation_takes_no_token_back_and_later_ones_are_counted() {
    let bed = guarded();
    let mut log = bed.fresh();
    for token in 10..50 {
        append(&mut log, &token.to_string()).expect("grows");
    }
    log.truncate_to(5).expect("cut");
    assert!(is_fenced(&mut log, "48"));
    append(&mut log, "60").expect("grows");
    let (mut after_kill, _kept) = reopen(&bed, crashed(&log));
    assert!(is_fenced(&mut after_kill, "59"));
    log.restart_at(1000, 0).expect("emptied");
    append(&mut log, "61").expect("grows");
    assert!(is_fenced(&mut reopen(&bed, crashed(&log)).0, "60"));
}

#[test]
fn a_follower_counts_what_its_leader_let_in() {
    let followers = guarded();
    let mut follower = followers.fresh();
    let bed = guarded();
    let mut leader = bed.fresh();
    append(&mut leader, "a:5").expect("first");
    append(&mut leader, "a:9").expect("second");
    let path = names::segment_file(&bed.dir(), 0, names::LOG);
    let bytes = std::fs::read(path).expect("read");
    let size = usize::try_from(leader.size_bytes()).expect("small");
    follower
        .append_replicated(&bytes[..size], 0)
        .expect("continues");
    assert!(is_fenced(&mut follower, "a:8"));
}

#[test]
fn a_damaged_file_is_counted_anew_and_switching_off_forgets() {
    let bed = guarded();
    let mut log = bed.fresh();
    append(&mut log, "5").expect("first");
    std::fs::write(bed.dir().join(names::FENCES), "0 junk").expect("write");
    let (mut again, _kept) = reopen(&bed, crashed(&log));
    assert!(is_fenced(&mut again, "4"));
    again.set_config(Arc::default());
    again.set_config(Arc::new(bed.config.clone()));
    assert!(!is_fenced(&mut again, "4"));
}
