//! Queues and barriers that kazoo's users, Curator's and ours share.

use std::collections::BTreeMap;
use std::process::Command;

use harness::kafka::java;
use harness::process::Process;
use harness::wait;

use super::{Place, on_both, one, until_printed};
use crate::zookeeper_foreign::python;

/// Who shares it.
#[derive(Clone, Copy)]
enum Peer {
    Kazoo,
    Curator,
}

impl Peer {
    fn start(self, place: &Place<'_>, args: &[&str]) -> Process {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/it/recipes_cli");
        let zookeeper = place.zookeeper();
        let args = [&[zookeeper.as_str()], args].concat();
        let mut command = match self {
            Self::Kazoo => {
                let mut command = Command::new(python());
                command.arg(format!("{folder}/kazoo_side.py")).args(args);
                command
            }
            Self::Curator => java("128m", &format!("{folder}/CuratorSide.java"), &args),
        };
        // Each has files of its own: two of them may do the same.
        Process::start(&one(), place.folder, &mut command)
    }
}

#[test]
fn a_queue_is_shared_with_kazoo_and_each_item_has_one_taker() {
    on_both(|place| {
        let theirs = 150;
        let kazoo = |args: &[&str]| Peer::Kazoo.start(place, args);
        let mut put = kazoo(&["put", "/q", "150"]);
        let ours: String = (0..150).map(|n| format!("ours {n:03}\n")).collect();
        let ended = place.reads(&["queue", "put", "/q"], &ours);
        assert!(ended.status.success(), "{}", ended.stderr);
        put.wait(wait::SOON).expect_success("kazoo put");
        // One of kazoo's takes an item and is killed with it: it comes back.
        let mut dying = kazoo(&["hold", "/q"]);
        let held = until_printed(&dying, "an item", 1).remove(0);
        dying.kill();
        let mut takers = vec![kazoo(&["take", "/q"]), kazoo(&["take", "/q"])];
        let args = ["queue", "take", "/q", "--max", "1000", "--wait", "8"];
        takers.extend((0..2).map(|n| place.start(&format!("taker-{n}"), &args)));
        let mut got: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (number, mut taker) in takers.into_iter().enumerate() {
            let lines = taker.wait(2 * wait::SOON).stdout;
            // What was given back comes when it can.
            let in_order = |l: &&str| l.starts_with("ours") && **l != held;
            let ours: Vec<&str> = lines.lines().filter(in_order).collect();
            assert!(ours.is_sorted(), "{ours:?}");
            for line in lines.lines() {
                got.entry(line.to_owned()).or_default().push(number);
            }
        }
        let twice: Vec<_> = got.iter().filter(|(_, takers)| takers.len() > 1).collect();
        assert!(
            twice.is_empty(),
            "by two takers, of which 0 and 1 are kazoo's: {twice:?}"
        );
        let got: Vec<String> = got.into_keys().collect();
        let mut all: Vec<String> = ours.lines().map(str::to_owned).collect();
        all.extend((0..theirs).map(|n| format!("theirs {n:03}")));
        assert_eq!(got, all);
        assert!(all.contains(&held));
        assert_eq!(place.says(&["queue", "size", "/q"]), "0\n");
        assert_eq!(place.says(&["zk", "ls", "/q/taken"]), "");
    });
}

#[test]
fn barriers_are_shared_with_kazoo() {
    on_both(|place| barriers(place, Peer::Kazoo, 3));
}

#[test]
fn barriers_are_shared_with_curator() {
    on_both(|place| barriers(place, Peer::Curator, 2));
}

fn barriers(place: &Place<'_>, peer: Peer, rounds: usize) {
    let theirs = |args: &[&str]| peer.start(place, args);
    for _ in 0..rounds {
        let mut meeting = [(); 2].map(|()| theirs(&["meet", "/b", "4"]));
        let ours = |name: &str| {
            let args = ["barrier", "/b", "--parties", "4", "--timeout", "60"];
            place.start(name, &args)
        };
        let mut first = ours("first");
        wait::until("three", || match place.run(&["zk", "ls", "/b"]).stdout {
            names if names.lines().count() == 3 => Ok(()),
            names => Err(names),
        });
        assert!(first.is_running() && meeting.iter_mut().all(Process::is_running));
        ours("second").wait(wait::SOON).expect_success("the fourth");
        first.wait(wait::SOON).expect_success("the first");
        for other in &mut meeting {
            other.wait(wait::SOON).expect_success("theirs");
        }
        // Curator makes its folders such that they go when they are empty.
        let left = place.run(&["zk", "ls", "/b"]).stdout;
        assert_eq!(left, "");
    }
    // The simple one, both ways round.
    place.says(&["barrier", "/gate", "--close"]);
    let mut waiting = theirs(&["wait", "/gate"]);
    until_printed(&waiting, "that it waits", 1);
    place.says(&["barrier", "/gate", "--open"]);
    waiting.wait(wait::SOON).expect_success("they wait");
    theirs(&["close", "/gate"])
        .wait(wait::SOON)
        .expect_success("they close");
    let overdue = place.code(&["barrier", "/gate", "--wait", "--timeout", "0.1"]);
    assert_eq!(overdue.0, Some(124));
    let mut waiting = place.start("waiting", &["barrier", "/gate", "--wait"]);
    theirs(&["open", "/gate"])
        .wait(wait::SOON)
        .expect_success("they open");
    waiting.wait(wait::SOON).expect_success("ours");
}
