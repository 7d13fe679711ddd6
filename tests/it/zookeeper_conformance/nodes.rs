//! Nodes: creating, reading, changing and deleting them, of every kind.

use harness::zookeeper_wire::{Body, Client, Stat, code, four_letters, op, open};

use super::{Place, cases};

cases!(
    a_created_node_is_there_with_its_stat,
    creating_is_refused_with_the_right_code,
    sequential_names_count_creates,
    versions_guard_changes,
    a_node_with_children_stays,
    ephemerals_have_no_children,
    null_and_empty_data_differ,
    large_data_comes_back,
    the_parents_stat_counts_children,
    create2_tells_the_stat,
    containers_go_with_their_last_child,
    ttl_nodes_go_when_their_time_is_up,
    odd_ttls_and_flags_are_refused,
    descendants_and_ephemerals_are_counted,
    sync_answers_with_its_path,
    zookeepers_own_nodes_stay,
    check_compares_versions,
    unknown_operations_end_the_connection,
    four_letter_words_answer_and_close,
);

fn a_created_node_is_there_with_its_stat(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    assert_eq!(zk.create(&path, b"data", 0), Ok(path.clone()));
    let created = zk.zxid;
    let (data, stat) = zk.get(&path, false).expect("just created");
    assert_eq!(data.as_deref(), Some(&b"data"[..]));
    let expected = Stat {
        czxid: created,
        mzxid: created,
        pzxid: created,
        ctime: stat.ctime,
        mtime: stat.ctime,
        version: 0,
        cversion: 0,
        aversion: 0,
        owner: 0,
        data_length: 4,
        num_children: 0,
    };
    assert_eq!(stat, expected);
    assert_eq!(zk.exists(&path, false), Ok(stat));
    let set = zk.set(&path, b"other", -1).expect("any version");
    assert_eq!((set.version, set.data_length, set.mzxid), (1, 5, zk.zxid));
    assert_eq!(
        (set.czxid, set.ctime, set.pzxid),
        (created, stat.ctime, created)
    );
    assert_eq!(zk.exists(&path, false), Ok(set));
    assert_eq!(zk.delete(&path, -1), Ok(()));
    assert_eq!(zk.exists(&path, false), Err(code::NO_NODE));
    assert_eq!(zk.get(&path, false).err(), Some(code::NO_NODE));
    assert_eq!(zk.children(&path, false), Err(code::NO_NODE));
    assert_eq!(zk.set(&path, b"", -1), Err(code::NO_NODE));
    assert_eq!(zk.delete(&path, -1), Err(code::NO_NODE));
    assert_eq!(zk.acl(&path).err(), Some(code::NO_NODE));
    assert_eq!(zk.set_acl(&path, &open(), -1), Err(code::NO_NODE));
}

fn creating_is_refused_with_the_right_code(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    assert_eq!(zk.create(&path, b"", 0), Ok(path.clone()));
    assert_eq!(zk.create(&path, b"", 0), Err(code::NODE_EXISTS));
    assert_eq!(zk.create("/", b"", 0), Err(code::NODE_EXISTS));
    let orphan = at.path("b/c");
    assert_eq!(zk.create(&orphan, b"", 0), Err(code::NO_NODE));
    for name in [
        ".",
        "..",
        "a\u{1}",
        "a\u{7f}",
        "a\u{e000}",
        "a\u{ffff}",
        "\0",
        "😀",
    ] {
        let path = at.path(name);
        assert_eq!(
            zk.create(&path, b"", 0),
            Err(code::BAD_ARGUMENTS),
            "{name:?}"
        );
    }
    assert_eq!(zk.create("relative", b"", 0), Err(code::BAD_ARGUMENTS));
    assert_eq!(zk.create("", b"", 0), Err(code::BAD_ARGUMENTS));
    for name in ["日本", "a b", "...", ".a", "é"] {
        let path = at.path(name);
        assert_eq!(zk.create(&path, b"", 0), Ok(path), "{name:?}");
    }
}

fn sequential_names_count_creates(at: &Place<'_>) {
    let mut zk = at.client();
    let (queue, first) = (at.path("q-"), at.path("q-0000000000"));
    assert_eq!(zk.create(&queue, b"", 2), Ok(first.clone()));
    assert_eq!(zk.create(&queue, b"", 3), Ok(at.path("q-0000000001")));
    assert_eq!(zk.delete(&first, -1), Ok(()));
    // Numbers belong to the parent: other names use them up, deletes give none back.
    assert_eq!(zk.create(&at.path("x"), b"", 0), Ok(at.path("x")));
    assert_eq!(
        zk.create(&at.path("r-"), b"", 2),
        Ok(at.path("r-0000000003"))
    );
    let bare = at.path("");
    assert_eq!(zk.create(&bare, b"", 2), Ok(at.path("0000000004")));
    assert_eq!(zk.create(&at.path("no/q-"), b"", 2), Err(code::NO_NODE));
}

fn versions_guard_changes(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    assert_eq!(zk.create(&path, b"", 0), Ok(path.clone()));
    assert_eq!(zk.set(&path, b"1", 1), Err(code::BAD_VERSION));
    assert_eq!(zk.set(&path, b"1", 0).map(|s| s.version), Ok(1));
    assert_eq!(zk.set(&path, b"2", 0), Err(code::BAD_VERSION));
    assert_eq!(zk.set(&path, b"2", -1).map(|s| s.version), Ok(2));
    assert_eq!(zk.set(&path, b"2", -2), Err(code::BAD_VERSION));
    assert_eq!(zk.set_acl(&path, &open(), 1), Err(code::BAD_VERSION));
    let stat = zk.set_acl(&path, &open(), 0).expect("the right version");
    assert_eq!((stat.aversion, stat.version), (1, 2));
    assert_eq!(zk.delete(&path, 1), Err(code::BAD_VERSION));
    assert_eq!(zk.delete(&path, 2), Ok(()));
}

fn a_node_with_children_stays(at: &Place<'_>) {
    let mut zk = at.client();
    let (path, child) = (at.path("a"), at.path("a/b"));
    zk.create(&path, b"", 0).expect("free");
    zk.create(&child, b"", 0).expect("free");
    assert_eq!(zk.delete(&path, -1), Err(code::NOT_EMPTY));
    assert_eq!(zk.delete(&child, -1), Ok(()));
    assert_eq!(zk.delete(&path, -1), Ok(()));
}

fn ephemerals_have_no_children(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("e");
    zk.create(&path, b"", 1).expect("free");
    assert_eq!(zk.exists(&path, false).map(|s| s.owner), Ok(zk.session));
    for flags in [0, 1, 2] {
        let refused = zk.create(&at.path("e/x"), b"", flags);
        assert_eq!(refused, Err(code::NO_CHILDREN_FOR_EPHEMERALS));
    }
}

fn null_and_empty_data_differ(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    let null = Body::new().text(&path).data(None).acl(&open()).int(0);
    zk.call(op::CREATE, &null).expect("null data is data");
    let (data, stat) = zk.get(&path, false).expect("just created");
    assert_eq!((data, stat.data_length), (None, 0));
    zk.set(&path, b"", -1).expect("any version");
    let (data, stat) = zk.get(&path, false).expect("still there");
    assert_eq!((data, stat.data_length), (Some(Vec::new()), 0));
    let null = Body::new().text(&path).data(None).int(-1);
    zk.call(op::SET_DATA, &null).expect("null data is data");
    assert_eq!(zk.get(&path, false).map(|(data, _)| data), Ok(None));
}

fn large_data_comes_back(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    let data: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    zk.create(&path, &data, 0).expect("less than the limit");
    let (read, stat) = zk.get(&path, false).expect("just created");
    assert!(read.as_ref() == Some(&data), "the data is another");
    assert_eq!(stat.data_length, 1_000_000);
    zk.delete(&path, -1).expect("any version");
}

fn the_parents_stat_counts_children(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("p");
    let stat = |zk: &mut Client| zk.exists(&path, false).expect("the parent");
    zk.create(&path, b"", 0).expect("free");
    zk.create(&at.path("p/a"), b"", 0).expect("free");
    zk.create(&at.path("p/b"), b"", 1).expect("free");
    let two = stat(&mut zk);
    assert_eq!((two.cversion, two.num_children), (2, 2));
    assert_eq!(
        two.pzxid,
        zk.exists(&at.path("p/b"), false).expect("b").czxid
    );
    zk.set(&at.path("p/a"), b"x", -1).expect("any version");
    assert_eq!(
        stat(&mut zk),
        two,
        "a child's data is not the parent's affair"
    );
    zk.delete(&at.path("p/a"), -1).expect("any version");
    let deleted = zk.zxid;
    let one = stat(&mut zk);
    assert_eq!((one.cversion, one.num_children, one.pzxid), (3, 1, deleted));
    assert_eq!((one.version, one.mzxid), (two.version, two.mzxid));
    let body = Body::path_if(&path, false);
    let mut both = zk.call(op::GET_CHILDREN2, &body).expect("the parent");
    assert_eq!((both.texts(), both.stat()), (vec!["b".to_owned()], one));
}

fn create2_tells_the_stat(at: &Place<'_>) {
    let mut zk = at.client();
    let (path, stat) = zk.create2(&at.path("s-"), 2).expect("free");
    assert_eq!(path, at.path("s-0000000000"));
    assert_eq!(zk.exists(&path, false), Ok(stat));
    let exists = zk.create2(&path, 0);
    assert_eq!(exists.err(), Some(code::NODE_EXISTS));
}

fn containers_go_with_their_last_child(at: &Place<'_>) {
    let mut zk = at.client();
    let (path, child) = (at.path("c"), at.path("c/x"));
    let mut made = zk
        .call(op::CREATE_CONTAINER, &Body::create(&path, b"", 4))
        .expect("free");
    assert_eq!((made.text(), made.stat().owner), (path.clone(), 0));
    let unused = at.path("unused");
    zk.call(op::CREATE_CONTAINER, &Body::create(&unused, b"", 4))
        .expect("free");
    zk.create(&child, b"", 0).expect("free");
    zk.exists(&path, true).expect("it has a child");
    zk.delete(&child, -1).expect("any version");
    let gone = zk.wait_for_events();
    assert_eq!(gone, [(2, path.clone())]);
    assert_eq!(zk.exists(&path, false), Err(code::NO_NODE));
    assert!(zk.exists(&unused, false).is_ok(), "it never had a child");
}

fn ttl_nodes_go_when_their_time_is_up(at: &Place<'_>) {
    let mut zk = at.client();
    let ttl = |path: &str, flags: i32, ms: i64| Body::create(path, b"", flags).long(ms);
    let path = at.path("t");
    let mut made = zk.call(op::CREATE_TTL, &ttl(&path, 5, 300)).expect("free");
    assert_eq!((made.text(), made.stat().owner), (path.clone(), 0));
    let mut numbered = zk
        .call(op::CREATE_TTL, &ttl(&at.path("n-"), 6, 3_600_000))
        .expect("free");
    let numbered = numbered.text();
    assert_eq!(numbered, at.path("n-0000000001"));
    let parent = at.path("parent");
    zk.call(op::CREATE_TTL, &ttl(&parent, 5, 1)).expect("free");
    zk.create(&at.path("parent/child"), b"", 0).expect("free");
    zk.exists(&path, true).expect("its time is not up");
    assert_eq!(zk.wait_for_events(), [(2, path)]);
    assert!(zk.exists(&numbered, false).is_ok(), "it has an hour");
    assert!(zk.exists(&parent, false).is_ok(), "it has a child");
}

fn odd_ttls_and_flags_are_refused(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("t");
    for ttl in [0, -1, i64::MIN, 0x100_0000_0000, i64::MAX] {
        let body = Body::create(&path, b"", 5).long(ttl);
        let refused = zk.call(op::CREATE_TTL, &body);
        assert_eq!(refused.err(), Some(code::BAD_ARGUMENTS), "ttl {ttl}");
    }
    for flags in [0, 1, 2, 3, 4] {
        let body = Body::create(&path, b"", flags).long(1000);
        let refused = zk.call(op::CREATE_TTL, &body);
        assert_eq!(refused.err(), Some(code::BAD_ARGUMENTS), "flags {flags}");
    }
    for flags in [5, 6, 7, 99, -1, i32::MIN] {
        let refused = zk.create(&path, b"", flags);
        assert_eq!(refused, Err(code::BAD_ARGUMENTS), "flags {flags}");
    }
    assert_eq!(zk.children(&at.root, false), Ok(Vec::new()));
}

fn descendants_and_ephemerals_are_counted(at: &Place<'_>) {
    let mut zk = at.client();
    for (name, flags) in [("a", 0), ("a/b", 0), ("a/b/e", 1), ("ab", 1)] {
        zk.create(&at.path(name), b"", flags).expect("free");
    }
    let mut count = |path: &str| {
        let body = Body::new().text(path);
        zk.call(op::GET_ALL_CHILDREN_NUMBER, &body)
            .map(|mut f| f.int())
    };
    assert_eq!(count(&at.root), Ok(4));
    assert_eq!(count(&at.path("a")), Ok(2));
    assert_eq!(count(&at.path("ab")), Ok(0));
    assert_eq!(count(&at.path("none")), Err(code::NO_NODE));
    let mut ephemerals = |prefix: &str| {
        let fields = zk.call(op::GET_EPHEMERALS, &Body::new().text(prefix));
        fields.expect("always an answer").texts()
    };
    let all = [at.path("a/b/e"), at.path("ab")];
    assert_eq!(ephemerals("/"), all);
    assert_eq!(ephemerals(""), all);
    assert_eq!(ephemerals(&at.path("a")), all, "a prefix, not a parent");
    assert_eq!(ephemerals(&at.path("a/")), all[..1]);
    assert_eq!(ephemerals("/elsewhere"), [""; 0]);
}

fn sync_answers_with_its_path(at: &Place<'_>) {
    let mut zk = at.client();
    for path in [at.root.as_str(), "/", "/not/there"] {
        let mut synced = zk.call(op::SYNC, &Body::new().text(path)).expect("a sync");
        assert_eq!(synced.text(), path);
    }
}

fn zookeepers_own_nodes_stay(at: &Place<'_>) {
    let mut zk = at.client();
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(zk.delete(path, -1), Err(code::BAD_ARGUMENTS), "{path}");
        assert!(zk.exists(path, false).is_ok(), "{path}");
    }
    let children = zk.children("/zookeeper", false);
    assert_eq!(children, Ok(vec!["config".to_owned(), "quota".to_owned()]));
}

fn check_compares_versions(at: &Place<'_>) {
    let mut zk = at.client();
    // ZooKeeper answers a lone check only when it fails; within a multi it is like any other.
    let check = |path: &str, version: i32| {
        Body::new()
            .op(op::CHECK, Body::path_and(path, version))
            .end()
    };
    let mut fields = zk.call(op::MULTI, &check(&at.root, 0)).expect("an answer");
    assert_eq!(fields.result(), (op::CHECK, 0));
    assert_eq!(fields.result(), (0, -1));
    for (path, version, error) in [
        (at.root.as_str(), 1, code::BAD_VERSION),
        ("/not/there", -1, code::NO_NODE),
    ] {
        let lone = zk.call(op::CHECK, &Body::path_and(path, version));
        assert_eq!(lone.err(), Some(error));
        let mut fields = zk
            .call(op::MULTI, &check(path, version))
            .expect("an answer");
        assert_eq!(fields.errors(), [error]);
    }
}

fn unknown_operations_end_the_connection(at: &Place<'_>) {
    let mut zk = at.client();
    let session = zk.again();
    let refused = zk.call(999, &Body::new());
    assert_eq!(refused.err(), Some(code::UNIMPLEMENTED));
    assert!(zk.is_closed());
    assert!(
        Client::hello(at.address, &session).is_some(),
        "its session lives"
    );
}

fn four_letter_words_answer_and_close(at: &Place<'_>) {
    let say = |word: &str| four_letters(at.address, word).expect("text, then the end");
    assert_eq!(say("ruok"), "imok");
    let srvr = say("srvr");
    for line in [
        "Zookeeper version: 3.8.4",
        "Mode: standalone",
        "Node count: ",
        "Zxid: 0x",
    ] {
        assert!(srvr.lines().any(|l| l.starts_with(line)), "{line}: {srvr}");
    }
    let mntr = say("mntr");
    for key in [
        "zk_version",
        "zk_server_state",
        "zk_znode_count",
        "zk_watch_count",
    ] {
        let found = mntr.lines().filter(|l| l.split('\t').next() == Some(key));
        assert_eq!(found.count(), 1, "{key}: {mntr}");
    }
}
