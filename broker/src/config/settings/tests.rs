//! Tests of `Settings`: defaults, layers, faults, derived values.

use super::*;

fn load(text: &str) -> Result<(Settings, Vec<String>), Faults> {
    Settings::load(&Properties::parse(text.as_bytes()).expect("syntax is right"))
}

fn values(pairs: &[(&str, &str)]) -> Values {
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(own).collect()
}

#[test]
fn an_empty_file_gives_every_default() {
    let (settings, unknown) = load("").expect("defaults are legal");
    assert_eq!(settings.num_partitions, 1);
    assert_eq!(settings.retention_ms(), 7 * 24 * 3_600_000);
    assert_eq!(settings.flush_ms(), i64::MAX);
    assert_eq!(settings.max_connections, 4096);
    assert!(unknown.is_empty());
    for key in KEYS {
        assert_eq!(
            settings.show(key.name).as_deref(),
            key.default,
            "{}",
            key.name
        );
    }
}

#[test]
fn keys_are_listed_once() {
    let mut names: Vec<_> = KEYS.iter().map(|k| k.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), KEYS.len());
}

#[test]
fn all_faults_come_together_with_key_value_and_bound() {
    let faults = load(
        "num.partitions=0\nauto.create.topics.enable=maybe\nlog.roll.ms=x\nbroker.id=1001\n\
         listeners=SSL://:9092\nqueued.max.request.bytes=5\nlog.retention.hours=0",
    )
    .expect_err("seven faults");
    let text = faults.to_string();
    for want in [
        "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        "Invalid value maybe for configuration auto.create.topics.enable: Expected value to be either true or false",
        "Invalid value x for configuration log.roll.ms: Not a number of type LONG",
        "Invalid value 1001 for configuration broker.id",
        "SSL is not supported yet",
        "configuration queued.max.request.bytes",
        "configuration log.retention.hours",
    ] {
        assert_eq!(
            text.matches(want).count(),
            1,
            "{want} is not once in:\n{text}"
        );
    }
}

#[test]
fn unknown_keys_are_told_and_harmless() {
    let (_, unknown) = load("super.users=User:a\nnum.partitions=3").expect("legal");
    assert_eq!(unknown, ["super.users"]);
}

#[test]
fn old_releases_are_told_and_others_are_refused() {
    let told = |text: &str| load(text).expect("legal").0.warnings();
    for quiet in [
        "",
        "inter.broker.protocol.version=3.9\nlog.message.format.version=3.9",
        "log.message.format.version=2.8",
    ] {
        assert_eq!(told(quiet), Vec::<String>::new());
    }
    let both = told("inter.broker.protocol.version=2.8\nlog.message.format.version=0.10.2");
    assert_eq!(both.len(), 2);
    assert!(both[0].starts_with("inter.broker.protocol.version is 2.8:"));
    assert!(both[1].starts_with("log.message.format.version is 0.10.2,"));
    let refused = load("inter.broker.protocol.version=4.2").expect_err("no such release");
    assert_eq!(
        refused.to_string(),
        "Invalid value 4.2 for configuration inter.broker.protocol.version: Version 4.2 is not a valid version"
    );
}

#[test]
fn the_finest_unit_wins() {
    let (s, _) = load("log.retention.hours=1\nlog.retention.minutes=2").expect("legal");
    assert_eq!(s.retention_ms(), 120_000);
    let (s, _) = load("log.retention.minutes=2\nlog.retention.ms=-1").expect("legal");
    assert_eq!(s.retention_ms(), -1);
}

#[test]
fn dynamic_values_win_over_the_file() {
    let (s, _) = load("log.retention.ms=5000").expect("legal");
    let all = values(&[("log.retention.ms", "6000"), ("num.partitions", "9")]);
    let s2 = s.with_dynamic(all.clone(), Values::new()).expect("legal");
    assert_eq!(s2.retention_ms(), 6000);
    assert_eq!(s2.num_partitions, 1, "not a dynamic key");
    let s3 = s.with_dynamic(all, values(&[("log.retention.ms", "7000")]));
    assert_eq!(s3.expect("legal").retention_ms(), 7000);
    assert!(
        s.check_dynamic(&values(&[("num.partitions", "9")]))
            .is_err()
    );
    assert!(s.check_dynamic(&values(&[("no.such.key", "9")])).is_err());
    assert!(
        s.check_dynamic(&values(&[("log.retention.ms", "x")]))
            .is_err()
    );
    assert!(
        s.check_dynamic(&values(&[("log.retention.ms", "10")]))
            .is_ok()
    );
}

#[test]
fn free_space_floor_scales_with_the_disk() {
    let (s, _) = load("").expect("legal");
    assert_eq!(s.min_free_bytes_of(1 << 40), (1 << 40) / 50);
    assert_eq!(s.min_free_bytes_of(10 << 30), 256 << 20);
    assert_eq!(s.min_free_bytes_of(256 << 20), (256 << 20) / 10);
    let (s, _) = load("min.free.bytes=0").expect("legal");
    assert_eq!(s.min_free_bytes_of(1 << 40), 0);
}
