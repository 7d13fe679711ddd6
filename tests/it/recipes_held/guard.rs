//! What becomes of a command, and of what it has started, when `nyala` is killed or stands still.

use harness::wait;
use rustix::process::{Signal, kill_process};

use super::{Place, is_alive, on_both, process, until_dead};

/// Starts a child and stays; one that nobody tells to end.
const FAMILY: &str = "sh -c 'echo $$ > grandchild; trap \"\" TERM; sleep 79; echo' & \
    setsid sh -c 'echo $$ > stranger; sleep 79; echo' & echo $$ > pid; wait; echo";

fn family(place: &Place<'_>) -> [i64; 3] {
    ["pid", "grandchild", "stranger"].map(|name| place.number(name))
}

/// The three commands that run another one.
fn start(place: &Place<'_>, kind: &str, script: &str) -> harness::process::Process {
    let path = format!("/{kind}");
    let words: &[&str] = match kind {
        "lock" => &["lock", &path],
        "name" => &["name", "claim", &path, "w-"],
        _ => &["barrier", &path, "--parties", "1"],
    };
    let command = ["--grace", "0.3", "--", "sh", "-c", script];
    place.start(kind, &[words, &command].concat())
}

const KINDS: [&str; 3] = ["lock", "name", "barrier"];

fn forget(place: &Place<'_>) {
    for file in ["pid", "grandchild", "stranger"] {
        let _ = std::fs::remove_file(place.folder.join(file));
    }
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
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let guard = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1));
        let guard = process(guard.and_then(|pid| pid.parse().ok()).expect("a parent"));
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
