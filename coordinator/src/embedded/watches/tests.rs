//! Watches: who hears of what, how often, and that nothing is left of who is gone.

use super::*;
use crate::embedded::records::AclList;

const ANN: ConnectionId = ConnectionId(1);
const BOB: ConnectionId = ConnectionId(2);

fn event(kind: EventKind, path: &str) -> Event {
    Event {
        kind,
        path: path.to_owned(),
        acl: AclList::from([]),
    }
}

fn fire(watches: &mut Watches, kind: EventKind, path: &str) -> Vec<ConnectionId> {
    watches.fire(&event(kind, path))
}

#[test]
fn one_shot_watches_fire_once_and_for_their_side_only() {
    let mut w = Watches::default();
    w.arm(Side::Data, "/a", ANN);
    w.arm(Side::Child, "/a", BOB);
    w.arm(Side::Data, "/a", ANN);
    assert_eq!(w.count(), 2);
    assert_eq!(fire(&mut w, EventKind::DataChanged, "/b"), []);
    assert_eq!(fire(&mut w, EventKind::ChildrenChanged, "/a"), [BOB]);
    assert_eq!(fire(&mut w, EventKind::ChildrenChanged, "/a"), []);
    assert_eq!(fire(&mut w, EventKind::DataChanged, "/a"), [ANN]);
    assert_eq!(fire(&mut w, EventKind::DataChanged, "/a"), []);
    assert_eq!(w.count(), 0);
}

#[test]
fn a_deletion_is_told_once_to_who_watches_both_sides() {
    let mut w = Watches::default();
    w.arm(Side::Data, "/a", ANN);
    w.arm(Side::Child, "/a", ANN);
    w.arm(Side::Child, "/a", BOB);
    assert_eq!(fire(&mut w, EventKind::Deleted, "/a"), [ANN, BOB]);
    assert_eq!(w.count(), 0);
}

#[test]
fn persistent_watches_stay() {
    let mut w = Watches::default();
    w.add(Mode::Persistent, "/a", ANN);
    w.arm(Side::Data, "/a", ANN);
    for _ in 0..2 {
        assert_eq!(fire(&mut w, EventKind::Created, "/a"), [ANN]);
        assert_eq!(fire(&mut w, EventKind::ChildrenChanged, "/a"), [ANN]);
        assert_eq!(fire(&mut w, EventKind::Deleted, "/a"), [ANN]);
    }
    assert_eq!(fire(&mut w, EventKind::Created, "/a/b"), []);
}

#[test]
fn recursive_watches_hear_of_all_below_but_not_of_child_lists() {
    let mut w = Watches::default();
    w.add(Mode::Recursive, "/a", ANN);
    w.add(Mode::Recursive, "/", BOB);
    for path in ["/a", "/a/b", "/a/b/c"] {
        assert_eq!(fire(&mut w, EventKind::Created, path), [ANN, BOB]);
        assert_eq!(fire(&mut w, EventKind::DataChanged, path), [ANN, BOB]);
        assert_eq!(fire(&mut w, EventKind::ChildrenChanged, path), []);
    }
    assert_eq!(fire(&mut w, EventKind::Created, "/ab"), [BOB]);
    assert!(w.remove(Selector::Recursive, "/", BOB));
    assert_eq!(fire(&mut w, EventKind::Created, "/ab"), []);
    assert_eq!(w.recursive, 1);
}

#[test]
fn watches_are_checked_and_removed_by_their_kind() {
    let mut w = Watches::default();
    w.arm(Side::Data, "/a", ANN);
    assert!(w.contains(Selector::Data, "/a", ANN));
    assert!(w.contains(Selector::Any, "/a", ANN));
    assert!(!w.contains(Selector::Children, "/a", ANN));
    assert!(!w.contains(Selector::Any, "/a", BOB));
    assert!(!w.remove(Selector::Children, "/a", ANN));
    assert!(!w.remove(Selector::Persistent, "/a", ANN));
    assert!(w.remove(Selector::Data, "/a", ANN));
    assert!(!w.remove(Selector::Any, "/a", ANN));
    w.add(Mode::Persistent, "/a", ANN);
    w.add(Mode::Recursive, "/a", ANN);
    w.arm(Side::Child, "/a", ANN);
    assert!(w.remove(Selector::Any, "/a", ANN));
    assert_eq!((w.count(), w.recursive), (0, 0));
    assert!(Selector::from_number(0).is_none() && Selector::from_number(6).is_none());
}

#[test]
fn nothing_is_left_of_a_closed_connection() {
    let mut w = Watches::default();
    for who in [ANN, BOB] {
        w.arm(Side::Data, "/a", who);
        w.arm(Side::Child, "/b", who);
        w.add(Mode::Persistent, "/c", who);
        w.add(Mode::Recursive, "/d", who);
        w.add(Mode::Recursive, "/d", who);
    }
    assert_eq!((w.count_of(ANN), w.bytes_of(ANN)), (5, 10));
    w.remove_connection(ANN);
    assert_eq!((w.count_of(ANN), w.bytes_of(ANN)), (0, 0));
    assert_eq!((w.count(), w.recursive), (5, 1));
    assert_eq!(fire(&mut w, EventKind::Deleted, "/a"), [BOB]);
    assert_eq!(w.bytes_of(BOB), 8);
    w.remove_connection(BOB);
    assert!(w.data.by_path.is_empty() && w.child.by_path.is_empty());
    assert!(w.data.by_connection.is_empty() && w.child.by_connection.is_empty());
    assert_eq!(w.recursive, 0);
}
