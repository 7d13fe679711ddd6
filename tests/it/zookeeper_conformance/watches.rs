//! Watches: who hears of what, when, and how they are carried over to another connection.

use harness::zookeeper_wire::{Body, Client, Event, code, event, op, open};

use super::{Place, cases};

cases!(
    a_data_watch_hears_of_one_change,
    a_watch_waits_for_a_node_to_come,
    a_failed_read_leaves_no_watch,
    a_child_watch_hears_of_children_and_of_the_end,
    one_deletion_is_one_event,
    an_event_comes_before_the_answer_to_its_change,
    persistent_watches_hear_of_everything_at_their_node,
    recursive_watches_hear_of_everything_below,
    watches_are_checked_and_removed,
    odd_watch_requests_are_refused,
    watches_end_with_their_connection,
    set_watches_tells_what_was_missed,
    set_watches_brings_lasting_watches_back,
    a_multi_fires_like_its_parts,
);

fn events(list: &[(i32, &str)]) -> Vec<Event> {
    list.iter().map(|(k, p)| (*k, (*p).to_owned())).collect()
}

/// One who watches and one who changes things.
fn two(at: &Place<'_>) -> (Client, Client) {
    (at.client(), at.client())
}

fn a_data_watch_hears_of_one_change(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let path = at.path("a");
    zk.create(&path, b"", 0).expect("free");
    watcher.get(&path, true).expect("just created");
    watcher.exists(&path, true).expect("just created");
    zk.create(&at.path("a/b"), b"", 0).expect("free");
    assert_eq!(watcher.events(), []);
    zk.set(&path, b"1", -1).expect("any version");
    zk.set(&path, b"2", -1).expect("any version");
    assert_eq!(watcher.events(), events(&[(event::CHANGED, &path)]));
    watcher.exists(&path, true).expect("still there");
    zk.set_acl(&path, &open(), -1).expect("any version");
    assert_eq!(watcher.events(), [], "an ACL is not data");
    zk.delete(&at.path("a/b"), -1).expect("any version");
    zk.delete(&path, -1).expect("any version");
    assert_eq!(watcher.events(), events(&[(event::DELETED, &path)]));
}

fn a_watch_waits_for_a_node_to_come(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let path = at.path("a");
    assert_eq!(watcher.exists(&path, true), Err(code::NO_NODE));
    zk.create(&path, b"", 1).expect("free");
    assert_eq!(watcher.events(), events(&[(event::CREATED, &path)]));
    watcher.exists(&path, true).expect("there now");
    zk.close();
    assert_eq!(watcher.events(), events(&[(event::DELETED, &path)]));
}

fn a_failed_read_leaves_no_watch(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let path = at.path("a");
    assert_eq!(watcher.get(&path, true).err(), Some(code::NO_NODE));
    assert_eq!(watcher.children(&path, true), Err(code::NO_NODE));
    zk.create(&path, b"", 0).expect("free");
    zk.create(&at.path("a/b"), b"", 0).expect("free");
    zk.set(&path, b"", -1).expect("any version");
    assert_eq!(watcher.events(), []);
}

fn a_child_watch_hears_of_children_and_of_the_end(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let (path, child) = (at.path("a"), at.path("a/b"));
    zk.create(&path, b"", 0).expect("free");
    watcher.children(&path, true).expect("just created");
    zk.set(&path, b"1", -1).expect("any version");
    assert_eq!(watcher.events(), []);
    zk.create(&child, b"", 0).expect("free");
    assert_eq!(watcher.events(), events(&[(event::CHILDREN, &path)]));
    let body = Body::path_if(&path, true);
    watcher.call(op::GET_CHILDREN2, &body).expect("still there");
    zk.set(&child, b"1", -1).expect("any version");
    zk.create(&at.path("a/b/c"), b"", 0).expect("free");
    assert_eq!(watcher.events(), [], "grandchildren are none of its own");
    zk.delete(&at.path("a/b/c"), -1).expect("any version");
    zk.delete(&child, -1).expect("any version");
    assert_eq!(watcher.events(), events(&[(event::CHILDREN, &path)]));
    watcher.children(&path, true).expect("still there");
    zk.delete(&path, -1).expect("any version");
    assert_eq!(watcher.events(), events(&[(event::DELETED, &path)]));
}

fn one_deletion_is_one_event(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let path = at.path("a");
    zk.create(&path, b"", 0).expect("free");
    watcher.get(&path, true).expect("just created");
    watcher.children(&path, true).expect("just created");
    watcher.children(&at.root, true).expect("the root");
    zk.delete(&path, -1).expect("any version");
    let told = events(&[(event::DELETED, &path), (event::CHILDREN, &at.root)]);
    assert_eq!(watcher.events(), told);
}

fn an_event_comes_before_the_answer_to_its_change(at: &Place<'_>) {
    let mut zk = at.client();
    zk.get(&at.root, true).expect("the root");
    let body = Body::new().text(&at.root).data(Some(b"x")).int(-1);
    let xid = zk.send(op::SET_DATA, &body);
    // `receive` keeps what comes before the answer; nothing is behind it.
    assert_eq!(zk.receive().map(|(xid, ..)| xid), Some(xid));
    assert!(zk.is_silent(std::time::Duration::from_millis(50)));
    assert_eq!(zk.events(), events(&[(event::CHANGED, &at.root)]));
}

fn persistent_watches_hear_of_everything_at_their_node(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let (path, child) = (at.path("a"), at.path("a/b"));
    watcher.add_watch(&path, 0).expect("nodes may come later");
    for _ in 0..2 {
        zk.create(&path, b"", 0).expect("free");
        zk.create(&child, b"", 0).expect("free");
        zk.set(&child, b"", -1).expect("any version");
        zk.set(&path, b"", -1).expect("any version");
        zk.delete(&child, -1).expect("any version");
        zk.delete(&path, -1).expect("any version");
        let told = [
            (event::CREATED, path.as_str()),
            (event::CHILDREN, &path),
            (event::CHANGED, &path),
            (event::CHILDREN, &path),
            (event::DELETED, &path),
        ];
        assert_eq!(watcher.events(), events(&told));
    }
}

fn recursive_watches_hear_of_everything_below(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let (path, child, deep) = (at.path("a"), at.path("a/b"), at.path("a/b/c"));
    watcher.add_watch(&path, 1).expect("nodes may come later");
    for _ in 0..2 {
        for node in [&path, &child, &deep] {
            zk.create(node, b"", 0).expect("free");
        }
        zk.create(&at.path("ab"), b"", 0).expect("free");
        zk.set(&deep, b"", -1).expect("any version");
        for node in [&deep, &child, &path, &at.path("ab")] {
            zk.delete(node, -1).expect("any version");
        }
        let told = [
            (event::CREATED, path.as_str()),
            (event::CREATED, &child),
            (event::CREATED, &deep),
            (event::CHANGED, &deep),
            (event::DELETED, &deep),
            (event::DELETED, &child),
            (event::DELETED, &path),
        ];
        assert_eq!(watcher.events(), events(&told));
    }
}

fn watches_are_checked_and_removed(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let path = at.path("a");
    zk.create(&path, b"", 0).expect("free");
    let mut ask = |op: i32, kind: i32| {
        let answer = watcher.call(op, &Body::path_and(&path, kind));
        answer.map(|mut f| assert!(f.rest().is_empty()))
    };
    for kind in [1, 2, 3] {
        assert_eq!(ask(op::CHECK_WATCHES, kind), Err(code::NO_WATCHER));
        assert_eq!(ask(op::REMOVE_WATCHES, kind), Err(code::NO_WATCHER));
    }
    watcher.get(&path, true).expect("just created");
    let mut ask = |op: i32, kind: i32| {
        let answer = watcher.call(op, &Body::path_and(&path, kind));
        answer.map(|mut f| assert!(f.rest().is_empty()))
    };
    assert_eq!(ask(op::CHECK_WATCHES, 2), Ok(()));
    assert_eq!(ask(op::CHECK_WATCHES, 3), Ok(()));
    assert_eq!(ask(op::REMOVE_WATCHES, 1), Err(code::NO_WATCHER));
    assert_eq!(ask(op::REMOVE_WATCHES, 2), Ok(()));
    assert_eq!(ask(op::REMOVE_WATCHES, 3), Err(code::NO_WATCHER));
    zk.set(&path, b"", -1).expect("any version");
    assert_eq!(watcher.events(), [], "it was removed");
    watcher.add_watch(&path, 0).expect("a path");
    let any = Body::path_and(&path, 3);
    assert!(watcher.call(op::REMOVE_WATCHES, &any).is_ok());
    watcher.add_watch(&path, 1).expect("a path");
    assert!(watcher.call(op::REMOVE_WATCHES, &any).is_ok());
    zk.set(&path, b"", -1).expect("any version");
    zk.create(&at.path("a/b"), b"", 0).expect("free");
    assert_eq!(watcher.events(), []);
}

fn odd_watch_requests_are_refused(at: &Place<'_>) {
    let mut zk = at.client();
    for mode in [2, -1, i32::MAX] {
        assert_eq!(zk.add_watch(&at.root, mode), Err(code::MARSHALLING_ERROR));
    }
    for kind in [0, -1, 6] {
        let body = Body::path_and(&at.root, kind);
        for op in [op::CHECK_WATCHES, op::REMOVE_WATCHES] {
            let refused = zk.call(op, &body);
            assert_eq!(refused.err(), Some(code::MARSHALLING_ERROR), "{kind}");
        }
    }
}

fn watches_end_with_their_connection(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    watcher.get(&at.root, true).expect("the root");
    watcher.add_watch(&at.root, 1).expect("a path");
    let mut again = Client::hello(at.address, &watcher.again()).expect("its own session");
    zk.set(&at.root, b"", -1).expect("any version");
    assert_eq!(again.events(), []);
}

fn set_watches_tells_what_was_missed(at: &Place<'_>) {
    let mut zk = at.client();
    let names = ["same", "set", "gone", "come", "kids", "new"];
    let [same, set, gone, come, kids, new] = names.map(|name| at.path(name));
    for path in [&same, &set, &gone, &kids] {
        zk.create(path, b"", 0).expect("free");
    }
    let since = zk.zxid;
    zk.set(&set, b"", -1).expect("any version");
    zk.delete(&gone, -1).expect("any version");
    zk.create(&come, b"", 0).expect("free");
    zk.create(&at.path("kids/kid"), b"", 0).expect("free");
    let mut watcher = at.client();
    let body = Body::new()
        .long(since)
        .texts(&[&same, &set, &gone])
        .texts(&[&come, &new])
        .texts(&[&kids, &same, &gone]);
    watcher.call(op::SET_WATCHES, &body).expect("an answer");
    let told = [
        (event::CHANGED, set.as_str()),
        (event::DELETED, &gone),
        (event::CREATED, &come),
        (event::CHILDREN, &kids),
        (event::DELETED, &gone),
    ];
    assert_eq!(watcher.events(), events(&told));
    // What was not missed is watched again.
    zk.set(&same, b"", -1).expect("any version");
    zk.create(&at.path("same/x"), b"", 0).expect("free");
    zk.create(&new, b"", 0).expect("free");
    zk.set(&set, b"", -1).expect("any version");
    let told = [
        (event::CHANGED, same.as_str()),
        (event::CHILDREN, &same),
        (event::CREATED, &new),
    ];
    assert_eq!(watcher.events(), events(&told));
}

fn set_watches_brings_lasting_watches_back(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let (one, all) = (at.path("one"), at.path("all"));
    let body = Body::new()
        .long(zk.zxid)
        .texts(&[])
        .texts(&[])
        .texts(&[])
        .texts(&[&one])
        .texts(&[&all]);
    watcher.call(op::SET_WATCHES2, &body).expect("an answer");
    let (one_kid, all_kid) = (at.path("one/x"), at.path("all/x"));
    for path in [&one, &all, &one_kid, &all_kid] {
        zk.create(path, b"", 0).expect("free");
    }
    let told = [
        (event::CREATED, one.as_str()),
        (event::CREATED, &all),
        (event::CHILDREN, &one),
        (event::CREATED, &all_kid),
    ];
    assert_eq!(watcher.events(), events(&told));
}

fn a_multi_fires_like_its_parts(at: &Place<'_>) {
    let (mut watcher, mut zk) = two(at);
    let (a, b) = (at.path("a"), at.path("b"));
    watcher.add_watch(&at.root, 1).expect("a path");
    let create = |path: &str| Body::create(path, b"", 0);
    let good = Body::new()
        .op(op::CREATE, create(&a))
        .op(op::CREATE, create(&b))
        .op(op::DELETE, Body::path_and(&a, -1))
        .end();
    let bad = Body::new()
        .op(op::CREATE, create(&a))
        .op(op::CREATE, create(&b))
        .end();
    zk.call(op::MULTI, &good).expect("an answer");
    zk.call(op::MULTI, &bad).expect("an answer");
    let told = [
        (event::CREATED, a.as_str()),
        (event::CREATED, &b),
        (event::DELETED, &a),
    ];
    assert_eq!(watcher.events(), events(&told));
}
