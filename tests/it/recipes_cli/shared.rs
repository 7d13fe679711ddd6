//! `nyala name`, `worker`, `rendezvous` and `service assign`, each with a fault.

use std::process::Stdio;

use harness::process::Process;
use harness::wait;

use super::{Place, on_both, until_printed};

#[test]
fn names_are_claimed_bound_and_numbered() {
    on_both(|place| {
        let claim = |name: &str, script: &str| {
            let args = ["name", "claim", "/workers", "w-", "--", "sh", "-c", script];
            place.start(name, &args)
        };
        let stay = "echo $NYALA_NAME $NYALA_FENCE; exec sleep 600";
        let mut first = claim("first", stay);
        let first_says = until_printed(&first, "a name", 1).remove(0);
        let mut second = claim("second", stay);
        let second_says = until_printed(&second, "a name", 1).remove(0);
        assert!(first_says.starts_with("w-0 ") && second_says.starts_with("w-1 "));
        // Paused beyond its session: its name goes to another, and its command is stopped.
        first.pause();
        wait::until("its end", || match place.says(&["zk", "ls", "/workers"]) {
            names if names.contains("w-0") => Err(names),
            _ => Ok(()),
        });
        let mut third = claim("third", "echo $NYALA_NAME; exit 5");
        let ended = third.wait(wait::SOON);
        assert_eq!(
            (ended.status.code(), ended.stdout.as_str()),
            (Some(5), "w-0\n")
        );
        first.signal(rustix::process::Signal::CONT);
        let ended = first.wait(wait::SOON);
        assert!(
            ended.stderr.contains("stopping the command"),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.status.code(), Some(123));
        second.kill();

        assert_eq!(
            place.says(&["name", "next", "/ids", "--count", "3"]),
            "0\n1\n2\n"
        );
        let mut many: Vec<Process> = (0..4)
            .map(|n| {
                place.start(
                    &format!("next-{n}"),
                    &["name", "next", "/ids", "--count", "5"],
                )
            })
            .collect();
        let mut numbers: Vec<u64> = many
            .iter_mut()
            .map(|p| p.wait(wait::SOON).expect_success("next"))
            .flat_map(|out| {
                out.lines()
                    .map(|l| l.parse().expect("a number"))
                    .collect::<Vec<_>>()
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (3..23).collect::<Vec<u64>>());

        place.says(&["name", "bind", "/names", "db/eu/1", "10.0.0.7"]);
        let (code, said) = place.code(&["name", "bind", "/names", "db/eu/1", "x"]);
        assert!(code == Some(1) && said.contains("bound already"), "{said}");
        place.restart();
        place.until_says(
            "the name",
            &["name", "resolve", "/names", "db/eu/1"],
            "10.0.0.7\n",
        );
        assert_eq!(place.says(&["name", "list", "/names", "db"]), "eu\n");
        place.says(&["name", "unbind", "/names", "db/eu/1"]);
        assert_eq!(
            place.code(&["name", "resolve", "/names", "db/eu/1"]).0,
            Some(1)
        );
    });
}

#[test]
fn workers_are_seen_to_go_on_to_stand_still_and_to_die() {
    on_both(|place| {
        let mut watch = place.start("watch", &["worker", "watch", "/w", "--stale-after", "1.5"]);
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut report = place.complete(&["worker", "report", "/w", "one"]);
        let mut report =
            Process::start_reading("report", place.folder, &mut report, Stdio::from(reader));
        let seen = |lines: usize, last: &str| {
            let all = until_printed(&watch, last, lines);
            assert_eq!(all[lines - 1], last, "{all:?}");
        };
        seen(1, "at\tone\t0\t-\t");
        std::io::Write::write_all(&mut writer, b"4 10 page 4\n").expect("it reads");
        seen(2, "at\tone\t4\t10\tpage 4");
        seen(3, "stale\tone\t4\t10\tpage 4");
        assert_eq!(
            place.says(&["worker", "list", "/w"]),
            "one\t4\t10\tpage 4\n"
        );
        std::io::Write::write_all(&mut writer, b"5 10\n").expect("it reads");
        let recovered = until_printed(&watch, "news", 4);
        assert!(recovered[3].starts_with("at\tone\t5"), "{recovered:?}");
        report.kill();
        wait::until("its end", || match watch.stdout() {
            out if out.lines().last() == Some("gone\tone\t5\t10\t") => Ok(()),
            out => Err(out),
        });
        // One that comes to its end takes itself off the list.
        let ended = place.reads(&["worker", "report", "/w", "two"], "1 2\n2 2\n");
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(place.says(&["worker", "list", "/w"]), "");
        watch.terminate().expect_success("watch");
    });
}

#[test]
fn all_who_arrive_get_the_same_list_and_the_dead_are_not_in_it() {
    on_both(|place| {
        let arrive = |place: &Place<'_>, name: &str| {
            let args = [
                "rendezvous",
                "/r",
                "--size",
                "3",
                "--name",
                name,
                "--data",
                name,
            ];
            place.start(name, &args)
        };
        let mut dead = arrive(place, "dead");
        place.until_says("it is there", &["zk", "ls", "/r"], "member-dead\n");
        dead.kill();
        place.until_says("its end", &["zk", "ls", "/r"], "");
        let mut a = arrive(place, "a");
        place.until_says("the first", &["zk", "ls", "/r"], "member-a\n");
        let early = [
            "rendezvous",
            "/r",
            "--size",
            "3",
            "--name",
            "x",
            "--timeout",
            "0.1",
        ];
        assert_eq!(place.code(&early).0, Some(124));
        place.restart();
        let mut b = arrive(place, "b");
        place.until_says("the second", &["zk", "ls", "/r"], "member-a\nmember-b\n");
        let mut c = arrive(place, "c");
        for member in [&mut a, &mut b, &mut c] {
            let said = member.wait(wait::SOON).expect_success("rendezvous");
            assert_eq!(said, "a\ta\nb\tb\nc\tc\n");
        }
        assert_eq!(
            place
                .code(&["rendezvous", "/r", "--size", "3", "--name", "d"])
                .0,
            Some(1)
        );
        place.says(&["rendezvous", "/r", "--reset"]);
        assert_eq!(place.code(&early).0, Some(124));
    });
}

#[test]
fn partitions_are_shared_out_among_who_is_there() {
    on_both(|place| {
        let member = |id: &'static str| place.start(id, &["service", "register", "/svc", id]);
        let (a, mut b) = (member("a"), member("b"));
        until_printed(&a, "a registration", 1);
        until_printed(&b, "a registration", 1);
        let shares = ["service", "assign", "/svc", "t=3", "u=1"];
        assert_eq!(place.says(&shares), "t\t0\ta\nt\t1\tb\nt\t2\ta\nu\t0\tb\n");
        b.kill();
        place.until_says("its end", &shares, "t\t0\ta\nt\t1\ta\nt\t2\ta\nu\t0\ta\n");
    });
}
