//! Sessions: how they begin, move between connections, and end.

use std::time::Duration;

use harness::wait;
use harness::zookeeper_wire::{Client, Hello, code, event};

use super::{Place, cases};

cases!(
    timeouts_are_clamped,
    sessions_differ_and_so_do_their_passwords,
    a_session_outlives_its_connection,
    a_session_moves_to_the_connection_that_claims_it,
    a_wrong_claim_is_refused,
    closing_ends_the_session_and_its_ephemerals,
    silence_ends_the_session_and_its_ephemerals,
    pings_keep_a_session,
    a_client_from_the_future_is_turned_away,
    old_clients_and_read_only_ones_are_served,
    zxids_only_grow,
);

fn asking(timeout_ms: i32) -> Hello {
    Hello {
        timeout_ms,
        ..Hello::default()
    }
}

fn timeouts_are_clamped(at: &Place<'_>) {
    for (asked, least, most) in [
        (6000, 6000, 6000),
        (0, 1000, 1000),
        (-5, 1000, 1000),
        (i32::MIN, 1000, 1000),
        (i32::MAX, 10_000, 60_000),
    ] {
        let zk = Client::hello(at.address, &asking(asked)).expect("a session");
        let range = least..=most;
        assert!(range.contains(&zk.timeout_ms), "{asked}: {}", zk.timeout_ms);
        zk.close();
    }
}

fn sessions_differ_and_so_do_their_passwords(at: &Place<'_>) {
    let (one, two) = (at.client(), at.client());
    assert_ne!(one.session, two.session);
    assert_ne!(one.password, two.password);
}

fn a_session_outlives_its_connection(at: &Place<'_>) {
    let mut zk = at.client();
    let path = at.path("e");
    zk.create(&path, b"", 1).expect("free");
    let again = zk.again();
    drop(zk);
    let mut zk = Client::hello(at.address, &again).expect("it is alive");
    assert_eq!((zk.session, &zk.password), (again.session, &again.password));
    assert_eq!(zk.exists(&path, false).map(|s| s.owner), Ok(zk.session));
    zk.close();
}

fn a_session_moves_to_the_connection_that_claims_it(at: &Place<'_>) {
    let mut first = at.client();
    let again = first.again();
    let mut second = Client::hello(at.address, &again).expect("it is alive");
    assert!(first.is_closed(), "it lost its session");
    let path = at.path("e");
    second.create(&path, b"", 1).expect("free");
    assert_eq!(second.session, again.session);
    second.close();
    assert_eq!(at.client().exists(&path, false), Err(code::NO_NODE));
}

fn a_wrong_claim_is_refused(at: &Place<'_>) {
    let zk = at.client();
    let claim = zk.again();
    for password in [vec![0; 16], vec![], vec![1; 15], vec![1; 17]] {
        let wrong = Hello {
            password,
            ..claim.clone()
        };
        assert!(Client::hello(at.address, &wrong).is_none());
    }
    let session = claim.session + 0x1234;
    let unknown = Hello { session, ..claim };
    assert!(Client::hello(at.address, &unknown).is_none());
}

fn closing_ends_the_session_and_its_ephemerals(at: &Place<'_>) {
    let (mut watcher, mut zk) = (at.client(), at.client());
    let (a, b) = (at.path("a"), at.path("b"));
    zk.create(&a, b"", 1).expect("free");
    zk.create(&b, b"", 1).expect("free");
    let again = zk.again();
    watcher.exists(&a, true).expect("just created");
    zk.close();
    assert_eq!(watcher.events(), [(event::DELETED, a)]);
    assert_eq!(watcher.exists(&b, false), Err(code::NO_NODE));
    let root = watcher.exists(&at.root, false).expect("the root");
    assert_eq!((root.num_children, root.cversion), (0, 4));
    assert!(root.pzxid > again.zxid, "the end changed the children");
    assert!(Client::hello(at.address, &again).is_none(), "it is over");
}

fn silence_ends_the_session_and_its_ephemerals(at: &Place<'_>) {
    let mut watcher = at.client();
    let mut zk = Client::hello(at.address, &asking(1000)).expect("a session");
    let path = at.path("e");
    zk.create(&path, b"", 1).expect("free");
    let again = zk.again();
    watcher.exists(&path, true).expect("just created");
    assert_eq!(watcher.wait_for_events(), [(event::DELETED, path)]);
    assert!(zk.is_closed(), "an expired session has no connection");
    assert!(Client::hello(at.address, &again).is_none(), "it is over");
}

fn pings_keep_a_session(at: &Place<'_>) {
    let mut zk = Client::hello(at.address, &asking(1000)).expect("a session");
    let path = at.path("e");
    zk.create(&path, b"", 1).expect("free");
    let mut pings = 0;
    wait::until("three timeouts of pings", || {
        assert_eq!(zk.events(), []);
        std::thread::sleep(Duration::from_millis(180));
        pings += 1;
        if pings * 200 > 3000 {
            Ok(())
        } else {
            Err(pings)
        }
    });
    assert!(zk.exists(&path, false).is_ok());
    zk.close();
}

fn a_client_from_the_future_is_turned_away(at: &Place<'_>) {
    let zxid = i64::MAX;
    let ahead = Hello {
        zxid,
        ..Hello::default()
    };
    assert!(Client::hello(at.address, &ahead).is_none());
}

fn old_clients_and_read_only_ones_are_served(at: &Place<'_>) {
    for read_only in [None, Some(true), Some(false)] {
        let hello = Hello {
            read_only,
            ..Hello::default()
        };
        let mut zk = Client::hello(at.address, &hello).expect("a session");
        zk.set(&at.root, b"", -1).expect("it may write");
        zk.close();
    }
}

fn zxids_only_grow(at: &Place<'_>) {
    let mut zk = at.client();
    let mut last = zk.zxid;
    let mut unchanged = 0;
    for _ in 0..5 {
        zk.set(&at.root, b"", -1).expect("any version");
        assert!(zk.zxid > last, "every change has its own");
        last = zk.zxid;
        zk.get(&at.root, false).expect("the root");
        assert!(zk.zxid >= last, "zxids never go back");
        unchanged += usize::from(zk.zxid == last);
        last = zk.zxid;
    }
    // Sessions of other tests may end in between, but not each time.
    assert!(unchanged > 0, "a read has none");
}
