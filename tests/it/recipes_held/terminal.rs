//! A command under a hold on a terminal.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};

use harness::cluster::nyala_binary;
use harness::process::Process;
use harness::wait;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Place, on_both};

/// Runs `script` in a session of its own that has a terminal; `$NYALA` is `nyala`, `$AT` says where ZooKeeper is. The
/// terminal's other end is where to type, and has to be kept.
fn on_terminal(place: &Place<'_>, script: &str) -> (Process, File) {
    let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&keys).expect("ours");
    unlockpt(&keys).expect("ours");
    let name = ptsname(&keys, Vec::new()).expect("a name");
    let name = name.into_string().expect("text");
    let screen = File::options().read(true).write(true).open(name);
    let mut session = Command::new("setsid");
    session.args(["--ctty", "--wait", "sh", "-c", script]);
    session.env("NYALA", nyala_binary());
    session.env("AT", format!("--zookeeper={}", place.zookeeper));
    let input = Stdio::from(screen.expect("a terminal"));
    let session = session.current_dir(place.folder);
    let session = Process::start_reading("session", place.folder, session, input);
    (session, File::from(keys))
}

#[test]
fn a_guard_that_writes_to_a_terminal_is_not_stopped_by_it() {
    on_both(|place| {
        let script = "stty tostop; $NYALA lock $AT /l -- sh -c 'setsid sleep 79 & exit 5' 2> /dev/tty < /dev/null";
        let (mut session, _keys) = on_terminal(place, script);
        let ended = session.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(5), "{}", ended.stderr);
    });
}

#[test]
fn a_command_whose_input_is_a_pipe_reads_the_terminal_too() {
    on_both(|place| {
        let command = "read one < /dev/tty; read two; echo $one $two > both";
        let script = format!("echo pipe | $NYALA lock $AT /l -- sh -c '{command}'");
        let (mut session, mut keys) = on_terminal(place, &script);
        keys.write_all(b"typed\n").expect("typed");
        let ended = session.wait(wait::SOON);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        assert_eq!(place.read("both"), "typed pipe\n");
    });
}

#[test]
fn what_interrupts_a_command_on_a_terminal_ends_who_waits_for_it() {
    on_both(|place| {
        let script = "$NYALA lock $AT /l -- sh -c 'echo $$ > up; exec sleep 79'; echo on > went";
        let (mut session, mut keys) = on_terminal(place, script);
        place.number("up");
        keys.write_all(b"\x03").expect("typed");
        let ended = session.wait(wait::SOON);
        assert!(!ended.status.success(), "{}", ended.stderr);
        assert_eq!(place.read("went"), "", "the script went on");
    });
}
