//! ACLs: who may do what, who may see them, and who hears of what they hide.

use harness::zookeeper_wire::{Acl, Body, Client, code, event, op, open};

use super::{Place, cases};

/// `echo -n alice:secret | openssl sha1 -binary | base64`
const ALICE: &str = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=";

cases!(
    every_operation_asks_for_its_permission,
    identities_are_added_one_by_one,
    auth_stands_for_who_asks,
    addresses_are_identities_too,
    digests_are_hidden,
    bad_acls_are_refused,
    unknown_schemes_end_the_connection,
    who_am_i_lists_identities,
    hidden_nodes_make_no_events,
    permissions_hold_within_a_multi,
);

fn acl(perms: i32, scheme: &str, id: &str) -> Vec<Acl> {
    vec![(perms, scheme.to_owned(), id.to_owned())]
}

fn create(zk: &mut Client, path: &str, acl: &[Acl]) -> Result<(), i32> {
    let body = Body::new().text(path).data(Some(b"")).acl(acl).int(0);
    zk.call(op::CREATE, &body).map(|_| ())
}

fn every_operation_asks_for_its_permission(at: &Place<'_>) {
    let mut zk = at.client();
    let no = Err(code::NO_AUTH);
    for perms in 0..32 {
        let path = at.path(&format!("p{perms}"));
        create(&mut zk, &path, &open()).expect("free");
        create(&mut zk, &format!("{path}/old"), &open()).expect("free");
        // A second entry of nobody's, so that "no permissions" is still an ACL.
        let mut list = acl(perms, "world", "anyone");
        list.push((31, "digest".to_owned(), ALICE.to_owned()));
        zk.set_acl(&path, &list, -1).expect("open so far");
        let may = |bit: i32| perms & bit != 0;
        let expected = |bit: i32| if may(bit) { Ok(()) } else { no };
        assert_eq!(zk.get(&path, false).map(|_| ()), expected(1), "{perms}");
        assert_eq!(zk.exists(&path, false).map(|_| ()), expected(1), "{perms}");
        assert_eq!(
            zk.children(&path, false).map(|_| ()),
            expected(1),
            "{perms}"
        );
        let body = Body::path_if(&path, false);
        let list = zk.call(op::GET_CHILDREN2, &body).map(|_| ());
        assert_eq!(list, expected(1), "{perms}");
        let count = zk.call(op::GET_ALL_CHILDREN_NUMBER, &Body::new().text(&path));
        assert_eq!(count.map(|_| ()), expected(1), "{perms}");
        assert_eq!(zk.acl(&path).map(|_| ()), expected(1 | 16), "{perms}");
        assert_eq!(zk.set(&path, b"", -1).map(|_| ()), expected(2), "{perms}");
        let new = format!("{path}/new");
        assert_eq!(create(&mut zk, &new, &open()), expected(4), "{perms}");
        assert_eq!(
            zk.delete(&format!("{path}/old"), -1),
            expected(8),
            "{perms}"
        );
        let opened = zk.set_acl(&path, &open(), -1).map(|_| ());
        assert_eq!(opened, expected(16), "{perms}");
    }
}

fn identities_are_added_one_by_one(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    create(&mut zk, &path, &acl(31, "digest", ALICE)).expect("anyone may name an identity");
    assert_eq!(zk.get(&path, false).err(), Some(code::NO_AUTH));
    zk.auth("digest", "alice:wrong")
        .expect("it is just another identity");
    assert_eq!(zk.get(&path, false).err(), Some(code::NO_AUTH));
    zk.auth("digest", "alice:secret").expect("a known scheme");
    assert!(zk.get(&path, false).is_ok());
    let again = zk.again();
    let mut zk = Client::hello(at.address, &again).expect("its own session");
    assert_eq!(
        zk.get(&path, false).err(),
        Some(code::NO_AUTH),
        "a new connection"
    );
}

fn auth_stands_for_who_asks(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    let auth = acl(31, "auth", "ignored");
    assert_eq!(create(&mut zk, &path, &auth), Err(code::INVALID_ACL));
    zk.auth("digest", "alice:secret").expect("a known scheme");
    create(&mut zk, &path, &auth).expect("free");
    let (list, _) = zk.acl(&path).expect("its own");
    assert_eq!(list, acl(31, "digest", ALICE));
    assert_eq!(at.client().get(&path, false).err(), Some(code::NO_AUTH));
}

fn addresses_are_identities_too(at: &Place<'_>) {
    let mut zk = at.client();
    for (id, may) in [
        ("127.0.0.1", true),
        ("127.0.0.0/8", true),
        ("0.0.0.0/0", true),
        ("10.0.0.1", false),
        ("127.0.0.2/32", false),
    ] {
        let path = at.path(&id.replace('/', "-"));
        create(&mut zk, &path, &acl(31, "ip", id)).expect("free");
        assert_eq!(zk.get(&path, false).is_ok(), may, "{id}");
    }
}

fn digests_are_hidden(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    let mut list = acl(31, "digest", ALICE);
    list.extend(acl(1, "world", "anyone"));
    create(&mut zk, &path, &list).expect("free");
    let (seen, _) = zk.acl(&path).expect("readable");
    let mut hidden = acl(31, "digest", "alice:x");
    hidden.extend(acl(1, "world", "anyone"));
    assert_eq!(seen, hidden);
    zk.auth("digest", "alice:secret").expect("a known scheme");
    assert_eq!(zk.acl(&path).map(|(seen, _)| seen), Ok(list));
}

fn bad_acls_are_refused(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    for bad in [
        Vec::new(),
        acl(31, "world", "me"),
        acl(31, "digest", "nohash"),
        acl(31, "ip", "300.1.1.1"),
        acl(31, "ip", "127.0.0.1/33"),
        acl(31, "nosuch", "x"),
        acl(31, "", ""),
    ] {
        assert_eq!(
            create(&mut zk, &path, &bad),
            Err(code::INVALID_ACL),
            "{bad:?}"
        );
        let refused = zk.set_acl(&at.root, &bad, -1);
        assert_eq!(refused, Err(code::INVALID_ACL), "{bad:?}");
    }
    let null = Body::new().text(&path).data(None).int(-1).int(0);
    assert_eq!(zk.call(op::CREATE, &null).err(), Some(code::INVALID_ACL));
    let twice = [open(), open()].concat();
    create(&mut zk, &path, &twice).expect("free");
    assert_eq!(zk.acl(&path).map(|(list, _)| list), Ok(open()));
}

fn unknown_schemes_end_the_connection(at: &Place<'_>) {
    for scheme in ["nosuch", "world", "auth", ""] {
        let mut zk = at.client();
        assert_eq!(zk.auth(scheme, "x"), Err(code::AUTH_FAILED), "{scheme}");
        assert!(zk.is_closed());
    }
}

fn who_am_i_lists_identities(at: &Place<'_>) {
    let mut zk = at.client();
    zk.auth("digest", "alice:secret").expect("a known scheme");
    zk.auth("digest", "alice:secret").expect("a known scheme");
    let mut f = zk.call(op::WHO_AM_I, &Body::new()).expect("an answer");
    let mut who: Vec<_> = (0..f.int()).map(|_| (f.text(), f.text())).collect();
    who.sort();
    let pair = |scheme: &str, user: &str| (scheme.to_owned(), user.to_owned());
    assert_eq!(who, [pair("digest", "alice"), pair("ip", "127.0.0.1")]);
}

fn hidden_nodes_make_no_events(at: &Place<'_>) {
    let (mut outsider, mut zk) = (at.client(), at.client());
    zk.auth("digest", "alice:secret").expect("a known scheme");
    let (secret, public) = (at.path("secret"), at.path("public"));
    outsider.add_watch(&at.root, 1).expect("a path");
    assert_eq!(outsider.exists(&secret, true), Err(code::NO_NODE));
    create(&mut zk, &secret, &acl(31, "digest", ALICE)).expect("free");
    create(&mut zk, &public, &open()).expect("free");
    zk.set(&secret, b"x", -1).expect("its own");
    zk.set(&public, b"x", -1).expect("open");
    zk.delete(&secret, -1).expect("open root");
    let told = [
        (event::CREATED, public.clone()),
        (event::CHANGED, public.clone()),
    ];
    assert_eq!(outsider.events(), told);
}

fn permissions_hold_within_a_multi(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("a");
    create(&mut zk, &path, &acl(1, "world", "anyone")).expect("free");
    let multi = Body::new()
        .op(op::CREATE, Body::create(&at.path("b"), b"", 0))
        .op(op::CREATE, Body::create(&at.path("a/b"), b"", 0))
        .end();
    let mut f = zk.call(op::MULTI, &multi).expect("an answer");
    assert_eq!(f.errors(), [0, code::NO_AUTH]);
    assert_eq!(zk.exists(&at.path("b"), false), Err(code::NO_NODE));
}
