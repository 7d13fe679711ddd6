//! The tree: what changes do, that undo takes them back, and that its lists stay true.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::embedded::node::TTL_MS_MAX;

fn at(zxid: i64) -> Stamp {
    Stamp {
        zxid,
        time_ms: 1000 + zxid,
    }
}

fn open_acl(tree: &Tree) -> AclList {
    tree.get("/").expect("the root is always there").acl.clone()
}

fn create(tree: &mut Tree, path: &str, kind: Kind, zxid: i64) -> Result<Vec<Event>, ErrorCode> {
    let change = Change::Create {
        path: path.to_owned(),
        data: Some(Bytes::from_static(b"data")),
        acl: open_acl(tree),
        kind,
    };
    let mut events = Vec::new();
    tree.apply(&change, at(zxid), &mut events).map(|_| events)
}

fn delete(tree: &mut Tree, path: &str, zxid: i64) -> Result<Vec<Event>, ErrorCode> {
    let path = path.to_owned();
    let mut events = Vec::new();
    let done = tree.apply(&Change::Delete { path }, at(zxid), &mut events);
    done.map(|_| events)
}

fn told(events: &[Event]) -> Vec<(EventKind, &str)> {
    events.iter().map(|e| (e.kind, e.path.as_str())).collect()
}

#[test]
fn a_fresh_tree_is_zookeepers() {
    let tree = Tree::new();
    assert_eq!(tree.len(), 4);
    assert_eq!(tree.descendants("/"), 3);
    assert_eq!(tree.descendants("/zookeeper"), 2);
    let stat = tree.get("/").expect("the root").stat();
    assert_eq!((stat.cversion, stat.num_children), (-1, 1));
}

#[test]
fn creating_and_deleting_keep_the_parents_stat() {
    let mut tree = Tree::new();
    create(&mut tree, "/a", Kind::Persistent, 1).expect("free path");
    let events = create(&mut tree, "/a/b", Kind::Persistent, 2).expect("free path");
    let created = [
        (EventKind::Created, "/a/b"),
        (EventKind::ChildrenChanged, "/a"),
    ];
    assert_eq!(told(&events), created);
    create(&mut tree, "/a/c", Kind::Persistent, 3).expect("free path");
    let events = delete(&mut tree, "/a/b", 4).expect("no children");
    let deleted = [
        (EventKind::Deleted, "/a/b"),
        (EventKind::ChildrenChanged, "/a"),
    ];
    assert_eq!(told(&events), deleted);
    let a = tree.get("/a").expect("still there");
    let stat = a.stat();
    // Two creates and one delete; the next sequence number is the number of creates.
    assert_eq!((stat.cversion, a.creations), (3, 2));
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (1, 1, 4));
    assert_eq!((stat.num_children, stat.data_length), (1, 4));
}

#[test]
fn refusals_change_nothing() {
    let mut tree = Tree::new();
    create(&mut tree, "/a", Kind::Persistent, 1).expect("free path");
    create(&mut tree, "/a/e", Kind::Ephemeral(7), 2).expect("free path");
    let before = tree.clone();
    let refused = |r: Result<Vec<Event>, ErrorCode>| r.expect_err("must be refused");
    assert_eq!(
        refused(create(&mut tree, "/a", Kind::Persistent, 3)),
        ErrorCode::NodeExists
    );
    assert_eq!(
        refused(create(&mut tree, "/", Kind::Persistent, 3)),
        ErrorCode::NodeExists
    );
    assert_eq!(
        refused(create(&mut tree, "/x/y", Kind::Persistent, 3)),
        ErrorCode::NoNode
    );
    assert_eq!(
        refused(create(&mut tree, "/a/e/x", Kind::Persistent, 3)),
        ErrorCode::NoChildrenForEphemerals
    );
    assert_eq!(refused(delete(&mut tree, "/a", 3)), ErrorCode::NotEmpty);
    assert_eq!(refused(delete(&mut tree, "/b", 3)), ErrorCode::NoNode);
    assert_eq!(tree, before);
}

#[test]
fn versions_skip_the_one_that_means_any() {
    let mut tree = Tree::new();
    create(&mut tree, "/a", Kind::Persistent, 1).expect("free path");
    tree.nodes.get_mut("/a").expect("just made").version = -2;
    let change = Change::SetData {
        path: "/a".to_owned(),
        data: None,
    };
    tree.apply(&change, at(2), &mut Vec::new())
        .expect("the node is there");
    let stat = tree.get("/a").expect("just set").stat();
    assert_eq!((stat.version, stat.data_length, stat.mzxid), (0, 0, 2));
}

#[test]
fn the_sequence_counter_wraps() {
    let mut tree = Tree::new();
    tree.nodes.get_mut("/").expect("the root").creations = i32::MAX;
    create(&mut tree, "/a", Kind::Persistent, 1).expect("free path");
    assert_eq!(tree.get("/").expect("the root").creations, i32::MIN);
}

#[test]
fn owners_tell_the_kind() {
    for (kind, owner) in [
        (Kind::Persistent, 0),
        (Kind::Ephemeral(0x1234_5678_9abc), 0x1234_5678_9abc),
        (Kind::Container, i64::MIN),
        (Kind::Ttl(1), 0xff00_0000_0000_0001_u64.cast_signed()),
        (
            Kind::Ttl(TTL_MS_MAX),
            0xff00_00ff_ffff_ffff_u64.cast_signed(),
        ),
    ] {
        assert_eq!(kind.owner(), owner);
        assert_eq!(Kind::from_owner(owner), kind);
    }
}

#[test]
fn reaping_takes_used_empty_containers_and_outlived_ttl_nodes() {
    let mut tree = Tree::new();
    create(&mut tree, "/c", Kind::Container, 1).expect("free path");
    create(&mut tree, "/t", Kind::Ttl(100), 2).expect("free path");
    assert!(tree.has_reapable_kinds());
    let late = 1_000_000;
    assert_eq!(tree.reapable(1002 + 100), [""; 0], "both are fresh");
    assert_eq!(tree.reapable(late), ["/t"], "a container waits to be used");
    create(&mut tree, "/c/x", Kind::Persistent, 3).expect("free path");
    create(&mut tree, "/t/x", Kind::Persistent, 4).expect("free path");
    assert_eq!(tree.reapable(late), [""; 0], "both have children");
    delete(&mut tree, "/c/x", 5).expect("no children");
    delete(&mut tree, "/t/x", 6).expect("no children");
    assert_eq!(tree.reapable(late), ["/c", "/t"]);
    delete(&mut tree, "/c", 7).expect("no children");
    delete(&mut tree, "/t", 8).expect("no children");
    assert!(!tree.has_reapable_kinds());
}

#[test]
fn a_tree_without_a_root_or_with_an_orphan_is_refused() {
    let node = Tree::new().get("/").expect("the root").clone();
    assert!(Tree::from_nodes([("/a".to_owned(), node.clone())]).is_none());
    let orphan = [("/".to_owned(), node.clone()), ("/a/b".to_owned(), node)];
    assert!(Tree::from_nodes(orphan).is_none());
}

/// Every list that the tree keeps beside the nodes, computed anew.
fn check_invariants(tree: &Tree) {
    let mut children: HashMap<&str, BTreeSet<Box<str>>> = HashMap::new();
    let mut bytes = 0;
    for (path, node) in tree.iter() {
        bytes += path.len() + node.data.as_ref().map_or(0, Bytes::len);
        if let Some(parent) = paths::parent(path) {
            assert!(tree.get(parent).is_some(), "{path} has no parent");
            let names = children.entry(parent).or_default();
            names.insert(paths::name(path).into());
        }
        let listed = match node.kind {
            Kind::Persistent => true,
            Kind::Ephemeral(id) => tree.ephemerals_of(id).any(|p| p == path),
            Kind::Container => tree.containers.contains(path),
            Kind::Ttl(_) => tree.ttls.contains(path),
        };
        assert!(listed, "{path} is not listed");
    }
    for (path, node) in tree.iter() {
        let names = children.remove(path).unwrap_or_default();
        assert_eq!(node.children, names, "children of {path}");
    }
    let listed = tree.ephemeral_count() + tree.containers.len() + tree.ttls.len();
    let special = tree.iter().filter(|(_, n)| n.kind != Kind::Persistent);
    assert_eq!(special.count(), listed);
    assert_eq!(tree.data_bytes(), bytes);
}

fn any_change() -> impl Strategy<Value = (u8, String, u8)> {
    let name = prop_oneof!["a", "b"];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")));
    (0..4_u8, path, 0..4_u8)
}

fn change((what, path, kind): &(u8, String, u8), acl: &AclList) -> Change {
    let path = path.clone();
    match what {
        0 => Change::Create {
            data: Some(Bytes::from(vec![*kind; usize::from(*kind)])),
            acl: acl.clone(),
            kind: match kind {
                0 => Kind::Persistent,
                1 => Kind::Ephemeral(7),
                2 => Kind::Container,
                _ => Kind::Ttl(5),
            },
            path,
        },
        1 => Change::Delete { path },
        2 => Change::SetData { path, data: None },
        _ => Change::SetAcl {
            path,
            acl: acl.iter().chain(acl.iter()).cloned().collect(),
        },
    }
}

proptest! {
    /// Whatever is applied: the lists stay true, undoing all of it leaves no trace, and applying
    /// what was accepted once more gives the same tree.
    #[test]
    fn undo_and_replay(changes in prop::collection::vec(any_change(), 1..60), keep in 0..60_usize) {
        let mut tree = Tree::new();
        let acl = open_acl(&tree);
        let mut accepted = Vec::new();
        let mut undos = Vec::new();
        let mut kept = tree.clone();
        for (i, description) in changes.iter().enumerate() {
            let change = change(description, &acl);
            let zxid = i64::try_from(i).expect("small") + 1;
            if let Ok(undo) = tree.apply(&change, at(zxid), &mut Vec::new()) {
                accepted.push((change, zxid));
                if i < keep {
                    kept = tree.clone();
                } else {
                    undos.push(undo);
                }
            }
            check_invariants(&tree);
        }
        let mut again = Tree::new();
        for (change, zxid) in &accepted {
            prop_assert!(again.apply(change, at(*zxid), &mut Vec::new()).is_ok());
        }
        prop_assert_eq!(&again, &tree);
        for undo in undos.into_iter().rev() {
            tree.undo(undo);
            check_invariants(&tree);
        }
        prop_assert_eq!(&tree, &kept);
    }
}
