//! A short run of chaos; `tests/chaos` makes longer ones.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::chaos::plan::{Kind, windows};
use harness::chaos::{Chaos, run};

#[test]
fn a_minute_of_chaos_leaves_no_anomaly() {
    let report = run(&Chaos {
        seed: 4,
        time: Duration::from_secs(60),
        only: None,
    });
    assert!(report.anomalies.is_empty(), "{report}");
    assert!(report.windows >= 3, "{report}");
    eprintln!("{report}");
}

#[test]
fn a_schedule_follows_from_its_seed() {
    let first: Vec<_> = windows(7, None).take(60).collect();
    let again: Vec<_> = windows(7, None).take(60).collect();
    let other: Vec<_> = windows(8, None).take(60).collect();
    assert_eq!(first, again);
    assert_ne!(first, other);
    let names: BTreeSet<&str> = first[..Kind::ALL.len()]
        .iter()
        .map(|w| w.kind.name())
        .collect();
    assert_eq!(names.len(), Kind::ALL.len(), "each kind once in a round");
}
