//! Names as kazoo 2.11 and Curator 5 write them.

use super::*;

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

const KAZOO: &str = "0f8fad5bd9cb469fa16570867728950e__lock__0000000003";
const CURATOR: &str = "_c_7b7fcca7-4490-4454-85ba-8ec60e66c451-lock-0000000001";

#[test]
fn numbers_are_found_whoever_wrote_them() {
    for (name, number) in [
        (KAZOO, Some(3)),
        (CURATOR, Some(1)),
        (
            "_c_7b7fcca7-4490-4454-85ba-8ec60e66c451-__READ__0000000024",
            Some(24),
        ),
        // Ten digits of the UUID in front do not count to the number.
        (
            "12345678901234567890123456789012__rlock__2147483647",
            Some(2_147_483_647),
        ),
        // As ZooKeeper may write them one day (ZOOKEEPER-4706).
        ("a-lock-0000000002147483648", Some(2_147_483_648)),
        ("a-lock-00000000000000000000000000099", Some(99)),
        ("a-lock-99999999999999999999", None),
        ("leases", None),
        ("lock-000000001", None),
        ("", None),
        ("0000000007", Some(7)),
        ("日本-lock-0000000001", Some(1)),
    ] {
        assert_eq!(sequence(name), number, "{name}");
    }
}

#[test]
fn our_names_are_those_of_the_others() {
    let prefix = Kind::Lock.prefix(Layout::Kazoo);
    assert_eq!(prefix.len(), 32 + "__lock__".len());
    assert!(
        prefix.ends_with("__lock__") && !prefix.contains('-'),
        "{prefix}"
    );
    let prefix = Kind::Latch.prefix(Layout::Curator);
    assert_eq!(prefix.len(), "_c_".len() + 36 + "-latch-".len());
    assert!(
        prefix.starts_with("_c_") && prefix.ends_with("-latch-"),
        "{prefix}"
    );
    assert_ne!(
        Kind::Lock.prefix(Layout::Kazoo),
        Kind::Lock.prefix(Layout::Kazoo)
    );
}

#[test]
fn a_contender_waits_for_the_one_before_it() {
    let all = names(&[
        "a__lock__0000000007",
        CURATOR,
        "b__lock__0000000010",
        KAZOO,
        "config",
    ]);
    assert_eq!(turn(&all, CURATOR), Turn::Mine);
    assert_eq!(turn(&all, KAZOO), Turn::Behind(CURATOR));
    assert_eq!(
        turn(&all, "b__lock__0000000010"),
        Turn::Behind("a__lock__0000000007")
    );
    assert_eq!(turn(&all, "c__lock__0000000008"), Turn::Missing);
    assert_eq!(turn(&all, "config"), Turn::Missing);
    let order = [CURATOR, KAZOO, "a__lock__0000000007", "b__lock__0000000010"];
    assert_eq!(in_order(&all), order);
    assert_eq!(
        all_before(&all, "a__lock__0000000007"),
        Some(vec![KAZOO, CURATOR])
    );
    assert_eq!(all_before(&all, "gone__lock__0000000001"), None);
}

#[test]
fn readers_wait_for_writers_only() {
    let all = names(&[
        "a__rlock__0000000001",
        "b__rlock__0000000002",
        "c__lock__0000000003",
        "d__rlock__0000000004",
        "e__lock__0000000005",
    ]);
    assert_eq!(turn(&all, &all[0]), Turn::Mine);
    assert_eq!(turn(&all, &all[1]), Turn::Mine);
    assert_eq!(turn(&all, &all[2]), Turn::Behind(&all[1]));
    // A reader behind a waiting writer waits too: writers do not starve.
    assert_eq!(turn(&all, &all[3]), Turn::Behind(&all[2]));
    assert_eq!(turn(&all, &all[4]), Turn::Behind(&all[3]));
}

#[test]
fn who_would_not_see_us_is_noticed() {
    let permit = "0f8fad5bd9cb469fa16570867728950e__permit__0000000005";
    let all = names(&[CURATOR, KAZOO, permit]);
    assert_eq!(stranger(&all, KAZOO), Some(CURATOR));
    assert_eq!(stranger(&all, CURATOR), Some(KAZOO));
    assert_eq!(stranger(&all[1..], permit), Some(KAZOO));
    assert_eq!(stranger(&all[2..], permit), None);
    let latch = "_c_7b7fcca7-4490-4454-85ba-8ec60e66c451-latch-0000000002";
    assert_eq!(stranger(&names(&[CURATOR, latch]), latch), None);
    let reader = "a__rlock__0000000002";
    let others = names(&[KAZOO, reader, "leases", "somebody-0000000004"]);
    assert_eq!(stranger(&others, KAZOO), None);
}
