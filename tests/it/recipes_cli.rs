//! The commands on recipes as scripts use them, each with a fault, on the embedded ZooKeeper and on a
//! real one: `nyala service`, `config`, `queue`, `fanout`, `barrier`, `zk`, and more in `shared`; how all of
//! them end in `ends`, and what they refuse in `limits`.

mod ends;
mod foreign;
mod limits;
mod shared;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use harness::cluster::nyala_binary;
use harness::folder::in_memory;
use harness::ports::free_port;
use harness::process::{Ended, Process, run_reading};
use harness::wait;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use nyala_coordinator::embedded::ServerConfig;

/// A ZooKeeper that can be restarted, and a folder.
struct Place<'a> {
    folder: &'a Path,
    address: String,
    server: Option<Server>,
}

enum Server {
    Embedded(EmbeddedZooKeeper),
    Real(RealZooKeeper),
}

fn on_both(case: impl Fn(&mut Place<'_>)) {
    let case = |mut place: Place<'_>| {
        // What reads does not make the chroot.
        place.says(&["zk", "create", "/made"]);
        place.says(&["zk", "delete", "/made"]);
        case(&mut place);
    };
    let folder = in_memory();
    let server = EmbeddedZooKeeper::start(folder.path());
    case(Place {
        folder: folder.path(),
        address: server.address.clone(),
        server: Some(Server::Embedded(server)),
    });
    let folder = in_memory();
    let server = RealZooKeeper::start_on(folder.path(), free_port());
    case(Place {
        folder: folder.path(),
        address: server.address.clone(),
        server: Some(Server::Real(server)),
    });
}

impl Place<'_> {
    fn zookeeper(&self) -> String {
        format!("{}/cli", self.address)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut nyala = Command::new(nyala_binary());
        nyala.current_dir(self.folder).args(args);
        nyala
    }

    /// `ARGS --zookeeper ... -- REST`.
    fn complete(&self, args: &[&str]) -> Command {
        let zookeeper = self.zookeeper();
        let at = args.iter().position(|a| *a == "--").unwrap_or(args.len());
        let (flags, rest) = args.split_at(at);
        let own = ["--zookeeper", &zookeeper, "--session-timeout", "3"];
        self.command(&[flags, &own, rest].concat())
    }

    /// Starts a command under a name.
    fn start(&self, name: &str, args: &[&str]) -> Process {
        Process::start(name, self.folder, &mut self.complete(args))
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.start(&one(), args).wait(wait::SOON)
    }

    /// Runs a command that succeeds; gives what it printed.
    fn says(&self, args: &[&str]) -> String {
        self.run(args).expect_success(&args.join(" "))
    }

    fn reads(&self, args: &[&str], input: &str) -> Ended {
        run_reading(&one(), self.folder, &mut self.complete(args), input)
    }

    /// Its exit code, with what it said.
    fn code(&self, args: &[&str]) -> (Option<i32>, String) {
        let ended = self.run(args);
        (ended.status.code(), ended.stdout + &ended.stderr)
    }

    fn restart(&mut self) {
        let port = self.address.rsplit(':').next().and_then(|p| p.parse().ok());
        let port = port.expect("a port");
        self.server = Some(match self.server.take() {
            Some(Server::Embedded(old)) => {
                drop(old);
                Server::Embedded(EmbeddedZooKeeper::start_with(ServerConfig {
                    address: self.address.parse().expect("an address"),
                    ..EmbeddedZooKeeper::config(self.folder)
                }))
            }
            Some(Server::Real(mut old)) => {
                old.process.kill();
                Server::Real(RealZooKeeper::start_on(self.folder, port))
            }
            None => unreachable!("it is there until it is dropped"),
        });
    }

    fn until_says(&self, what: &str, args: &[&str], expected: &str) {
        wait::until(what, || match self.run(args) {
            ended if ended.stdout == expected => Ok(()),
            ended => Err(ended),
        });
    }
}

/// A name for files of a command that is waited for.
fn one() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("one-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn until_printed(process: &Process, what: &str, lines: usize) -> Vec<String> {
    wait::until(what, || {
        let out = process.stdout();
        let all: Vec<String> = out.lines().map(str::to_owned).collect();
        if all.len() >= lines {
            Ok(all)
        } else {
            Err((out, process.stderr()))
        }
    })
}

#[test]
fn a_queue_gives_each_line_to_one_taker_also_when_takers_are_killed() {
    on_both(|place| {
        let take = |max: &str| place.code(&["queue", "take", "/q", "--max", max]);
        let put = place.reads(&["queue", "put", "/q"], "");
        assert!(put.status.success(), "{}", put.stderr);
        assert_eq!(take("1"), (Some(124), String::new()));
        let put = place.reads(&["queue", "put", "/q"], "a\n\nlast \u{e4}\n");
        assert!(put.expect_success("put").is_empty());
        let put = place.reads(&["queue", "put", "/q", "--priority", "1"], "urgent");
        assert!(put.status.success(), "{}", put.stderr);
        assert_eq!(place.says(&["queue", "size", "/q"]), "4\n");
        assert_eq!(take("3"), (Some(0), "urgent\na\n\n".to_owned()));
        // A taker that nobody reads from lets go of what it could not print.
        let mut stuck = place.complete(&["queue", "take", "/q", "--max", "5", "--wait", "60"]);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut stuck = stuck
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        assert!(!stuck.wait().expect("it ends").success());
        assert_eq!(take("1"), (Some(0), "last \u{e4}\n".to_owned()));

        let lines: Vec<String> = (0..600).map(|n| format!("item {n:04}")).collect();
        let args = ["queue", "take", "/q", "--max", "1000000", "--wait", "5"];
        let put = |part: &[String]| {
            let put = place.reads(&["queue", "put", "/q"], &(part.join("\n") + "\n"));
            assert!(put.status.success(), "{}", put.stderr);
        };
        let mut dying = place.start("dying", &args);
        put(&lines[..200]);
        until_printed(&dying, "some items", 1);
        let takers: Vec<Process> = (0..2)
            .map(|n| place.start(&format!("taker-{n}"), &args))
            .collect();
        put(&lines[200..400]);
        // What it has printed may come again, nothing is lost.
        dying.kill();
        put(&lines[400..]);
        let mut got: Vec<String> = dying.stdout().lines().map(str::to_owned).collect();
        let mut twice = got.clone();
        for mut taker in takers {
            // One that got nothing says so by its exit code.
            let said = taker.wait(wait::SOON).stdout;
            got.extend(said.lines().map(str::to_owned));
        }
        got.sort();
        let all = got.len();
        got.dedup();
        assert_eq!(got, lines);
        // Only what the dead one had not acknowledged: one batch at most.
        twice.truncate(64);
        assert!(
            all - got.len() <= twice.len(),
            "{} came twice",
            all - got.len()
        );
        assert_eq!(place.says(&["queue", "size", "/q"]), "0\n");
        let full = place.reads(&["queue", "put", "/full", "--max-items", "2"], "1\n2\n3\n");
        assert_eq!(full.status.code(), Some(1));
        assert!(full.stderr.contains("at most 2"), "{}", full.stderr);
        assert_eq!(
            place.says(&["queue", "take", "/full", "--max", "9"]),
            "1\n2\n"
        );
    });
}

#[test]
fn a_waiting_taker_outlives_a_restart_of_zookeeper() {
    on_both(|place| {
        // It waits for the queue itself, too.
        let args = ["queue", "take", "/q", "--max", "2", "--wait", "60"];
        let mut taker = place.start("taker", &args);
        let put = place.reads(&["queue", "put", "/q"], "early\n");
        assert!(put.stderr.contains("1 item put"), "{}", put.stderr);
        until_printed(&taker, "the first item", 1);
        place.restart();
        let put = wait::until("a put", || {
            match place.reads(&["queue", "put", "/q"], "late\n") {
                ended if ended.status.success() => Ok(ended),
                ended => Err(ended),
            }
        });
        assert!(put.stderr.contains("1 item put"), "{}", put.stderr);
        let said = taker.wait(wait::SOON).expect_success("take");
        assert_eq!(said, "early\nlate\n");
    });
}

#[test]
fn a_fanout_gives_every_line_to_all_also_to_one_that_was_killed() {
    on_both(|place| {
        let take = |name: &str, max: &str| {
            let ended = place.run(&["fanout", "take", "/f", "--name", name, "--max", max]);
            (ended.status.code(), ended.stdout)
        };
        for name in ["a", "b"] {
            assert_eq!(take(name, "0"), (Some(0), String::new()));
        }
        let put = |text: &str| {
            let put = place.reads(&["fanout", "put", "/f"], text);
            assert!(put.status.success(), "{}", put.stderr);
        };
        put("1\n2\n3\n");
        assert_eq!(take("a", "9"), (Some(0), "1\n2\n3\n".to_owned()));
        assert_eq!(take("a", "9"), (Some(124), String::new()));
        let mut reader = place.start(
            "reader",
            &[
                "fanout", "take", "/f", "--name", "b", "--max", "9", "--wait", "60",
            ],
        );
        until_printed(&reader, "three lines", 3);
        place.until_says(
            "nobody behind",
            &["fanout", "list", "/f"],
            "CONSUMER  WAITING  STATE\na         0        away\nb         0        reading\n",
        );
        reader.kill();
        put("4\n");
        // Its place is free when the session of the dead one has timed out.
        assert_eq!(take("b", "9"), (Some(0), "4\n".to_owned()));
        assert_eq!(place.says(&["zk", "ls", "/f/items"]).lines().count(), 1);
        place.says(&["fanout", "remove", "/f", "a"]);
        assert_eq!(place.says(&["zk", "ls", "/f/items"]), "");
        assert_eq!(place.code(&["fanout", "remove", "/f", "a"]).0, Some(1));
        put("5\n");
        let late = [
            "fanout",
            "take",
            "/f",
            "--name",
            "late",
            "--from-beginning",
            "--max",
            "9",
        ];
        assert_eq!(place.says(&late), "5\n");
    });
}

#[test]
fn parties_meet_at_a_barrier_and_who_is_missing_is_told() {
    on_both(|place| {
        let enter = |name: &'static str| {
            [
                "barrier",
                "/b",
                "--expect",
                "a,b,c",
                "--name",
                name,
                "--timeout",
                "60",
                "--",
            ]
        };
        // One that was killed is not counted any more when its session is over.
        let mut dead = place.start("dead", &[&enter("a")[..], &["true"]].concat());
        place.until_says("the dead one", &["zk", "ls", "/b"], "party-a\n");
        dead.kill();
        place.until_says("its end", &["zk", "ls", "/b"], "");
        let early = ["barrier", "/b", "--expect", "a,b,c", "--name", "b"];
        let early = [&early[..], &["--timeout", "1"]].concat();
        wait::until("one who is there in time is told who is missing", || {
            let (code, said) = place.code(&early);
            assert_eq!(code, Some(124), "{said}");
            if said.ends_with("missing: a, c\n") {
                Ok(())
            } else {
                Err(said)
            }
        });

        let write = |name: &str| format!("echo {name} >> met; [ {name} != c ] || exit 7");
        let mut parties: Vec<Process> = ["a", "b", "c"]
            .map(|name| {
                let script = write(name);
                let args = [&enter(name)[..], &["sh", "-c", &script]].concat();
                let party = place.start(name, &args);
                if name == "b" {
                    // Nobody has begun before all are there, over a restart too.
                    place.until_says("two", &["zk", "ls", "/b"], "party-a\nparty-b\n");
                    assert!(!place.folder.join("met").exists());
                }
                party
            })
            .into();
        let codes: Vec<_> = parties
            .iter_mut()
            .map(|p| p.wait(wait::SOON).status.code())
            .collect();
        assert_eq!(codes, [Some(0), Some(0), Some(7)]);
        let met = std::fs::read_to_string(place.folder.join("met")).expect("they met");
        assert_eq!(met.lines().count(), 3);
        place.until_says("nothing left", &["zk", "ls", "/b"], "");
    });
}

#[test]
fn a_closed_barrier_holds_over_a_restart_until_it_is_opened() {
    on_both(|place| {
        place.says(&["barrier", "/gate", "--close"]);
        assert_eq!(
            place
                .code(&["barrier", "/gate", "--wait", "--timeout", "0.1"])
                .0,
            Some(124)
        );
        let mut waiting = place.start("waiting", &["barrier", "/gate", "--wait"]);
        place.restart();
        wait::until("opening", || {
            match place.run(&["barrier", "/gate", "--open"]) {
                ended if ended.status.success() => Ok(()),
                ended => Err(ended),
            }
        });
        waiting.wait(wait::SOON).expect_success("wait");
        place.says(&["barrier", "/gate", "--wait"]);
        assert_eq!(place.run(&["barrier", "/gate"]).status.code(), Some(2));
    });
}

#[test]
fn services_are_found_and_come_back() {
    on_both(|place| {
        let mut watch = place.start("watch", &["service", "watch", "/svc", "--stale-after", "2"]);
        let register = |name: &'static str, beat: &'static str| {
            place.start(
                name,
                &[
                    "service",
                    "register",
                    "/svc",
                    name,
                    "--data",
                    "10.0.0.7:80",
                    "--beat",
                    beat,
                ],
            )
        };
        let mut a = register("a", "0.2");
        let seen = |lines: usize, last: &str| {
            let all = until_printed(&watch, last, lines);
            assert_eq!(all[lines - 1], last, "{all:?}");
        };
        seen(1, "joined\ta\t10.0.0.7:80");
        let fence = |process: &Process, lines: usize| -> i64 {
            let all = until_printed(process, "a registration", lines);
            let (id, fence) = all[lines - 1].split_once('\t').expect("two columns");
            assert_eq!(id, "a");
            fence.parse().expect("a token")
        };
        let first = fence(&a, 1);
        let mut b = register("b", "600");
        seen(2, "joined\tb\t10.0.0.7:80");
        // It does not say that it is well.
        seen(3, "stale\tb\t10.0.0.7:80");
        assert_eq!(
            place.says(&["service", "list", "/svc"]),
            "a\t10.0.0.7:80\nb\t10.0.0.7:80\n"
        );
        let pick = || place.says(&["service", "pick", "/svc", "--key", "k"]);
        assert_eq!(pick(), pick());
        let taken = ["service", "register", "/svc", "a", "--timeout", "0.2"];
        let (code, said) = place.code(&taken);
        assert_eq!(code, Some(124));
        assert!(
            said.contains("/svc: the id a is another member's"),
            "{said}"
        );
        b.terminate().expect_success("register");
        seen(4, "left\tb\t10.0.0.7:80");
        // Paused for longer than its session: it is gone, and comes again by itself.
        a.pause();
        let after = ["service", "list", "/svc"];
        wait::until("its end", || match place.says(&after) {
            text if text.is_empty() => Ok(()),
            text => Err(text),
        });
        a.signal(rustix::process::Signal::CONT);
        let second = fence(&a, 2);
        assert!(second > first);
        place.until_says("it is back", &after, "a\t10.0.0.7:80\n");
        a.kill();
        place.until_says("its end", &after, "");
        for empty in [
            &["service", "pick", "/svc"][..],
            &["service", "assign", "/svc", "t=2"],
        ] {
            let (code, said) = place.code(empty);
            assert_eq!(
                (code, said.as_str()),
                (Some(1), "nyala: /svc has no members\n")
            );
        }
        // It says so when there is nobody to tell of changes.
        drop(place.server.take());
        wait::until("its word", || match watch.stderr() {
            said if said.contains("ZooKeeper is away") => Ok(()),
            said => Err(said),
        });
        watch.terminate().expect_success("watch");
    });
}

#[test]
fn settings_are_kept_by_version_and_watched_over_a_restart() {
    on_both(|place| {
        assert_eq!(place.code(&["config", "get", "/app/rate"]).0, Some(1));
        assert_eq!(
            place.says(&["config", "set", "/app/rate", "100", "--create"]),
            "0\n"
        );
        let (code, said) = place.code(&["config", "set", "/app/rate", "1", "--create"]);
        assert!(
            code == Some(1) && said.contains("at version 0, not absent"),
            "{said}"
        );
        let mut watch = place.start("watch", &["config", "watch", "/app/rate"]);
        let mut tree = place.start("tree", &["config", "watch", "/app", "--tree", "--max", "3"]);
        until_printed(&watch, "the first value", 1);
        until_printed(&tree, "the first value", 1);
        assert_eq!(
            place.says(&["config", "set", "/app/rate", "200", "--version", "0"]),
            "1\n"
        );
        assert_eq!(
            place
                .code(&["config", "set", "/app/rate", "300", "--version", "0"])
                .0,
            Some(1)
        );
        until_printed(&watch, "the second value", 2);
        let json = place.says(&["config", "get", "/app/rate", "--json"]);
        assert_eq!(json, "{\"value\":\"200\",\"version\":1}\n");
        place.restart();
        wait::until("a write", || {
            match place.run(&["config", "set", "/app/rate", "300"]) {
                ended if ended.status.success() => Ok(()),
                ended => Err(ended),
            }
        });
        assert_eq!(
            until_printed(&watch, "the third value", 3),
            ["100", "200", "300"]
        );
        assert!(
            watch.stderr().contains("ZooKeeper is away"),
            "{}",
            watch.stderr()
        );
        let told = tree.wait(wait::SOON).expect_success("watch --tree");
        assert_eq!(told, "rate\t100\nrate\t200\nrate\t300\n");
        place.says(&["zk", "delete", "/app/rate"]);
        wait::until("its end", || match watch.stderr() {
            said if said.contains("/app/rate is not set any more") => Ok(()),
            said => Err(said),
        });
        watch.terminate().expect_success("watch");
    });
}

#[test]
fn the_tree_is_looked_at_and_changed() {
    on_both(|place| {
        let mut watch = place.start("watch", &["zk", "watch", "/w", "--max", "4"]);
        assert_eq!(
            place.says(&["zk", "create", "/a/b", "hello", "--parents"]),
            "/a/b\n"
        );
        assert_eq!(place.code(&["zk", "create", "/a/b"]).0, Some(1));
        assert_eq!(place.says(&["zk", "get", "/a/b"]), "hello\n");
        assert_eq!(
            place.says(&["zk", "set", "/a/b", "bye", "--version", "0"]),
            "1\n"
        );
        let (code, said) = place.code(&["zk", "set", "/a/b", "x", "--version", "0"]);
        assert!(
            code == Some(1) && said.contains("/a/b is at version 1, not at version 0"),
            "{said}"
        );
        assert_eq!(
            place.says(&["zk", "create", "/a/s-", "--sequential"]),
            "/a/s-0000000001\n"
        );
        assert_eq!(place.says(&["zk", "ls", "/a"]), "b\ns-0000000001\n");
        assert_eq!(
            place.says(&["zk", "ls", "/", "-r"]),
            "/a\n/a/b\n/a/s-0000000001\n"
        );
        assert!(place.says(&["zk", "stat", "/a/b"]).contains("version\t1\n"));
        let stat = place.says(&["zk", "stat", "/a/b", "--json"]);
        let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
        assert_eq!(stat["version"], 1);
        let (code, said) = place.code(&["zk", "delete", "/a"]);
        let advice = "/a: node has children; --recursive deletes them too";
        assert!(code == Some(1) && said.contains(advice), "{said}");
        // An ephemeral lives as long as its command, which tells when its session is lost.
        let mut here = place.start("here", &["zk", "create", "/e", "--ephemeral"]);
        until_printed(&here, "the path", 1);
        let stat = place.says(&["zk", "stat", "/e"]);
        assert!(stat.contains("ephemeral_owner\t0x"), "{stat}");
        here.pause();
        wait::until("its end", || match place.code(&["zk", "stat", "/e"]) {
            (Some(1), _) => Ok(()),
            other => Err(other),
        });
        here.signal(rustix::process::Signal::CONT);
        let ended = here.wait(wait::SOON);
        assert!(
            ended.stderr.contains("the session was lost"),
            "{}",
            ended.stderr
        );

        let multi = |text: &str| {
            let ended = place.reads(&["zk", "multi"], text);
            (ended.status.code(), ended.stdout, ended.stderr)
        };
        let (code, _, said) = multi("create /w x\ncheck /a/b 7\n");
        assert_eq!(code, Some(1));
        assert!(said.contains("line 2 (check /a/b at version 7)"), "{said}");
        let (code, made, said) =
            multi("check /a/b 1\ncreate /w x y\nset@0 /w z\ncreate-sequential /w/n-\n");
        assert_eq!(
            (code, made.as_str()),
            (Some(0), "/w\n/w/n-0000000000\n"),
            "{said}"
        );
        assert_eq!(multi("frobnicate /w\n").0, Some(1));
        place.says(&["zk", "delete", "/w", "--recursive"]);
        let told = watch.wait(wait::SOON).expect_success("watch");
        assert_eq!(told.lines().next(), Some("created\t/w"));
        assert!(told.contains("created\t/w/n-0000000000"), "{told}");
        assert_eq!(place.code(&["zk", "get", "/w"]).0, Some(1));
        let away = place
            .command(&["zk", "ls", "/", "--zookeeper", "127.0.0.1:1"])
            .output();
        let away = away.expect("it runs");
        let said = String::from_utf8_lossy(&away.stderr).into_owned();
        assert!(
            !away.status.success() && said.contains("is ZooKeeper running there?"),
            "{said}"
        );
    });
}

#[test]
fn every_command_has_examples() {
    let commands =
        "lock elect service config queue fanout barrier rendezvous name worker zk task produce";
    for command in commands.split(' ') {
        let help = Command::new(nyala_binary())
            .args([command, "--help"])
            .output();
        let help = String::from_utf8_lossy(&help.expect("it runs").stdout).into_owned();
        assert!(
            help.contains("Examples:\n") && help.contains("Exit code"),
            "{help}"
        );
    }
}
