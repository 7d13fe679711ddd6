//! What the commands refuse, how long they try, and that what only reads makes nothing.

use std::process::Command;
use std::time::Duration;

use harness::cluster::nyala_binary;
use nyala_coordinator::clock;

use super::{Place, on_both, one};

fn refused(place: &Place<'_>, args: &[&str], words: &str) {
    let (code, said) = place.code(args);
    assert_eq!(code, Some(1), "{args:?}: {said}");
    assert!(said.contains(words), "{args:?}: {said}");
}

#[test]
fn a_typing_error_makes_nothing() {
    on_both(|place| {
        refused(place, &["queue", "take", "/jbos"], "no queue at /jbos");
        refused(place, &["queue", "size", "/jbos"], "no queue at /jbos");
        let wait = ["queue", "take", "/jbos", "--wait", "0.2"];
        assert_eq!(place.code(&wait).0, Some(124));
        for args in [
            &["fanout", "list", "/jbos"][..],
            &["fanout", "remove", "/jbos", "a"],
        ] {
            refused(place, args, "no fan-out queue at /jbos");
        }
        for args in [
            &["service", "list", "/jbos"][..],
            &["worker", "list", "/jbos"],
            &["name", "list", "/jbos"],
            &["lock", "/jbos", "--list"],
            &["elect", "/jbos", "--list"],
            &["barrier", "/jbos", "--wait"],
        ] {
            place.says(args);
        }
        refused(place, &["config", "get", "/jbos"], "is not set");
        assert_eq!(place.says(&["zk", "ls", "/"]), "");
        let typo = format!("{}/typo", place.address);
        for args in [
            &["zk", "ls", "/"][..],
            &["queue", "size", "/q"],
            &["lock", "/l", "--list"],
            &["barrier", "/b", "--wait"],
        ] {
            let mut command = place.command(&[args, &["--zookeeper", &typo]].concat());
            let ended = harness::process::Process::start(&one(), place.folder, &mut command)
                .wait(harness::wait::SOON);
            assert_eq!(ended.status.code(), Some(1), "{args:?}");
            assert!(ended.stderr.contains("is the chroot right?"), "{ended:?}");
        }
        let mut root = place.command(&["zk", "ls", "/", "--zookeeper", &place.address]);
        let root = root.output().expect("it runs");
        let root = String::from_utf8_lossy(&root.stdout).into_owned();
        assert!(root.contains("cli\n") && !root.contains("typo"), "{root}");
    });
}

#[test]
fn trees_are_made_and_deleted_whole() {
    on_both(|place| {
        let create = ["zk", "create", "/a/b"];
        refused(place, &create, "its parent /a is missing; --parents");
        place.says(&["zk", "create", "/a/b/c", "--parents"]);
        place.says(&["zk", "create", "/d"]);
        refused(place, &["zk", "delete", "/"], "root");
        place.says(&["zk", "delete", "/", "--recursive"]);
        assert_eq!(place.says(&["zk", "ls", "/"]), "");
        let all = ["zk", "delete", "/", "--recursive", "--zookeeper"];
        let whole = place
            .command(&[&all[..], &[&place.address]].concat())
            .output();
        let whole = whole.expect("it runs");
        assert_eq!(whole.status.code(), Some(1));
        assert_eq!(place.says(&["zk", "ls", "/"]), "");
        let any = place.reads(&["zk", "multi"], "create /x\nset@-1 /x y\n");
        assert!(
            any.stderr.contains("line 2: \"-1\" is no version"),
            "{any:?}"
        );
        let empty_lines = place.reads(&["zk", "multi"], "create /x\n\ncheck /x 7\n");
        let said = empty_lines.stderr;
        assert!(said.contains("line 3 (check /x at version 7)"), "{said}");
    });
}

#[test]
fn a_limit_bounds_connecting_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place {
        folder: folder.path(),
        address: "127.0.0.1:1".to_owned(),
        server: None,
    };
    // Built before anything is timed.
    let _built = nyala_binary();
    let timed = |args: &[&str], code: i32| {
        let begun = clock::now();
        let ended = place.code(args);
        assert_eq!(ended.0, Some(code), "{args:?}: {}", ended.1);
        assert!(
            ended.1.contains("is ZooKeeper running there?"),
            "{}",
            ended.1
        );
        // Ten seconds is what they take by default.
        assert!(begun.elapsed() < Duration::from_secs(8), "{args:?}");
    };
    let limit = ["--timeout", "0.5"];
    timed(
        &[&["lock", "/l"], &limit[..], &["--", "true"]].concat(),
        125,
    );
    timed(
        &[&["elect", "/e"], &limit[..], &["--", "true"]].concat(),
        125,
    );
    timed(&[&["barrier", "/b", "--wait"], &limit[..]].concat(), 1);
    let parties = ["barrier", "/b", "--parties", "2"];
    timed(&[&parties[..], &limit].concat(), 1);
    timed(&[&parties[..], &limit, &["--", "true"]].concat(), 125);
    let meet = ["rendezvous", "/r", "--size", "2", "--name", "a"];
    timed(&[&meet[..], &limit].concat(), 1);
    timed(
        &[&["service", "register", "/s", "a"], &limit[..]].concat(),
        1,
    );
    let connect = ["--connect-timeout", "0.5"];
    timed(&[&["queue", "take", "/q"], &connect[..]].concat(), 1);
    timed(&[&["config", "get", "/c"], &connect[..]].concat(), 1);
    timed(&[&["zk", "ls", "/"], &connect[..]].concat(), 1);
    timed(
        &[&["lock", "/l"], &connect[..], &["--", "true"]].concat(),
        125,
    );
}

#[test]
fn a_session_shorter_than_asked_for_is_told() {
    on_both(|place| {
        // The longest is 10 s at the embedded server, 60 s at the real one.
        for (seconds, told) in [("5", false), ("100", true)] {
            let mut command = Command::new(nyala_binary());
            command.args(["zk", "ls", "/", "--session-timeout", seconds]);
            let ended = command.args(["--zookeeper", &place.address]).output();
            let ended = ended.expect("it runs");
            assert!(ended.status.success(), "{ended:?}");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(said.contains("nyala: ZooKeeper grants "), told, "{said}");
        }
    });
}

#[test]
fn what_means_nothing_is_refused() {
    on_both(|place| {
        let lines = "lines of standard input";
        let cases: [(&[&str], &str); 18] = [
            (&["barrier", "/b", "--parties", "0"], "not a number from 1"),
            (&["barrier", "/b", "--parties", ""], "not a number from 1"),
            (&["barrier", "/b", "--parties", "x"], "not a number from 1"),
            (
                &["barrier", "/b", "--expect", "a,a"],
                "names one of them twice",
            ),
            (
                &["barrier", "/b", "--expect", "a,b", "--name", "z"],
                "z is not among those of --expect: a, b",
            ),
            (&["lock", "/l", "--permits", "0", "--", "true"], "from 1"),
            (
                &["rendezvous", "/r", "--size", "0", "--name", "a"],
                "from 1",
            ),
            (&["lock", "/l", "/m", "--read", "--", "true"], "nyala lock "),
            (&["lock", "/l", "/m", "--list"], "take one PATH"),
            (
                &["config", "set", "/c", "x", "--version=-1"],
                "not a number from 0",
            ),
            (
                &["zk", "set", "/c", "x", "--version", "-1"],
                "not a number from 0",
            ),
            (
                &["zk", "delete", "/c", "--version=-1"],
                "not a number from 0",
            ),
            (
                &["zk", "delete", "/c", "--version=abc"],
                "not a number from 0",
            ),
            (&["queue", "put", "/q", "hello"], lines),
            (&["fanout", "put", "/q", "hello"], lines),
            (&["task", "submit", "q", "hello"], lines),
            (&["queue"], "Usage: nyala queue"),
            (&["task", "submit"], "Usage: nyala task submit"),
        ];
        for (args, words) in cases {
            let ended = place.command(args).output().expect("it runs");
            assert_eq!(ended.status.code(), Some(2), "{args:?}: {ended:?}");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(said.contains(words), "{args:?}: {said}");
        }
        for command in [&["zk", "ls"][..], &["queue", "size", "/q"]] {
            let short = [command, &["--session-timeout", "0.5"]].concat();
            let ended = place.command(&short).output().expect("it runs");
            assert_eq!(ended.status.code(), Some(2), "{command:?}: {ended:?}");
        }
        // Flags of the whole command may stand before its part, too.
        let zookeeper = place.zookeeper();
        let early = ["queue", "--zookeeper", &zookeeper, "size", "/q"];
        let ended = place.command(&early).output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(said.contains("no queue at /q"), "{said}");
        let report = |text: &str| place.reads(&["worker", "report", "/w", "a"], text);
        let wrong = report("1 2\nabc\n2 2\n");
        assert_eq!(wrong.status.code(), Some(1), "{}", wrong.stderr);
        assert!(
            wrong.stderr.contains("\"abc\" is not DONE"),
            "{}",
            wrong.stderr
        );
        report("1 2\n2 2\n").expect_success("report");
    });
}

#[test]
fn contenders_are_listed_with_their_states() {
    on_both(|place| {
        let states = |path: &str, contenders: usize| -> Vec<String> {
            harness::wait::until("all in line", || {
                let listed = place.says(&["lock", path, "--list"]);
                let rows: Vec<&str> = listed.lines().skip(1).collect();
                let state = |row: &&str| row.split_whitespace().nth(3).map(str::to_owned);
                match rows.len() == contenders {
                    true => Ok(rows.iter().filter_map(state).collect()),
                    false => Err(listed),
                }
            })
        };
        let stand = |name: &str, path: &str, kind: &[&str]| {
            let data = format!("I am\n{name}");
            let own = ["--data", &data, "--", "sleep", "600"];
            place.start(name, &[&["lock", path], kind, &own].concat())
        };
        let read_1 = stand("read-1", "/table", &["--read"]);
        assert_eq!(states("/table", 1), ["holds"]);
        let read_2 = stand("read-2", "/table", &["--read"]);
        assert_eq!(states("/table", 2), ["holds", "holds"]);
        let write = stand("write", "/table", &["--write"]);
        assert_eq!(states("/table", 3), ["holds", "holds", "waits"]);
        let read_3 = stand("read-3", "/table", &["--read"]);
        assert_eq!(states("/table", 4), ["holds", "holds", "waits", "waits"]);
        // A line break in what one says of itself does not make a row.
        let listed = place.says(&["lock", "/table", "--list"]);
        assert!(listed.contains("I am\\nread-1\n"), "{listed}");
        let permits = ["--permits", "2"];
        let slots = ["slot-1", "slot-2", "slot-3"].map(|name| stand(name, "/slots", &permits));
        assert_eq!(states("/slots", 3), ["holds", "holds", "waits"]);
        let (code, said) = place.code(&["lock", "/table", "--timeout", "0", "--", "true"]);
        assert_eq!(code, Some(124));
        assert!(said.contains("/table: somebody else has it"), "{said}");
        drop((read_1, read_2, write, read_3, slots));
    });
}

#[test]
fn items_for_nobody_are_warned_about() {
    on_both(|place| {
        let put = |text: &str| place.reads(&["fanout", "put", "/news"], text);
        let alone = put("one\n").stderr;
        assert!(alone.contains("nobody is registered at /news"), "{alone}");
        let take = ["fanout", "take", "/news", "--name", "a", "--max", "9"];
        assert_eq!(place.code(&take).0, Some(124));
        let heard = put("two\n").stderr;
        assert!(
            heard.contains("1 item put") && !heard.contains("nobody"),
            "{heard}"
        );
        assert_eq!(place.says(&take), "two\n");
        // Where it cannot print, it lets go of what it took.
        place
            .reads(&["queue", "put", "/jobs"], "one\n")
            .expect_success("put");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let mut unheard = place.complete(&["queue", "take", "/jobs"]);
        let unheard = unheard.stdout(full.expect("a device")).output();
        let unheard = unheard.expect("it runs");
        let said = String::from_utf8_lossy(&unheard.stderr).into_owned();
        assert_eq!(unheard.status.code(), Some(1), "{said}");
        let words = "cannot write to standard output: No space left on device";
        assert!(
            said.contains(words) && said.contains("stay in the queue"),
            "{said}"
        );
        assert_eq!(place.says(&["queue", "size", "/jobs"]), "1\n");
        let large = "x".repeat(2_000_000);
        let ended = place.reads(&["queue", "put", "/q"], &large);
        assert_eq!(ended.status.code(), Some(1));
        assert_eq!(ended.stderr.matches("2000").count(), 1, "{}", ended.stderr);
    });
}
