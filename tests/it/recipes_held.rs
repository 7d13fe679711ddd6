//! `nyala lock` and `nyala elect` as scripts use them, on the embedded ZooKeeper and on a real one.

mod guard;
mod terminal;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use harness::cluster::nyala_binary;
use harness::folder::in_memory;
use harness::process::{Ended, Process};
use harness::proxy::Proxy;
use harness::wait;
use harness::zookeeper::{EmbeddedZooKeeper, RealZooKeeper};
use nyala_coordinator::recipes::{Fence, Lock};
use nyala_coordinator::session::Session;
use rustix::process::{Pid, Signal, test_kill_process};

use crate::session::connect;

/// A ZooKeeper to hold things in, a folder, and what is needed to look into both.
struct Place<'a> {
    folder: &'a Path,
    zookeeper: String,
    runtime: tokio::runtime::Runtime,
}

fn on_both(case: impl Fn(&Place<'_>)) {
    let run = |folder: &Path, zookeeper: String| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        case(&Place {
            folder,
            zookeeper,
            runtime,
        });
    };
    let folder = in_memory();
    let zookeeper = EmbeddedZooKeeper::start(folder.path());
    run(folder.path(), format!("{}/held", zookeeper.address));
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    run(folder.path(), format!("{}/held", zookeeper.address));
}

impl Place<'_> {
    /// Starts `nyala COMMAND --zookeeper ... ARGS...` under a name.
    fn start(&self, name: &str, args: &[&str]) -> Process {
        let (command, rest) = args.split_first().expect("a command");
        let mut nyala = Command::new(nyala_binary());
        nyala.current_dir(self.folder).arg(command);
        nyala.args(["--zookeeper", &self.zookeeper, "--session-timeout", "3"]);
        Process::start(name, self.folder, nyala.args(rest))
    }

    fn run(&self, name: &str, args: &[&str]) -> Ended {
        self.start(name, args).wait(wait::SOON)
    }

    fn session(&self) -> Session {
        self.runtime.block_on(connect(&self.zookeeper))
    }

    fn children(&self, session: &Session, path: &str) -> Vec<String> {
        let names = self.runtime.block_on(session.children(path));
        names.unwrap_or_default()
    }

    fn until_children(&self, session: &Session, path: &str, count: usize) {
        wait::until(path, || {
            let names = self.children(session, path);
            if names.len() == count {
                Ok(())
            } else {
                Err(names)
            }
        });
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    /// Waits for a number in a file, such as a process id.
    fn number(&self, file: &str) -> i64 {
        wait::until(file, || self.read(file).trim().parse())
    }
}

fn process(pid: i64) -> Pid {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.expect("a process id")
}

fn is_alive(pid: i64) -> bool {
    test_kill_process(process(pid)).is_ok()
}

fn until_dead(pid: i64) {
    wait::until("the command's end", || match is_alive(pid) {
        true => Err(pid),
        false => Ok(()),
    });
}

#[test]
fn one_command_at_a_time_with_a_growing_token() {
    on_both(|place| {
        // Read, think, write: two at a time would lose some.
        let add = "n=$(cat n); sleep 0.01; echo $((n + 1)) > n; echo $NYALA_FENCE >> fences";
        fs::write(place.folder.join("n"), "0").expect("writable");
        let lock = ["lock", "/locks/one", "--", "sh", "-c", add];
        let all: Vec<Process> = (0..8)
            .map(|number| place.start(&format!("adder-{number}"), &lock))
            .collect();
        for mut one in all {
            one.wait(wait::SOON).expect_success("nyala lock");
        }
        assert_eq!(place.read("n").trim(), "8");
        let fences = place.read("fences");
        let fences: Vec<Fence> = fences
            .lines()
            .map(|f| f.parse().expect("a token"))
            .collect();
        assert!(fences.len() == 8 && fences.is_sorted(), "{fences:?}");
        let session = place.session();
        assert_eq!(place.children(&session, "/locks/one").len(), 0);
    });
}

#[test]
fn exit_codes_tell_what_happened() {
    on_both(|place| {
        let lock = |name: &str, args: &[&str]| place.run(name, &[&["lock", "/l"], args].concat());
        let code = |ended: Ended| ended.status.code();
        let said = lock("ok", &["--", "sh", "-c", "echo out; exit 0"]);
        assert_eq!(said.expect_success("it"), "out\n");
        assert_eq!(code(lock("own", &["--", "sh", "-c", "exit 7"])), Some(7));
        let killed = lock("killed", &["--", "sh", "-c", "kill -USR1 $$"]);
        assert_eq!(code(killed), Some(128 + 10));
        assert_eq!(code(lock("missing", &["--", "no-such-command"])), Some(127));
        let folder = place.folder.to_string_lossy().into_owned();
        assert_eq!(code(lock("folder", &["--", &folder])), Some(126));
        let refused = place.run("bad", &["lock", "l/", "--", "true"]);
        assert_eq!(refused.status.code(), Some(125));
        assert!(
            refused.stderr.contains("\"l/\" cannot be used"),
            "{}",
            refused.stderr
        );
        let session = place.session();
        let hold = Lock::new(&session, "/l").expect("legal");
        let hold = place.runtime.block_on(hold.acquire()).expect("it is free");
        wait::until("one who is told that it is not free", || {
            let late = lock("late", &["--timeout", "0.2", "--", "touch", "ran"]);
            assert_eq!(late.status.code(), Some(124));
            if late.stderr.contains("not had within 200 ms") {
                Ok(())
            } else {
                Err(late.stderr)
            }
        });
        let busy = lock("busy", &["--timeout", "0", "--", "touch", "ran"]);
        assert_eq!(busy.status.code(), Some(124));
        assert!(!place.folder.join("ran").exists());
        place.runtime.block_on(hold.release()).expect("it is ours");
        place.until_children(&session, "/l", 0);
    });
}

#[test]
fn a_command_whose_hold_is_lost_is_stopped() {
    on_both(|place| {
        let session = place.session();
        let script =
            "echo $$ > pid; trap 'echo told > told; exit 3' TERM; while :; do sleep 0.05; done";
        let args = ["lock", "/l", "--", "sh", "-c", script];
        let mut holder = place.start("holder", &args);
        let pid = place.number("pid");
        let names = place.children(&session, "/l");
        let node = format!("/l/{}", names[0]);
        place
            .runtime
            .block_on(session.delete(&node, None))
            .expect("deleted");
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(123), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("its node was deleted"),
            "{}",
            ended.stderr
        );
        assert_eq!(place.read("told"), "told\n");
        assert!(!is_alive(pid));
        // One that does not listen.
        let script = "echo $$ > deaf; trap '' TERM; while :; do sleep 0.05; done";
        let args = ["lock", "/l", "--grace", "0.2", "--", "sh", "-c", script];
        let mut holder = place.start("deaf-holder", &args);
        let pid = place.number("deaf");
        let names = place.children(&session, "/l");
        let node = format!("/l/{}", names[0]);
        place
            .runtime
            .block_on(session.delete(&node, None))
            .expect("deleted");
        assert_eq!(holder.wait(wait::SOON).status.code(), Some(123));
        assert!(!is_alive(pid));
    });
}

#[test]
fn a_command_does_not_outlive_a_holder_that_is_killed() {
    on_both(|place| {
        let session = place.session();
        let script = "echo $$ > pid; echo $NYALA_FENCE > fence; exec sleep 1000";
        let mut holder = place.start("holder", &["lock", "/l", "--", "sh", "-c", script]);
        let pid = place.number("pid");
        let next = ["lock", "/l", "--", "sh", "-c", "echo $NYALA_FENCE > next"];
        let mut next = place.start("next", &next);
        place.until_children(&session, "/l", 2);
        holder.kill();
        until_dead(pid);
        next.wait(wait::SOON).expect_success("the next holder");
        assert!(place.number("next") > place.number("fence"));
    });
}

#[test]
fn signals_are_passed_on() {
    on_both(|place| {
        let session = place.session();
        let script = "trap 'exit 9' TERM; touch up; while :; do sleep 0.05; done";
        let mut holder = place.start("holder", &["lock", "/l", "--", "sh", "-c", script]);
        let up = place.folder.join("up");
        wait::until("the command", || if up.exists() { Ok(()) } else { Err(()) });
        // One that waits has nothing to pass it on to.
        let mut waits = place.start("waits", &["lock", "/l", "--", "true"]);
        place.until_children(&session, "/l", 2);
        assert_eq!(waits.terminate().status.signal(), Some(15));
        place.until_children(&session, "/l", 1);
        assert_eq!(holder.terminate().status.code(), Some(9));
        place.until_children(&session, "/l", 0);
    });
}

#[test]
fn a_holder_out_of_touch_stops_its_command_before_the_next_one_starts() {
    let folder = in_memory();
    let zookeeper = RealZooKeeper::start(folder.path());
    let place = Place {
        folder: folder.path(),
        zookeeper: format!("{}/held", zookeeper.address),
        runtime: tokio::runtime::Runtime::new().expect("a runtime"),
    };
    let script = "echo $$ > pid; exec sleep 1000";
    let mut holder = place.start("holder", &["lock", "/l", "--", "sh", "-c", script]);
    let pid = place.number("pid");
    zookeeper.process.pause();
    let ended = holder.wait(wait::SOON);
    assert_eq!(ended.status.code(), Some(123), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("longer than the lease"),
        "{}",
        ended.stderr
    );
    assert!(!is_alive(pid));
    zookeeper.process.signal(Signal::CONT);
    place
        .run("next", &["lock", "/l", "--", "true"])
        .expect_success("the next");
}

#[test]
fn a_command_that_will_not_stop_has_ended_before_the_next_one_starts() {
    on_both(|place| {
        let (server, chroot) = place.zookeeper.split_once('/').expect("a chroot");
        let proxy = place.runtime.block_on(Proxy::start(server));
        let far = Place {
            folder: place.folder,
            zookeeper: format!("{}/{chroot}", proxy.address),
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
        };
        let script = "trap '' TERM; while :; do echo holder >> who; sleep 0.02; done";
        let mut holder = far.start("holder", &["lock", "/mule", "--", "sh", "-c", script]);
        wait::until("it runs", || {
            let who = place.read("who");
            if who.is_empty() { Err(()) } else { Ok(()) }
        });
        let script = "echo next >> who; sleep 0.5";
        let mut next = place.start("next", &["lock", "/mule", "--", "sh", "-c", script]);
        proxy.cut();
        next.wait(wait::SOON).expect_success("the next");
        let who = place.read("who");
        let (_, after) = who.split_once("next\n").expect("it ran");
        assert_eq!(after, "", "both at once");
        assert_eq!(holder.wait(wait::SOON).status.code(), Some(123));
    });
}

#[test]
fn permits_readers_and_several_at_once() {
    on_both(|place| {
        let session = place.session();
        let wait = "touch up-$0; while [ ! -e enough ]; do sleep 0.02; done";
        let up = |name: &str| {
            let file = place.folder.join(format!("up-{name}"));
            wait::until(name, || if file.exists() { Ok(()) } else { Err(()) });
        };
        let hold = |name: &str, flags: &[&str]| {
            let command = ["--", "sh", "-c", wait, name];
            place.start(name, &[&["lock"], flags, &command].concat())
        };
        let refused = |name: &str, flags: &[&str]| {
            let command = ["--timeout", "0", "--", "true"];
            let ended = place.run(name, &[&["lock"], flags, &command].concat());
            assert_eq!(ended.status.code(), Some(124), "{name}: {}", ended.stderr);
        };
        let mut all = vec![
            hold("slot-1", &["/slots", "--permits", "2"]),
            hold("slot-2", &["/slots", "--permits", "2"]),
            hold("read-1", &["/table", "--read"]),
            hold("read-2", &["/table", "--read"]),
            hold("both", &["/b", "/a"]),
        ];
        for name in ["slot-1", "slot-2", "read-1", "read-2", "both"] {
            up(name);
        }
        refused("slot-3", &["/slots", "--permits", "2"]);
        refused("writer", &["/table", "--write"]);
        refused("one-of-both", &["/a"]);
        refused("other-two", &["/a", "/c"]);
        let other = place.run("other", &["lock", "/slots", "--permits", "3", "--", "true"]);
        assert_eq!(other.status.code(), Some(125));
        assert!(
            other.stderr.contains("has 2 permits, not 3"),
            "{}",
            other.stderr
        );
        all.push(hold("write", &["/table", "--write"]));
        place.until_children(&session, "/table", 3);
        let listed = place.run("list", &["lock", "/table", "--list"]);
        let listed = listed.expect_success("a list");
        assert_eq!(listed.lines().count(), 4, "{listed}");
        fs::write(place.folder.join("enough"), "").expect("writable");
        for mut one in all {
            one.wait(wait::SOON).expect_success("a holder");
        }
        let fences = "echo $NYALA_FENCE; echo $NYALA_FENCES";
        let both = ["lock", "/b", "/a", "--", "sh", "-c", fences];
        let said = place.run("fences", &both).expect_success("both");
        let (largest, each) = said.trim().split_once('\n').expect("two lines");
        let each: serde_json::Value = serde_json::from_str(each).expect("JSON");
        let (a, b) = (each["/a"].as_i64(), each["/b"].as_i64());
        assert_eq!(a.max(b).map(Fence), largest.parse().ok());
        assert!(
            a.is_some() && a < b,
            "taken in the order of the paths: {each}"
        );
    });
}

#[test]
fn a_leader_that_dies_is_followed_and_observed() {
    on_both(|place| {
        let session = place.session();
        let observer = place.start("observer", &["elect", "/e", "--observe"]);
        let lead = "echo $NYALA_FENCE > $0; exec sleep 1000";
        let stand = |name: &str| {
            let data = format!("I am {name}");
            place.start(
                name,
                &["elect", "/e", "--data", &data, "--", "sh", "-c", lead, name],
            )
        };
        let mut first = stand("first");
        let old = place.number("first");
        let mut second = stand("second");
        place.until_children(&session, "/e", 2);
        let listed = place.run("list", &["elect", "/e", "--list"]);
        let listed = listed.expect_success("a list");
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(lines[1].ends_with("I am first") && lines[2].ends_with("I am second"));
        let busy = place.run("busy", &["elect", "/e", "--timeout", "0", "--", "true"]);
        assert_eq!(busy.status.code(), Some(124));
        first.kill();
        let new = place.number("second");
        assert!(new > old);
        wait::until("the observer's second leader", || {
            let said = observer.stdout();
            let line = format!("{new}\tI am second");
            if said.lines().any(|l| l == line) {
                Ok(())
            } else {
                Err(said)
            }
        });
        assert!(observer.stdout().contains(&format!("{old}\tI am first\n")));
        let mut observer = observer;
        observer.terminate().expect_success("an observer");
        let resigned = second.terminate();
        assert_eq!(resigned.status.signal(), Some(15));
        place.until_children(&session, "/e", 0);
    });
}
