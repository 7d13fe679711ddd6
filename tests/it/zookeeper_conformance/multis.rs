//! Multi: all or nothing, with a result for every operation; and many reads in one request.

use harness::zookeeper_wire::{Body, code, op};

use super::{Place, cases};

cases!(
    results_come_in_order_and_by_kind,
    later_operations_see_earlier_ones,
    a_failure_takes_everything_back,
    only_what_failed_is_named,
    an_empty_multi_is_nothing,
    kinds_that_cannot_be_there_are_refused,
    reads_fail_each_for_itself,
);

fn results_come_in_order_and_by_kind(at: &Place<'_>) {
    let mut zk = at.client();
    let [a, b, c, t] = ["a", "b", "c", "t"].map(|name| at.path(name));
    let set = Body::new().text(&a).data(Some(b"x")).int(0);
    let multi = Body::new()
        .op(op::CREATE, Body::create(&a, b"", 0))
        .op(op::CREATE2, Body::create(&b, b"", 1))
        .op(op::CREATE_CONTAINER, Body::create(&c, b"", 4))
        .op(op::CREATE_TTL, Body::create(&t, b"", 5).long(100_000))
        .op(op::SET_DATA, set)
        .op(op::CHECK, Body::path_and(&a, 1))
        .op(op::DELETE, Body::path_and(&a, 1))
        .end();
    let mut f = zk.call(op::MULTI, &multi).expect("an answer");
    assert_eq!((f.result(), f.text()), ((op::CREATE, 0), a.clone()));
    for (path, owner) in [(b, zk.session), (c, 0), (t, 0)] {
        assert_eq!((f.result(), f.text()), ((op::CREATE2, 0), path.clone()));
        let stat = f.stat();
        assert_eq!((stat.owner, stat.czxid), (owner, zk.zxid));
        assert_eq!(zk.exists(&path, false), Ok(stat));
    }
    assert_eq!((f.result(), f.stat().version), ((op::SET_DATA, 0), 1));
    assert_eq!(f.result(), (op::CHECK, 0));
    assert_eq!(f.result(), (op::DELETE, 0));
    assert_eq!((f.result(), f.rest()), ((0, -1), Vec::new()));
    assert_eq!(zk.exists(&a, false), Err(code::NO_NODE));
}

fn later_operations_see_earlier_ones(at: &Place<'_>) {
    let mut zk = at.client();
    let (a, s) = (at.path("a"), at.path("a/s-"));
    let multi = Body::new()
        .op(op::CREATE, Body::create(&a, b"", 0))
        .op(op::CREATE, Body::create(&s, b"", 2))
        .op(op::CREATE, Body::create(&s, b"", 3))
        .end();
    let mut f = zk.call(op::MULTI, &multi).expect("an answer");
    let paths = [a, at.path("a/s-0000000000"), at.path("a/s-0000000001")];
    for path in paths {
        assert_eq!((f.result(), f.text()), ((op::CREATE, 0), path.clone()));
        let stat = zk.exists(&path, false).expect("just created");
        assert_eq!(stat.czxid, stat.mzxid, "one zxid for all");
    }
}

fn a_failure_takes_everything_back(at: &Place<'_>) {
    let mut zk = at.client();
    let (a, e, s) = (at.path("a"), at.path("e"), at.path("s-"));
    zk.create(&a, b"old", 0).expect("free");
    let before = (zk.get(&a, false), zk.exists(&at.root, false));
    let set = Body::new().text(&a).data(Some(b"new")).int(-1);
    let multi = Body::new()
        .op(op::SET_DATA, set)
        .op(op::CREATE, Body::create(&e, b"", 1))
        .op(op::CREATE, Body::create(&s, b"", 2))
        .op(op::DELETE, Body::path_and(&a, -1))
        .op(op::CHECK, Body::path_and(&at.root, 77))
        .op(op::CREATE, Body::create(&e, b"", 0))
        .end();
    let mut f = zk.call(op::MULTI, &multi).expect("an answer");
    let errors = [0, 0, 0, 0, code::BAD_VERSION, code::RUNTIME_INCONSISTENCY];
    assert_eq!(f.errors(), errors);
    assert_eq!((zk.get(&a, false), zk.exists(&at.root, false)), before);
    let mut ephemerals = zk
        .call(op::GET_EPHEMERALS, &Body::new().text("/"))
        .expect("an answer");
    assert_eq!(ephemerals.texts(), [""; 0]);
    // Not even the counter of sequential nodes has moved: `a` alone was created so far.
    assert_eq!(zk.create(&s, b"", 2), Ok(at.path("s-0000000001")));
}

fn only_what_failed_is_named(at: &Place<'_>) {
    let mut zk = at.client();
    let missing = at.path("none");
    for (bad, error) in [
        (Body::create(&at.root, b"", 0), code::NODE_EXISTS),
        (Body::create(&at.path("none/x"), b"", 0), code::NO_NODE),
        (Body::create("x", b"", 0), code::BAD_ARGUMENTS),
    ] {
        let multi = Body::new()
            .op(op::CREATE, bad)
            .op(op::DELETE, Body::path_and(&missing, -1))
            .end();
        let mut f = zk.call(op::MULTI, &multi).expect("an answer");
        assert_eq!(f.errors(), [error, code::RUNTIME_INCONSISTENCY]);
    }
}

fn an_empty_multi_is_nothing(at: &Place<'_>) {
    let mut zk = at.client();
    for op in [op::MULTI, op::MULTI_READ] {
        let mut f = zk.call(op, &Body::new().end()).expect("an answer");
        assert_eq!((f.result(), f.rest()), ((0, -1), Vec::new()));
    }
}

fn kinds_that_cannot_be_there_are_refused(at: &Place<'_>) {
    let mut zk = at.client();
    let inner = Body::new().op(op::DELETE, Body::path_and("/x", -1)).end();
    let nested = Body::new().op(op::MULTI, inner).end();
    let ping = Body::new().op(op::PING, Body::new()).end();
    let flags = Body::new()
        .op(op::CREATE, Body::create(&at.path("x"), b"", 99))
        .end();
    for body in [nested, ping, flags] {
        let refused = zk.call(op::MULTI, &body);
        assert_eq!(refused.err(), Some(code::MARSHALLING_ERROR));
    }
    assert!(zk.exists(&at.root, false).is_ok(), "the connection goes on");
}

fn reads_fail_each_for_itself(at: &Place<'_>) {
    let (mut watcher, mut zk) = (at.client(), at.client());
    let (a, none) = (at.path("a"), at.path("none"));
    zk.create(&a, b"data", 0).expect("free");
    let reads = Body::new()
        .op(op::GET_DATA, Body::path_if(&a, true))
        .op(op::GET_DATA, Body::path_if(&none, false))
        .op(op::GET_CHILDREN, Body::path_if(&at.root, true))
        .end();
    let mut f = watcher.call(op::MULTI_READ, &reads).expect("an answer");
    assert_eq!(f.result(), (op::GET_DATA, 0));
    assert_eq!(f.data().as_deref(), Some(&b"data"[..]));
    assert_eq!(f.stat().data_length, 4);
    assert_eq!((f.result(), f.int()), ((-1, code::NO_NODE), code::NO_NODE));
    assert_eq!(
        (f.result(), f.texts()),
        ((op::GET_CHILDREN, 0), vec!["a".to_owned()])
    );
    assert_eq!((f.result(), f.rest()), ((0, -1), Vec::new()));
    zk.delete(&a, -1).expect("any version");
    assert_eq!(
        watcher.events(),
        [],
        "a read within a multi leaves no watch"
    );
}
