//! What becomes of a command, and of what it has started, when `nyala` is killed or stands still.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use harness::cluster::nyala_binary;
use harness::process::Process;
use harness::wait;
use nyala_coordinator::clock;
use rustix::process::{Pid, Signal, kill_process};

use super::{Place, is_alive, on_both, process, until_dead};

/// Starts a child and stays; one that nobody tells to end.
const FAMILY: &str = "sh -c 'echo $$ > grandchild; trap \"\" TERM; sleep 79; echo' & \
    setsid sh -c 'echo $$ > stranger; sleep 79; echo' & echo $$ > pid; wait; echo";

fn family(place: &Place<'_>) -> [i64; 3] {
    ["pid", "grandchild", "stranger"].map(|name| place.number(name))
}

/// The three commands that run another one.
fn start(place: &Place<'_>, kind: &str, script: &str) -> Process {
    let path = format!("/{kind}");
    let words: &[&str] = match kind {
        "lock" => &["lock", &path],
        "name" => &["name", "claim", &path, "w-"],
        _ => &["barrier", &path, "--parties", "1"],
    };
    let command = ["--grace", "0.3", "--", "sh", "-c", script];
    place.start(kind, &[words, &command].concat())
}

/// `nyala lock`, started by `starter`, a command that becomes the one behind it.
fn started_by(place: &Place<'_>, starter: &[&str], script: &str) -> Process {
    let (program, words) = starter.split_first().expect("a command");
    let mut nyala = Command::new(program);
    nyala.args(words).arg(nyala_binary());
    nyala.args(["lock", "--zookeeper", &place.zookeeper]);
    nyala.args(["--session-timeout", "3", "/l", "--", "sh", "-c", script]);
    Process::start("holder", place.folder, nyala.current_dir(place.folder))
}

const KINDS: [&str; 3] = ["lock", "name", "barrier"];

fn forget(place: &Place<'_>) {
    for file in ["pid", "grandchild", "stranger"] {
        let _ = std::fs::remove_file(place.folder.join(file));
    }
}

/// The guard of the command `pid`: its parent.
fn guard_of(pid: i64) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit(") ").next();
    let parent = rest.and_then(|rest| rest.split(' ').nth(1));
    process(parent.and_then(|pid| pid.parse().ok()).expect("a parent"))
}

#[test]
fn nothing_that_a_command_has_started_outlives_a_kill() {
    on_both(|place| {
        for kind in KINDS {
            let mut holder = start(place, kind, FAMILY);
            let family = family(place);
            holder.kill();
            family.into_iter().for_each(until_dead);
            forget(place);
        }
    });
}

#[test]
fn nothing_that_a_command_has_started_outlives_a_stop() {
    on_both(|place| {
        for kind in KINDS {
            let mut holder = start(place, kind, FAMILY);
            let family = family(place);
            holder.terminate();
            for pid in family {
                assert!(!is_alive(pid), "{kind}");
            }
            forget(place);
        }
    });
}

/// Ends when its children are there.
const LEAVES: &str = "until [ -s grandchild ] && [ -s stranger ]; do sleep 0.02; done; exit 7";

#[test]
fn what_a_command_leaves_running_ends_before_the_hold_does() {
    on_both(|place| {
        for kind in KINDS {
            let script = FAMILY.replace("wait; echo", LEAVES);
            let mut holder = start(place, kind, &script);
            let family = family(place);
            let ended = holder.wait(wait::SOON);
            assert_eq!(ended.status.code(), Some(7), "{kind}: {}", ended.stderr);
            assert!(ended.stderr.contains("left 2 running"), "{}", ended.stderr);
            for pid in family {
                assert!(!is_alive(pid), "{kind}");
            }
            forget(place);
        }
    });
}

/// Two that tidy up when they are asked to end: one that the command waits for, and the child of a stranger.
const TIDY: &str = "sh -c 'trap \"sleep 0.1; echo > tidy; exit\" TERM; echo $$ > grandchild; \
    while :; do sleep 0.02; done' & \
    setsid sh -c 'sh -c \"trap \\\"sleep 0.1; echo > strange; exit\\\" TERM; echo \\$\\$ > stranger; \
    while :; do sleep 0.02; done\"; :' & \
    echo $$ > pid; ";

#[test]
fn what_a_command_has_started_is_asked_to_end_before_it_is_made_to() {
    on_both(|place| {
        for (end, stops) in [("wait; echo", true), (LEAVES, false)] {
            let script = format!("{TIDY}{end}");
            let command = ["lock", "/l", "--grace", "60", "--", "sh", "-c", &script];
            let mut holder = place.start("holder", &command);
            let family = family(place);
            if stops {
                holder.terminate();
            } else {
                holder.wait(wait::SOON);
            }
            for pid in family {
                assert!(!is_alive(pid), "{end}");
            }
            for file in ["tidy", "strange"] {
                let file = place.folder.join(file);
                assert!(file.exists(), "{} after {end}", file.display());
                std::fs::remove_file(file).expect("it is there");
            }
            forget(place);
        }
    });
}

/// Ends when a stranger that it waits for has been asked to, and has tidied up by a stranger that came later.
const ORDERLY: &str = "trap : TERM; setsid sh -c 'trap \"exit\" TERM; echo $$ > stranger; while :; do sleep 0.02; done' & \
    echo $$ > pid; wait; wait; setsid sh -c 'sleep 0.2; echo > tidy'; exit 9";

#[test]
fn all_that_a_command_has_started_is_asked_at_once_and_what_tidies_up_is_not() {
    on_both(|place| {
        let command = ["lock", "/l", "--grace", "60", "--", "sh", "-c", ORDERLY];
        let mut holder = place.start("holder", &command);
        let family = ["pid", "stranger"].map(|name| place.number(name));
        let ended = holder.terminate();
        assert_eq!(ended.status.code(), Some(9), "{}", ended.stderr);
        assert!(!is_alive(family[1]));
        assert!(place.folder.join("tidy").exists(), "{}", ended.stderr);
        std::fs::remove_file(place.folder.join("tidy")).expect("it is there");
        forget(place);
    });
}

#[test]
fn what_a_command_leaves_in_its_group_is_asked_too() {
    let late = "trap 'sh -c \"sleep 79; echo\" & echo $! > grandchild; exit 9' TERM; \
        echo $$ > pid; while :; do sleep 0.02; done";
    // In the background of a shell that is no user's, SIGINT is ignored.
    let deaf =
        "trap 'exit 9' INT; sh -c 'echo $$ > grandchild; sleep 79; echo' & echo $$ > pid; wait";
    on_both(|place| {
        for (script, signal) in [(late, Signal::TERM), (deaf, Signal::INT)] {
            let command = ["lock", "/l", "--grace", "600", "--", "sh", "-c", script];
            let mut holder = place.start("holder", &command);
            place.number("pid");
            if signal == Signal::INT {
                place.number("grandchild");
            }
            holder.signal(signal);
            let ended = holder.wait(wait::SOON);
            assert_eq!(ended.status.code(), Some(9), "{}", ended.stderr);
            assert!(!is_alive(place.number("grandchild")), "{}", ended.stderr);
            forget(place);
        }
    });
}

#[test]
fn exit_codes_are_those_of_the_command_where_those_of_children_were_thrown_away() {
    on_both(|place| {
        let deaf = ["env", "--ignore-signal=CHLD"];
        let ended = started_by(place, &deaf, "exit 7").wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(7), "{}", ended.stderr);
    });
}

#[test]
fn a_command_is_stopped_where_nobody_can_be_told() {
    on_both(|place| {
        let pipe = place.folder.join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let mut full = File::options().read(true).write(true).open(&pipe);
        let full = full.as_mut().expect("a pipe");
        rustix::io::ioctl_fionbio(&*full, true).expect("a pipe");
        while full.write(&[b'x'; 4096]).is_ok() {}
        for stderr in ["/dev/full", "pipe"] {
            let unheard = ["sh", "-c", r#"exec "$@" 2> "$0""#, stderr];
            let leaves = "setsid sleep 79 & echo $! > stranger; exit 4";
            let ended = started_by(place, &unheard, leaves).wait(wait::SOON);
            assert_eq!(ended.status.code(), Some(4), "{stderr}");
            assert!(!is_alive(place.number("stranger")), "{stderr}");
            forget(place);
            let stays = "setsid sleep 79 & echo $! > stranger; echo $$ > pid; exec sleep 79";
            let mut holder = started_by(place, &unheard, stays);
            let family = ["pid", "stranger"].map(|name| place.number(name));
            holder.pause();
            family.into_iter().for_each(until_dead);
            holder.signal(Signal::CONT);
            assert_eq!(holder.wait(wait::SOON).status.code(), Some(123), "{stderr}");
            forget(place);
        }
        std::fs::remove_file(pipe).expect("it is there");
    });
}

#[test]
fn a_command_under_two_holds_is_asked_once() {
    on_both(|place| {
        let script = "trap 'echo >> asked' TERM; echo $$ > pid; until [ -e end ]; do sleep 0.02; done; exit 9";
        let nyala = nyala_binary().display().to_string();
        let inner = [
            &nyala,
            "lock",
            "--zookeeper",
            &place.zookeeper,
            "/inner",
            "--grace",
            "600",
        ];
        let outer = ["lock", "/outer", "--grace", "600", "--"];
        let mut holder = place.start(
            "holder",
            &[&outer, &inner[..], &["--", "sh", "-c", script]].concat(),
        );
        place.number("pid");
        holder.signal(Signal::TERM);
        wait::until("it is asked", || match place.read("asked").as_str() {
            "" => Err(()),
            _ => Ok(()),
        });
        std::fs::write(place.folder.join("end"), "").expect("a file");
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(9), "{}", ended.stderr);
        assert_eq!(place.read("asked"), "\n", "{}", ended.stderr);
        for file in ["asked", "end"] {
            std::fs::remove_file(place.folder.join(file)).expect("it is there");
        }
        forget(place);
    });
}

#[test]
fn a_holder_that_is_killed_while_its_command_has_time_to_end_takes_it_along() {
    on_both(|place| {
        let script = "trap 'echo $$ > asked' TERM; echo $$ > pid; while :; do sleep 0.02; done";
        let command = ["lock", "/l", "--grace", "600", "--", "sh", "-c", script];
        let mut holder = place.start("holder", &command);
        let pid = place.number("pid");
        holder.signal(Signal::TERM);
        assert_eq!(place.number("asked"), pid);
        holder.kill();
        until_dead(pid);
        std::fs::remove_file(place.folder.join("asked")).expect("it is there");
        forget(place);
    });
}

#[test]
fn nothing_that_a_command_has_started_outlives_its_guard() {
    on_both(|place| {
        let mut holder = start(place, "lock", FAMILY);
        let family = family(place);
        kill_process(guard_of(family[0]), Signal::KILL).expect("it is ours");
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(137), "{}", ended.stderr);
        for pid in family {
            assert!(!is_alive(pid), "{}", ended.stderr);
        }
        forget(place);
    });
}

#[test]
fn what_was_running_before_the_command_is_nobodys_to_end() {
    on_both(|place| {
        // `exec` makes a child of the shell one of `nyala`, which has an orphan in time.
        let script = r#"(sleep 78 & echo $! > grandchild; until [ -s pid ]; do sleep 0.02; done) & exec "$@""#;
        let command = "echo $$ > pid; sleep 79";
        let mut holder = started_by(place, &["sh", "-c", script, "sh"], command);
        let (pid, before) = (place.number("pid"), place.number("grandchild"));
        kill_process(guard_of(pid), Signal::KILL).expect("it is ours");
        holder.wait(wait::SOON);
        until_dead(pid);
        assert!(is_alive(before));
        kill_process(process(before), Signal::KILL).expect("it is ours");
        forget(place);
    });
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    on_both(|place| {
        let script = "echo $$ > pid; until [ -e end ]; do sleep 0.02; done; exit 8";
        let mut holder = started_by(place, &["env", "--ignore-signal=HUP"], script);
        let pid = place.number("pid");
        for who in [process(holder.pid().into()), guard_of(pid), process(pid)] {
            kill_process(who, Signal::HUP).expect("it is ours");
        }
        std::fs::write(place.folder.join("end"), "").expect("a file");
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(8), "{}", ended.stderr);
        std::fs::remove_file(place.folder.join("end")).expect("it is there");
        forget(place);
    });
}

#[test]
fn a_command_is_stopped_while_its_holder_stands_still() {
    on_both(|place| {
        for kind in KINDS {
            let mut holder = start(place, kind, FAMILY);
            let family = family(place);
            // Only `nyala` itself: nobody tells the command.
            holder.pause();
            family.into_iter().for_each(until_dead);
            holder.signal(Signal::CONT);
            let ended = holder.wait(wait::SOON);
            assert_eq!(ended.status.code(), Some(123), "{kind}: {}", ended.stderr);
            forget(place);
        }
    });
}

#[test]
fn nothing_outlives_a_lost_hold_whose_guard_stood_still() {
    on_both(|place| {
        let session = place.session();
        let mut holder = start(place, "lock", FAMILY);
        let family = family(place);
        let guard = guard_of(family[0]);
        kill_process(guard, Signal::STOP).expect("it is ours");
        holder.pause();
        place.until_children(&session, "/lock", 0);
        // The guard is left as it is: it stands still when its orders come.
        holder.signal(Signal::CONT);
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(123), "{}", ended.stderr);
        for pid in family {
            assert!(!is_alive(pid), "{}", ended.stderr);
        }
        forget(place);
    });
}

#[test]
fn a_guard_that_comes_late_starts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let orders = folder.path().join("orders");
    let made = Command::new("mkfifo").arg(&orders).status();
    assert!(made.expect("mkfifo").success());
    let open = File::options().read(true).write(true).open(&orders);
    let _open = open.expect("a pipe with somebody at its other end");
    let now_ms = clock::monotonic_ms();
    for (until_ms, code, begun) in [(now_ms - 1, 123, false), (now_ms + 600_000, 0, true)] {
        let mut guard = Command::new(nyala_binary());
        guard.current_dir(folder.path()).arg("run-guarded");
        guard.arg(format!("--orders={}", orders.display()));
        guard.arg(format!("--good-until-ms={until_ms}"));
        guard.args(["--group=0", "--grace-ms=0", "--", "touch", "begun"]);
        let ended = Process::start("guard", folder.path(), &mut guard).wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(code), "{}", ended.stderr);
        assert_eq!(folder.path().join("begun").exists(), begun);
    }
}

#[test]
fn a_command_that_is_busy_for_longer_than_a_lease_is_left_alone() {
    on_both(|place| {
        let script = "(true &); sleep 5; exit 4";
        let ended = start(place, "lock", script).wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    });
}

#[test]
fn exit_codes_are_the_same_whatever_is_held() {
    on_both(|place| {
        let folder = place.folder.to_string_lossy().into_owned();
        for kind in ["name", "barrier"] {
            let path = format!("/{kind}");
            let words: &[&str] = match kind {
                "name" => &["name", "claim", &path, "w-", "--"],
                _ => &["barrier", &path, "--parties", "1", "--"],
            };
            let code = |command: &[&str]| {
                let ended = place.run("one", &[words, command].concat());
                ended.status.code()
            };
            assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
            assert_eq!(code(&["sh", "-c", "kill -USR1 $$"]), Some(128 + 10));
            assert_eq!(code(&["no-such-command"]), Some(127));
            assert_eq!(code(&[&folder]), Some(126));
        }
    });
}

#[test]
fn a_paused_holder_cannot_use_its_token_when_it_wakes() {
    on_both(|place| {
        let session = place.session();
        let script = "echo $$ > pid; echo $NYALA_FENCE > old; exec sleep 1000";
        let mut holder = place.start("holder", &["lock", "/l", "--", "sh", "-c", script]);
        let (pid, old) = (place.number("pid"), place.number("old"));
        let next = ["lock", "/l", "--", "sh", "-c", "echo $NYALA_FENCE > new"];
        let mut next = place.start("next", &next);
        place.until_children(&session, "/l", 2);
        // Longer than its session: the whole of it stands still, its command and its guard too.
        let guard = guard_of(pid);
        kill_process(guard, Signal::STOP).expect("it is ours");
        holder.pause();
        let command = process(pid);
        kill_process(command, Signal::STOP).expect("it is ours");
        next.wait(wait::SOON).expect_success("the next holder");
        assert!(place.number("new") > old);
        kill_process(command, Signal::CONT).expect("it is ours");
        kill_process(guard, Signal::CONT).expect("it is ours");
        holder.signal(Signal::CONT);
        let ended = holder.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(123), "{}", ended.stderr);
        assert!(!is_alive(pid));
    });
}
