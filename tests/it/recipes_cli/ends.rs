//! How the commands end when a signal comes: by that signal where it cuts them short, so that scripts
//! stop, with 0 where it is their natural end; and what they held is given back in both cases.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Stdio;

use harness::process::{Ended, Process};
use harness::wait;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Place, on_both, until_printed};

fn stop(process: &mut Process, signal: Signal) -> Ended {
    process.signal(signal);
    process.wait(wait::SOON)
}

fn dies_by(process: &mut Process, signal: Signal, what: &str) -> Ended {
    let ended = stop(process, signal);
    let died_by = ended.status.signal();
    assert_eq!(died_by, Some(signal.as_raw()), "{what}: {ended:?}");
    ended
}

fn until_there(place: &Place<'_>, what: &str, path: &str) {
    wait::until(what, || match place.run(&["zk", "ls", path]) {
        ended if ended.status.success() && !ended.stdout.is_empty() => Ok(()),
        ended => Err(ended),
    });
}

#[test]
fn what_waits_dies_by_the_signal_and_gives_back_what_it_has() {
    on_both(|place| {
        let cases: [(&str, Signal, &[&str]); 6] = [
            ("/b", Signal::INT, &["barrier", "/b", "--parties", "2"]),
            (
                "/c",
                Signal::TERM,
                &["barrier", "/c", "--parties", "2", "--", "touch", "started"],
            ),
            (
                "/r",
                Signal::TERM,
                &["rendezvous", "/r", "--size", "2", "--name", "a"],
            ),
            (
                "/w",
                Signal::INT,
                &["name", "claim", "/w", "w-", "--", "sleep", "600"],
            ),
            ("/l", Signal::INT, &["lock", "/l", "--", "sleep", "600"]),
            ("/e", Signal::TERM, &["elect", "/e", "--", "sleep", "600"]),
        ];
        for (path, signal, args) in cases {
            let mut process = place.start(&path[1..], args);
            until_there(place, "its node", path);
            dies_by(&mut process, signal, &args.join(" "));
            place.until_says("nothing held", &["zk", "ls", path], "");
        }
        assert!(!place.folder.join("started").exists());
        let mut holder = place.start("holder", &["lock", "/l", "--", "sleep", "600"]);
        until_there(place, "its node", "/l");
        let mut waits = place.start("waits", &["lock", "/l", "--", "true"]);
        wait::until("both", || match place.says(&["zk", "ls", "/l"]) {
            names if names.lines().count() == 2 => Ok(()),
            names => Err(names),
        });
        dies_by(&mut waits, Signal::TERM, "a lock that waits");
        dies_by(&mut holder, Signal::TERM, "a lock that holds");
    });
}

#[test]
fn queues_die_by_the_signal_and_tell_what_is_done() {
    on_both(|place| {
        for kind in ["queue", "fanout"] {
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            let path = format!("/{kind}");
            let mut put = place.complete(&[kind, "put", &path]);
            let mut put =
                Process::start_reading("put", place.folder, &mut put, Stdio::from(reader));
            std::io::Write::write_all(&mut writer, b"one\ntwo").expect("it reads");
            let folder = format!(
                "{path}/{}",
                if kind == "queue" { "entries" } else { "items" }
            );
            until_there(place, "the first item", &folder);
            let ended = dies_by(&mut put, Signal::INT, "a put with half of its input");
            assert!(ended.stderr.contains("1 item put"), "{}", ended.stderr);
            let mut args = vec![kind, "take", &path, "--max", "2", "--wait", "60"];
            if kind == "fanout" {
                args.extend(["--name", "n", "--from-beginning"]);
            }
            let mut take = place.start("take", &args);
            until_printed(&take, "the first item", 1);
            dies_by(&mut take, Signal::TERM, "a take with half of its items");
        }
    });
}

#[test]
fn a_script_does_not_go_on_after_ctrl_c() {
    on_both(|place| {
        let zookeeper = place.zookeeper();
        let flags = format!("--zookeeper {zookeeper} --session-timeout 3");
        let nyala = harness::cluster::nyala_binary();
        let nyala = nyala.display();
        let script = |name: &str, text: &str| {
            // Whoever runs the tests in the background may have SIGINT ignored, and bash would keep that.
            let mut bash = std::process::Command::new("env");
            let bash = bash.args(["--default-signal=INT", "bash", "-c", text]);
            let bash = bash.process_group(0);
            Process::start(name, place.folder, bash)
        };
        let interrupt = |process: &mut Process| {
            let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
            let pid = pid.expect("a process id");
            kill_process_group(pid, Signal::INT).expect("it is ours");
            process.wait(wait::SOON)
        };
        let text = format!("{nyala} barrier /pp --parties 2 {flags} && echo STARTED; echo ON $?");
        let mut barrier = script("barrier", &text);
        until_there(place, "its node", "/pp");
        let ended = interrupt(&mut barrier);
        assert_eq!(ended.stdout, "", "{ended:?}");
        let put = place.reads(&["queue", "put", "/jobs"], "one\n");
        assert!(put.status.success(), "{}", put.stderr);
        let text = format!("while true; do {nyala} queue take /jobs --wait 60 {flags}; done");
        let mut taker = script("taker", &text);
        until_printed(&taker, "the item", 1);
        wait::until("the next round", || {
            let size = place.says(&["queue", "size", "/jobs"]);
            if size == "0\n" { Ok(()) } else { Err(size) }
        });
        interrupt(&mut taker);
    });
}

#[test]
fn what_runs_until_it_is_stopped_ends_well() {
    on_both(|place| {
        let set = place.says(&["config", "set", "/app/rate", "1"]);
        assert_eq!(set, "0\n");
        let cases: [&[&str]; 4] = [
            &["service", "register", "/svc", "a"],
            &["config", "watch", "/app/rate"],
            &["zk", "create", "/mine", "--ephemeral"],
            &["service", "watch", "/svc"],
        ];
        let mut all: Vec<Process> = Vec::new();
        for args in cases {
            let process = place.start(&format!("{}-{}", args[0], args[1]), args);
            until_printed(&process, "a line", 1);
            all.push(process);
        }
        for mut process in all {
            let ended = stop(&mut process, Signal::INT);
            ended.expect_success("a command that runs until it is stopped");
        }
        place.until_says("no member", &["service", "list", "/svc"], "");
        // One that has an end of its own has not come to it.
        let args = ["config", "watch", "/app/rate", "--max", "2"];
        let mut half = place.start("half", &args);
        until_printed(&half, "the value", 1);
        dies_by(&mut half, Signal::TERM, "a watch for two values");
    });
}
